"""The devices of the catalogue as a table, with filters; and the receipts of one device: every value, its source, what is missing."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

from kvcalc.efficiency import efficiency
from kvcalc.errors import ScenarioError
from kvcalc.hardware import Advertised, Arithmetic, Device, Sourced
from kvcalc.report.table import Cell, Column, Document, Passage, Table, percent_column, text_column
from kvcalc.units import GIB, bytes_text, decimal_scale, scaled, significant


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which devices are asked for. What a device does not carry never meets a condition."""

    device_class: str | None = None
    vendor: str | None = None
    least_memory: Fraction | None = None
    most_memory: Fraction | None = None
    least_usable: Fraction | None = None
    least_bandwidth: Fraction | None = None
    arithmetic: Arithmetic | None = None
    most_price: Fraction | None = None
    sort: str = "id"

    def meets(self, device: Device) -> bool:
        """Whether a device meets every condition."""
        return all(met for _, met in self.conditions(device))

    def conditions(self, device: Device) -> Iterator[tuple[str, bool]]:
        """Each condition that was asked for, as on the command line, and whether a device meets it."""
        memory, usable, price = device.memory_bytes, device.usable_bytes, device.usd_per_hour
        bandwidth = None if device.bandwidth is None else device.bandwidth_bytes_per_s
        if self.device_class is not None:
            yield f"--class {self.device_class}", device.device_class.lower() == self.device_class.lower()
        if self.vendor is not None:
            yield f"--vendor {self.vendor}", device.vendor.lower() == self.vendor.lower()
        if self.least_memory is not None:
            yield f"--min-memory {bytes_text(int(self.least_memory))}", memory is not None and memory >= self.least_memory
        if self.most_memory is not None:
            yield f"--max-memory {bytes_text(int(self.most_memory))}", memory is not None and memory <= self.most_memory
        if self.least_usable is not None:
            yield f"--min-usable {bytes_text(int(self.least_usable))}", usable is not None and usable >= self.least_usable
        if self.least_bandwidth is not None:
            asked = scaled(self.least_bandwidth, "B/s")
            yield f"--min-bandwidth {asked}", bandwidth is not None and bandwidth >= self.least_bandwidth
        if self.arithmetic is not None:
            yield f"--has {self.arithmetic}", device.support(self.arithmetic) in ("native", "rate unpublished")
        if self.most_price is not None:
            yield f"--max-price {significant(self.most_price)}USD/h", price is not None and price <= self.most_price


BATCHED = 2
SORTS: dict[str, tuple[str, bool]] = {
    "id": ("id", False),
    "memory": ("memory_bytes", True),
    "bandwidth": ("bandwidth", True),
    "compute": ("bf16", True),
    "power": ("watts", True),
    "price": ("usd_per_hour", False),
}
"""By what devices can be sorted: the key of a row, and whether the largest comes first. What is unknown comes last."""


MORE = ("name", "vendor", "class", "usable_bytes", "link", "link_kind", "price_date", "price_usd", "absent", "supported")
"""What programs get beside the columns."""


def devices(items: Sequence[Device], wanted: Wanted) -> Table:
    """The devices that meet the conditions. Largest first; by price, cheapest first.

    Raises:
        ScenarioError: a class or vendor that no device has; it lists those there are.
    """
    for what, asked, known in (
        ("class", wanted.device_class and wanted.device_class.lower(), {device.device_class.lower() for device in items}),
        ("vendor", wanted.vendor and wanted.vendor.lower(), {device.vendor.lower() for device in items}),
    ):
        if asked is not None and asked not in known:
            raise ScenarioError(f"no device is of {what} {asked!r}", "known: " + ", ".join(sorted(known)))
    rows = [_row(device) for device in items if wanted.meets(device)]
    key, largest_first = SORTS[wanted.sort]
    if key != "id":
        sign = -1 if largest_first else 1
        rows.sort(key=lambda row: (row[key] is None, sign * float(row[key] or 0)))
    columns = (
        text_column("id", "id"),
        Column("memory_bytes", "memory [GiB]", _in(GIB)),
        Column("bandwidth", "bandwidth [TB/s]", _in(decimal_scale("T"))),
        Column("bf16", "bf16", _prefixed),
        Column("fp8", "fp8", _prefixed),
        Column("watts", "power [W]", lambda value: f"{value:,.0f}"),
        Column("usd_per_hour", "rent [$/h]", significant),
    )
    notes = [
        f"{len(rows)} of {len(items)} devices; bf16 (or fp16) and fp8: dense FLOP/s with fp32 accumulation, T 10^12, P 10^15; "
        "-: not carried or not there; all values with their sources: kvcalc explain DEVICE"
    ]
    dates = sorted(str(row["price_date"]) for row in rows if row["price_date"] is not None)
    if dates:
        notes.append(f"prices per hour: on demand, read from {dates[0]} to {dates[-1]}; they fall and rise")
    if not rows:
        notes.append(_unmet(items, wanted))
    return Table(columns, tuple(rows), notes=tuple(notes), more=MORE)


