"""The headers of safetensors files: every tensor's name, dtype, shape and bytes, and nothing of the weights.

A file begins with the length of its header in 8 bytes, then the header as JSON, then the tensors without a gap. A model in several
files has `model.safetensors.index.json`, which says which tensor is in which. All of it is untrusted: lengths are held against the file
before anything is read, shapes against bytes, and file names must be names in the same folder.
Source: https://github.com/huggingface/safetensors#format (which allows headers of 100 MB).
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from kvcalc.errors import SpecError
from kvcalc.importers.config import parse_json, shown
from kvcalc.importers.inventory import Named, Tensor, held_against, with_caveats
from kvcalc.importers.model import Imported
from kvcalc.ledger import grouped, ledger, total
from kvcalc.scenario import Scenario

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
ENDING = ".safetensors"
LENGTH = 8
MAX_HEADER = 64_000_000
MAX_TENSORS = 300_000
MAX_COMMAS = 12 * MAX_TENSORS
MAX_FILES = 2_000
MAX_NAME = 256
MAX_DIMENSIONS = 16
LONG_NUMBER = 7
LISTED = 3

DTYPES = {
    "F64": (64, "fp64"), "F32": (32, "fp32"), "F16": (16, "fp16"), "BF16": (16, "bf16"), "I64": (64, "int64"), "U64": (64, "int64"),
    "I32": (32, "int32"), "U32": (32, "int32"), "I16": (16, "int16"), "U16": (16, "int16"), "I8": (8, "int8"), "U8": (8, "int8"),
    "BOOL": (8, "int8"), "F8_E5M2": (8, "fp8"), "F8_E4M3": (8, "fp8"), "F8_E5M2FNUZ": (8, "fp8"), "F8_E4M3FNUZ": (8, "fp8"),
    "F8_E8M0": (8, "fp8"), "F4": (4, "int4"), "F6_E2M3": (6, ""), "F6_E3M2": (6, ""), "C64": (64, ""),
}  # fmt: skip
"""Bits of an element, and the format that stores such elements. Source: safetensors/src/tensor.rs."""
PLAIN = ("fp64", "fp32", "bf16", "fp16")
"""Formats of weights as they are; whatever else a file has, it is packed, or belongs to what is packed."""

BITS_PER_BYTE = 8


class Inventory(NamedTuple):
    """The tensors of a model's files.

    Args:
        name: the file that was named, or the folder.
        tensors: all of them.
        notes: what is odd about the files, in words.
    """

    name: str
    tensors: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()


# -- files --------------------------------------------------------------------------------------------------------------------------


def read_safetensors(path: str | Path) -> Inventory:
    """The tensors of a file, or of all files of the model: of a folder, of an index, of one file of several.

    Raises:
        SpecError: a file that is not there or is damaged; one line.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    index = path if path.name.endswith(".json") else folder / INDEX
    several = path.is_dir() or path == index or re.search(r"-\d{5}-of-\d{5}\.safetensors$", path.name)
    if several and index.is_file():
        return _indexed(index)
    if path.is_dir():
        found = path / SINGLE
        if not found.is_file():
            raise SpecError(f"{path}: the folder holds neither {SINGLE} nor {INDEX}")
        return Inventory(str(path), tuple(_header(found)))
    if several:
        raise SpecError(f"{path}: is one of several files, and {INDEX} is not beside it")
    return Inventory(str(path), tuple(_header(path)))


def beside(folder: Path) -> bool:
    """Whether a folder holds weights as safetensors."""
    return (folder / INDEX).is_file() or (folder / SINGLE).is_file()


def absent(folder: Path) -> list[str]:
    """Files that the index of a folder names and that are not there."""
    if not (folder / INDEX).is_file():
        return []
    return [name for name in dict.fromkeys(_weight_map(folder / INDEX)[0].values()) if not (folder / name).is_file()]


def _indexed(index: Path) -> Inventory:
    where, said = _weight_map(index)
    files: dict[str, set[str]] = {}
    for tensor, name in where.items():
        files.setdefault(name, set()).add(tensor)
    tensors: dict[str, Tensor] = {}
    notes = []
    for name, listed in files.items():
        own = {tensor.name: tensor for tensor in _header(index.parent / name)}
        lacking = sorted(listed - own.keys())
        if lacking:
            raise SpecError(f"{index}: says that {shown(lacking[0])} is in {name}, and it is not")
        more = own.keys() - listed
        if more:
            notes.append(f"{name} holds {len(more):,} tensors that {index.name} does not name: not counted")
        tensors |= {name: own[name] for name in listed}
        if len(tensors) > MAX_TENSORS:
            raise SpecError(f"{index}: more than {MAX_TENSORS:,} tensors")
    size = sum(tensor.bytes for tensor in tensors.values())
    if said is not None and said != size:
        notes.append(f"{index.name} says total_size {said:,}, and the files hold {size:,} bytes")
    return Inventory(str(index.parent), tuple(tensors.values()), tuple(notes))


