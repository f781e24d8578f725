"""Bytes that a token moves, against context: what comes of weights, and what of the state as it grows."""

from kvcalc.ledger import Entry
from kvcalc.report.figures import Drawing, Request
from kvcalc.report.figures._stack import Measure, bytes_unit, per_token, size_text

ABOUT = "bytes read and written per token against context: one model piece by piece (--by), several as lines"


def _counted(entry: Entry) -> tuple[int, int]:
    moved = entry.read_bytes + entry.written_bytes
    return moved, moved if entry.role else 0


TRAFFIC = Measure(
    "traffic_bytes", "state_traffic_bytes", "traffic", "weights and activations", "state", _counted, size_text, bytes_unit
)


def drawing(request: Request) -> Drawing:
    """Bytes read and written per token over contexts; option `by`: what a part is."""
    return per_token(request, TRAFFIC)
