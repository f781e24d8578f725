"""The `throughput` command."""

from typing import Annotated

import typer

from kvcalc.cli.options import (
    DEFAULT_CONTEXT,
    Cached,
    Chunk,
    Columns,
    Context,
    Dp,
    Ep,
    Form,
    Include,
    KvFormat,
    Math,
    Model,
    Pp,
    Sort,
    Tp,
    Usable,
    WeightFormat,
    app,
)
from kvcalc.cli.output import write


@app.command()
def throughput(
    model: Model,
    on: Annotated[
        str, typer.Option("--on", metavar="DEVICE", help="A device id or path, with a count if more: 8xh100-sxm.")
    ] = "",
    context: Context = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="Tokens of the prompt for TTFT. Default: the context.")] = None,
    cached: Cached = "0",
    chunk: Chunk = None,
    math: Math = "native",
    include: Include = None,
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    tpot: Annotated[
        str | None, typer.Option("--tpot", help="Latency target for a token: 50ms. Marks the largest batch within it.")
    ] = None,
    draft_tokens: Annotated[int, typer.Option("--draft-tokens", help="Speculative decoding: tokens drafted for each step.")] = 0,
    acceptance: Annotated[
        float | None, typer.Option("--acceptance", help="Chance that a drafted token is accepted, 0 to 1.")
    ] = None,
    draft: Annotated[
        str | None,
        typer.Option("--draft", help="The model that drafts; none: drafts cost nothing. Default: the model's own draft layers."),
    ] = None,
    tp: Tp = None,
    pp: Pp = None,
    ep: Ep = None,
    dp: Dp = None,
    usable: Usable = None,
    columns: Columns = None,
    sort: Sort = None,
    form: Form = None,
) -> int:
    """TTFT, TPOT and tokens per second against batch: the knee, the largest batch, and what a latency target allows. All bounds.

    kvcalc throughput llama-3.1-70b --on 4xh100-sxm -c 8K --tpot 30ms

    kvcalc throughput deepseek-v4-flash-0731 --on 4xh100-sxm -c 32K --draft-tokens 3 --acceptance 0.7

    Exit code 1: not one sequence fits, or no batch meets the target.
    """
    from kvcalc.catalog import load_model
    from kvcalc.cli.rig import rig
    from kvcalc.errors import ScenarioError
    from kvcalc.report import throughput as report
    from kvcalc.scenario import Scenario
    from kvcalc.serving import Speculation
    from kvcalc.units import parse_cached, parse_seconds, parse_tokens

    if not on:
        raise ScenarioError("throughput needs a device", "name it with --on, e.g. --on h100-sxm; see `kvcalc list hardware`")
    if (draft_tokens > 0) != (acceptance is not None):
        raise ScenarioError(
            "speculative decoding needs both --draft-tokens and --acceptance", "e.g. --draft-tokens 3 --acceptance 0.7"
        )
    if draft is not None and draft_tokens == 0:
        raise ScenarioError("--draft needs --draft-tokens and --acceptance")
    devices = rig(on, tp, pp, ep, dp, usable)
    spec = load_model(model)
    scenario = Scenario(
        "decode",
        min(DEFAULT_CONTEXT, spec.max_context) if context is None else parse_tokens(context),
        1,
        kv_format,
        weight_format,
        tuple(dict.fromkeys(include or ())),
        math=math,
    )
    prefill = report.prompt(
        scenario,
        scenario.context if prompt is None else parse_tokens(prompt, "prompt"),
        parse_cached(cached),
        None if chunk is None else parse_tokens(chunk, "chunk"),
    )
    speculation = None
    if acceptance is not None:
        drafting = None if draft in (None, "none") else load_model(str(draft))
        speculation = Speculation(draft_tokens, acceptance, drafting, free=draft == "none")
    target = None if tpot is None else parse_seconds(tpot, "tpot")
    answer, met = report.throughput(spec, scenario, prefill, *devices, speculation, target)
    write(answer, form, columns=columns, sort=sort)
    return 0 if met else 1
