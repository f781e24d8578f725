"""kvcalc: how much hardware does this language model actually eat?

    >>> from kvcalc import estimate
    >>> estimate("gemma-4-e2b", context="128K", device="rtx-4090").state_bytes
    811597824

The whole of it on one page: docs/api.md. What is named here is read when it is first used, so that `import kvcalc` is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvcalc.api import Comparison, Estimate, compare, estimate, sweep
    from kvcalc.catalog import device_ids, load_device, load_model, model_ids
    from kvcalc.change import changed
    from kvcalc.errors import KvcalcError
    from kvcalc.grid import Grid
    from kvcalc.hardware import Device
    from kvcalc.parallel import Plan
    from kvcalc.scenario import Scenario
    from kvcalc.shown import Picture, Shown, closed_form, ladder, plot, without
    from kvcalc.spec import ModelSpec

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "Device",
    "Estimate",
    "Grid",
    "KvcalcError",
    "ModelSpec",
    "Picture",
    "Plan",
    "Scenario",
    "Shown",
    "__version__",
    "changed",
    "closed_form",
    "compare",
    "device_ids",
    "estimate",
    "ladder",
    "load_device",
    "load_model",
    "model_ids",
    "plot",
    "sweep",
    "without",
]

_HOMES = {
    "api": ("Comparison", "Estimate", "compare", "estimate", "sweep"),
    "catalog": ("device_ids", "load_device", "load_model", "model_ids"),
    "change": ("changed",),
    "errors": ("KvcalcError",),
    "grid": ("Grid",),
    "hardware": ("Device",),
    "parallel": ("Plan",),
    "scenario": ("Scenario",),
    "shown": ("Picture", "Shown", "closed_form", "ladder", "plot", "without"),
    "spec": ("ModelSpec",),
}
"""The module of each public name."""


def __getattr__(name: str) -> Any:
    home = next((home for home, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"{__name__}.{home}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
