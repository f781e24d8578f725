"""The `compare` command."""

from typing import Annotated

import typer

from kvcalc.cli.options import Batch, Form, KvFormat, Math, Phase, Usable, WeightFormat, app
from kvcalc.cli.output import write


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model ids or paths.")],
    context: Annotated[str, typer.Option("-c", "--context", help="One context or several: 4K,32K,128K,1M.")] = "128K",
    batch: Batch = "1",
    on: Annotated[
        list[str] | None, typer.Option("--on", metavar="DEVICE", help="Devices; repeat it, or separate them by commas.")
    ] = None,
    phase: Phase = "decode",
    kv_format: KvFormat = "native",
    weight_format: WeightFormat = "native",
    math: Math = "native",
    usable: Usable = None,
    form: Form = None,
) -> None:
    """Models side by side, context by context, with the state relative to the smallest.

    kvcalc compare gemma-4-e2b llama-3.1-8b zaya1-8b -c 4K,128K --on rtx-4090

    kvcalc compare deepseek-v3.2 deepseek-v4-pro deepseek-v4.1-flash -c 1M --kv-format bf16 --format md
    """
    from kvcalc.catalog import load_devices, load_model
    from kvcalc.errors import ScenarioError
    from kvcalc.report import tables
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_batch, parse_tokens

    if usable is not None and not on:
        raise ScenarioError("--usable needs a device", "add --on, e.g. --on rtx-4090")
    named = [load_devices(name.strip()) for group in on or () for name in group.split(",")]
    devices = [(count or 1, device if usable is None else device.with_usable(usable)) for count, device in named]
    contexts = list(dict.fromkeys(parse_tokens(text) for text in context.split(",")))
    scenarios = [Scenario(phase, tokens, parse_batch(batch), kv_format, weight_format, math=math) for tokens in contexts]
    write(tables.compare([load_model(name) for name in models], scenarios, devices), form)
