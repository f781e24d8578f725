"""Published figures: each comes out under the convention that its source used, or differs for the reason that its spec states."""

import pytest
from conftest import MODELS

from kvcalc.catalog import load_model
from kvcalc.verify import evaluate

CHECKS = [(name, place) for name in MODELS for place in range(len(load_model(name).checks))]


@pytest.mark.parametrize(
    ("name", "place"), CHECKS, ids=[f"{name}-{load_model(name).checks[place].what}-{place}" for name, place in CHECKS]
)
def test_a_published_figure_comes_out_as_its_spec_says(name: str, place: int) -> None:
    model = load_model(name)
    verdict = evaluate(model, model.checks[place], load_model)
    check = verdict.check
    assert verdict.as_said, (
        f"{check.what}: published {check.equals} {check.unit} ({check.source}), computed {float(verdict.computed):.6g}"
    )


def test_there_are_published_figures() -> None:
    assert len(CHECKS) >= 40
