"""The closed forms that `explain` prints equal the ledger, for every model, around every corner of t."""

import pytest

from kvcalc.explain import flops_form, read_form, state_form
from kvcalc.ledger import ledger
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec

CORNERS = (1, 2, 3, 4, 127, 128, 129, 511, 512, 1024, 4095, 4096, 131072, 1048576)


@pytest.mark.parametrize("kv_format", ["native", "bf16"])
def test_closed_forms_equal_the_ledger(model: ModelSpec, kv_format: str) -> None:
    for t in CORNERS:
        book = ledger(model, Scenario(context=t, kv_format=kv_format))
        assert state_form(model, kv_format).at(t) == book.totals.state_bytes
        assert read_form(model, kv_format).at(t) == sum(entry.read_bytes for entry in book.entries if entry.role)
        assert flops_form(model).at(t) == book.totals.flops


def test_the_form_of_gemma_4_e2b() -> None:
    """State as in transformers models/gemma4: 3 global and 12 local layers keep K and V."""
    from kvcalc.catalog import load_model

    form = state_form(load_model("gemma-4-e2b"), "native")
    assert form.text == "6,144 t + 12,288 min(t, 512)"
    assert form.latex == r"6144\,t + 12288\,\min(t, 512)"
    assert form.numbers(131072) == "6,144 x 131,072 + 12,288 x 512 = 811,597,824"
