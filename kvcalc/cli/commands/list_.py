"""The `list` command."""

from fractions import Fraction
from typing import Annotated, Literal

import typer

from kvcalc.cli.options import Columns, Form, app
from kvcalc.cli.output import write

FEWEST_PARAMETERS = 10_000
"""A bare number below this lacks its unit."""


@app.command("list")
def list_(
    what: Annotated[
        Literal[
            "models",
            "hardware",
            "formats",
            "allocators",
            "figures",
            "efficiency",
            "attention",
            "feedforward",
            "router",
            "residual",
            "embedding",
            "families",
        ],
        typer.Argument(
            metavar="WHAT",
            help="models, hardware, formats, allocators, figures, efficiency, families (of config.json); attention and the other "
            "kinds: feedforward, router, residual, embedding.",
        ),
    ],
    device_class: Annotated[
        str | None, typer.Option("--class", help="hardware: datacenter-gpu, consumer-gpu, unified-soc ...")
    ] = None,
    vendor: Annotated[str | None, typer.Option("--vendor", help="hardware: nvidia, amd, apple ...")] = None,
    min_memory: Annotated[str | None, typer.Option("--min-memory", help="hardware: at least so much: 80GiB.")] = None,
    max_memory: Annotated[str | None, typer.Option("--max-memory", help="hardware: at most so much.")] = None,
    min_usable: Annotated[
        str | None, typer.Option("--min-usable", help="hardware: a program may use at least so much: 70GiB.")
    ] = None,
    min_bandwidth: Annotated[str | None, typer.Option("--min-bandwidth", help="hardware: at least so much: 1TB/s.")] = None,
    has: Annotated[
        Literal["fp32", "tf32", "bf16", "fp16", "fp8", "fp4", "int8", "int4"] | None,
        typer.Option("--has", help="hardware: with this arithmetic, its rate published or not."),
    ] = None,
    max_price: Annotated[str | None, typer.Option("--max-price", help="hardware: rented for at most so much: 2USD/h.")] = None,
    kind: Annotated[str | None, typer.Option("--kind", help="models: with this kind of layer: gqa, mla, mamba2, moe ...")] = None,
    family: Annotated[str | None, typer.Option("--family", help="models: qwen, llama, deepseek ...")] = None,
    min_params: Annotated[str | None, typer.Option("--min-params", help="models: at least so many parameters: 7B.")] = None,
    max_params: Annotated[str | None, typer.Option("--max-params", help="models: at most so many parameters: 30B.")] = None,
    min_context: Annotated[str | None, typer.Option("--min-context", help="models: up to so many tokens or more: 256K.")] = None,
    columns: Columns = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort",
            metavar="COLUMN",
            help="By this column, by head or key; -COLUMN: the largest first. hardware also: memory, bandwidth, compute, power, the "
            "largest first; price, the cheapest first.",
        ),
    ] = None,
    form: Form = None,
) -> int:
    """What the catalogue holds.

    kvcalc list models --kind mla --max-params 300B

    kvcalc list hardware --class datacenter-gpu --has fp8 --sort bandwidth

    kvcalc list models --sort -params --columns id,params,active

    kvcalc list attention

    Exit code 1: no device or no model meets what was asked.
    """
    from kvcalc.catalog import device_ids, load_device, load_model, model_ids
    from kvcalc.errors import ScenarioError
    from kvcalc.report import receipts
    from kvcalc.report.shaped import first_shaped
    from kvcalc.report.table import Document, Table

    def shown(answer: Document | Table, by: str | None = sort) -> None:
        write(first_shaped(answer, columns, by), form)

    filters = (device_class, vendor, min_memory, max_memory, min_usable, min_bandwidth, has, max_price)
    if what != "hardware" and filters != (None,) * len(filters):
        raise ScenarioError(f"these filters are for hardware, not for {what}", "kvcalc list hardware --class consumer-gpu")
    asked = (kind, family, min_params, max_params, min_context)
    if what != "models" and asked != (None,) * len(asked):
        raise ScenarioError(f"these filters are for models, not for {what}", "kvcalc list models --kind mla")
    if what == "models":
        from kvcalc.report.models import WantedModels, models
        from kvcalc.units import parse_tokens

        table = models(
            [load_model(name) for name in model_ids()],
            WantedModels(
                kind,
                family,
                _parameters(min_params, "--min-params"),
                _parameters(max_params, "--max-params"),
                None if min_context is None else parse_tokens(min_context, "--min-context"),
            ),
        )
        shown(table)
        return 0 if table.rows else 1
    elif what == "hardware":
        from kvcalc.report.devices import SORTS, Wanted, devices
        from kvcalc.units import BYTES, BYTES_PER_S, USD_PER_HOUR

        wanted = Wanted(
            device_class,
            vendor,
            _quantity(min_memory, BYTES, "min-memory", "GiB"),
            _quantity(max_memory, BYTES, "max-memory", "GiB"),
            _quantity(min_usable, BYTES, "min-usable", "GiB"),
            _quantity(min_bandwidth, BYTES_PER_S, "min-bandwidth", "TB/s"),
            has,
            _quantity(max_price, USD_PER_HOUR, "max-price", "USD/h"),
            sort if sort in SORTS else "id",
        )
        table = devices([load_device(name) for name in device_ids()], wanted)
        shown(table, None if sort in SORTS else sort)
        return 0 if table.rows else 1
    elif what == "families":
        shown(receipts.families())
    elif what == "allocators":
        shown(receipts.allocators())
    elif what == "figures":
        shown(receipts.drawings())
    elif what == "efficiency":
        from kvcalc.report.reached import efficiency_table

        shown(efficiency_table())
    elif what == "formats":
        shown(receipts.formats())
    else:
        shown(receipts.kinds(what))
    return 0


def _parameters(text: str | None, option: str) -> int | None:
    """A number of parameters as asked. Raises UnitError; one that no model is as small as is told the unit that is probably meant."""
    from kvcalc.errors import UnitError
    from kvcalc.units import parse_parameters

    if text is None:
        return None
    count = parse_parameters(text, option)
    if text.strip().replace(".", "", 1).isdecimal() and count < FEWEST_PARAMETERS:
        raise UnitError(f"{option}: {text.strip()} has no unit", f"write {option} {text.strip()}B")
    return count


def _quantity(text: str | None, units: dict[str, int] | dict[str, Fraction], option: str, unit: str) -> Fraction | None:
    """A size as asked. Raises UnitError; a bare number is told the unit that is probably meant."""
    from kvcalc.errors import UnitError
    from kvcalc.units import parse_quantity

    if text is None:
        return None
    if text.strip().replace(".", "", 1).isdecimal():
        raise UnitError(f"--{option}: {text} has no unit", f"write --{option} {text.strip()}{unit}")
    return parse_quantity(text, units, f"--{option}")
