"""The state rows of every model against the cache tensors that reference implementations hold, element for element.

truth/state.json is recorded with tools/record_state.py. Caches differ from the layout's state in a few conventions; each is one
rule below, which speaks of kinds of rows and never of a model.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kvcalc.attention.csa2 import CSA2
from kvcalc.attention.csa_hca import CSAHCA
from kvcalc.catalog import load_model
from kvcalc.kind import Attention, Row
from kvcalc.ledger import ledger
from kvcalc.scenario import Scenario
from kvcalc.slots import Window
from kvcalc.spec import ModelSpec

STATE: dict[str, Any] = json.loads((Path(__file__).parent / "truth" / "state.json").read_text())
RUNS = [(model, int(t)) for model, recording in STATE.items() for t in recording["contexts"]]

TENSORS: dict[tuple[str, str], tuple[str, ...]] = {
    ("gqa", "key"): ("keys",),
    ("gqa", "value"): ("values",),
    ("mla", "latent"): ("keys",),
    ("mla", "rope_key"): ("values",),
    ("dsa", "latent"): ("keys",),
    ("dsa", "rope_key"): ("values",),
    ("dsa", "index_key"): ("indexer_keys",),
    ("cca", "key"): ("keys",),
    ("cca", "value"): ("values",),
    ("cca", "conv"): ("conv_states.0",),
    ("cca", "delayed_value"): ("recurrent_states.0",),
    ("gdn", "recurrent"): ("recurrent_states.0",),
    ("gdn", "conv"): ("conv_states.0",),
    ("csa_hca", "window"): ("keys", "values"),
    ("csa_hca", "entry"): ("compressed_kv.compressor",),
    ("csa_hca", "open_block"): ("buffer_kv.compressor", "buffer_gate.compressor"),
    ("csa_hca", "overlap"): ("overlap_kv.compressor", "overlap_gate.compressor"),
    ("csa_hca", "index_key"): ("compressed_kv.indexer",),
    ("csa_hca", "index_open_block"): ("buffer_kv.indexer", "buffer_gate.indexer"),
    ("csa_hca", "index_overlap"): ("overlap_kv.indexer", "overlap_gate.indexer"),
    ("csa2", "window"): ("window",),
    ("csa2", "entry"): ("compress_kv",),
    ("csa2", "index_key"): ("index_k",),
    ("csa2", "open_block"): ("pending_kv", "pending_gate"),
}
"""(attention kind, row) -> the tensors of a layer's cache that hold it together."""


def layer_type(part: Attention, *, reuses: bool) -> str:
    """What the implementations call a layer of this kind."""
    kind, windowed = type(part).model_fields["kind"].annotation.__args__[0], getattr(part, "window", None) is not None
    if isinstance(part, CSA2):
        role = {"source": "full"}.get(part.role, part.role)
        return "sliding" if role == "window" else f"csa2_ratio{part.compress_ratio}_{role}"
    if isinstance(part, CSAHCA):
        if part.compress_ratio is None:
            return "sliding_attention"
        return "compressed_sparse_attention" if part.index_topk else "heavily_compressed_attention"
    if reuses:
        return "dummy"
    return {"cca": "hybrid_sliding" if windowed else "hybrid", "gdn": "linear_attention", "dsa": "indexed_attention"}.get(
        kind, "sliding_attention" if windowed else "full_attention"
    )


# -- differences of convention: each takes a row and what one layer of kvcalc holds of it, and says what the cache holds --------


def window_without_the_newest(kind: str, row: Row, implementation: str, elements: int, slots: int) -> tuple[int, int]:
    """transformers keeps W - 1 rows of a window between steps: the next token brings its own, and then W are read. The layout's
    state counts the newest token among the W. mlx-lm keeps W rows, as kvcalc does."""
    if isinstance(row.held, Window) and implementation.startswith("transformers"):
        return elements, min(slots, row.held.size - 1)
    return elements, slots


def shared_key_twice(kind: str, row: Row, implementation: str, elements: int, slots: int) -> tuple[int, int]:
    """DeepSeek-V4 attends to one vector per token as key and as value. transformers' cache has a tensor for each, so the window
    stands there twice; an engine keeps it once (584 bytes per row in vLLM)."""
    if (kind, row.name) == ("csa_hca", "window") and implementation.startswith("transformers"):
        return 2 * elements, slots
    return elements, slots


