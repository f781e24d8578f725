"""How the weights of a config are stored: its dtype, and its quantization_config, piece by piece of the model.

What is said of single modules (left out, or quantised otherwise) is read by the words of the module's name, never run as a pattern: a
config is not trusted. It holds for the weights and layers that the name speaks of; a pattern that counts layers becomes a caveat.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from kvcalc.formats import FORMATS
from kvcalc.importers.config import MAX_LIST, SHOWN, Config, listed, shown, unquoted
from kvcalc.spec import MATRIX_USES, ModelSpec

DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "half": "fp16", "float": "fp32"}
DEFAULT = "bf16"
READ = "as the config says"
"""A family's word for: this tensor is stored as the config says of its piece, though the rest of the piece is not."""
PLAIN = ("embeddings", "lm_head", "router", "norms", "position_embeddings")
"""Pieces that quantisers leave as they are unless they say otherwise."""
MODULES = {
    "lm_head": ("lm_head",),
    "embed_out": ("lm_head",),
    "embed_tokens": ("embeddings",),
    "wte": ("embeddings",),
    "shared_expert": ("shared_experts",),
    "shared_experts": ("shared_experts",),
    "shared_mlp": ("shared_experts",),
    "shared_expert_gate": ("shared_experts.shared_gate",),
    "experts": ("routed_experts",),
    "router": ("router",),
    "gate": ("router",),
    "indexer": ("indexer",),
    "index_q_proj": ("indexer",),
    "index_k_proj": ("indexer",),
    "weights_proj": ("indexer.index_weights_proj",),
    "indexers_proj": ("indexer.index_weights_proj",),
    "self_attn": ("attention",),
    "attention": ("attention",),
    "attn": ("attention",),
    "self_attention": ("attention",),
    "linear_attn": ("attention",),
    "mixer": ("attention",),
    "mlp": ("dense_mlp", "routed_experts", "shared_experts"),
    "feed_forward": ("dense_mlp", "routed_experts", "shared_experts"),
    "ffn": ("dense_mlp",),
}
"""The words of a module's name, and the pieces that it stands for. The last word that is here decides."""
EXPERTS_BESIDE = ("gemma4", "gemma4_text", "gemma4_unified", "gemma4_unified_text")
"""Types whose experts stand beside the module `mlp`, not in it."""
SECTIONS = ("quantization_config", "quantization", "compression_config")
LEFT_OUT = ("modules_to_not_convert", "ignore", "exclude_modules", "llm_int8_skip_modules", "skip_modules")
DRAFTS = "mtp"
ELSEWHERE = ("visual", "vision", "vision_tower", "vision_model", "audio_tower", DRAFTS, "embed_vision", "multi_modal_projector")
OUTSIDE = -1
MAX_NAMES, MAX_GROUPS = 100_000, 64
WITH_INDEXER = ("self_attn", "attention", "attn", "self_attention")
"""Modules that have the indexer inside, where the model has one: who names them as a whole names it too."""
_NO_MATRIX = re.compile(r"(norm|bias)(\.weight)?\*?$", re.IGNORECASE)
_WORD = re.compile(r"[a-z_]+[0-9]*[a-z_]*|[0-9]+", re.IGNORECASE)
_PATTERN = "re:"
INTO, OUT = ("up_proj", "expert_up", "shared_up", "gate_proj"), ("down_proj", "expert_down", "shared_down")
PARTS = {
    **dict.fromkeys(("gate_proj", "up_proj", "gate_up_proj", "w1", "w3", "fc1"), INTO),
    **dict.fromkeys(("down_proj", "w2", "fc2"), OUT),
    **dict.fromkeys(("qkv_proj", "query_key_value"), ("q_proj", "k_proj", "v_proj")),
    "q_proj": ("q_proj", "gate_proj"),
    "kv_a_proj_with_mqa": ("kv_a_proj",),
    "wq_b": ("index_q_proj",),
    "wk": ("index_k_proj",),
    **dict.fromkeys(("in_proj_qkv", "in_proj_z", "in_proj_qkvz"), ("in_proj_qkvz",)),
    **dict.fromkeys(("in_proj_a", "in_proj_b", "in_proj_ba"), ("in_proj_ba",)),
}
"""Modules within a block, and the weights of a spec that they are or are part of. Others have the weight's own name."""


