"""Shared helpers: every model and device of the catalogue."""

import pytest

from kvcalc.catalog import device_ids, load_model, model_ids
from kvcalc.kind import Part, kind_of
from kvcalc.spec import ModelSpec

ALL_MODELS = model_ids()
MODELS = [name for name in ALL_MODELS if not load_model(name).unknown]
"""Models whose weights are known."""
DEVICES = device_ids()


def _layout(model: ModelSpec) -> tuple[object, ...]:
    """What a model is made of: kinds, and which of their options are used; not how wide or how many."""

    def used(part: Part) -> tuple[object, ...]:
        parts = getattr(part, "parts", None) or {}
        router = getattr(part, "router", None)
        options = {name for name, value in part if value not in (None, False)}
        return kind_of(part), frozenset(options), frozenset(map(used, parts.values())), router and kind_of(router)

    parts = (*model.attention.values(), *model.feedforward.values(), model.residual, *model.embedding.tables.values())
    layers = {(layer.reuses is not None, layer.replay is not None, layer.again) for layer in model.plan}
    return frozenset(map(used, parts)), frozenset(layers), bool(model.draft), bool(model.towers), model.unknown


VARIED = list({_layout(load_model(name)): name for name in reversed(MODELS)}.values())
"""One model of each layout: what holds for these holds for their brothers of other sizes."""


@pytest.fixture(params=VARIED)
def model(request: pytest.FixtureRequest) -> ModelSpec:
    return load_model(request.param)
