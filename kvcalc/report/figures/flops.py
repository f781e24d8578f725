"""Work per token against context: what comes of weights, and what of attention as the context grows."""

from kvcalc.ledger import Entry
from kvcalc.report.figures import Drawing, Request
from kvcalc.report.figures._stack import Measure, flops_text, flops_unit, per_token

ABOUT = "FLOPs per token against context: one model piece by piece (--by), several as lines"


def _counted(entry: Entry) -> tuple[int, int]:
    return entry.flops, entry.attention_flops


FLOPS = Measure(
    "flops", "attention_flops", "work", "products with weights", "attention over context", _counted, flops_text, flops_unit
)


def drawing(request: Request) -> Drawing:
    """FLOPs per token over contexts; option `by`: what a part is."""
    return per_token(request, FLOPS)
