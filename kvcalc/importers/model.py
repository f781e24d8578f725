"""config.json to a spec: finds the text model and the reader of its family, and writes down what the reader says.

A family is one file in hf/: `TYPES` (model types that it reads) and `read(config) -> Layout`.
"""

import importlib
import pkgutil
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import kvcalc.importers.hf
from kvcalc.errors import SpecError, did_you_mean, worded
from kvcalc.importers.config import SHOWN, Config, Known, shown, unquoted
from kvcalc.importers.layout import Layout, spec_data
from kvcalc.importers.quantization import DEFAULT, drafts_left_out, merged, storage
from kvcalc.importers.writing import spec_text
from kvcalc.spec import ModelSpec

SECTIONS = ("text_config", "language_config", "llm_config")
"""Where a model of several modalities keeps its text model."""
LISTED = 6
THINKER = "thinker_config"
HEADED = ("chatglm",)
"""Types whose architectures are called Model and have a head."""
_ARCHITECTURE = re.compile(r"(ForCausalLM|LMHeadModel|ForConditionalGeneration|Model)$")
_DRAFT = re.compile(r"eagle|medusa|speculator|draft|dflash|dspark|nextn|mtp", re.IGNORECASE)
"""An architecture that guesses tokens for another model: it shares that model's embedding, and its layers read more than their stream."""
_HEADLESS = re.compile(r".*(For(Sequence|Token)Classification|ForQuestionAnswering|Reward(Model)?|Classifier|(?<!Head)Model)")
"""An architecture without a head over the vocabulary."""
_BESIDE = re.compile(r"(add_)?cross_(attn|attention|layer).*|is_encoder_decoder|pruned_heads")
"""Fields beside a text model's section which say that its layers are not those of its own type."""
_NOT_IN_AN_ID = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True)
class Imported:
    """What a source says, as a spec.

    Args:
        model: the spec, validated.
        data: its fields; numbers are Known where they come from a field.
        notes: what must be said to whoever imports (not part of the spec).
    """

    model: ModelSpec
    data: dict[str, Any]
    notes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The spec as YAML, the source of each number beside it."""
        return spec_text(self.data)


@cache
def readers() -> dict[str, str]:
    """Every known model type, and the module that reads it."""
    found: dict[str, str] = {}
    for info in pkgutil.iter_modules(kvcalc.importers.hf.__path__):
        name = f"{kvcalc.importers.hf.__name__}.{info.name}"
        found |= dict.fromkeys(importlib.import_module(name).TYPES, name)
    return found


def families() -> list[tuple[str, tuple[str, ...], str]]:
    """Every family: its name, its model types, and what its file says of it in a line."""
    found = []
    for info in pkgutil.iter_modules(kvcalc.importers.hf.__path__):
        module = importlib.import_module(f"{kvcalc.importers.hf.__name__}.{info.name}")
        found.append((info.name, tuple(module.TYPES), (module.__doc__ or "").partition("\n\n")[0].replace("\n", " ").strip()))
    return found


def import_config(
    name: str, fields: dict[str, Any], *, id: str, source: str | None = None, ignore: Iterable[str] = (), title: str | None = None
) -> Imported:
    """The spec of a config.json.

    Args:
        name: the file, for errors.
        fields: its content.
        id: the id that the spec gets.
        source: where the config can be found; not given: the file.
        ignore: fields that size nothing, as whoever imports says.

    Raises:
        SpecError: a field that is missing, not understood or impossible, by name.
    """
    text, outer = _text_model(Config(name, fields))
    text.journal.ignored |= {text.section_name + field for field in ignore} | set(ignore)
    _whole(text, outer)
    reader: Callable[[Config], Layout] = importlib.import_module(readers()[text.model_type]).read
    layout = reader(text)
    parts = spec_data(layout)
    bare = parts | {"id": id, "name": title or id, "family": "model", "sources": {"config": name}}
    formats = merged(layout.weights, storage(outer, text, validated(name, bare | {"storage": {}}), layout.dtype))
    text.settle()
    if text is not outer:
        text.caveat(f"Only the text model is counted, not what the config of {unquoted(outer.model_type)} has beside it.")
    data = _head(text, layout, id=id, source=source or name, title=title) | parts
    if formats:
        data["storage"] = {"weights": formats} | {key: found for key, found in data.get("storage", {}).items() if key != "weights"}
    if layout.draft.layers and drafts_left_out(outer, text):
        data["draft"]["format"] = formats.get("default", DEFAULT)
    return Imported(validated(name, data), data)


def _text_model(c: Config) -> tuple[Config, Config]:
    """The text model's section and the whole; the section's model_type is one that is known."""
    outer = c
    if THINKER in c.fields:
        c = c.section(THINKER)
    section = next((name for name in SECTIONS if c.fields.get(name) is not None), None)
    inner = c if section is None else c.section(section)
    if section is not None:
        inner.outer = c
        for name in ("tie_word_embeddings", "dtype", "torch_dtype"):
            if inner.fields.get(name) is None and c.fields.get(name) is not None:
                inner.fields = inner.fields | {name: c.fields[name]}
    known = readers()
    said = inner.fields.get("model_type", c.model_type if inner is not c else None)
    if said is None:
        said = _by_architecture(c, known)
    if not isinstance(said, str):
        raise inner.refuse("model_type", f"must be text, not {shown(said)}")
    if said not in known:
        some = f"known types: {', '.join(sorted(known)[:LISTED])} ... {len(known):,} of them: kvcalc list families"
        raise inner.refuse("model_type", f"{shown(said)} is not known", did_you_mean(said[:SHOWN], known) or some)
    inner.model_type = said
    return inner, outer


def _whole(text: Config, outer: Config) -> None:
    """Looks at what says that there is more, or less, than a language model of this type."""
    for c in (outer, text.outer or outer):
        for name, value in c.fields.items() if c is not text else ():
            if value and _BESIDE.fullmatch(name) and name not in c.journal.ignored:
                raise c.refuse(name, f"{shown(value)} is not understood for model_type {shown(outer.model_type)}")
    listed = outer.fields.get("architectures")
    first = listed[0] if isinstance(listed, list) and listed else None
    if not isinstance(first, str) or "architectures" in outer.journal.ignored:
        return
    if _DRAFT.search(first):
        raise outer.refuse("architectures", f"{shown(first)} drafts for another model, and is not read by itself")
    if text is outer and _HEADLESS.fullmatch(first) and text.model_type not in HEADED:
        text.caveat(f"The architecture {unquoted(first)} has no head over the vocabulary; one is counted, as the causal model has it.")


def _by_architecture(c: Config, known: Iterable[str]) -> str:
    """The model type of a config that has only `architectures`."""
    listed = c.fields.get("architectures")
    first = listed[0] if isinstance(listed, list) and listed else None
    plain = _ARCHITECTURE.sub("", first).lower() if isinstance(first, str) else ""
    for name in known:
        if plain and plain == name.replace("_", "").replace("-", ""):
            c.caveat(f"The config has no model_type; its architecture is {first}.")
            return name
    raise c.refuse("model_type", "is not in the config, and without it no field has a meaning", "add the one that the model's code has")


def _head(c: Config, layout: Layout, *, id: str, source: str, title: str | None) -> dict[str, Any]:
    journal = c.journal
    if layout.vocab_size is None:
        c.caveat("vocab_size is not in the config: parameters, weights and FLOPs are not known; state is complete.")
    if journal.defaults:
        listed = ", ".join(f"{name} {value}" for name, value in journal.defaults.items())
        c.caveat(f"Not in the config, and taken from the defaults of its class: {listed}.")
    return {
        "id": id,
        "name": title or id,
        "family": re.split(r"[^a-z]", c.model_type.lower())[0] or "model",
        "sources": {"config": source},
        **({"caveats": journal.caveats} if journal.caveats else {}),
    }


def validated(name: str, data: dict[str, Any]) -> ModelSpec:
    try:
        return ModelSpec.model_validate(_plain(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        message = worded(first) or str(first["msg"]).removeprefix("Value error, ")
        raise SpecError(f"{name}: the config makes no model: {f'{where}: ' if where else ''}{message}") from None


def _plain(value: Any) -> Any:
    """The same data in plain numbers."""
    if isinstance(value, Known):
        return int(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def id_of(name: str) -> str:
    """An id from a file's or a repository's name: `org/Some-Model_7B` -> `some-model_7b`."""
    plain = _NOT_IN_AN_ID.sub("-", name.rpartition("--")[2].rpartition("/")[2].lower()).strip("-._")
    return plain[:SHOWN] or "model"


def name_of(file: Path) -> str:
    """What to call the model of a file: the folder's name where the file is called config.json, else its own."""
    return file.resolve().parent.name if file.name == "config.json" else file.stem
