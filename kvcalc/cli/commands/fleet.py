"""The `fleet` command."""

from typing import Annotated, Literal

import typer

from kvcalc.cli.options import (
    AssumptionsFile,
    Columns,
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
def fleet(
    model: Model,
    on: Annotated[
        str, typer.Option("--on", metavar="DEVICE", help="A device; with a count, the devices of one replica: 8xh100-sxm.")
    ] = "",
    users: Annotated[str, typer.Option("--users", help="Users of a day: 1000000, 1M, 1B.")] = "1M",
    tokens_in: Annotated[
        str | None, typer.Option("--tokens-in", help="Prompt tokens per user and day: 4000, 4K (= 4,096).")
    ] = None,
    tokens_out: Annotated[str | None, typer.Option("--tokens-out", help="Generated tokens per user and day.")] = None,
    peak: Annotated[float | None, typer.Option("--peak", help="Load of the busiest hour over the mean of the day.")] = None,
    tpot: Annotated[str | None, typer.Option("--tpot", help="Time per token that a user may wait: 50ms.")] = None,
    ttft: Annotated[str | None, typer.Option("--ttft", help="Time to the first token that a user may wait: 2s.")] = None,
    context: Annotated[
        str | None, typer.Option("-c", "--context", help="Tokens whose state is held while one is generated.")
    ] = None,
    prompt: Annotated[str | None, typer.Option("--prompt", help="Tokens of one prompt.")] = None,
    cached_share: Annotated[
        float | None, typer.Option("--cached-share", help="Share of prompt tokens whose state is cached.")
    ] = None,
    spare: Annotated[float | None, typer.Option("--spare", help="Replicas beyond the peak, as a share of those at work.")] = None,
    utilisation: Annotated[
        float | None, typer.Option("--utilisation", help="Share of a replica's speed that is planned with at the peak.")
    ] = None,
    memory_utilisation: Annotated[
        float | None, typer.Option("--memory-utilisation", help="Share of the usable memory that weights and state may fill.")
    ] = None,
    speed: Annotated[
        Literal["measured", "bound"],
        typer.Option("--speed", help="measured: what real systems reach, where it is known; bound: peak rates."),
    ] = "measured",
    draft_tokens: Annotated[int, typer.Option("--draft-tokens", help="Speculative decoding: tokens drafted for each step.")] = 0,
    acceptance: Annotated[
        float | None, typer.Option("--acceptance", help="Chance that a drafted token is accepted, 0 to 1.")
    ] = None,
    draft: Annotated[
        str | None,
        typer.Option("--draft", help="The model that drafts; none: drafts cost nothing. Default: the model's own draft layers."),
    ] = None,
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    math: Math = "native",
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
) -> None:
    """How many data centres per chatbot: users to devices, racks, MW, MWh/day and $/day, with every assumption in sight.

    kvcalc fleet llama-3.1-70b --on 4xh100-sxm --users 10M --tokens-out 2000

    kvcalc fleet deepseek-v4-flash --on 8xh200-sxm --users 100M --assumptions mine.yaml

    Exit code 1: it does not fit, or no batch meets a target.
    """
    from kvcalc.catalog import load_assumptions, load_model
    from kvcalc.cli.rig import rig
    from kvcalc.errors import ScenarioError
    from kvcalc.fleet import fleet as sized
    from kvcalc.report import fleet as report
    from kvcalc.scenario import Scenario
    from kvcalc.serving import Speculation
    from kvcalc.units import parse_count

    if not on:
        raise ScenarioError("fleet needs a device", "name it with --on, e.g. --on 8xh100-sxm; see `kvcalc list hardware`")
    if (draft_tokens > 0) != (acceptance is not None):
        raise ScenarioError(
            "speculative decoding needs both --draft-tokens and --acceptance", "e.g. --draft-tokens 3 --acceptance 0.7"
        )
    if draft is not None and draft_tokens == 0:
        raise ScenarioError("--draft needs --draft-tokens and --acceptance")
    device, count, plan = rig(on, tp, pp, ep, dp, usable)
    spec = load_model(model)
    given = load_assumptions(assumptions).changed(
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        peak_factor=peak,
        tpot=tpot,
        ttft=ttft,
        context=context,
        prompt=prompt,
        cached_share=cached_share,
        spare=spare,
        utilisation=utilisation,
        memory_utilisation=memory_utilisation,
        pue=pue,
        host_overhead=host_overhead,
        power=power,
        idle_power=idle_power,
        price=price,
    )
    speculation = None
    if acceptance is not None:
        drafting = None if draft in (None, "none") else load_model(str(draft))
        speculation = Speculation(draft_tokens, acceptance, drafting, free=draft == "none")
    scenario = Scenario("decode", 1, 1, kv_format, weight_format, math=math)
    people = parse_count(users, "users")
    found = sized(
        spec,
        scenario,
        device,
        people,
        given,
        count=count,
        plan=plan,
        speculation=speculation,
        measured=speed == "measured",
    )
    write(report.fleet(spec, people, found), form, columns=columns, sort=sort)