def _weight_map(index: Path) -> tuple[dict[str, str], int | None]:
    """Which tensor is in which file, and the bytes of all of them, if the index says it."""
    data = _json(index, _bytes(index, 0, MAX_HEADER))
    where, metadata = data.get("weight_map"), data.get("metadata")
    if not isinstance(where, dict) or not where:
        raise SpecError(f"{index}: weight_map: is not in the file, or names no tensor")
    names: set[str] = set()
    for tensor, name in where.items():
        if not isinstance(name, str) or not name.endswith(ENDING) or not _in_the_folder(name):
            raise SpecError(f"{index}: weight_map: {shown(tensor)} is in {shown(name)}, which is no file of this folder")
        names.add(name)
    if len(names) > MAX_FILES:
        raise SpecError(f"{index}: names {len(names):,} files, more than {MAX_FILES:,}")
    said = metadata.get("total_size") if isinstance(metadata, dict) else None
    return where, said if isinstance(said, int) and not isinstance(said, bool) else None


def _in_the_folder(name: str) -> bool:
    """Whether a name is that of a file, and no path."""
    return name.isprintable() and "\\" not in name and Path(name).name == name


def _header(path: Path) -> list[Tensor]:
    """The tensors of one file."""
    size = _size(path)
    length = int.from_bytes(_bytes(path, 0, LENGTH, exactly=True), "little")
    if length > MAX_HEADER:
        raise SpecError(f"{path}: a header of {length:,} bytes is longer than {MAX_HEADER:,}: no model has so many tensors")
    if length > size - LENGTH:
        raise SpecError(f"{path}: ends too early: a header of {length:,} bytes should follow, {size - LENGTH:,} do")
    data = _json(path, _bytes(path, LENGTH, length, exactly=True))
    if not isinstance(data.pop("__metadata__", {}), dict):
        raise SpecError(f"{path}: __metadata__: must be a mapping")
    if len(data) > MAX_TENSORS:
        raise SpecError(f"{path}: says that it holds {len(data):,} tensors: no model has so many")
    found = [_tensor(path, name, value) for name, value in data.items()]
    end = 0
    for tensor, start in sorted(found, key=lambda entry: (entry[1], entry[0].bytes)):
        if start != end:
            what = "begins within another" if start < end else f"leaves a gap of {start - end:,} bytes before it"
            raise SpecError(f"{path}: tensor {shown(tensor.name)} {what}")
        end = start + tensor.bytes
    if end != size - LENGTH - length:
        what = "ends too early" if end > size - LENGTH - length else "goes on after its last tensor"
        raise SpecError(f"{path}: {what}: its tensors have {end:,} bytes, and {size - LENGTH - length:,} follow the header")
    return [tensor for tensor, _ in found]


def _tensor(path: Path, name: str, value: object) -> tuple[Tensor, int]:
    """One entry of a header: the tensor, and where it begins."""

    def refuse(why: str) -> SpecError:
        return SpecError(f"{path}: tensor {shown(name)}: {why}")

    if len(name) > MAX_NAME:
        raise refuse(f"its name is longer than {MAX_NAME}")
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise refuse("must have dtype, shape and data_offsets, and nothing else")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise refuse(f"dtype {shown(dtype)} is not known")
    if not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS or not all(_is_count(side) for side in shape):
        raise refuse(f"shape {shown(shape)} is none")
    if not isinstance(offsets, list) or len(offsets) != len(("begin", "end")) or not all(_is_count(offset) for offset in offsets):
        raise refuse(f"data_offsets {shown(offsets)} are none")
    bits, form = DTYPES[dtype]
    size = offsets[1] - offsets[0]
    if prod(shape) * bits != size * BITS_PER_BYTE:
        raise refuse(f"{dtype} of shape {shown(shape)} does not take {size:,} bytes")
    return Tensor(name, form, tuple(shape), size), offsets[0]


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 1 << 62