def _unmet(items: Sequence[Device], wanted: Wanted) -> str:
    """Which condition no device meets, or, where each is met by some, how many devices each alone shuts out."""
    met = [dict(wanted.conditions(device)) for device in items]
    names = list(met[0]) if met else []
    never = [name for name in names if not any(each[name] for each in met)]
    if never:
        return f"no device meets {' or '.join(never)}"
    without = {name: sum(all(each[other] for other in names if other != name) for each in met) for name in names}
    ways = ", ".join(f"without {name} {count}" for name, count in without.items() if count)
    return f"no device meets {' and '.join(names)} together" + (f"; {ways}" if ways else "")


def _in(scale: int) -> Callable[[int | float], str]:
    return lambda value: significant(Fraction(value) / scale)


def _prefixed(value: float) -> str:
    return scaled(value, "").strip()


def _row(device: Device) -> dict[str, Cell]:
    sizes, link = device.sizes, device.link_bytes_per_s
    sixteen, eight = sizes.get("peak.bf16", sizes.get("peak.fp16")), sizes.get("peak.fp8")
    return {
        "id": device.id,
        "name": device.name,
        "vendor": device.vendor,
        "class": device.device_class,
        "memory_bytes": device.memory_bytes,
        "usable_bytes": device.usable_bytes,
        "bandwidth": None if device.bandwidth is None else float(device.bandwidth_bytes_per_s),
        "bf16": None if sixteen is None else float(sixteen),
        "fp8": None if eight is None else float(eight),
        "watts": None if device.watts is None else float(device.watts),
        "usd_per_hour": None if device.usd_per_hour is None else float(device.usd_per_hour),
        "link": None if link is None else float(link),
        "link_kind": None if device.link is None else device.link.kind,
        "price_date": None if device.cloud_price is None else device.cloud_price.date,
        "price_usd": None if device.price is None else float(device.sizes["price"]),
        "absent": " ".join(device.absent),
        "supported": " ".join(device.supported),
    }


# -- receipts -----------------------------------------------------------------------------------------------------------------------

LOOKED_FOR = ("memory", "usable memory", "bandwidth", "power", "link", "cloud price")
"""What every device would have; where it is missing the receipt says so."""


def device(item: Device) -> Document:
    """Every value of a device with its source, evidence and date; what it has not; what follows from what is missing."""
    values = list(_values(item))
    sources = list(dict.fromkeys(value.source for _, value in values if value is not None))
    rows = tuple(_receipt(what, value, sources) for what, value in values)
    columns = (
        text_column("what", "what"),
        Column("value", "value"),
        text_column("evidence", "evidence"),
        text_column("date", "date"),
        Column("reference", "source", raw="source"),
    )
    parts: list[Passage] = ["\n".join(_about(item)), Table(columns, rows, more=("note",))]
    measured = _measured(item)
    if measured.rows:
        parts.append(measured)
    remarks = [f"  {what}: {value.note}" for what, value in values if value is not None and value.note]
    if remarks:
        parts.append("\n".join(["remarks", *remarks]))
    if sources:
        parts.append("\n".join(["sources", *(f"  [{place}] {source}" for place, source in enumerate(sources, 1))]))
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