def dtype_of(outer: Config, text: Config, usual: str = DEFAULT) -> str:
    """The format of what is not quantised; `usual` where the config names none."""
    name, said = text.value("dtype", "torch_dtype")
    if said is None:
        name, said = outer.value("dtype", "torch_dtype")
    if said is None:
        text.caveat(f"The config names no dtype: weights are taken as {usual}.")
        return usual
    plain = said.removeprefix("torch.") if isinstance(said, str) else ""
    if plain not in DTYPES:
        raise text.refuse(name, f"{shown(said)} is not known", f"known: {', '.join(DTYPES)}")
    return DTYPES[plain]


def storage(outer: Config, text: Config, model: ModelSpec, usual: str) -> dict[str, Any]:
    """Storage formats of the weights by piece, as the spec's `storage.weights` says them; empty where all is bf16."""
    default = dtype_of(outer, text, usual)
    found: dict[str, Any] = {} if default == DEFAULT else {"default": default}
    for c in (outer, text):
        for name in SECTIONS:
            if name in text.journal.ignored or c.fields.get(name) is None:
                continue
            return found | _quantised(c, c.section(name), text, model, default)
    return found


def _quantised(outer: Config, q: Config, text: Config, model: ModelSpec, default: str) -> dict[str, Any]:
    method = q.text("quant_method", "quant_library")
    where = f"{q.section_name}quant_method"
    if method is None and q.has("bits") and q.has("group_size"):
        method = "mlx"
    if method is None and q.has("quant_algo"):
        method = "modelopt"
    _hints(outer, q, text)
    try:
        read = METHODS[method or ""]
    except KeyError:
        raise outer.refuse(
            where,
            f"{shown(method)} is not known" if method else "is not in the config",
            f"known: {', '.join(METHODS)}; --ignore {q.section_name.rstrip('.')} counts the weights as {default}",
        ) from None
    cells = _matrices(model, default)
    linear = [(key, place) for key, places in cells.items() if key.partition(".")[0] not in PLAIN for place in places]
    for chosen, targets in read(q):
        if chosen not in FORMATS:
            raise outer.refuse(q.section_name.rstrip("."), f"{unquoted(chosen)} is a format that is not known")
        for key, place in linear if targets is None else _touched(targets, cells, text):
            cells[key][place] = chosen
    for key, place in _touched(_left_out(q), cells, text):
        cells[key][place] = default
    return _said(cells, default)


def drafts_left_out(outer: Config, text: Config) -> bool:
    """Whether the quantisation leaves out the layers that draft."""
    sections = (c.fields[name] for c in (outer, text) for name in SECTIONS if isinstance(c.fields.get(name), dict))
    names = (name for said in sections for name in _left_out(Config(outer.file, said)))
    return any(DRAFTS in _WORD.findall(name[: 4 * SHOWN]) for name in names)


def _left_out(q: Config) -> list[str]:
    """Names of modules that stay as they are."""
    return [name for key in LEFT_OUT for name in _names(q, key)]


def _hints(outer: Config, q: Config, text: Config) -> None:
    """What the config says of the cache is a hint: the engine's own option decides."""
    for name in ("kv_cache_scheme", "kv_cache_quant_algo", "kv_cache_quant_method"):
        if q.has(name):
            said = q.fields[name]
            word = f"{said.get('num_bits')} bits, {said.get('type')}" if isinstance(said, dict) else said
            text.caveat(f"The config hints at a quantised KV cache ({name}: {shown(word)}); the engine decides: --kv-format.")


# -- methods: what each says, as (format, names of modules or None for all linear layers) ----------------------------------------------

Said = Iterable[tuple[str, list[str] | None]]


def _fp8(q: Config) -> Said:
    block = q.numbers("weight_block_size", low=1)
    scale = "-ue8m0" if q.text("scale_fmt") == "ue8m0" else ""
    yield (f"fp8-{'x'.join(str(int(side)) for side in block)}{scale}" if block else "fp8"), None


def _integers(q: Config) -> Said:
    bits, group = q.count("bits", "w_bit", high=8), q.maybe("group_size", "q_group_size", low=-1)
    if group is None or group < 1:
        yield f"int{bits}-channel", None
    else:
        yield f"int{bits}-g{group}-zp", None
    if q.flag("lm_head"):
        yield f"int{bits}-g{group}-zp", ["lm_head"]


def _mlx(q: Config) -> Said:
    mode = q.text("mode", known=("affine", "mxfp4", "nvfp4", "mxfp8"), default="affine")
    name = f"int{q.count('bits', high=8)}-g{q.count('group_size')}-affine" if mode == "affine" else str(mode)
    yield name, None
    yield name, ["lm_head", "embed_tokens"]
    by_format: dict[str, list[str]] = {}
    for key, value in q.fields.items():
        if isinstance(value, dict) and (own := q.section(key)).has("bits"):
            by_format.setdefault(f"int{own.count('bits', high=8)}-g{own.count('group_size')}-affine", []).append(key)
    yield from by_format.items()