def convolution_with_the_newest(kind: str, row: Row, implementation: str, elements: int, slots: int) -> tuple[int, int]:
    """transformers' convolution buffer of linear attention has as many columns as the kernel has taps (K), the newest token's
    input among them. The next output needs the last K - 1 only, which is what kvcalc counts and fused kernels keep."""
    if (kind, row.name) == ("gdn", "conv") and implementation.startswith("transformers"):
        return elements, slots + 1
    return elements, slots


RULES = (window_without_the_newest, shared_key_twice, convolution_with_the_newest)


def rows(model: ModelSpec, context: int) -> Iterator[tuple[str, Attention, Row, bool, int, int, int]]:
    """Every state row that the ledger holds: kind, part, row, whether its layers reuse others, layers, elements, slots."""
    laws = {(block.label, row.name): row for block in model.blocks for row in block.rows}
    for entry in ledger(model, Scenario(context=context)).state:
        name, reading, _ = entry.group.partition(" (reads")
        yield (
            entry.kind,
            model.attention[name],
            laws[entry.group, entry.name],
            bool(reading),
            entry.layers,
            entry.elements,
            entry.slots,
        )


def expected(model_id: str, context: int, rules: tuple[Any, ...] = RULES) -> dict[tuple[str, ...], int]:
    """What kvcalc says that each group of tensors holds."""
    implementation, found = STATE[model_id]["implementation"], dict[tuple[str, ...], int]()
    for kind, part, row, reuses, layers, elements, slots in rows(load_model(model_id), context):
        for rule in rules:
            elements, slots = rule(kind, row, implementation, elements, slots)
        place = layer_type(part, reuses=reuses)
        key = tuple(f"{place}/{tensor}" for tensor in TENSORS[kind, row.name])
        found[key] = found.get(key, 0) + layers * elements * slots
    return found


def grouped(model_id: str, context: int, keys: Iterator[tuple[str, ...]]) -> dict[tuple[str, ...], int]:
    """The recorded elements, added up as kvcalc's rows are."""
    recorded = STATE[model_id]["contexts"][str(context)]
    return {key: sum(recorded.get(tensor, 0) for tensor in key) for key in keys}


@pytest.mark.parametrize(("model_id", "context"), RUNS, ids=lambda value: str(value))
def test_every_row_is_a_recorded_tensor_and_every_tensor_a_row(model_id: str, context: int) -> None:
    ours = expected(model_id, context)
    assert grouped(model_id, context, iter(ours)) == ours
    explained = {tensor for key in ours for tensor in key}
    assert set(STATE[model_id]["contexts"][str(context)]) <= explained
    assert sum(ours.values()) == sum(STATE[model_id]["contexts"][str(context)].values())


@pytest.mark.parametrize("model_id", STATE)
def test_layers_of_each_type(model_id: str) -> None:
    model, found = load_model(model_id), dict[str, int]()
    for layer in model.plan:
        place = layer_type(model.attention[layer.attention], reuses=layer.reuses is not None)
        found[place] = found.get(place, 0) + 1
    assert found == STATE[model_id]["layers"]


@pytest.mark.parametrize("model_id", STATE)
def test_each_tensor_of_a_row_holds_an_equal_part(model_id: str) -> None:
    """Rows that stand in two tensors (key and value of one vector, kv and gate) are halves of equal size."""
    for context, recorded in STATE[model_id]["contexts"].items():
        for key in expected(model_id, int(context)):
            assert len({recorded.get(tensor, 0) for tensor in key}) == 1, key


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_each_rule_is_needed(rule: Any) -> None:
    others = tuple(other for other in RULES if other is not rule)
    assert any(expected(model, t, others) != grouped(model, t, iter(expected(model, t))) for model, t in RUNS)


def test_every_attention_kind_is_recorded() -> None:
    kinds = {kind for model in STATE for kind, *_ in rows(load_model(model), 297)}
    assert kinds == {kind for kind, _ in TENSORS}


CATALOGUE = json.loads((Path(__file__).parent / "truth" / "state_catalog.json").read_text(encoding="utf-8"))["models"]
"""Bytes of one sequence's state of more models, as the reference implementation's caches hold it (see its source)."""


@pytest.mark.parametrize("name", CATALOGUE)
def test_bytes_of_state_of_the_catalogue(name: str) -> None:
    model = load_model(name)
    assert model.sources["config"] == CATALOGUE[name]["source"]
    for context, size in CATALOGUE[name]["bytes"].items():
        assert ledger(model, Scenario(context=int(context), kv_format="bf16")).totals.state_bytes == size, context
