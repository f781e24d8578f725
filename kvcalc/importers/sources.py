"""What a person points at: a config.json, a folder that holds one, a .gguf or .safetensors file, `hf:org/name`. Gives the spec."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kvcalc.errors import SpecError
from kvcalc.importers import HUB, hub, safetensors
from kvcalc.importers.config import read_json
from kvcalc.importers.gguf import read_gguf
from kvcalc.importers.model import Imported, id_of, import_config, name_of

CONFIG = "config.json"
QUANTIZATION = "hf_quant_config.json"
GGUF = ".gguf"


def import_source(source: str, *, id: str | None = None, ignore: Iterable[str] = ()) -> Imported:
    """The spec of whatever a model ships.

    Raises:
        SpecError: a file that is not there, is damaged, or says what is not understood; it names the field.
    """
    file = hub.fetch(source) if source.startswith(HUB) else Path(source)
    if file.name.endswith(GGUF):
        return read_gguf(file, id=id, ignore=ignore)
    weights = file if file.name.endswith((safetensors.ENDING, safetensors.INDEX)) else None
    if weights is not None:
        file = _config_beside(weights)
    elif file.is_dir():
        weights, file = (file if safetensors.beside(file) else None), file / CONFIG
        if not file.is_file():
            return _of_a_folder(file.parent, id=id, ignore=ignore)
    title = source.removeprefix(HUB) if source.startswith(HUB) else name_of(file)
    fields = _with_quantization(file, read_json(file))
    imported = import_config(
        str(file), fields, id=id or id_of(title), title=re.split("--|/", title)[-1], source=_address(source), ignore=ignore
    )
    return imported if weights is None else _with_weights(weights, imported)


def _config_beside(weights: Path) -> Path:
    """The config.json beside a file of weights, without which no layer has a meaning."""
    file = weights.parent / CONFIG
    if not file.is_file():
        held = safetensors.read_safetensors(weights).tensors
        size, elements = sum(tensor.bytes for tensor in held), sum(tensor.elements for tensor in held)
        raise SpecError(
            f"{weights}: {len(held):,} tensors, {elements:,} elements in {size:,} bytes, and no {CONFIG} beside them says what a layer is",
            f"put the model's {CONFIG} into the same folder",
        )
    return file


def _of_a_folder(folder: Path, *, id: str | None, ignore: Iterable[str]) -> Imported:
    """A folder without a config: that of one GGUF model."""
    found = sorted(file for file in folder.iterdir() if file.name.endswith(GGUF) and file.is_file())
    if len(found) == 1 or (found and "-00001-of-" in found[0].name and found[0].name.endswith(f"-of-{len(found):05}{GGUF}")):
        return read_gguf(found[0], id=id, ignore=ignore)
    if found:
        raise SpecError(f"{folder}: the folder holds no {CONFIG}, and {len(found):,} {GGUF} files", "name one of them")
    raise SpecError(f"{folder}: the folder holds no {CONFIG}", f"give a {CONFIG}, a .gguf or a .safetensors file")


def _with_weights(weights: Path, imported: Imported) -> Imported:
    """The spec held against the weights beside its config; a folder may lack them."""
    absent = safetensors.absent(weights) if weights.is_dir() else []
    if absent:
        note = f"{len(absent):,} files of weights that {safetensors.INDEX} names are not there: nothing was compared"
        return Imported(imported.model, imported.data, (*imported.notes, note))
    return safetensors.check(safetensors.read_safetensors(weights), imported)


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
