"""The models of the catalogue as a table, with filters."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kvcalc.errors import ScenarioError, did_you_mean
from kvcalc.kind import Attention, kind_of
from kvcalc.ledger import what_is_known
from kvcalc.report.table import Cell, Column, Table, count_column, text_column
from kvcalc.report.tables import scaled_count
from kvcalc.scenario import Scenario
from kvcalc.spec import ATTENTION, ModelSpec
from kvcalc.units import tokens


@dataclass(frozen=True, slots=True)
class WantedModels:
    """Which models are asked for. What is not known never meets a condition."""

    kind: str | None = None
    family: str | None = None
    least_parameters: int | None = None
    most_parameters: int | None = None
    least_context: int | None = None

    def check(self, specs: Iterable[ModelSpec]) -> None:
        """Raises ScenarioError for a kind or a family that is nobody's."""
        families = sorted({spec.family for spec in specs})
        for what, asked, known in (("kind", self.kind, list(ATTENTION)), ("family", self.family, families)):
            if asked is not None and asked not in known:
                raise ScenarioError(f"no {what} is named {asked[:80]!r}", did_you_mean(asked, known) or f"known: {', '.join(known)}")

    def meets(self, spec: ModelSpec, parameters: int | None) -> bool:
        """Whether a model meets every condition."""
        return (
            (self.kind is None or any(self.kind in kinds(part) for part in spec.attention.values()))
            and (self.family is None or spec.family == self.family)
            and (self.least_parameters is None or (parameters is not None and parameters >= self.least_parameters))
            and (self.most_parameters is None or (parameters is not None and parameters <= self.most_parameters))
            and (self.least_context is None or spec.max_context >= self.least_context)
        )


def models(specs: Iterable[ModelSpec], wanted: WantedModels | None = None) -> Table:
    """The models of the catalogue that are asked for."""
    specs, wanted = list(specs), wanted or WantedModels()
    wanted.check(specs)
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
    notes = ("B/token: growth of one sequence's state at the longest context, native formats",)
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
