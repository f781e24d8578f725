"""The `import` command."""

import shlex
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
            help="A config.json or a folder that holds one, a .gguf or .safetensors file, hf:org/name (with huggingface_hub), or "
            "/dev/stdin.",
        ),
    ],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="SPEC", help="The .yaml file to write; not given, or -: stdout.")
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="FIELD", help="A field of the config that sizes nothing, as you know. Repeat it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write over a file that is there.")] = False,
) -> None:
    """A spec from what a model ships, the config field behind each number beside it.

    kvcalc import ./config.json -o my-model.yaml

    kvcalc import ./Qwen3-8B-Q4_K_M.gguf

    The spec gets the name of its file as its id. What is not understood is refused by the name of its field. MODEL of the other
    commands may be such a file as well.
    """
    from kvcalc.catalog import model_ids
    from kvcalc.errors import SpecError
    from kvcalc.importers.model import id_of
    from kvcalc.importers.sources import SPEC, import_source

    target = None if output is None or output == "-" else Path(output)
    if target is not None and not target.name.endswith(SPEC):
        raise SpecError(f"-o {output}: a spec's name ends in .yaml", "e.g. -o my-model.yaml")
    if target is not None and target.exists() and not force:
        raise SpecError(f"{target}: is there already", "--force writes over it")
    if source in model_ids() and not Path(source).exists():
        raise SpecError(f"{source}: no such file or folder", f"a model of the catalogue needs no import: kvcalc estimate {source}")
    found = import_source(source, id=None if target is None else id_of(target.stem), ignore=ignore or ())
    for note in (*found.notes, *(found.model.caveats if target else ())):
        print(f"note: {note}", file=sys.stderr)
    if target is None:
        sys.stdout.write(found.text)
        return
    try:
        target.write_text(found.text, encoding="utf-8")
    except OSError as error:
        raise SpecError(f"{target}: cannot be written: {error.strerror or error}") from None
    print(f"wrote {target}: kvcalc estimate {shlex.quote(str(target))}", file=sys.stderr)
