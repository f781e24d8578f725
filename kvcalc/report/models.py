"""The models of the catalogue as a table, with filters."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from kvcalc.errors import ScenarioError, did_you_mean
from kvcalc.kind import Attention, kind_of
from kvcalc.ledger import what_is_known
from kvcalc.report.table import Cell, Column, Table, count_column, text_column
from kvcalc.report.tables import scaled_count
from kvcalc.scenario import Scenario
from kvcalc.spec import ATTENTION, FEEDFORWARD, ModelSpec
from kvcalc.units import tokens


@dataclass(frozen=True, slots=True)
class WantedModels:
    """Which models are asked for. What is not known never meets a condition."""

    kind: str | None = None
    family: str | None = None
    least_parameters: int | None = None
    most_parameters: int | None = None
    least_context: int | None = None

    def checked(self, specs: Iterable[ModelSpec]) -> "WantedModels":
        """The same, kind and family as specs write them: CSA-HCA is csa_hca. Raises ScenarioError for one that is nobody's."""
        families = sorted({spec.family for spec in specs})
        blocks = [kind for kind in FEEDFORWARD if kind not in ATTENTION]
        return replace(
            self,
            kind=_written("kind", self.kind, "_", [*ATTENTION, *blocks]),
            family=_written("family", self.family, "-", families),
        )

    def meets(self, spec: ModelSpec, parameters: int | None) -> bool:
        """Whether a model meets every condition."""
        return (
            (self.kind is None or self.kind in _all_kinds(spec))
            and (self.family is None or spec.family == self.family)
            and (self.least_parameters is None or (parameters is not None and parameters >= self.least_parameters))
            and (self.most_parameters is None or (parameters is not None and parameters <= self.most_parameters))
            and (self.least_context is None or spec.max_context >= self.least_context)
        )


def _written(what: str, asked: str | None, mark: str, known: Sequence[str]) -> str | None:
    """A name as specs write it, whatever its case and marks."""
    if asked is None:
        return None
    plain = re.sub("[-_ ]", mark, asked.lower())
    if plain not in known:
        raise ScenarioError(f"no {what} is named {asked[:80]!r}", did_you_mean(plain, known) or f"known: {', '.join(known)}")
    return plain


def models(specs: Iterable[ModelSpec], wanted: WantedModels | None = None) -> Table:
    """The models of the catalogue that are asked for."""
    specs = list(specs)
    wanted = (wanted or WantedModels()).checked(specs)
    rows: list[dict[str, Cell]] = []
    for spec in specs:
        book = what_is_known(spec, Scenario(context=spec.max_context))
        known = not spec.unknown
        if not wanted.meets(spec, book.totals.parameters if known else None):
            continue
        rows.append(
            {
                "id": spec.id,
                "family": spec.family,
                "released": spec.released,
                "parameters": book.totals.parameters if known else None,
                "active_parameters": book.totals.active_parameters if known else None,
                "attention": attention(spec),
                "state_bytes_per_token": book.state_bytes_per_token,
                "max_context": spec.max_context,
            }
        )
    columns = (
        text_column("id", "id"),
        Column("parameters", "params", scaled_count),
        Column("active_parameters", "active", scaled_count),
        text_column("attention", "attention"),
        count_column("state_bytes_per_token", "B/token"),
        Column("max_context", "max ctx", tokens),
    )
    if not rows:
        return Table(columns, (), notes=(f"none of {len(specs):,} models meets all of this",), more=("family", "released"))
    notes = (
        "attention: layers, how far they see, their kind; heads / KV heads x width of a head, or latent + RoPE key; share: read "
        "another layer's state",
        "B/token: growth of one sequence's state at the longest context, native formats",
        *(["-: its config does not say what the parameters need"] if any(row["parameters"] is None for row in rows) else []),
    )
    return Table(columns, tuple(rows), notes=notes, more=("family", "released"))


# -- attention in a few words -------------------------------------------------------------------------------------------------------


def parts(part: Attention) -> Iterator[Attention]:
    """A part, or those that it holds."""
    inner = getattr(part, "parts", None)
    if isinstance(inner, dict):
        yield from inner.values()
    else:
        yield part


def kinds(part: Attention) -> set[str]:
    """The kinds of a layer's attention."""
    return {kind_of(part)} | {kind_of(inner) for inner in parts(part)}


def _all_kinds(spec: ModelSpec) -> set[str]:
    """The kinds of attention in a model, and those of its feed-forward blocks that no attention is called."""
    blocks = {kind_of(block) for block in spec.feedforward.values()} - set(ATTENTION)
    return blocks.union(*map(kinds, spec.attention.values()))


FULL, NOTHING = "full", "without"


def attention(spec: ModelSpec) -> str:
    """`22 window-1024 + 4 full GQA 16/8x256`: layers, how far they see, what they keep; and how many read another's rows."""
    counts: dict[tuple[str, str], int] = {}
    for layer in spec.plan:
        part = spec.attention[layer.attention]
        words = _joined(_reach(inner) for inner in parts(part)), _joined(_shape(inner) for inner in parts(part))
        counts[words] = counts.get(words, 0) + 1
    listed = sorted(counts.items(), key=lambda item: item[0][1] == NOTHING)
    if all(reach in ("", FULL) for (reach, _), _ in listed):
        listed = [(("", shape), count) for (_, shape), count in listed]
    said = []
    for place, ((reach, shape), count) in enumerate(listed):
        same = place + 1 < len(listed) and listed[place + 1][0][1] == shape
        said.append(" ".join(filter(None, (str(count), reach, "" if same else shape))))
    shared = sum(layer.reuses is not None for layer in spec.plan)
    again = sum(layer.again for layer in spec.plan)
    return " + ".join(said) + (f", {shared} share" if shared else "") + (f", {again} run again" if again else "")


def _joined(words: Iterable[str]) -> str:
    return " | ".join(word for word in words if word)


def _reach(part: Attention) -> str:
    """How far a layer of a kind with and without windows sees."""
    for field, word in (("window", "window"), ("attention_chunk_size", "chunk")):
        size = getattr(part, field, None)
        if size is not None:
            return f"{word}-{size}"
    return FULL if hasattr(part, "window") else ""


def _shape(part: Attention) -> str:
    """What a slot holds: heads over KV heads x width, or latent + RoPE key."""
    kind = kind_of(part)
    heads, groups, width = (getattr(part, name, None) for name in ("num_attention_heads", "num_key_value_heads", "head_dim"))
    latent, rope, top, ratio = (
        getattr(part, name, None) for name in ("kv_lora_rank", "qk_rope_head_dim", "index_topk", "compress_ratio")
    )
    if latent is not None:
        return f"{name_of(kind)} {latent}" + (f"+{rope}" if rope else "") + (f" top-{top}" if top else "")
    if heads is not None and groups is not None and width is not None:
        name = name_of(kind) if kind != "gqa" else "MHA" if heads == groups else "MQA" if groups == 1 else "GQA"
        values = getattr(part, "v_head_dim", None)
        return f"{name} {heads}/{groups}x{width}" + (f":{values}" if values not in (None, width) else "")
    if ratio is not None:
        return f"{name_of(kind)} 1/{ratio}" + (f" top-{top}" if top else "")
    return NOTHING if kind == "none" else name_of(kind)


def name_of(kind: str) -> str:
    """A kind in a table: KPOOL-DSA."""
    return kind.replace("_", "-").upper()
