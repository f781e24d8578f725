"""The `compare` command."""

from typing import Annotated

import typer

from kvcalc.cli.options import Batch, Columns, Form, KvFormat, Math, Phase, RelativeTo, Sort, Usable, WeightFormat, app
from kvcalc.cli.output import write


@app.command()
def compare(
    models: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Model ids, or paths: spec, config.json, folder, .gguf.")],
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
    columns: Columns = None,
    sort: Sort = None,
    relative_to: RelativeTo = None,
    form: Form = None,
) -> None:
    """Models side by side, context by context, with the state relative to the smallest.

    kvcalc compare gemma-4-e2b llama-3.1-8b zaya1-8b -c 4K,128K --on rtx-4090

    kvcalc compare deepseek-v3.2 deepseek-v4-pro deepseek-v4.1-flash -c 1M --kv-format bf16 --format md

    kvcalc compare gemma-4-e2b zaya1-8b llama-3.1-8b --relative-to llama-3.1-8b --sort state
    """
    from kvcalc.catalog import load_devices, load_model
    from kvcalc.errors import ScenarioError
    from kvcalc.report import tables
    from kvcalc.report.shaped import Relative, shaped, told
    from kvcalc.scenario import Scenario
    from kvcalc.units import parse_batch, parse_tokens

    if usable is not None and not on:
        raise ScenarioError("--usable needs a device", "add --on, e.g. --on rtx-4090")
    named = [load_devices(name.strip()) for group in on or () for name in group.split(",")]
    devices = [(count or 1, device if usable is None else device.with_usable(usable)) for count, device in named]
    contexts = list(dict.fromkeys(parse_tokens(text) for text in context.split(",")))
    scenarios = [Scenario(phase, tokens, parse_batch(batch), kv_format, weight_format, math=math) for tokens in contexts]
    specs = [load_model(name) for name in models]
    base = None
    if relative_to is not None:
        base = load_model(relative_to).id
        if base not in [spec.id for spec in specs]:
            raise ScenarioError(f"{base} is not among the models compared", f"add it: kvcalc compare {' '.join(models)} {base}")
    table = told(
        tables.compare(specs, scenarios, devices),
        {"phase": phase, "batch": scenarios[0].batch, "kv_format": kv_format, "weight_format": weight_format, "math": math},
    )
    note = f"[x]: over {base} at the same context" + (f"; of a device: tok/s, - if {base} does not fit" if devices else "")
    over = None if base is None else Relative("model", base, within=("context",), instead=("relative",), note=note)
    write(shaped(table, columns, sort, over), form)
