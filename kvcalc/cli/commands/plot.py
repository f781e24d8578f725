"""The `plot` command."""

import sys
from typing import Annotated, Literal

import typer

from kvcalc.cli.options import Batch, Dp, Ep, KvFormat, Math, Phase, Pp, Tp, Usable, WeightFormat, app
from kvcalc.cli.output import write


@app.command()
def plot(
    what: Annotated[str, typer.Argument(metavar="WHAT", help="The figure: memory, layers, ladder ... See `kvcalc list figures`.")],
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model ids, or paths: spec, config.json, folder, .gguf.")],
    out: Annotated[str | None, typer.Option("-o", "--out", metavar="FILE", help="The file: .svg, .pdf, .png or .pgf.")] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Print the data behind the figure as CSV.")] = False,
    context: Annotated[
        str | None, typer.Option("-c", "--context", help="A context, several (4K,128K), or a range (4K..1M) where it is the axis.")
    ] = None,
    batch: Batch = "1",
    on: Annotated[
        list[str] | None, typer.Option("--on", metavar="DEVICE", help="Devices; repeat it, or separate them by commas.")
    ] = None,
    phase: Phase = "decode",
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    math: Math = "native",
    weights: Annotated[bool, typer.Option("--weights", help="memory: weights and state.")] = False,
    by: Annotated[
        Literal["piece", "kind", "row", "group", "format"] | None, typer.Option("--by", help="Stacked figures: what a part is.")
    ] = None,
    trick: Annotated[str | None, typer.Option("--trick", help="savings: these tricks only, separated by commas.")] = None,
    tp: Tp = None,
    pp: Pp = None,
    ep: Ep = None,
    dp: Dp = None,
    usable: Usable = None,
    width: Annotated[
        Literal["column", "page", "slide"], typer.Option("--width", help="3.3 in, 6.8 in, or 13.3 in with text of 16 pt.")
    ] = "column",
    dark: Annotated[bool, typer.Option("--dark", help="Light on dark.")] = False,
) -> None:
    """Figures for articles: vector files whose text stays text, with a caption beside them and the data on request.

    kvcalc plot memory gemma-4-e2b zaya1-8b deepseek-v4-flash llama-3.1-8b --on rtx-4090 -o memory.svg

    kvcalc plot layers gemma-4-e2b --csv
    """
    from pathlib import Path

    from kvcalc.catalog import load_model
    from kvcalc.cli.rig import rig
    from kvcalc.errors import ScenarioError
    from kvcalc.report import figures
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_batch, parse_contexts

    if out is None and not csv:
        raise ScenarioError("plot needs a file or --csv", "-o figure.svg")
    listed = () if context is None else parse_contexts(context)
    given = {"weights": "yes" if weights else None, "by": by, "trick": trick}
    request = figures.Request(
        tuple(load_model(name) for name in dict.fromkeys(models)),
        Scenario(phase, listed[-1] if listed else 131072, parse_batch(batch), kv_format, weight_format, math=math),
        listed if len(listed) > 1 else (),
        tuple(
            figures.Rig(*rig(name.strip(), tp, pp, ep, dp, usable)) for group in on or () for name in group.split(",")
        ),
        tuple((name, value) for name, value in given.items() if value is not None),
    )
    drawing = figures.drawing(what, request)
    if csv:
        write(drawing.table, "csv")
    if out is not None:
        from kvcalc.report.figures._save import save
        from kvcalc.report.figures._style import Style

        for file in save(drawing, request, Path(out), Style(width, dark)):
            print(f"wrote {file}", file=sys.stderr)
