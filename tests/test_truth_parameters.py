"""Parameters and released bytes of every model, to the last one.

The numbers in truth/parameters.json are not kvcalc's. They were read from the reference implementations (transformers 5.23.0,
each model built from its config.json on the meta device, parameters counted by class of tensor) and, for DeepSeek-V4 and V4.1,
from the list of released tensors, whose count and payload are those of the release. "source" names the config.

truth/totals.json has total and active parameters of models that have neither these nor an entry in truth/imports.json. Each is
a count of the tensors of a class that another project wrote, named in "source", built with the numbers of the spec. The text
model alone, without layers for multi-token prediction and without the router's correction bias where that is a buffer.
"""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from test_import import TRUTH as IMPORTS
from test_import import WRITTEN

from kvcalc.catalog import data_folder, load_model, model_ids
from kvcalc.ledger import Entry, ledger
from kvcalc.scenario import Scenario

TRUTH = json.loads((Path(__file__).parent / "truth" / "parameters.json").read_text(encoding="utf-8"))
TOTALS = json.loads((Path(__file__).parent / "truth" / "totals.json").read_text(encoding="utf-8"))
STATE_ALONE = {
    "granite-4.0-h-micro": "vocabulary and feed-forward width are not known",
    "hy3-preview": "sources disagree about the vocabulary",
    "minicpm4-8b": "the vocabulary is not known",
    "sarvam-30b": "the vocabulary is not known",
}
"""Models without a reference, and why."""
RELEASED = [model for model, truth in TRUTH.items() if "released" in truth]
URL_OR_CITATION = re.compile(r"https://\S+|.*(arXiv:|et al\. )\d.*")


def sums(entries: tuple[Entry, ...], attribute: str) -> dict[str, int]:
    """Sums by piece, without the pieces that have nothing."""
    found: Counter[str] = Counter()
    for entry in entries:
        found[entry.piece] += getattr(entry, attribute)
    return {piece: number for piece, number in found.items() if number}


def released_component(entry: Entry) -> str:
    """Where the list of released tensors puts a tensor: norms of compressors among the norms, hash tables on their own."""
    if entry.name.endswith("compress_norm"):
        return "norms"
    if entry.name == "token_to_expert":
        return "router_hash_table"
    return "draft:mhc" if entry.piece.startswith("draft:hc_head") else entry.piece


@pytest.mark.parametrize("model", TRUTH)
def test_total(model: str) -> None:
    assert ledger(load_model(model), Scenario()).totals.parameters == TRUTH[model]["total"]


@pytest.mark.parametrize("model", TRUTH)
def test_components(model: str) -> None:
    assert sums(ledger(load_model(model), Scenario()).entries, "parameters") == TRUTH[model]["components"]


@pytest.mark.parametrize("model", TRUTH)
def test_active(model: str) -> None:
    """All but the experts not chosen; of look-up tables the rows looked up; a tied embedding whole, as the head's matrix."""
    active = TRUTH[model]["active"]
    expected = active.get("with_rows_looked_up") or active["without_tables"] + sum(active["rows_looked_up"].values())
    assert ledger(load_model(model), Scenario()).totals.active_parameters == expected


@pytest.mark.parametrize("model", TRUTH)
def test_towers(model: str) -> None:
    assert {name: tower.parameters for name, tower in load_model(model).towers.items()} == TRUTH[model].get("towers", {})


@pytest.mark.parametrize("model", [model for model, truth in TRUTH.items() if "draft" in truth])
def test_draft(model: str) -> None:
    pieces = sums(ledger(load_model(model), Scenario(include=("draft",))).entries, "parameters")
    assert sum(number for piece, number in pieces.items() if piece.startswith("draft:")) == TRUTH[model]["draft"]


@pytest.mark.parametrize("model", RELEASED)
def test_released_payload(model: str) -> None:
    """With everything included, every byte of the release, by component."""
    spec = load_model(model)
    book = ledger(spec, Scenario(include=tuple(spec.optional_pieces)))
    found: Counter[str] = Counter()
    for entry in book.entries:
        found[released_component(entry)] += entry.weight_bytes
    assert {piece: number for piece, number in found.items() if number} == TRUTH[model]["released"]["by_component"]
    assert book.totals.weight_bytes == TRUTH[model]["released"]["bytes"]


def test_every_model_has_a_truth() -> None:
    """Its parameters here, those of its config in truth/imports.json (test_import holds the two specs equal), or its totals."""
    imported = {written for name, written in WRITTEN.items() if IMPORTS.get(name, {}).get("total")}
    known = {*TRUTH, *imported, *TOTALS}
    assert sorted(known | set(STATE_ALONE)) == model_ids()
    for model in STATE_ALONE:
        assert model not in known and load_model(model).unknown


def test_totals() -> None:
    """All parameters; and the active ones: experts chosen, rows looked up, a tied embedding whole."""
    for model, truth in TOTALS.items():
        found = ledger(load_model(model), Scenario()).totals
        assert (model, found.parameters) == (model, truth["total"])
        assert (model, found.active_parameters) == (model, truth.get("active", found.active_parameters))


@pytest.mark.parametrize("model", TRUTH)
def test_spec_says_where_it_comes_from(model: str) -> None:
    spec = load_model(model)
    assert spec.id == model and (data_folder("specs") / f"{model}.yaml").is_file()
    assert spec.sources["config"].startswith("https://huggingface.co/")
    for source in spec.sources.values():
        assert URL_OR_CITATION.fullmatch(source), source
