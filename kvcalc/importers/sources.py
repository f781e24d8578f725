"""What a person points at: a config.json, a folder that holds one, a .gguf or .safetensors file, `hf:org/name`. Gives the spec."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from kvcalc.errors import SpecError, did_you_mean
from kvcalc.importers import HUB, SUFFIXES, hub, safetensors
from kvcalc.importers.config import MAX_BYTES, MAX_FIELDS, SHOWN, parse_json, read_json, unquoted
from kvcalc.importers.gguf import read_gguf
from kvcalc.importers.model import Imported, id_of, import_config, name_of

CONFIG = "config.json"
QUANTIZATION = "hf_quant_config.json"
GGUF = ".gguf"
SPEC = (".yaml", ".yml")
UNNAMED = "model"
"""What a config is called that comes from no file of its own."""
_PAGE = re.compile(r"https?://huggingface\.co/(?P<repository>[^/?#]+/[^/?#]+)")


def import_source(source: str, *, id: str | None = None, ignore: Iterable[str] = ()) -> Imported:
    """The spec of whatever a model ships.

    Raises:
        SpecError: a file that is not there, is damaged, or says what is not understood; it names the field.
    """
    if not source.strip():
        raise SpecError("no file is named", f"give a {CONFIG}, a folder that holds one, a {GGUF} or a .safetensors file")
    try:
        return _imported(source, id, tuple(ignore))
    except OSError as error:
        raise SpecError(f"{source[: 2 * SHOWN]}: cannot be read: {error.strerror or error}") from None
    except RecursionError:
        raise SpecError(f"{source[: 2 * SHOWN]}: nested too deep") from None


def _imported(source: str, id: str | None, ignore: tuple[str, ...]) -> Imported:
    file = hub.fetch(source) if source.startswith(HUB) else Path(source)
    if not file.exists():
        raise _missing(source, file)
    ending = file.name.lower()
    if ending.endswith(SPEC):
        raise SpecError(f"{file}: is a spec by its name, not what a model ships", f"it needs no import: kvcalc estimate {file}")
    if ending.endswith(GGUF):
        return read_gguf(file, id=id, ignore=ignore)
    weights = file if ending.endswith((safetensors.ENDING, safetensors.INDEX)) else None
    if weights is not None:
        file = weights.parent / CONFIG
    elif file.is_dir():
        weights, file = (file if safetensors.beside(file) else None), file / CONFIG
        if weights is None and not file.is_file():
            return _of_a_folder(file.parent, id, ignore)
    if weights is not None and not file.is_file():
        raise _alone(weights)
    fields = _with_quantization(file, _fields(file))
    _ignorable(file, fields, ignore)
    title = source.removeprefix(HUB) if source.startswith(HUB) else name_of(file) if file.is_file() else UNNAMED
    name, origin = (_printable(text) for text in (re.split("--|/", title)[-1], _address(source) or str(file)))
    imported = import_config(str(file), fields, id=id or id_of(title), title=name, source=origin, ignore=ignore)
    return imported if weights is None else _with_weights(weights, imported)


def _printable(text: str) -> str:
    """The name of a file as a spec may say it."""
    return text if text.isprintable() else unquoted(text, 4 * SHOWN)


# -- what is not there --------------------------------------------------------------------------------------------------------------


def _missing(source: str, file: Path) -> SpecError:
    """Nothing under this name, and what may be meant."""
    page = _PAGE.match(source)
    if page is not None:
        return SpecError(f"{source[: 2 * SHOWN]}: is an address, not a file", f"write {HUB}{page['repository']}")
    others = [other.name for other in file.parent.iterdir() if other.name != file.name] if file.parent.is_dir() else []
    near = did_you_mean(file.name, others)
    if hub.is_name(source) and not file.parent.exists() and not file.name.endswith((*SUFFIXES, *SPEC)):
        near = f"a model of the hub? write {HUB}{source}"
    return SpecError(f"{file}: no such file or folder", near)


def _alone(weights: Path) -> SpecError:
    """Weights without a config.json beside them, without which no layer has a meaning."""
    held = safetensors.read_safetensors(weights).tensors
    size, elements = sum(tensor.bytes for tensor in held), sum(tensor.elements for tensor in held)
    return SpecError(
        f"{weights}: {len(held):,} tensors, {elements:,} elements in {size:,} bytes, and no {CONFIG} beside them says what a layer is",
        f"put the model's {CONFIG} into the same folder",
    )


def _of_a_folder(folder: Path, id: str | None, ignore: tuple[str, ...]) -> Imported:
    """A folder without a config: that of one GGUF model."""
    found = sorted(file for file in folder.iterdir() if file.name.lower().endswith(GGUF) and file.is_file())
    if len(found) == 1 or (found and "-00001-of-" in found[0].name and found[0].name.endswith(f"-of-{len(found):05}{GGUF}")):
        return read_gguf(found[0], id=id, ignore=ignore)
    if found:
        raise SpecError(f"{folder}: the folder holds no {CONFIG}, and {len(found):,} {GGUF} files", f"name one of them: {found[0]}")
    raise SpecError(f"{folder}: the folder holds no {CONFIG}", f"give a {CONFIG}, a {GGUF} or a .safetensors file")


# -- a config and what stands beside it ---------------------------------------------------------------------------------------------


def _fields(file: Path) -> dict[str, Any]:
    """A config.json from a file or a pipe."""
    if not (file.is_fifo() or file.is_char_device()):
        if file.is_file() and not file.stat().st_size:
            raise SpecError(f"{file}: is empty")
        return read_json(file)
    with file.open("rb") as pipe:
        data = pipe.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise SpecError(f"{file}: more than the {MAX_BYTES:,} bytes that a config may have")
    if not data or data.isspace():
        raise SpecError(f"{file}: is empty")
    return parse_json(str(file), data)


def _ignorable(file: Path, fields: Mapping[str, Any], ignore: Sequence[str]) -> None:
    """Refuses to ignore what is not there."""
    known = set(_names(fields)) if ignore else set()
    for name in ignore:
        if name.rpartition(".")[2] not in known:
            near = did_you_mean(name, islice(filter(str.isprintable, known), MAX_FIELDS))
            raise SpecError(f"{file}: {name[:SHOWN]}: is not in the config: nothing to ignore", near)


def _names(fields: Mapping[str, Any]) -> Iterator[str]:
    """The names of fields, those of sections, too."""
    sections = [fields]
    while sections:
        for name, value in sections.pop().items():
            yield name
            if isinstance(value, dict):
                sections.append(value)


def _with_weights(weights: Path, imported: Imported) -> Imported:
    """The spec held against the weights beside its config; a folder may lack them."""
    absent = safetensors.absent(weights) if weights.is_dir() else []
    if absent:
        are = "is" if len(absent) == 1 else "are"
        note = f"{len(absent):,} of the files that {safetensors.INDEX} names {are} not there: nothing was compared"
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
