"""Shared helpers: every model and device of the catalogue."""

import pytest

from kvcalc.catalog import device_ids, load_model, model_ids
from kvcalc.spec import ModelSpec

MODELS = model_ids()
DEVICES = device_ids()


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest) -> ModelSpec:
    return load_model(request.param)
