"""The devices of the catalogue as a table, with filters; and the receipts of one device: every value, its source, what is missing."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from kvcalc.efficiency import efficiency
from kvcalc.errors import ScenarioError
from kvcalc.hardware import Arithmetic, Device, Sourced
from kvcalc.report.table import Cell, Column, Document, Table, percent_column, text_column
from kvcalc.units import bytes_text, scaled, significant


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which devices are asked for. What a device does not publish never meets a condition."""

    device_class: str | None = None
    vendor: str | None = None
    least_memory: Fraction | None = None
    most_memory: Fraction | None = None
    least_bandwidth: Fraction | None = None
    arithmetic: Arithmetic | None = None
    most_price: Fraction | None = None
    sort: str = "id"

    def meets(self, device: Device) -> bool:
        """Whether a device meets every condition."""
        memory = device.memory_bytes
        bandwidth = None if device.bandwidth is None else device.bandwidth_bytes_per_s
        price = device.usd_per_hour
        return (
            (self.device_class is None or device.device_class == self.device_class)
            and (self.vendor is None or device.vendor.lower() == self.vendor.lower())
            and (self.least_memory is None or (memory is not None and memory >= self.least_memory))
            and (self.most_memory is None or (memory is not None and memory <= self.most_memory))
            and (self.least_bandwidth is None or (bandwidth is not None and bandwidth >= self.least_bandwidth))
            and (self.arithmetic is None or device.has(self.arithmetic) is True)
            and (self.most_price is None or (price is not None and price <= self.most_price))
        )


BATCHED = 2
SORTS = ("id", "memory", "bandwidth", "compute", "power", "price")


def devices(items: Sequence[Device], wanted: Wanted) -> Table:
    """The devices that meet the conditions. Largest first; by price, cheapest first.

    Raises:
        ScenarioError: a class or vendor that no device has; it lists those there are.
    """
    for what, asked, known in (
        ("class", wanted.device_class, {device.device_class for device in items}),
        ("vendor", wanted.vendor and wanted.vendor.lower(), {device.vendor.lower() for device in items}),
    ):
        if asked is not None and asked not in known:
            raise ScenarioError(f"no device is of {what} {asked!r}", "known: " + ", ".join(sorted(known)))
    rows = [_row(device) for device in items if wanted.meets(device)]
    keys = {"memory": "usable_bytes", "bandwidth": "bandwidth", "compute": "bf16", "power": "watts", "price": "usd_per_hour"}
    if wanted.sort != "id":
        key, sign = keys[wanted.sort], 1 if wanted.sort == "price" else -1
        rows.sort(key=lambda row: (row[key] is None, sign * float(row[key] or 0)))
    columns = (
        text_column("id", "id"),
        text_column("memory", "memory"),
        Column("usable_bytes", "usable", bytes_text),
        Column("bandwidth", "bandwidth", lambda value: scaled(value, "B/s")),
        Column("bf16", "bf16 [FLOP/s]", lambda value: scaled(value, "").strip()),
        Column("fp8", "fp8", lambda value: scaled(value, "").strip()),
        Column("watts", "[W]", significant),
        Column("usd_per_hour", "[USD/h]", significant),
    )
    notes = (
        f"{len(rows)} of {len(items)} devices; peaks are dense with fp32 accumulation, bf16 or fp16; "
        "-: not published or not there; sources: kvcalc explain DEVICE",
    )
    return Table(columns, tuple(rows), notes=notes)


def _row(device: Device) -> dict[str, Cell]:
    sixteen = device.rate("bf16")
    return {
        "id": device.id,
        "class": device.device_class,
        "memory": None if device.memory is None else device.memory.value,
        "usable_bytes": device.usable_bytes,
        "bandwidth": None if device.bandwidth is None else float(device.bandwidth_bytes_per_s),
        "bf16": None if sixteen is None else float(sixteen[1]),
        "fp8": float(rate[1]) if device.has("fp8") and (rate := device.rate("fp8")) is not None else None,
        "watts": None if device.watts is None else float(device.watts),
        "usd_per_hour": None if device.usd_per_hour is None else float(device.usd_per_hour),
    }


# -- receipts -----------------------------------------------------------------------------------------------------------------------


