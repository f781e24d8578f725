"""A config.json, read field by field: every number remembers its field, every default that was taken is said, and what nobody read is
looked at in the end.

A field is read under all names that it goes by. A field that is there under two names must say the same twice.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from kvcalc.errors import SpecError

MAX_BYTES = 8_000_000
MAX_WIDTH = 1 << 20
MAX_ROWS = 1 << 36
MAX_LIST = 4_096
MAX_FIELDS = 4_096
SHOWN = 60
LISTED = 4
MAX_UNREAD = 40
MAX_DRAFTS = 8
"""Draft layers, of which the lists of layers may have entries, too."""
_TYPO = 0.86
_DRAFTS = re.compile("nextn|mtp|draft|dspark")

HARMLESS = re.compile(
    r"_.*|.*_token_ids?|.*_token_index|(?!.*(layer|head|expert)).*_ids?"
    r"|(?!.*layer_scale).*(dropout|pdrop|jitter|init|std|_eps|epsilon|scal(e|ing)|softcap(ping)?|multiplier|_coef)(_.*)?"
    r"|(rope|rotary|yarn|original_rope|original_max|partial_rotary|mrope|use_rope|no_rope|alibi|position_embedding_type|max_position|use_pos|swa_rope)(_.*)?"
    r"|(initializer|time_step|residual_in|rescale|chunk_size_feed_forward|loss|aux|router_aux|label|id2label|label2id|num_labels)(_.*)?"
    r"|architectures|auto_map|torch_dtype|dtype|transformers_version|use_cache|cache_implementation|return_dict(_.*)?"
    r"|output_(attentions|hidden_states|scores|past|router_logits|mel)|is_(decoder|causal|composition|llama_config|training)|type_vocab_size|use_grouped_mm"
    r"|pretraining_tp|ep_size|initial_context_length|hidden_act(ivation)?|activation_function|activation|norm_topk_prob|topk_group|n_group|topk_method"
    r"|scoring_func|routed_scaling_factor|seq_aux|aux_loss_alpha|tokenizer_class|problem_type|task_specific_params|finetuning_task|name_or_path"
    r"|(num_return_sequences|num_beams|num_beam_groups|max_length|min_length|do_sample|early_stopping|top_k|top_p|temperature|typical_p|"
    r"repetition_penalty|length_penalty|no_repeat_ngram_size|encoder_no_repeat_ngram_size|bad_words_ids|diversity_penalty|remove_invalid_values|"
    r"exponential_decay_length_penalty|suppress_tokens|begin_suppress_tokens|forced_.*|prefix|tf_legacy_loss|torchscript|"
    r"use_bfloat16|tie_encoder_decoder|decoder_start_token_id|sep_token_id|summary_.*)"
    r"|attn_implementation|_attn_.*|unsloth.*|quantization|quantization_config|compression_config|vision_config|audio_config|language_model_only"
    r"|gradient_checkpointing|use_flash_attn|use_flash_attention|attn_impl|deterministic.*|fuse_.*|for_llm_compressor|model_type|text_config"
    r"|(sequence|tensor|pipeline|context|expert|data)(_model)?_parallel.*"
    r"|router_dtype|num_logits_to_keep|use_mamba_kernels|inference_runner|validate_runner_input|pad_vocab_size_multiple"
    r"|attention_softmax_in_fp32|scale_attention_softmax_in_fp32|scale_attn_weights|reorder_and_upcast_attn|fp32_residual_connection"
    r"|query_pre_attn_scalar|attn_logit_softcapping|final_logit_softcapping|logit_scale|swiglu_limit|router_(logit_)?z_.*|norm_softmax"
    r"|max_batch_size|pre_allocate_kv_cache|max_sequence_length|pad_key_length|bias_dropout_fusion|clip_qkv",
    re.DOTALL,  # else a name with a line break in it takes time that grows with the square of its length
)
"""Fields that size nothing, in any family: tokens, positions, training, generation, what another reader takes."""

_SIZES = re.compile(
    "head|layer|dim|rank|window|kv|cache|expert|compress|share|loop|block|chunk|index|conv|state|stride|ratio|hidden|intermediate|ffn|mlp|"
    "vocab|emb|attn|attention|mamba|ssm|sparse|topk|latent|lora|group|size|width|channel|kernel|depth|recur|memory|meta|register|sink|"
    "pattern|step|interval|period|offset|freq|bias|gate|qk|norm|mtp|nextn|draft|linear|delta|moe|tie|encoder|output_|expan|inner|glu|"
    "query|codebook|parallel|repeat|d_ff"
)
_FACTORS = re.compile("expan|(mlp|hidden|ffn|ff)_(ratio|mult|factor)|proj_factor|layer_scale")
"""A field that nobody read and whose name speaks of one of these may size something; a number that is not whole only of the second."""


class Known(int):
    """A whole number, and the field (or the sum of fields) that it comes from."""

    origin: str

    def __new__(cls, value: int, origin: str) -> "Known":
        number = super().__new__(cls, value)
        number.origin = origin
        return number


def shown(value: object) -> str:
    """A value of a config in an error: short, on one line."""
    return _cut(ascii(value[: 2 * SHOWN] if isinstance(value, str) else value), SHOWN)


def unquoted(name: str, most: int = SHOWN) -> str:
    """A name that a file chose, within a sentence: short, and nothing in it but printable ASCII."""
    return _cut(ascii(name[: 2 * most])[1:-1], most)


def listed(names: Sequence[str], most: int = LISTED) -> str:
    """Some names that a file chose, within a sentence."""
    first = ", ".join(unquoted(name) for name in names[:most])
    return first if len(names) <= most else f"{first} and {len(names) - most:,} more"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 3] + "..."


def number(value: int, origin: str) -> Known:
    """A number that was calculated from fields: `origin` says how."""
    return Known(value, origin)


@dataclass
class Journal:
    """What was read, what was taken from defaults, and what must be said."""

    read: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    defaults: dict[str, str] = field(default_factory=dict)
    caveats: list[str] = field(default_factory=list)
    ignored: set[str] = field(default_factory=set)


class Config:
    """A config.json or one section of it.

    Args:
        file: name of the file, for errors.
        fields: the mapping.
        section: path of the section with a dot at its end, empty for the file itself.
        journal: that of the file, which its sections share.
    """

    def __init__(self, file: str, fields: dict[str, Any], section: str = "", journal: Journal | None = None) -> None:
        self.file, self.fields, self.section_name = file, fields, section
        self.journal = journal or Journal()
        self.outer: Config | None = None
        """The config that this one is the text model's section of."""
        self.model_type = str(fields.get("model_type") or "")

    # -- one field ---------------------------------------------------------------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether a field is there and not null. It counts as read."""
        self.journal.asked.add(name)
        self._mark(name)
        return self.fields.get(name) is not None

    def refuse(self, name: str, why: str, hint: str | None = None) -> SpecError:
        """The refusal that names a field."""
        return SpecError(f"{self.file}: {unquoted(self.section_name + name, 2 * SHOWN)}: {why}", hint)

    def value(self, *names: str) -> tuple[str, Any]:
        """The field under the first of its names that is there, not null; (first name, None) if none is. Refuses two that differ."""
        found = [(name, self.fields[name]) for name in names if self.has(name)]
        for name, value in found[1:]:
            if value != found[0][1]:
                raise self.refuse(name, f"says {shown(value)}, but {found[0][0]} says {shown(found[0][1])}")
        return found[0] if found else (names[0], None)

    def count(self, *names: str, default: int | None = None, low: int = 1, high: int = MAX_WIDTH) -> Known:
        """A whole number. Without a default the field must be there; a default that is taken is a caveat (it is the class's own)."""
        found = self.maybe(*names, low=low, high=high)
        if found is not None:
            return found
        if default is None:
            others = f" (or {', '.join(names[1:])})" if len(names) > 1 else ""
            raise self.refuse(names[0], f"is not in the config{others}")
        self.journal.defaults[names[0]] = f"{default:,}"
        return Known(default, f"{names[0]}: class default")

    def maybe(self, *names: str, low: int = 1, high: int = MAX_WIDTH) -> Known | None:
        """A whole number, or None where the field is not there or null."""
        name, value = self.value(*names)
        return None if value is None else self.whole(name, value, low, high)

    def whole(self, name: str, value: object, low: int = 1, high: int = MAX_WIDTH) -> Known:
        """A value as a whole number between two bounds."""
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(name, f"must be a whole number, not {shown(value)}")
        if not low <= value <= high:
            raise self.refuse(name, f"{value if abs(value) < MAX_ROWS else shown(value)} is not between {low:,} and {high:,}")
        return value if isinstance(value, Known) else Known(value, self.section_name + name)

    def ratio(self, *names: str, default: float | None = None) -> float:
        """A number that need not be whole (an expansion factor)."""
        name, value = self.value(*names)
        if value is None:
            if default is None:
                raise self.refuse(name, "is not in the config")
            self.journal.defaults[name] = f"{default:g}"
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < MAX_WIDTH:
            raise self.refuse(name, f"must be a number above zero, not {shown(value)}")
        return float(value)

    def flag(self, *names: str, default: bool = False, stated: bool = False) -> bool:
        """true or false. `stated`: a default that is taken is a caveat, as it sizes something."""
        name, value = self.value(*names)
        if value is None:
            if stated:
                self.journal.defaults[name] = "true" if default else "false"
            return default
        if not isinstance(value, bool):
            raise self.refuse(name, f"must be true or false, not {shown(value)}")
        return value

    def text(self, *names: str, known: Iterable[str] = (), default: str | None = None) -> str | None:
        """A word; one of those known, if any are given."""
        name, value = self.value(*names)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.refuse(name, f"must be text, not {shown(value)}")
        known = tuple(known)
        if known and value not in known:
            raise self.refuse(name, f"{shown(value)} is not known", f"known: {', '.join(known)}")
        return value

    def window(self, *names: str, absent: int | None = None) -> Known | None:
        """A sliding window [tokens]; null or a number below 1 is none, and a missing field is the class's default."""
        for name in names:
            if name in self.fields:
                self.has(name)
                value = self.fields[name]
                if value is None or (isinstance(value, int) and not isinstance(value, bool) and value < 1):
                    return None
                return self.whole(name, value, high=MAX_ROWS)
        return None if absent is None else self.count(*names, default=absent)

    # -- lists -------------------------------------------------------------------------------------------------------------------------

    def items(self, *names: str, length: int | None = None, longer: bool = False) -> list[Any] | None:
        """A list, None if it is not there. `length`: what it must be; `longer`: or more, which is cut, where there are draft layers."""
        name, value = self.value(*names)
        if value is None:
            return None
        if not isinstance(value, list) or len(value) > MAX_LIST:
            raise self.refuse(name, f"must be a list, not {shown(value)}")
        most = length or 0
        if longer and any(said and _DRAFTS.search(field) for field, said in self.fields.items()):
            most += MAX_DRAFTS
        if length is not None and not length <= len(value) <= most:
            raise self.refuse(name, f"has {len(value):,} entries for {length:,} layers")
        return value if length is None else value[:length]

    def numbers(
        self, *names: str, length: int | None = None, low: int = 0, high: int = MAX_WIDTH, longer: bool = False
    ) -> list[Known] | None:
        """A list of whole numbers."""
        found = self.items(*names, length=length, longer=longer)
        if found is None:
            return None
        name = self.value(*names)[0]
        return [self.whole(f"{name}[{place}]", item, low, high) for place, item in enumerate(found)]

    def words(
        self, *names: str, known: Iterable[str], length: int | None = None, longer: bool = False
    ) -> list[str] | None:
        """A list of words, each of which must be known."""
        found = self.items(*names, length=length, longer=longer)
        if found is None:
            return None
        name, known = self.value(*names)[0], tuple(known)
        for place, item in enumerate(found):
            if not isinstance(item, str) or item not in known:
                raise self.refuse(f"{name}[{place}]", f"{shown(item)} is not known", f"known: {', '.join(known)}")
        return found

    # -- sections ----------------------------------------------------------------------------------------------------------------------

    def section(self, name: str) -> "Config":
        """A nested mapping, read like the file. Refuses what is none."""
        found = self.maybe_section(name)
        if found is None:
            raise self.refuse(name, "is not in the config")
        return found

    def maybe_section(self, name: str) -> "Config | None":
        """A nested mapping, or None where it is not there."""
        self.has(name)
        value = self.fields.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.refuse(name, f"must be a mapping, not {shown(value)}")
        found = Config(self.file, value, f"{self.section_name}{name}.", self.journal)
        found.model_type = found.model_type or self.model_type
        return found

    def ignore(self, *names: str) -> None:
        """Fields that size nothing in this family, whatever they say (decoys, draft layers, towers)."""
        for name in names:
            self._mark(name)

    def must(self, name: str, *values: object) -> None:
        """A field that, if it is there, must say one of these: anything else is a model that this reader does not know."""
        if self.has(name) and self.fields[name] not in values:
            raise self.refuse(name, f"{shown(self.fields[name])} is not understood for model_type {shown(self.model_type)}")

    def caveat(self, text: str) -> None:
        """Something to be said beside the numbers."""
        if text not in self.journal.caveats:
            self.journal.caveats.append(text)

    def _mark(self, name: str) -> None:
        self.journal.read.add(self.section_name + name)

    # -- what nobody read --------------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Look at the fields that nobody read. Refuses one that may size something; the others become a caveat."""
        if len(self.fields) > MAX_FIELDS:
            raise SpecError(f"{self.file}: {len(self.fields):,} fields, more than {MAX_FIELDS:,}: no config has so many")
        left = []
        for name, value in self.fields.items():
            path = self.section_name + name
            if path in self.journal.read or path in self.journal.ignored or HARMLESS.fullmatch(name):
                continue
            if value is None:
                continue
            near = get_close_matches(name[: 2 * SHOWN], self.journal.asked, n=1, cutoff=_TYPO)
            if near:
                hint = f"did you mean '{near[0]}'? (kvcalc import --ignore {unquoted(name)} if it sizes nothing)"
                raise self.refuse(name, "is not known", hint)
            if value is False or value in ([], {}, "", 0):
                continue
            if (_FACTORS if isinstance(value, float) else _SIZES).search(name.lower()):
                raise self.refuse(
                    name,
                    f"{shown(value)} is not understood for model_type {shown(self.model_type)}",
                    f"kvcalc import --ignore {unquoted(name)} if it sizes nothing",
                )
            left.append(name)
        if left:
            self.caveat(f"Fields of the config that were not read: {listed(sorted(left), MAX_UNREAD)}.")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object from an untrusted file: bounded, `Infinity` allowed, a name twice refused. Raises SpecError."""
    try:
        if not file.is_file():
            raise SpecError(f"{file}: {'is a folder, not a file' if file.is_dir() else 'no such file'}")
        if file.stat().st_size > MAX_BYTES:
            raise SpecError(f"{file}: {file.stat().st_size:,} bytes is more than the {MAX_BYTES:,} that a config may have")
        return parse_json(str(file), file.read_bytes())
    except OSError as error:
        raise SpecError(f"{file}: cannot be read: {error.strerror or error}") from None


def parse_json(name: str, data: bytes) -> dict[str, Any]:
    """The object in some bytes of JSON. `name` stands for the file in errors. Raises SpecError."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            twice = next(key for key, many in Counter(key for key, _ in pairs).items() if many > 1)
            raise SpecError(f"{name}: {shown(twice)} is there twice")
        return found

    if not data or data.isspace():
        raise SpecError(f"{name}: is empty")
    try:
        value = json.loads(data.decode("utf-8-sig"), object_pairs_hook=once)
    except UnicodeDecodeError as error:
        raise SpecError(f"{name}: is not text (byte {error.start:,} is not UTF-8)") from None
    except json.JSONDecodeError as error:
        raise SpecError(f"{name}:{error.lineno}:{error.colno}: not valid JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise SpecError(f"{name}: not JSON that can be read: nested too deep, or a number too long") from None
    if not isinstance(value, dict):
        raise SpecError(f"{name}: a config is an object with fields, not {shown(value)}")
    return value
