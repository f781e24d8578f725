"""What `--on`, `--tp`, `--pp`, `--ep`, `--dp` and `--usable` name together: a device, how many, and the plan if one was asked."""

from typing import NamedTuple

from kvcalc.errors import ScenarioError
from kvcalc.hardware import Device
from kvcalc.parallel import Plan


class Rig(NamedTuple):
    """Devices as asked. `plan` is None where it is left to kvcalc."""

    device: Device
    devices: int
    plan: Plan | None


def asked_rig(
    on: str | None, tp: int | None, pp: int | None, ep: int | None, dp: int | None, usable: str | None
) -> Rig | None:
    """The same where a device may be left out: None then. Raises ScenarioError for a plan without one."""
    if on is not None:
        return rig(on, tp, pp, ep, dp, usable)
    if (tp, pp, ep, dp, usable) != (None,) * 5:
        raise ScenarioError("--tp, --pp, --ep, --dp and --usable need a device", "add --on, e.g. --on 8xh100-sxm")
    return None


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
