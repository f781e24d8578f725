"""The `schema` command."""

from typing import Annotated, Literal

import typer

from kvcalc.cli.options import app
from kvcalc.cli.output import write_json


@app.command()
def schema(
    what: Annotated[
        Literal["model", "hardware", "assumptions"], typer.Argument(metavar="model|hardware|assumptions", help="Which files.")
    ],
) -> None:
    """The JSON Schema of spec, device or assumptions files, for editors.

    kvcalc schema model
    """
    from kvcalc import assumptions, hardware, spec

    makers = {"model": spec.json_schema, "hardware": hardware.json_schema, "assumptions": assumptions.json_schema}
    write_json(makers[what](), "json")