def _bitsandbytes(q: Config) -> Said:
    four, eight = q.flag("load_in_4bit", "_load_in_4bit"), q.flag("load_in_8bit", "_load_in_8bit")
    if four == eight:
        raise q.refuse("load_in_4bit", "neither 4 nor 8 bits, or both")
    if eight:
        yield "int8-channel-fp32", None
    elif q.text("bnb_4bit_quant_type", known=("nf4", "fp4"), default="fp4"):
        yield ("nf4-dq" if q.flag("bnb_4bit_use_double_quant") else "nf4"), None


def _compressed(q: Config) -> Said:
    groups = q.section("config_groups")
    if len(groups.fields) > MAX_GROUPS:
        raise q.refuse("config_groups", f"{len(groups.fields):,} groups are more than {MAX_GROUPS}")
    for name in groups.fields:
        group = groups.section(name)
        targets = _names(group, "targets")
        yield _weights_format(group.section("weights")), None if not targets or targets == ["Linear"] else targets


def _weights_format(w: Config) -> str:
    bits, kind = w.count("num_bits", high=16), w.text("type", known=("int", "float"), default="int")
    strategy, group = w.text("strategy"), w.maybe("group_size", low=-1)
    if kind == "float" and bits == 4:
        return "mxfp4" if group is not None and group > 16 else "nvfp4"
    prefix = "fp8" if kind == "float" else f"int{bits}"
    block = w.numbers("block_structure", low=1)
    if strategy == "block" and block:
        return f"{prefix}-{'x'.join(str(int(side)) for side in block)}"
    if group is not None and group > 0:
        return f"{prefix}-g{group}" + ("" if w.flag("symmetric", default=True) else "-zp")
    return f"{prefix}-channel" if strategy == "channel" else prefix


_ALGORITHMS = {
    "FP8": "fp8",
    "FP8_PB_WO": "fp8-128x128",
    "FP8_PER_CHANNEL_PER_TOKEN": "fp8-channel",
    "NVFP4": "nvfp4",
    "NVFP4_AWQ": "nvfp4",
    "W4A16_NVFP4": "nvfp4",
    "MXFP4": "mxfp4",
    "MXFP8": "mxfp8",
    "W4A16_AWQ": "int4-g128",
    "INT8_SQ": "int8-channel",
}


def _modelopt(q: Config) -> Said:
    inner = q.maybe_section("quantization") or q
    algorithm = inner.text("quant_algo", known=(*_ALGORITHMS, "MIXED_PRECISION"))
    if algorithm is None or algorithm == "MIXED_PRECISION":
        single = inner.maybe_section("quantized_layers")
        if single is None:
            yield from _compressed(q)
            return
        if len(single.fields) > MAX_NAMES:
            raise inner.refuse("quantized_layers", f"{len(single.fields):,} layers are more than {MAX_NAMES:,}")
        by_format: dict[str, list[str]] = {}
        for name in single.fields:
            chosen = single.section(name).text("quant_algo", known=_ALGORITHMS)
            by_format.setdefault(_ALGORITHMS[chosen or "FP8"], []).append(name)
        yield from by_format.items()
    else:
        yield _ALGORITHMS[algorithm], None


def _mxfp4(q: Config) -> Said:
    yield "mxfp4", ["experts"]


def _rows(q: Config) -> Said:
    yield "fp8-channel-fp32", None


def _hqq(q: Config) -> Said:
    inner = q.maybe_section("quant_config") or q
    for name in ("scale_quant_params", "zero_quant_params"):
        inner.must(name)
    weights = inner.section("weight_quant_params")
    yield f"int{weights.count('nbits', high=8)}-g{weights.count('group_size')}-affine", None


def _ternary(q: Config) -> Said:
    yield "int2", None


METHODS = {
    "fp8": _fp8,
    "fbgemm_fp8": _rows,
    "gptq": _integers,
    "awq": _integers,
    "auto-round": _integers,
    "mlx": _mlx,
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed,
    "modelopt": _modelopt,
    "mxfp4": _mxfp4,
    "bitnet": _ternary,
    "hqq": _hqq,
}


# -- which modules ------------------------------------------------------------------------------------------------------------------

Cells = dict[str, dict[int, str]]
"""The format of each matrix in each layer: `piece.weight` to layer to format. Layer -1: outside the layers."""


