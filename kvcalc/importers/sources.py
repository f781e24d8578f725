"""What a person points at: a config.json, a folder that holds one, a .gguf or .safetensors file, `hf:org/name`. Gives the spec."""

from collections.abc import Iterable
from pathlib import Path

from kvcalc.errors import SpecError
from kvcalc.importers.config import read_json
from kvcalc.importers.model import Imported, id_of, import_config, name_of

CONFIG = "config.json"


def is_source(name: str) -> bool:
    """Whether a MODEL is a file that a model ships, rather than a spec or an id."""
    return name.startswith("hf:") or name.endswith((".json", ".gguf", ".safetensors")) or _folder(name)


def _folder(name: str) -> bool:
    try:
        return Path(name).is_dir()
    except (OSError, ValueError):
        return False


def import_source(source: str, *, id: str | None = None, ignore: Iterable[str] = ()) -> Imported:
    """The spec of whatever a model ships.

    Raises:
        SpecError: a file that is not there, is damaged, or says what is not understood; it names the field.
    """
    file = Path(source)
    if file.is_dir():
        file = file / CONFIG
        if not file.is_file():
            raise SpecError(f"{source}: the folder holds no {CONFIG}", f"give a {CONFIG}, a .gguf or a .safetensors file")
    title = name_of(file)
    return import_config(str(file), read_json(file), id=id or id_of(title), title=title.rpartition("--")[2], ignore=ignore)
