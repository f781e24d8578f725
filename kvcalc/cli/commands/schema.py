"""The `schema` command."""

from typing import Annotated, Literal

import typer

from kvcalc.cli.options import app
from kvcalc.cli.output import write_json


@app.command()
def schema(what: Annotated[Literal["model", "hardware"], typer.Argument(metavar="model|hardware", help="Which files.")]) -> None:
    """The JSON Schema of spec or device files, for editors.

    kvcalc schema model
    """
    from kvcalc import hardware, spec

    write_json(spec.json_schema() if what == "model" else hardware.json_schema(), "json")
