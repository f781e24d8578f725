"""The `article` command."""

import sys
from typing import Annotated

import typer

from kvcalc.cli.options import app


@app.command()
def article(
    out: Annotated[str, typer.Argument(metavar="OUT", help="A folder: new, empty, or one that this command made before.")],
    context: Annotated[
        str | None, typer.Option("-c", "--context", help="Contexts of the tables. Default: 4K,32K,128K,1M.")
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            "--on", metavar="DEVICE", help="Devices, separated by commas. Default: H100, A100, a phone's chip, RTX 4090."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into a folder that holds other files.")] = False,
) -> None:
    """What the long-context techniques of April and May 2026 cost: an article as Markdown and as one page that needs no network.

    kvcalc article survey/

    Writes article.md, article.html, figures/*.svg with captions, and data/*.csv with raw values. The same version gives the same bytes.
    """
    from pathlib import Path

    from kvcalc.cli.rig import rig
    from kvcalc.report.article import Asked, write
    from kvcalc.report.article import article as composed
    from kvcalc.report.article.techniques import CONTEXTS, DEVICES
    from kvcalc.report.figures import Rig
    from kvcalc.units import parse_contexts

    names = [name.strip() for group in on or [DEVICES] for name in group.split(",")]
    asked = Asked(parse_contexts(context or CONTEXTS), tuple(Rig(*rig(name)) for name in names))
    for file in write(composed(asked), Path(out), force=force):
        print(f"wrote {file}", file=sys.stderr)
