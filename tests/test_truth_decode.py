"""One decode step at batch 1 against an independent evaluator: state read, index keys scanned, core and indexer FLOPs, weights read.

truth/decode_costs.json was written by hand-derived closed forms of each family (not by this package), in bf16 and in the released
formats. Its weights leave out look-ups: rows of embeddings, per-layer and n-gram tables and of the token-to-expert map.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from kvcalc.catalog import load_model
from kvcalc.ledger import Ledger, ledger
from kvcalc.scenario import Scenario

TRUTH: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "truth" / "decode_costs.json").read_text())
CASES = [(name, int(context)) for name, costs in TRUTH.items() for context in costs["contexts"]]
EVEN = 4098
"""A context at which DeepSeek-V4.1's compressors of two tokens close a block, so that the index key's projection runs."""


def read(book: Ledger, role: str) -> int:
    return sum(entry.read_bytes for entry in book.entries if entry.role == role)


@pytest.mark.parametrize(("name", "context"), CASES)
@pytest.mark.parametrize("kv_format", ["bf16", "native"])
def test_state_read(name: str, context: int, kv_format: str) -> None:
    truth = TRUTH[name]["contexts"][str(context)]
    book = ledger(load_model(name), Scenario(context=context, kv_format=kv_format))
    assert read(book, "kv") == truth.get(f"kv_read_{kv_format}", truth["kv_read_bf16"])
    assert read(book, "index") == truth.get(f"index_read_{kv_format}", 0)


@pytest.mark.parametrize(("name", "context"), CASES)
def test_flops(name: str, context: int) -> None:
    truth = TRUTH[name]["contexts"][str(context)]
    book = ledger(load_model(name), Scenario(context=context))
    flops = {piece: sum(entry.attention_flops for entry in entries) for piece, entries in book.by("piece").items()}
    assert flops["attention"] == truth["core_flops"]
    assert flops.get("indexer", 0) == truth["indexer_flops"]
    if "conv_flops" in truth:
        assert sum(entry.flops for entry in book.by("piece")["cca_convs"]) == truth["conv_flops"]


@pytest.mark.parametrize(("name", "context"), [case for case in CASES if "mhc_moved" in TRUTH[case[0]]["contexts"][str(case[1])]])
def test_hyper_connections(name: str, context: int) -> None:
    """What the streams move beyond a plain residual, and the FLOPs at every site; the head's own product is apart in the evaluator."""
    truth = TRUTH[name]["contexts"][str(context)]
    entries = [
        entry for entry in ledger(load_model(name), Scenario(context=context)).by("piece")["mhc"] if entry.name != "hc_head"
    ]
    streams = [entry for entry in entries if entry.name == "residual streams"]
    assert sum(entry.read_bytes + entry.written_bytes for entry in streams) == 2 * truth["mhc_moved"]
    assert sum(entry.flops for entry in entries) == truth["mhc_flops"]


@pytest.mark.parametrize("name", [name for name, costs in TRUTH.items() if "weights_read_bytes" in costs])
def test_weights_read(name: str) -> None:
    model = load_model(name)
    looked_up = {
        (block.label, weight.name) for block in model.blocks for weight in block.weights if weight.use in ("lookup", "table")
    }
    entries = ledger(model, Scenario(context=EVEN)).entries
    weights = [entry for entry in entries if entry.weight_bytes and (entry.group, entry.name) not in looked_up]
    assert sum(entry.read_bytes for entry in weights) == TRUTH[name]["weights_read_bytes"]
