"""The `list` command."""

from typing import Annotated, Literal

import typer

from kvcalc.cli.options import Form, app
from kvcalc.cli.output import write


@app.command("list")
def list_(
    what: Annotated[
        Literal["models", "hardware", "attention", "feedforward", "router", "residual", "embedding", "formats"],
        typer.Argument(
            metavar="WHAT",
            help="models, hardware, formats; attention and the other kinds: feedforward, router, residual, embedding.",
        ),
    ],
    form: Form = None,
) -> None:
    """What the catalogue holds.

    kvcalc list models

    kvcalc list attention
    """
    from kvcalc.catalog import device_ids, load_device, load_model, model_ids
    from kvcalc.report import receipts, tables

    if what == "models":
        write(tables.models([load_model(name) for name in model_ids()]), form)
    elif what == "hardware":
        write(tables.devices([load_device(name) for name in device_ids()]), form)
    elif what == "formats":
        write(receipts.formats(), form)
    else:
        write(receipts.kinds(what), form)