def _about(item: Device) -> Iterable[str]:
    """Class, ridge points, arithmetic."""
    yield f"{item.vendor} {item.device_class}" + (f", launched {item.launched}" if item.launched else "")
    if item.seen_as is not None:
        each = "" if item.usable_bytes is None else f", {bytes_text(item.usable_bytes // item.seen_as)} of memory each"
        yield f"software sees {item.seen_as} devices in it{each}; the values are of all together"
    ridges = list(_ridges(item))
    if ridges:
        yield "ridge: " + ", ".join(ridges) + " (below it memory binds, above it compute)"
    if item.absent:
        yield f"known not to have: {', '.join(item.absent)}"
    if item.supported:
        yield f"supported, at a rate that is not known: {', '.join(_bounded(item, item.supported))}"
    silent = [name for name in MATRIX if item.support(name) == "unpublished"]
    if silent:
        yield f"nothing is carried for: {', '.join(_bounded(item, silent))}"


def _bounded(item: Device, names: Iterable[Arithmetic]) -> Iterable[str]:
    """Arithmetic without a rate of its own, and the rate that bounds it."""
    for name in names:
        rate = item.rate(name)
        yield name if rate is None else f"{name} (no faster than {rate.arithmetic}, {scaled(rate.per_s, 'FLOP/s')})"


def _values(item: Device) -> Iterable[tuple[str, Sourced | None]]:
    single: tuple[tuple[str, Sourced | None], ...] = (
        ("memory", item.memory),
        ("usable memory", item.usable_memory),
        ("bandwidth", item.bandwidth),
        ("measured bandwidth", item.measured_bandwidth),
    )
    yield from ((what, value) for what, value in single if value is not None or what in LOOKED_FOR)
    for what, table in (
        ("peak {}", item.peak),
        ("fp16 sums {}", item.peak_fp16_accumulate),
        ("advertised {}", item.advertised),
        ("measured {}", item.measured_peak),
    ):
        yield from ((what.format(key), value) for key, value in table.items())
    single = (
        ("power" if item.power is None else f"power ({item.power.kind})", item.power),
        ("idle power", item.idle_power),
        ("link" if item.link is None else f"link ({item.link.kind})", item.link),
        ("measured link", item.measured_link),
        ("price", item.price),
        ("cloud price", item.cloud_price),
    )
    yield from ((what, value) for what, value in single if value is not None or what in LOOKED_FOR)
    yield from ((f"  {offer.provider}", offer) for offer in item.cloud_prices)


def _receipt(what: str, value: Sourced | None, sources: Sequence[str]) -> dict[str, Cell]:
    if value is None:
        return {"what": what, "value": None, "evidence": None, "date": None, "reference": None, "source": None, "note": None}
    counts = None
    if isinstance(value, Advertised):
        counts = value.counts if value.counts == "format not said" else f"counts {value.counts}"
    return {
        "what": what.strip(),
        "value": value.value,
        "evidence": counts or value.evidence,
        "date": value.date,
        "reference": f"[{sources.index(value.source) + 1}]",
        "source": value.source,
        "note": value.note,
    }


MATRIX: tuple[Arithmetic, ...] = ("bf16", "fp16", "fp8", "fp4", "int8", "int4")
"""Arithmetic in which weights are multiplied."""


def _ridges(item: Device) -> Iterable[str]:
    """FLOP/byte at which compute takes over, for each arithmetic with a published peak."""
    if item.bandwidth is None:
        return
    for name in MATRIX:
        twin = name == "fp16" and item.sizes.get("peak.bf16") == item.sizes.get("peak.fp16")
        if name in item.peak and not twin:
            yield f"{name} {significant(item.sizes[f'peak.{name}'] / item.bandwidth_bytes_per_s)} FLOP/B"


def _consequences(item: Device) -> Iterable[str]:
    if item.bandwidth is None:
        yield "no bandwidth is carried: no time, energy or cost can be bounded"
    if item.memory is None:
        yield "no memory is carried: whether a model fits is not said; give --usable"
    elif item.usable_memory is None:
        yield "what a program may use is not carried: a model can be refused, not promised to fit; give --usable"
    if "bf16" not in item.peak and "fp16" not in item.peak:
        rate = item.rate("fp16")
        follows = "the bound is memory's alone" if rate is None else f"16-bit products are no faster than {rate.arithmetic}"
        yield f"no 16-bit matrix rate is carried: {follows}"
    if item.power is None:
        yield "no power is carried: no energy is computed; give --power"
    if item.cloud_price is None:
        yield "no price per hour is carried: no cost is computed; give --price"
    if item.link is None:
        yield "no link is carried: the time that devices take to talk is not counted"
    elif item.link.kind == "nvlink-c2c":
        yield "the link joins it to a CPU: the time that devices take to talk is not counted"
