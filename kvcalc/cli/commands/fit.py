"""The `fit` command."""

from typing import Annotated

import typer

from kvcalc.cli.options import (
    DEFAULT_CONTEXT,
    MODEL,
    Batch,
    Columns,
    Context,
    Dp,
    Ep,
    Form,
    Include,
    KvFormat,
    Math,
    Pp,
    Sort,
    Tp,
    Usable,
    WeightFormat,
    app,
)
from kvcalc.cli.output import write


@app.command()
def fit(
    model: Annotated[
        str | None,
        typer.Argument(metavar="[MODEL]", help=f"{MODEL}. None: every model of the catalogue."),
    ] = None,
    on: Annotated[
        str, typer.Option("--on", metavar="DEVICE", help="A device id or path, with a count if more: 8xh100-sxm.")
    ] = "",
    context: Context = None,
    batch: Batch = "1",
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    math: Math = "native",
    include: Include = None,
    tp: Tp = None,
    pp: Pp = None,
    ep: Ep = None,
    dp: Dp = None,
    usable: Usable = None,
    columns: Columns = None,
    sort: Sort = None,
    form: Form = None,
) -> int:
    """How far a model goes on a device: largest context, largest batch, both as a frontier, fewest devices; or which models fit.

    kvcalc fit llama-3.1-70b --on 2xh100-sxm -c 128K

    kvcalc fit --on rtx-4090 -c 32K --weight-format q4_k

    Exit code 1: what was asked does not fit (no model does).
    """
    from kvcalc.catalog import load_model, model_ids
    from kvcalc.cli.rig import rig
    from kvcalc.errors import ScenarioError
    from kvcalc.report import fit as report
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_batch, parse_tokens

    if not on:
        raise ScenarioError("fit needs a device", "name it with --on, e.g. --on rtx-4090; see `kvcalc list hardware`")
    device, count, plan = rig(on, tp, pp, ep, dp, usable)
    tokens = None if context is None else parse_tokens(context)
    sequences = parse_batch(batch)
    if model is None:
        if plan is not None:
            raise ScenarioError("a plan is for one model", "name the model, or leave out --tp --pp --ep --dp")
        if include:
            raise ScenarioError("what else to include is a question to one model", "name the model, or leave out --include")
        scenario = Scenario("decode", tokens or DEFAULT_CONTEXT, sequences, kv_format, weight_format, math=math)
        table = report.which([load_model(name) for name in model_ids()], scenario, device, count)
        write(table, form, columns=columns, sort=sort)
        return 0 if table.rows else 1
    spec = load_model(model)
    scenario = Scenario(
        "decode",
        tokens or min(DEFAULT_CONTEXT, spec.max_context),
        sequences,
        kv_format,
        weight_format,
        tuple(dict.fromkeys(include or ())),
        math=math,
    )
    answer, yes = report.fit(spec, scenario, device, count, plan)
    write(answer, form, columns=columns, sort=sort)
    return 0 if yes else 1
