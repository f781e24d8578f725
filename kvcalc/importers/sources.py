"""What a person points at: a config.json, a folder that holds one, a .gguf or .safetensors file, `hf:org/name`. Gives the spec."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kvcalc.errors import SpecError
from kvcalc.importers import HUB, hub
from kvcalc.importers.config import read_json
from kvcalc.importers.model import Imported, id_of, import_config, name_of

CONFIG = "config.json"
QUANTIZATION = "hf_quant_config.json"


def import_source(source: str, *, id: str | None = None, ignore: Iterable[str] = ()) -> Imported:
    """The spec of whatever a model ships.

    Raises:
        SpecError: a file that is not there, is damaged, or says what is not understood; it names the field.
    """
    file = hub.fetch(source) if source.startswith(HUB) else Path(source)
    if file.is_dir():
        file = file / CONFIG
        if not file.is_file():
            raise SpecError(f"{source}: the folder holds no {CONFIG}", f"give a {CONFIG}, a .gguf or a .safetensors file")
    title = source.removeprefix(HUB) if source.startswith(HUB) else name_of(file)
    fields = _with_quantization(file, read_json(file))
    return import_config(
        str(file), fields, id=id or id_of(title), title=re.split("--|/", title)[-1], source=_address(source), ignore=ignore
    )


def _with_quantization(file: Path, fields: dict[str, Any]) -> dict[str, Any]:
    """The config with what modelopt writes beside it instead of into it."""
    beside = file.parent / QUANTIZATION
    if file.name != CONFIG or "quantization_config" in fields or not beside.is_file():
        return fields
    return fields | {"quantization_config": {"quant_method": "modelopt"} | read_json(beside)}


def _address(source: str) -> str | None:
    """Where a model of the hub stands; None for a file."""
    if not source.startswith(HUB):
        return None
    repository, _, revision = source.removeprefix(HUB).partition("@")
    return f"https://huggingface.co/{repository}/blob/{revision or 'main'}/{CONFIG}"
