"""The measurements of the evidence against the bounds: the samples that efficiency factors rest on."""

from collections.abc import Iterator

from kvcalc.efficiency import PHASES, Sample, kind_of, weight_width
from kvcalc.evidence import Figure, figures, place
from kvcalc.hardware import Device
from kvcalc.judge import LoadDevice, devices_of, ledger_of, scenario_of
from kvcalc.roofline import bound
from kvcalc.spec import ModelSpec
from kvcalc.verify import LoadModel


def fitted(load_model: LoadModel, load_device: LoadDevice) -> list[Sample]:
    """Every measurement of the evidence that a factor may rest on, against the bounds: what evidence/samples.csv holds."""
    return list(_samples(load_model, load_device))


def _samples(load_model: LoadModel, load_device: LoadDevice) -> Iterator[Sample]:
    for figure in figures():
        usable = figure.what in PHASES and figure.unfit is None and figure.expect == "agrees"
        if not usable or figure.model is None or figure.device is None or figure.weight_format is None:
            continue
        device = load_device(figure.device)
        model = load_model(figure.model)
        found = _ratio(figure, device, model)
        if found is None:
            continue
        yield Sample(
            figure.id,
            kind_of(PHASES[figure.what], figure.batch or 1),
            device.id,
            device.device_class,
            weight_width(ledger_of(figure, model, scenario_of(figure))),
            figure.era or "",
            (figure.engine or "").split(" ")[0],
            figure.model,
            place(figure.source),
            found,
        )


def _ratio(figure: Figure, device: Device, model: ModelSpec) -> float | None:
    """Measured over bound speed, the bound as `estimate` prints it; None for a prefill on a device without a published rate."""
    scenario = scenario_of(figure)
    limits = bound(ledger_of(figure, model, scenario).entries, device, devices_of(figure))
    if scenario.phase == "prefill" and limits.math_seconds is None:
        return None
    measured = float(figure.published)
    if figure.what == "inter_token_seconds":
        return 1000 * limits.lower / measured
    return measured * limits.lower / (scenario.tokens if scenario.phase == "prefill" else scenario.batch)
