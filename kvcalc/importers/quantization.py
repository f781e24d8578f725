"""How the weights of a config are stored: its dtype, and its quantization_config by piece of the model."""

from typing import Any

from kvcalc.importers.config import Config, shown
from kvcalc.importers.layout import Layout

DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "half": "fp16", "float": "fp32"}


def storage(outer: Config, text: Config, layout: Layout) -> dict[str, Any]:
    """The spec's `storage` section from the config's dtype and quantization; empty where it is all bf16."""
    dtype = text.text("dtype", "torch_dtype") or outer.text("dtype", "torch_dtype")
    weights = dict(layout.weights)
    if dtype is None:
        text.caveat("The config names no dtype: weights are taken as bf16.")
    elif dtype.removeprefix("torch.") not in DTYPES:
        raise text.refuse("dtype", f"{shown(dtype)} is not known", f"known: {', '.join(DTYPES)}")
    else:
        stored = DTYPES[dtype.removeprefix("torch.")]
        if stored != "bf16":
            weights.setdefault("default", stored)
    if outer.has("quantization_config") or outer.has("quantization"):
        raise outer.refuse("quantization_config", "is not read yet")
    return {"weights": weights} if weights else {}
