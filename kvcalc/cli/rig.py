"""What `--on`, `--tp`, `--pp`, `--ep`, `--dp` and `--usable` name together: a device, how many, and the plan if one was asked."""

from typing import NamedTuple

from kvcalc.hardware import Device
from kvcalc.parallel import Plan


class Rig(NamedTuple):
    """Devices as asked. `plan` is None where it is left to kvcalc."""

    device: Device
    devices: int
    plan: Plan | None


def rig(
    on: str,
    tp: int | None = None,
    pp: int | None = None,
    ep: int | None = None,
    dp: int | None = None,
    usable: str | None = None,
) -> Rig:
    """Read the options. Raises KvcalcError for an unknown device, a bad size, or a plan that cannot be."""
    from kvcalc.catalog import load_devices
    from kvcalc.parallel import asked

    named, device = load_devices(on)
    count, plan = asked(named, tp, pp, ep, dp)
    return Rig(device if usable is None else device.with_usable(usable), count, plan)
