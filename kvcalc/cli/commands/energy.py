"""The `energy` command."""

from typing import Annotated

import typer

from kvcalc.cli.options import (
    DEFAULT_CONTEXT,
    AssumptionsFile,
    Batch,
    Cached,
    Chunk,
    Columns,
    Context,
    Dp,
    Ep,
    Form,
    HostOverhead,
    KvFormat,
    Math,
    Model,
    Power,
    Pp,
    Price,
    Pue,
    Sort,
    Tp,
    Usable,
    WeightFormat,
    app,
)
from kvcalc.cli.output import write


@app.command()
def energy(
    model: Model,
    on: Annotated[
        str, typer.Option("--on", metavar="DEVICE", help="A device id or path, with a count if more: 8xh100-sxm.")
    ] = "",
    context: Context = None,
    batch: Batch = "1",
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    math: Math = "native",
    prompt: Annotated[str | None, typer.Option("--prompt", help="Tokens of the prompt. Default: the context.")] = None,
    cached: Cached = "0",
    chunk: Chunk = None,
    tp: Tp = None,
    pp: Pp = None,
    ep: Ep = None,
    dp: Dp = None,
    pue: Pue = None,
    host_overhead: HostOverhead = None,
    power: Power = None,
    idle_power: Annotated[str | None, typer.Option("--idle-power", help="Power of one device at rest: 70W.")] = None,
    price: Price = None,
    usable: Usable = None,
    assumptions: AssumptionsFile = None,
    columns: Columns = None,
    sort: Sort = None,
    form: Form = None,
) -> int:
    """Joules, watt-hours and dollars for each token and each million, prefill and decode apart, piece by piece.

    kvcalc energy llama-3.1-70b --on 4xh100-sxm -c 8K -b 64

    kvcalc energy gpt-oss-20b --on h100-sxm --price 2.10USD/h --pue 1.1

    Exit code 1: it does not fit.
    """
    from dataclasses import replace

    from kvcalc.catalog import load_assumptions, load_model
    from kvcalc.cli.rig import rig
    from kvcalc.errors import ScenarioError
    from kvcalc.report import energy as report
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_batch, parse_cached, parse_tokens

    if not on:
        raise ScenarioError("energy needs a device", "name it with --on, e.g. --on h100-sxm; see `kvcalc list hardware`")
    devices = rig(on, tp, pp, ep, dp, usable)
    spec = load_model(model)
    given = load_assumptions(assumptions).changed(
        pue=pue, host_overhead=host_overhead, power=power, idle_power=idle_power, price=price
    )
    tokens = min(DEFAULT_CONTEXT, spec.max_context) if context is None else parse_tokens(context)
    sequences = parse_batch(batch)
    decode = Scenario("decode", tokens, sequences, kv_format, weight_format, math=math, steady=sequences > 1)
    prefill = replace(
        decode,
        phase="prefill",
        context=tokens if prompt is None else parse_tokens(prompt, "prompt"),
        batch=1,
        steady=False,
        cached=parse_cached(cached),
        chunk=None if chunk is None else parse_tokens(chunk, "chunk"),
    )
    answer, fitting = report.energy(spec, prefill, decode, *devices, given)
    write(answer, form, columns=columns, sort=sort)
    return 0 if fitting else 1
