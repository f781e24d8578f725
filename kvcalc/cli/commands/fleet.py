"""The `fleet` command."""

from typing import Annotated, Literal

import typer

from kvcalc.cli.options import (
    AssumptionsFile,
    Dp,
    Ep,
    Form,
    HostOverhead,
    KvFormat,
    Model,
    Power,
    Pp,
    Price,
    Pue,
    Tp,
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
    tokens_in: Annotated[float | None, typer.Option("--tokens-in", help="Prompt tokens per user and day.")] = None,
    tokens_out: Annotated[float | None, typer.Option("--tokens-out", help="Generated tokens per user and day.")] = None,
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
    spare: Annotated[float | None, typer.Option("--spare", help="Devices kept beyond the peak, as a share.")] = None,
    speed: Annotated[
        Literal["measured", "bound"],
        typer.Option("--speed", help="measured: what real systems reach, where it is known; bound: peak rates."),
    ] = "measured",
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    tp: Tp = None,
    pp: Pp = None,
    ep: Ep = None,
    dp: Dp = None,
    pue: Pue = None,
    host_overhead: HostOverhead = None,
    power: Power = None,
    price: Price = None,
    assumptions: AssumptionsFile = None,
    form: Form = None,
) -> None:
    """How many data centres per chatbot: users to devices, racks, MW, MWh/day and $/day, with every assumption in sight.

    kvcalc fleet llama-3.1-70b --on 4xh100-sxm --users 10M --tokens-out 2000

    kvcalc fleet deepseek-v4-flash --on 8xh200-sxm --users 100M --assumptions mine.yaml
    """
    from kvcalc.catalog import load_assumptions, load_model
    from kvcalc.cli.rig import rig
    from kvcalc.errors import ScenarioError
    from kvcalc.fleet import fleet as sized
    from kvcalc.fleet import speeds
    from kvcalc.parallel import usual
    from kvcalc.report import fleet as report
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_count, parse_tokens

    if not on:
        raise ScenarioError("fleet needs a device", "name it with --on, e.g. --on 8xh100-sxm; see `kvcalc list hardware`")
    device, count, plan = rig(on, tp, pp, ep, dp)
    spec = load_model(model)
    given = load_assumptions(assumptions).changed(
        tokens_in=tokens_in,
        tokens_out=tokens_out,
        peak_factor=peak,
        tpot=tpot,
        ttft=ttft,
        context=None if context is None else parse_tokens(context),
        prompt=None if prompt is None else parse_tokens(prompt, "prompt"),
        cached_share=cached_share,
        spare=spare,
        pue=pue,
        host_overhead=host_overhead,
        power=power,
        price=price,
    )
    if plan is None and count > 1:
        plan = usual(spec, count, device.max_per_node)
    scenario = Scenario("decode", 1, 1, kv_format, weight_format)
    taken = speeds(given, spec, scenario, device, measured=speed == "measured")
    people = parse_count(users, "users")
    write(report.fleet(spec, scenario, people, sized(spec, scenario, device, people, given, taken, plan), given), form)