def device(item: Device) -> Document:
    """Every value of a device with its source, evidence and date; what it has not; what follows from what is missing."""
    rows = tuple(_receipt(what, value) for what, value in _values(item))
    columns = (
        text_column("what", "what"),
        Column("value", "value"),
        text_column("evidence", "evidence"),
        text_column("date", "date"),
        text_column("source", "source"),
    )
    lines = [f"{item.vendor} {item.device_class}" + (f", launched {item.launched}" if item.launched else "")]
    ridges = list(_ridges(item))
    if ridges:
        lines.append("ridge: " + ", ".join(ridges) + " (below it memory binds, above it compute)")
    if item.absent:
        lines.append(f"known not to have: {', '.join(item.absent)}")
    parts: list[str | Table] = ["\n".join(lines), Table(columns, rows)]
    measured = _measured(item)
    if measured.rows:
        parts.append(measured)
    return Document(f"{item.name} ({item.id})", tuple(parts), (*item.caveats, *_consequences(item)))


def _measured(item: Device) -> Table:
    """What measured systems with this device reach of the bound, and the rows it rests on."""
    rows: list[dict[str, Cell]] = []
    for phase, batch in (("decode", 1), ("decode", BATCHED), ("prefill", 1)):
        for width in ("16-bit", "8-bit", "4-bit"):
            found = efficiency(item, phase, batch, width)
            if found is not None and all(row["of"] != found.label for row in rows):
                rows.append(
                    {
                        "of": found.label,
                        "rows": found.rows,
                        "median": found.median,
                        "low": found.low,
                        "high": found.high,
                        "claim": found.claim,
                        "eras": found.eras,
                        "ids": " ".join(found.ids),
                    }
                )
    columns = (
        text_column("of", "measured over bound, of"),
        Column("rows", "rows"),
        percent_column("median", "median [%]"),
        percent_column("low", "from [%]"),
        percent_column("high", "to [%]"),
        percent_column("claim", "holds [%]"),
        text_column("eras", "years"),
        text_column("ids", "rows of kvcalc verify"),
    )
    return Table(columns, tuple(rows), title="what measured systems reach", stacked=7)


def _values(item: Device) -> Iterable[tuple[str, Sourced | None]]:
    yield "memory", item.memory
    yield "usable memory", item.usable_memory
    yield "bandwidth", item.bandwidth
    yield "measured bandwidth", item.measured_bandwidth
    for what, table in (
        ("peak {}, dense", item.peak),
        ("peak {}, fp16 sums", item.peak_fp16_accumulate),
        ("advertised {}", item.advertised),
        ("measured {}", item.measured_peak),
    ):
        yield from ((what.format(key), value) for key, value in table.items())
    yield "power", item.power
    yield "idle power", item.idle_power
    yield "link, one direction" if item.link is None else f"{item.link.kind}, one direction", item.link
    yield "price", item.price
    yield "cloud price", item.cloud_price
    yield from ((f"offer, {offer.provider}", offer) for offer in item.cloud_prices)


def _receipt(what: str, value: Sourced | None) -> dict[str, Cell]:
    if value is None:
        return {"what": what, "value": None, "evidence": None, "date": None, "source": "not published, or not found"}
    counts = f" (counts {value.counts})" if hasattr(value, "counts") else ""
    return {
        "what": what,
        "value": value.value,
        "evidence": value.evidence,
        "date": value.date,
        "source": value.source + counts + (f" ({value.note})" if value.note else ""),
    }


def _ridges(item: Device) -> Iterable[str]:
    """FLOP/byte at which compute takes over, for each arithmetic that has matrix units."""
    if item.bandwidth is None:
        return
    for name in ("bf16", "fp16", "fp8", "fp4", "int8"):
        if name in item.peak and not (name == "fp16" and "bf16" in item.peak):
            found = item.rate(name)
            if found is not None:
                yield f"{name} {significant(Fraction(found[1]) / item.bandwidth_bytes_per_s)} FLOP/B"


def _consequences(item: Device) -> Iterable[str]:
    if item.bandwidth is None:
        yield "no bandwidth is published: no time, energy or cost can be bounded"
    if item.memory is None:
        yield "no memory is carried: whether a model fits is not said; give --usable"
    elif item.usable_memory is None:
        yield "what a program may use is not published: a model can be refused, not promised to fit; give --usable"
    if item.rate("bf16") is None:
        yield "no 16-bit matrix rate is published: the bound is memory's alone"
    if item.power is None:
        yield "no power is published: no energy is computed; give --power"
    if item.cloud_price is None:
        yield "no price per hour is carried: no cost is computed; give --price"
    if item.link is None:
        yield "no link is carried: the time that devices take to talk is not counted"
