"""The `diff` command."""

from typing import Annotated

import typer

from kvcalc.cli.options import (
    DEFAULT_CONTEXT,
    Batch,
    Columns,
    Context,
    Dp,
    Ep,
    Form,
    KvFormat,
    Model,
    Phase,
    Pp,
    Sort,
    Tp,
    Usable,
    WeightFormat,
    app,
)
from kvcalc.cli.output import write


@app.command()
def diff(
    model: Model,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The model to set beside it.")],
    context: Context = None,
    batch: Batch = "1",
    phase: Phase = "decode",
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    on: Annotated[str | None, typer.Option("--on", metavar="DEVICE", help="A device id or path, with a count if more.")] = None,
    tp: Tp = None,
    pp: Pp = None,
    ep: Ep = None,
    dp: Dp = None,
    usable: Usable = None,
    columns: Columns = None,
    sort: Sort = None,
    form: Form = None,
) -> None:
    """Two models side by side: which fields differ, in which layers, and what that costs.

    kvcalc diff laguna-xs.2 laguna-xs-2.1

    kvcalc diff qwen3-32b qwen3.5-27b -c 128K --on h100-sxm

    kvcalc diff llama-3.1-8b ./my-finetune/config.json
    """
    from kvcalc.catalog import load_model
    from kvcalc.cli.rig import asked_rig
    from kvcalc.ledger import ledger
    from kvcalc.report.difference import difference
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_batch, parse_tokens
    from kvcalc.whatif import Change

    devices = asked_rig(on, tp, pp, ep, dp, usable)
    one, two = load_model(model), load_model(other)
    usual = min(DEFAULT_CONTEXT, one.max_context, two.max_context)
    tokens = usual if context is None else parse_tokens(context)
    asked = Scenario(phase, tokens, parse_batch(batch), kv_format, weight_format)
    write(difference(Change(ledger(one, asked), ledger(two, asked)), devices), form, columns=columns, sort=sort)