def _matrices(model: ModelSpec, default: str) -> Cells:
    """Every matrix of a model, as it is where nothing is quantised."""
    cells: Cells = {}
    for block in model.blocks:
        for weight in (weight for weight in block.weights if weight.use in MATRIX_USES and weight.stored):
            layers = cells.setdefault(f"{weight.piece}.{weight.name}", {})
            layers |= dict.fromkeys(block.places or (OUTSIDE,), default)
    return {key: dict(sorted(layers.items())) for key, layers in cells.items()}


def _said(cells: Cells, default: str) -> dict[str, Any]:
    """Cells as a spec says them: by piece where all of it is stored alike, else by weight, with a list where layers differ."""
    found: dict[str, Any] = {}
    for piece in dict.fromkeys(key.partition(".")[0] for key in cells):
        own = {key: layers for key, layers in cells.items() if key.startswith(f"{piece}.")}
        formats = {stored for layers in own.values() for stored in layers.values()}
        if len(formats) == 1:
            (stored,) = formats
            found |= {} if stored == default else {piece: stored}
            continue
        for key, layers in own.items():
            steps = [(len(list(run)), stored) for stored, run in groupby(layers.values())]
            if len(steps) > 1:
                found[key] = [stored if count == 1 else f"{count} {stored}" for count, stored in steps]
            elif steps[0][1] != default:
                found[key] = steps[0][1]
    return found


def _names(q: Config, key: str) -> list[str]:
    """A list of names of modules; a word instead of a list is one."""
    value = q.fields.get(key)
    q.has(key)
    names = [value] if isinstance(value, str) else value
    if names is None:
        return []
    if not isinstance(names, list) or len(names) > MAX_NAMES or not all(isinstance(item, str) for item in names):
        raise q.refuse(key, f"must be a list of names, not {shown(value)}")
    return names


def _touched(names: Iterable[str], cells: Cells, text: Config) -> Iterator[tuple[str, int]]:
    """The matrices, layer by layer, that names of modules speak of; those that several names speak of in the same way, once."""
    patterns: list[str] = []
    met: set[tuple[object, ...]] = set()
    for name in names:
        words = [word.lower() for word in _WORD.findall(name[: 4 * SHOWN])]
        if any(word in ELSEWHERE for word in words) or _NO_MATRIX.search(name[: 4 * SHOWN]):
            continue
        numbers = [int(word) for word in words if word.isdecimal() and len(word) < len(str(MAX_LIST))]
        if name.startswith(_PATTERN) and numbers:
            patterns.append(name)
            continue
        keys = _named(words, cells, text.model_type in EXPERTS_BESIDE)
        if (target := (*numbers[:1], *keys)) in met:
            continue
        met.add(target)
        for key in keys:
            yield from ((key, place) for place in (cells[key].keys() & {numbers[0], OUTSIDE} if numbers else cells[key]))
    if patterns:
        text.caveat(f"Not read are patterns of the quantisation that count layers or experts: {listed(patterns)}.")


def _named(words: list[str], cells: Cells, beside: bool) -> list[str]:
    """The matrices that the words of a module's name stand for; of a name that ends with a layer's number, all of that layer's.
    `beside`: the experts are no part of `mlp`."""
    known = [word for word in words if word in MODULES]
    if not known:
        whole = words and words[-1].isdecimal() and words[-2:-1] == ["layers"]
        pieces: tuple[str, ...] = tuple(key.partition(".")[0] for key in cells if key.partition(".")[0] not in PLAIN) if whole else ()
    else:
        pieces = tuple(name for name in MODULES[known[-1]] if not (beside and known[-1] == "mlp" and name == "routed_experts"))
        if words[-1] == known[-1] and known[-1] in WITH_INDEXER:
            pieces = (*pieces, "indexer")
    within = [key for key in cells if key.partition(".")[0] in pieces or key in pieces]
    last = next((word for word in reversed(words) if word not in ("weight", "linear") and not word.isdecimal()), "")
    if last in known or last == "layers":
        return within
    parts = PARTS.get(last, (last,))
    own = [key for key in within if key.partition(".")[2] in parts]
    return [key for key in own if key.startswith("dense_mlp.")] if known[-1:] == ["mlp"] and not beside else own


def merged(own: Mapping[str, str], read: Mapping[str, Any]) -> dict[str, Any]:
    """Formats that a family fixes itself (a bias that is always fp32), over those that the config says; READ takes the config's."""
    fixed = {name: chosen if chosen != READ else read.get(name, read.get(name.partition(".")[0])) for name, chosen in own.items()}
    return {**read, **{name: chosen for name, chosen in fixed.items() if chosen is not None}}
