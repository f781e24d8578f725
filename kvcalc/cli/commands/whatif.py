"""The `whatif` command."""

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
    Math,
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
def whatif(
    model: Model,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="Any field of the spec: attention.local.window=1K, layers.0.of=[4 local, global]; null unsets it. Repeat it.",
        ),
    ] = None,
    without: Annotated[
        list[str] | None,
        typer.Option(
            "--without",
            metavar="TRICK",
            help="gqa, low-rank-projections, latent, key-is-value, window, compression, linear-attention, indexer, index-sharing, "
            "kv-sharing, head-budget, per-layer-embeddings, hyper-connections. Repeat it. What each means: kvcalc explain whatif.",
        ),
    ] = None,
    ladder: Annotated[
        bool, typer.Option("--ladder", help="From plain multi-head attention to the model as shipped, one trick at a time.")
    ] = False,
    context: Context = None,
    batch: Batch = "1",
    phase: Phase = "decode",
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    math: Math = "native",
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
    """The same model changed: before, after, difference and ratio, piece by piece; or the ladder of its tricks.

    kvcalc whatif gemma-4-e2b --without kv-sharing -c 128K --kv-format bf16

    kvcalc whatif laguna-xs.2 --set attention.local.window=4K --on rtx-4090

    kvcalc whatif deepseek-v4-flash --ladder -c 1M --on 8xh200-nvl

    Formats given alone are the change: before, the model is as released. Beside --set or --without they hold before and after, so that
    the difference is the change's alone. With --ladder they are those of the last line.
    """
    from dataclasses import replace

    from kvcalc import whatif as tricks
    from kvcalc.catalog import load_model, read_value
    from kvcalc.change import applied, read_settings
    from kvcalc.cli.rig import asked_rig
    from kvcalc.errors import ScenarioError
    from kvcalc.ledger import ledger as ledger_of
    from kvcalc.report import whatif as report
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_batch, parse_tokens
    from kvcalc.verify import evaluate

    spec = load_model(model)
    devices = asked_rig(on, tp, pp, ep, dp, usable)
    tokens = min(DEFAULT_CONTEXT, spec.max_context) if context is None else parse_tokens(context)
    asked = Scenario(phase, tokens, parse_batch(batch), kv_format, weight_format, math=math)
    if ladder:
        if set_ or without:
            raise ScenarioError("--ladder undoes every trick itself", "leave out --set and --without")
        write(report.ladder(tricks.ladder(spec, asked), devices), form, columns=columns, sort=sort)
        return
    if not set_ and not without and (kv_format, weight_format) == ("native", "native"):
        words = ", ".join(tricks.tricks(spec)) or "none that kvcalc can undo"
        raise ScenarioError(
            "nothing is changed", f"--set PATH=VALUE, --kv-format, --weight-format, --ladder, or --without one of: {words}"
        )
    undone = tricks.steps(spec, *without or ())
    after, went = applied(undone[-1].model if undone else spec, read_settings(set_ or (), read_value))
    before = asked if set_ or without else replace(asked, kv_format="native", weight_format="native")
    said = (*(f"without {step.name}: {step.meaning}" for step in undone), *(set_ or ()), *went)
    published = [evaluate(spec, check, load_model) for check in tricks.checks(spec, without or ())]
    change = tricks.Change(ledger_of(spec, before), ledger_of(after, asked), said)
    write(report.whatif(change, devices, published), form, columns=columns, sort=sort)
