"""Figures as files, and as SVG within a page: its own ids, and colours that follow the reader's light or dark paper."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from kvcalc.report.article.blocks import Picture
from kvcalc.report.figures._save import save
from kvcalc.report.figures._style import PALETTE, Style, Width, looks, shade

COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
ID = re.compile(r'\bid="([^"]+)"')
FONTS = ("'DejaVu Sans'", "'DejaVu Sans', Verdana, system-ui, sans-serif")


def saved(picture: Picture, folder: Path, width: Width = "page") -> Path:
    """The figure as a file, with its caption beside it."""
    file = folder / f"{picture.name}.svg"
    save(picture.drawing, picture.request, file, Style(width))
    return file


def svgs(picture: Picture, file: Path) -> dict[Width, str]:
    """The figure in each width: that of its file, and a narrow one."""
    with TemporaryDirectory() as folder:
        narrow = saved(picture, Path(folder), "column").read_text(encoding="utf-8")
    return {"page": file.read_text(encoding="utf-8"), "column": narrow}


def dark(picture: Picture) -> dict[str, str]:
    """Each colour of a figure on light paper, and the one that stands in its place on dark paper."""
    light, night = Style(), Style(dark=True)
    models = picture.request.models
    pairs = {light.ink: night.ink, light.paper: night.paper, light.faint: night.faint}
    pairs |= {shade(colour, 1, 2, light): shade(colour, 1, 2, night) for colour in PALETTE}
    by_day, by_night = looks(models, light), looks(models, night)
    pairs |= {by_day[model.id].colour: by_night[model.id].colour for model in models}
    return {one.lower(): other.lower() for one, other in pairs.items() if one.lower() != other.lower()}


def inline(svg: str, prefix: str, label: str, colours: dict[str, str], variables: dict[tuple[str, str], str]) -> str:
    """SVG to stand within a page. Pairs of colours are named in `variables`, which the page declares."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", "", body, flags=re.S)
    head, _, rest = body.partition(">")
    box = re.search(r'viewBox="[^"]+"', head)
    body = f'<svg {box[0] if box else ""} role="img" aria-labelledby="{label}">{rest}'
    names = {name: f"{prefix}-{place}" for place, name in enumerate(dict.fromkeys(ID.findall(body)))}
    used = {name for name in names if f"#{name}" in body}
    body = ID.sub(lambda found: f'id="{names[found[1]]}"' if found[1] in used else "", body)
    for name in used:
        body = body.replace(f"#{name})", f"#{names[name]})").replace(f'xlink:href="#{name}"', f'href="#{names[name]}"')
    body = COLOUR.sub(lambda found: _variable(found[0].lower(), colours, variables), body.replace(*FONTS))
    return re.sub(r"\n\s*", "\n", body).strip()


def _variable(colour: str, colours: dict[str, str], variables: dict[tuple[str, str], str]) -> str:
    if colour not in colours:
        return colour
    return f"var({variables.setdefault((colour, colours[colour]), f'--figure-{len(variables)}')})"
