"""Receipts: the closed forms of a model in t, with the numbers put in, as text or LaTeX; and the conventions.

A closed form is a sum of coefficient x law(t): state bytes, state reads of a decode step, FLOPs of a decode step.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from kvcalc.ledger import PRODUCT_USES, active_elements, row_format, state_terms
from kvcalc.scenario import Scenario
from kvcalc.slots import Closing, EveryNth, Fixed, Given, Law, Opening
from kvcalc.spec import ModelSpec

CONVENTIONS: tuple[tuple[str, str], ...] = (
    (
        "t, the context",
        "tokens whose state is held once the new token's own is stored; a decode step at t reads that many, its own included",
    ),
    ("integers", "tokens, elements, bytes and FLOPs are exact; only seconds, ratios and expectations are not"),
    (
        "FLOPs",
        "a multiply-add counts 2; matrix products, convolutions, recurrences and the weighted sums of indexers and hyper-connections "
        "count, softmax, norms, gates and rotary embeddings do not; "
        "prefill is causal: the sum of count(x), not t squared",
    ),
    (
        "attention FLOPs",
        "scores, value mixes and indexer products, without projections; MLA decodes absorbed and prefills expanded",
    ),
    ("K and M", "2^10 and 2^20, for tokens only: 128K = 131,072"),
    ("GB and GiB", "10^9 and 2^30 bytes, always; rates are decimal"),
    ("roles", "kv, index (keys of a sparse-attention indexer), recurrent, conv, buffer (a compressor's open tail and overlap)"),
    (
        "native",
        "the format in which the release or its reference engine keeps each row and tensor; --kv-format sets kv and index rows only",
    ),
    (
        "state",
        "what the layout must hold between steps: a window min(t, W) with the current token in W, a convolution its last K-1 inputs, "
        "an open compressor its pending tokens; K and V both, also where one is made from the other",
    ),
    ("per token", "growth from one token to the next, averaged over the last 4,096"),
    (
        "active parameters",
        "all but the experts not chosen; of look-up tables the rows looked up; a tied embedding whole, as the head; "
        "integer tables are bytes, not parameters",
    ),
    ("batch", "weights are read once per step; of E experts with k chosen, B tokens touch E(1 - (1 - k/E)^B) in expectation"),
    (
        "arithmetic",
        "products run in the arithmetic of the weight's format (fp8, fp4, int8; ggml formats in int8, as their kernels multiply; int4 in "
        "16 bits, fp32 in tf32), scores and value mixes in 16 bits, indexers in their keys' format; what a device has not, in the next "
        "that it has",
    ),
    ("sharing", "a layer that reuses another's rows keeps none and reads them all"),
    (
        "prefill traffic",
        "every weight once, every surviving slot written once and read once; the head runs for the last token only",
    ),
    ("activations", "not counted, but for hyper-connections: what their streams move beyond a plain residual"),
    (
        "lower bound",
        "max(FLOPs / peak, bytes / bandwidth) of the whole step: perfect overlap at dense peak rates; upper bound: their sum",
    ),
    (
        "reached",
        "what measured systems reach of a bound: median and range over published measurements of the same device and width of weights, "
        "else of the device, else of its class; rows of one device, model, width and publication count as one system. The range holds a "
        "further system as often as it says; a single row scatters more. Never folded into a bound; kvcalc list efficiency",
    ),
    (
        "several devices",
        "tp cuts heads and widths, repeats KV heads beyond their number, copies latents, index keys, norms and routers; pp cuts layers so "
        "that the fullest stage holds least; ep deals out whole experts; dp gives each replica its part of the batch. The fullest device "
        "decides the fit. What devices must send counts on the link, in one direction, and may overlap with the rest",
    ),
    (
        "speculation",
        "k drafted tokens, each accepted with chance a given those before: a step yields (1 - a^(k+1)) / (1 - a) tokens in expectation",
    ),
    (
        "energy and money",
        "TDP (idle: the least) and the on-demand price for the time of the step, over its tokens; pieces share by the time that each takes "
        "alone; the building: x host_overhead x pue",
    ),
    (
        "fits",
        "weights + state against the memory that a program can use; activations and fragmentation come on top, what an engine sets aside "
        "with --allocator",
    ),
)


@dataclass(frozen=True)
class ClosedForm:
    """coefficient x law(t), summed. Coefficients are bytes or FLOPs."""

    name: str
    unit: str
    terms: tuple[tuple[int, Law], ...]

    def at(self, t: int) -> int:
        """Its value after t tokens."""
        return sum(coefficient * law.count(t) for coefficient, law in self.terms)

    @property
    def text(self) -> str:
        """`6,144 t + 12,288 min(t, 512)`."""
        return " + ".join(_term(coefficient, law, "{:,}", law.text, " ", " x ") for coefficient, law in self.terms) or "0"

    @property
    def latex(self) -> str:
        """The same for an article."""
        return " + ".join(_term(coefficient, law, "{}", law.latex, r"\,", r" \cdot ") for coefficient, law in self.terms) or "0"

    def numbers(self, t: int) -> str:
        """The same with t put in: `6,144 x 131,072 + 12,288 x 512 = 811,597,824`."""
        products = (f"{coefficient:,} x {law.count(t):,}" for coefficient, law in self.terms)
        return f"{' + '.join(products) or '0'} = {self.at(t):,}"


def _term(coefficient: int, law: Law, number: str, formula: str, space: str, times: str) -> str:
    if isinstance(law, Fixed):
        return number.format(coefficient * law.n)
    return f"{number.format(coefficient)}{times if formula[0].isdigit() else space}{formula}"


def _ordered(terms: Iterable[tuple[int, Law]]) -> tuple[tuple[int, Law], ...]:
    """Merged by law, growing terms first."""
    merged: dict[Law, int] = {}
    for coefficient, law in terms:
        merged[law] = merged.get(law, 0) + coefficient
    far = 1 << 40
    return tuple(
        sorted(
            ((size, law) for law, size in merged.items()),
            key=lambda term: (isinstance(term[1], Fixed), -term[1].count(far) * term[0]),
        )
    )


def state_form(model: ModelSpec, kv_format: str) -> ClosedForm:
    """Bytes of one sequence's state."""
    return ClosedForm("state", "bytes", _ordered((term.bytes_per_slot, term.law) for term in state_terms(model, kv_format)))


def read_form(model: ModelSpec, kv_format: str) -> ClosedForm:
    """Bytes of state that one decode step reads for one sequence."""
    scenario = Scenario(kv_format=kv_format)
    return ClosedForm(
        "state read",
        "bytes",
        _ordered(
            (block.layers * row_format(model, scenario, row).bytes(1, row.elements), row.read)
            for block in model.blocks
            for row in block.rows
        ),
    )


def flops_form(model: ModelSpec) -> ClosedForm:
    """FLOPs of one decode step of one sequence: a constant from the weights, the rest from scores, mixes and indexers."""
    products = [(block.layers * work.flops, work.read) for block in model.blocks for work in block.work]
    tensors = [
        (2 * block.layers * active_elements(weight), _when(weight.runs))
        for block in model.blocks
        for weight in block.weights
        if weight.use in PRODUCT_USES
    ]
    return ClosedForm("work", "FLOPs", _ordered([*products, *tensors]))


def _when(runs: Law) -> Law:
    """How often one decode step runs a tensor: every time, once for each block that closes, or with the first token alone."""
    if isinstance(runs, Given):
        return Opening(runs.n)
    return Closing(runs.m, 1) if isinstance(runs, EveryNth) and runs.m > 1 else Fixed(1)