def _size(path: Path) -> int:
    try:
        if not path.is_file():
            raise SpecError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}")
        return path.stat().st_size
    except (OSError, ValueError) as error:
        raise SpecError(f"{shown(str(path))}: cannot be read: {getattr(error, 'strerror', None) or 'no such file'}") from None


def _bytes(path: Path, start: int, most: int, *, exactly: bool = False) -> bytes:
    """Some bytes of a file; all of it where it is not longer than `most`."""
    size = _size(path)
    if exactly and size < start + most:
        raise SpecError(f"{path}: ends too early: {most:,} bytes should follow at byte {start:,}, {max(size - start, 0):,} do")
    if not exactly and size > most:
        raise SpecError(f"{path}: {size:,} bytes is more than {most:,}")
    try:
        with path.open("rb") as stream:
            stream.seek(start)
            return stream.read(most)
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from None


def _json(path: Path, data: bytes) -> dict[str, Any]:
    if data.count(b",") > MAX_COMMAS:
        raise SpecError(f"{path}: says that it holds more than {MAX_TENSORS:,} tensors: no model has so many")
    return parse_json(str(path), data)


# -- names --------------------------------------------------------------------------------------------------------------------------

ELSEWHERE = frozenset({
    "visual", "vision", "vision_tower", "vision_model", "vision_embed_tokens", "audio_tower", "audio_model", "multi_modal_projector",
    "mm_projector", "embed_vision", "embed_audio", "aligner", "talker", "token2wav",
})  # fmt: skip
DRAFT = frozenset({"mtp", "eagle", "nextn"})
TABLES = re.compile(
    r".*\.(rotary_emb\.inv_freq|masked_bias|attention\.bias|attn\.bias|act_fn\.(beta|eps)|layer_scalar)|(.*\.)?position_ids"
)
STACKS = ("layers", "h", "blocks", "block", "layer")
PIECES = {
    "shared_expert": ("shared_experts",),
    "shared_experts": ("shared_experts",),
    "shared_mlp": ("shared_experts", "dense_mlp"),
    "shared_expert_gate": ("shared_experts",),
    "experts": ("routed_experts",),
    "router": ("router",),
    "gate": ("router", "attention", "dense_mlp"),
    "wg": ("router",),
    "indexer": ("indexer",),
    "compressor": ("compressor",),
    "altup": ("altup",),
    "laurel": ("laurel",),
    "per_layer_input_gate": ("ple_projections",),
    "per_layer_projection": ("ple_projections",),
    "self_attn": ("attention",),
    "self_attention": ("attention",),
    "attention": ("attention",),
    "attn": ("attention",),
    "linear_attn": ("attention",),
    "mamba": ("attention",),
    "conv": ("attention",),
    "mixer": ("attention", "dense_mlp", "routed_experts", "shared_experts", "router"),
    "mlp": ("dense_mlp",),
    "feed_forward": ("dense_mlp",),
    "ffn": ("dense_mlp",),
    "block_sparse_moe": ("routed_experts", "router", "dense_mlp"),
}
"""Words of a module's name within a layer, and the pieces that it stands for. The last word that is here decides, but for `experts`."""
OUTSIDE = {
    "embed_tokens": "embeddings",
    "wte": "embeddings",
    "word_embeddings": "embeddings",
    "embeddings": "embeddings",
    "embedding": "embeddings",
    "embed_in": "embeddings",
    "tok_embeddings": "embeddings",
    "wpe": "position_embeddings",
    "embed_tokens_per_layer": "ple_table",
    "per_layer_model_projection": "ple_projections",
    "altup_projections": "altup",
    "altup_unembed_projections": "altup",
    "lm_head": "lm_head",
    "embed_out": "lm_head",
    "output": "lm_head",
    "output_layer": "lm_head",
}
WITH_NORMS = ("indexer", "compressor", "router")
"""Pieces that count norms of their own."""
NORM = re.compile(r".*norm.*|ln_.*|ln[0-9f]?", re.DOTALL)
OWN = dict.fromkeys(("e_score_correction_bias", "expert_bias"), "router.correction_bias")
"""Tensors whose name alone says what they are."""
PARTS = ("weight", "bias")
SCALES = re.compile(r".*(weight_scale(_inv|_2)?|scales|qzeros|g_idx|_blocks|_packed|_zero_point|absmax|quant_map|SCB)")
"""Ends of names of what belongs to packed weights."""


