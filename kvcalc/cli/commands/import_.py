"""The `import` command."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from kvcalc.cli.options import app


@app.command("import")
def import_(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A config.json or a folder that holds one, a .gguf or .safetensors file, or hf:org/name (with huggingface_hub).",
        ),
    ],
    output: Annotated[str | None, typer.Option("--output", "-o", metavar="SPEC", help="The file to write; not given: stdout.")] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="FIELD", help="A field of the config that sizes nothing, as you know. Repeat it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """A spec from what a model ships, the config field behind each number beside it.

    kvcalc import ./config.json -o my-model.yaml

    kvcalc import ./Qwen3-8B-Q4_K_M.gguf

    What is not understood is refused by the name of its field. MODEL of the other commands may be such a file as well.
    """
    from kvcalc.errors import SpecError
    from kvcalc.importers.sources import import_source

    target = None if output is None else Path(output)
    if target is not None and target.exists() and not force:
        raise SpecError(f"{target}: is there already", "--force writes over it")
    id = None if target is None else target.name.removesuffix(".yaml")
    found = import_source(source, id=id, ignore=ignore or ())
    for note in found.notes:
        print(f"note: {note}", file=sys.stderr)
    if target is None:
        sys.stdout.write(found.text)
        return
    try:
        target.write_text(found.text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{target}: cannot be written: {error.strerror or error}") from None
    print(f"wrote {target}: kvcalc estimate {target}", file=sys.stderr)
