"""What measured systems reach of their bounds, as a table: by class of device, width of the weights and year of the software."""

from collections import defaultdict
from collections.abc import Sequence
from statistics import median

from kvcalc.efficiency import Factor, Sample, efficiency, samples, systems
from kvcalc.hardware import Device
from kvcalc.report.table import Cell, Document, Table, count_column, percent_column, text_column

BATCHED = 64
ASKED = (("decode", 1), ("decode", BATCHED), ("prefill", 1))
WIDTHS = ("16-bit", "8-bit", "4-bit")


def efficiency_table(devices: Sequence[Device] = ()) -> Document:
    """Every group of measurements, with rows, systems, median and spread; then what each of these devices gets of them, and what that
    claims."""
    parts = [_groups(samples())]
    if devices:
        parts.append(_factors(devices))
    notes = (
        "rows of one device, model, width and publication are one system, with their median; median, least and most are over systems",
        "claim: how many of 100 further systems the range should hold; the rows themselves: kvcalc verify",
    )
    return Document("measured over bound speed", tuple(parts), notes)


def _groups(listed: Sequence[Sample]) -> Table:
    groups: dict[tuple[str, ...], list[Sample]] = defaultdict(list)
    for sample in listed:
        groups[(sample.phase, sample.device_class, sample.width, sample.era)].append(sample)
    rows: list[dict[str, Cell]] = []
    for (phase, device_class, width, era), of_group in sorted(groups.items()):
        made = systems(of_group)
        rows.append(
            {
                "phase": phase,
                "class": device_class,
                "width": width,
                "year": era or None,
                "rows": len(of_group),
                "systems": len(made),
                "devices": len({one.device for one in made}),
                "median": median(one.ratio for one in made),
                "low": made[0].ratio,
                "high": made[-1].ratio,
                "engines": ", ".join(sorted({sample.engine for sample in of_group if sample.engine})),
            }
        )
    columns = (
        text_column("phase", "phase"),
        text_column("class", "class"),
        text_column("width", "weights"),
        text_column("year", "year"),
        count_column("rows", "rows"),
        count_column("systems", "systems"),
        count_column("devices", "devices"),
        percent_column("median", "median [%]"),
        percent_column("low", "least [%]"),
        percent_column("high", "most [%]"),
        text_column("engines", "engines"),
    )
    return Table(columns, tuple(rows))


def _factors(devices: Sequence[Device]) -> Table:
    found: dict[str, Factor] = {}
    for device in devices:
        for phase, batch in ASKED:
            for width in WIDTHS:
                factor = efficiency(device, phase, batch, width)
                if factor is not None:
                    found.setdefault(factor.label, factor)
    rows: list[dict[str, Cell]] = [
        {
            "of": factor.label,
            "years": factor.eras or None,
            "rows": factor.rows,
            "systems": factor.systems,
            "median": factor.median,
            "low": factor.low,
            "high": factor.high,
            "claim": factor.claim,
            "engines": ", ".join(factor.engines),
        }
        for factor in found.values()
    ]
    columns = (
        text_column("of", "of"),
        text_column("years", "years"),
        count_column("rows", "rows"),
        count_column("systems", "systems"),
        percent_column("median", "median [%]"),
        percent_column("low", "low [%]"),
        percent_column("high", "high [%]"),
        percent_column("claim", "claim [%]"),
        text_column("engines", "engines"),
    )
    return Table(columns, tuple(rows))