def named(tensor: Tensor, layers: int) -> Named:
    """Where a tensor stands, and the weights of a spec that it may hold, from the words of its name."""
    words = tensor.name.split(".")
    if not ELSEWHERE.isdisjoint(words):
        return Named(tensor, None, aside="parts beside the text model")
    if TABLES.fullmatch(tensor.name):
        return Named(tensor, None, aside="tables that an engine could calculate")
    at = next((place for place, word in enumerate(words) if word.isdecimal() and place and words[place - 1] in STACKS), None)
    layer = None if at is None else int(words[at]) if len(words[at]) < LONG_NUMBER else layers
    if not DRAFT.isdisjoint(words) or (layer is not None and layer >= layers):
        return Named(tensor, None, aside="layers that draft")
    leaf = next((word for word in reversed(words) if word not in PARTS), words[-1])
    if leaf in OWN and at is not None:
        return Named(tensor, layer, (OWN[leaf],))
    if at is None:
        piece = next((OUTSIDE[word] for word in reversed(words) if word in OUTSIDE), "norms" if NORM.fullmatch(leaf) else None)
        return Named(tensor, None, () if piece is None else (f"{piece}.*",))
    if NORM.fullmatch(leaf):
        own = (f"{piece}.*" for piece in _pieces(words[at:]) if piece in WITH_NORMS)
        return Named(tensor, layer, (f"norms.{leaf}", "norms.*", *own))
    name = f"{leaf.removesuffix('_proj')}_bias" if words[-1] == "bias" and leaf != "bias" else leaf
    pieces = _pieces(words[at:])
    return Named(tensor, layer, (*(f"{piece}.{name}" for piece in pieces), *(f"{piece}.*" for piece in pieces)))


def _pieces(words: Sequence[str]) -> tuple[str, ...]:
    last = next((word for word in reversed(words) if word in PIECES), "")
    return PIECES.get("experts" if "experts" in words else last, ())


# -- against a config ---------------------------------------------------------------------------------------------------------------


def check(inventory: Inventory, imported: Imported) -> Imported:
    """A spec from a config after it was held against the files beside it. Weights as they are give the spec their exact formats, tensor
    by tensor; packed ones (quantised) are compared by bytes. What differs becomes a caveat."""
    names = [named(tensor, imported.model.num_hidden_layers) for tensor in inventory.tensors]
    tied = imported.model.embedding.tied
    copied = "a head that is a copy of the embedding"
    names = [one._replace(aside=copied) if tied and one.keys == ("lm_head.*",) else one for one in names]
    imported = Imported(imported.model, imported.data, (*imported.notes, *inventory.notes))
    if all(one.tensor.format in PLAIN and not SCALES.fullmatch(one.tensor.name) for one in names if one.aside is None):
        return held_against(imported, inventory.name, names, strict=False)
    return _by_bytes(inventory, imported, [one for one in names if one.aside is None])


def _by_bytes(inventory: Inventory, imported: Imported, names: Sequence[Named]) -> Imported:
    """Packed weights: bytes of the file and of the spec."""
    entries = ledger(imported.model, Scenario(context=1)).entries
    held = _sizes(names, {entry.piece for entry in entries})
    wanted = {piece: total(some).weight_bytes for piece, some in grouped(entries, "piece").items()}
    wanted = {piece: size for piece, size in wanted.items() if size}
    differ = [
        f"{piece} {held.get(piece, 0):,} bytes of the files, {wanted.get(piece, 0):,} of the spec"
        for piece in sorted(wanted.keys() | held.keys())
        if held.get(piece, 0) != wanted.get(piece, 0)
    ]
    size, said = sum(held.values()), sum(wanted.values())
    summary = f"{len(names):,} tensors of {inventory.name}: {size:,} bytes, packed; the spec has {said:,}"
    said_so = [f"The files and the config differ: {'; '.join(differ)}."] if differ else []
    return with_caveats(imported, inventory.name, said_so, notes=[summary])


def _sizes(names: Iterable[Named], pieces: Iterable[str]) -> Mapping[str, int]:
    """Bytes by piece: of those that a name may stand for, the first that the model has."""
    known, found = set(pieces), dict[str, int]()
    for one in names:
        piece = next((piece for key in one.keys if (piece := key.partition(".")[0]) in known), "unknown tensors")
        found[piece] = found.get(piece, 0) + one.tensor.bytes
    return found
