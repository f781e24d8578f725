"""The `verify` command."""

from typing import Annotated, Literal

import typer

from kvcalc.cli.options import Columns, Form, Sort, app
from kvcalc.cli.output import write


@app.command()
def verify(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL...]", help="Only these models.")] = None,
    category: Annotated[
        list[str] | None, typer.Option("--category", help="Only these: spec, kv_log, kv_statement, decode, energy ... Repeat it.")
    ] = None,
    only: Annotated[
        Literal["agrees", "differs", "unjudged", "wrong"] | None,
        typer.Option("--only", help="Only these lines; the count is of all. wrong: not as the data say."),
    ] = None,
    columns: Columns = None,
    sort: Sort = None,
    form: Form = None,
) -> int:
    """Every published figure that kvcalc carries against its formulas: published, computed, difference, verdict, source.

    kvcalc verify --only differs

    kvcalc verify deepseek-v3 --category kv_log

    Sizes must come out to the printed digit, no speed may beat its bound, energy lies between rest and TDP for the measured time.

    Exit code 1: a figure does not come out as the data say: one that should agree does not, or cannot be judged.
    """
    from kvcalc.catalog import load_device, load_model, model_ids
    from kvcalc.evidence import figures
    from kvcalc.judge import judge_all
    from kvcalc.report import verdicts

    wanted = [load_model(name).id for name in models or ()]
    specs = [load_model(name) for name in wanted or model_ids()]
    lines = [line for spec in specs for line in verdicts.of_spec(spec, load_model)]
    rows = [figure for figure in figures() if not wanted or figure.model in wanted]
    lines += [verdicts.of_evidence(judged) for judged in judge_all(rows, load_model, load_device)]
    answer, as_said = verdicts.verdicts(verdicts.chosen(lines, wanted, category or ()), only)
    write(answer, form, columns=columns, sort=sort)
    return 0 if as_said else 1
