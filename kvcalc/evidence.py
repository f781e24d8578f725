"""Published and logged figures as data: what others printed about sizes, speeds and energy, each with its address.

One row of evidence/published.csv is one figure. Sizes are evaluated like the checks of a spec (`check` holds the same fields as JSON,
`rule` says in words how the source or engine counts); speeds, energy, memory and bandwidth are held against bounds. `expect` is
`differs` for figures known to be wrong, `unjudged` for those whose data do not suffice; `because` says why.
"""

import csv
import json
import re
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from kvcalc.catalog import data_folder
from kvcalc.errors import SpecError
from kvcalc.kind import Record

SIZES = ("state_bytes", "state_bytes_per_token", "parameters", "active_parameters", "weight_bytes")
SPEEDS = (
    "decode_tokens_per_second",
    "prefill_tokens_per_second",
    "inter_token_seconds",
    "throughput_tokens_per_second",
    "throughput_tokens_per_second_per_device",
    "decode_seconds_per_context_token",
)
ENERGIES = ("device_joules_per_token", "server_joules_per_token", "computer_joules_per_token")
PLACE = re.compile(r"https?://([^/\s]+)(/[^/\s]+)?(/[^/\s]+)?|arXiv:(\d{4}\.\d{4,5})")
LIMITS = ("memory_bytes", "bandwidth")
OTHER = "other"


def _positive(text: str) -> bool:
    try:
        return Decimal(text) >= 0
    except InvalidOperation:
        return False


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


def _integer(value: Any) -> Any:
    return None if value in ("", None) else int(value)


def _fields(value: Any) -> Any:
    return {} if value in ("", None) else json.loads(value) if isinstance(value, str) else value


Text = Annotated[str | None, BeforeValidator(_empty_is_none)]
Whole = Annotated[int | None, BeforeValidator(_integer)]


class Figure(Record):
    """One published figure.

    `context`: tokens in the state when it was taken (the mean where it grew, the least where it is not stated); `prompt`: for a
    prefill, the tokens that were there before it, for a throughput, those of each request's prompt, with `output` those of its
    answer. `weight_bytes`: the size of the file that ran, where it is known.
    """

    id: str
    category: str
    model: Text
    model_name: str
    what: Literal[
        "state_bytes",
        "state_bytes_per_token",
        "parameters",
        "active_parameters",
        "weight_bytes",
        "decode_tokens_per_second",
        "prefill_tokens_per_second",
        "inter_token_seconds",
        "throughput_tokens_per_second",
        "throughput_tokens_per_second_per_device",
        "decode_seconds_per_context_token",
        "device_joules_per_token",
        "server_joules_per_token",
        "computer_joules_per_token",
        "memory_bytes",
        "bandwidth",
        "other",
    ]
    published: str
    unit: str
    context: Whole
    prompt: Whole
    output: Whole
    batch: Whole
    kv_format: str
    weight_format: Text
    weight_bytes: Whole
    engine: Text
    era: Text = Field(description="Year of the software")
    device: Text
    device_name: Text
    devices: Whole
    tp: Whole
    ep: Whole
    dp: Whole
    watts: Text = Field(description="Mean or peak power that was measured [W]")
    rate: Text = Field(description="Tokens per second that were measured with an energy, by themselves [tok/s]")
    check: Annotated[dict[str, Any], BeforeValidator(_fields)]
    rule: Text
    unfit: Text = Field(description="Why no efficiency is fitted on it")
    expect: Literal["agrees", "differs", "unjudged"]
    because: Text
    source: str = Field(pattern=r"^https://")
    quote: Text

    @model_validator(mode="after")
    def _sound(self) -> "Figure":
        if self.expect != "agrees" and not self.because:
            raise ValueError(f"a figure that {self.expect} needs `because`")
        if self.what == OTHER and self.expect != "unjudged":
            raise ValueError("no rule judges `other`: expect unjudged")
        for name, value in (("published", self.published), ("watts", self.watts), ("rate", self.rate)):
            if value is not None and not (name == "published" and self.what == OTHER) and not _positive(value):
                raise ValueError(f"{name}: {value!r} is not a number above or at zero")
        if self.what not in SIZES and not set(self.check) <= {"set"}:
            raise ValueError(f"check: only `set` belongs to {self.what}")
        if (self.output is not None) != (self.what.startswith("throughput") and self.prompt is not None):
            raise ValueError("prompt and output belong together, to a throughput")
        return self


@cache
def figures() -> tuple[Figure, ...]:
    """Every figure that the package carries. Raises SpecError (file:line) for a row that is not one."""
    file = data_folder("evidence") / "published.csv"
    found = []
    with file.open(encoding="utf-8", newline="") as opened:
        for line, row in enumerate(csv.DictReader(opened), start=2):
            try:
                found.append(Figure.model_validate(row))
            except (ValidationError, ValueError) as error:
                raise SpecError(f"{file}:{line}: {' '.join(str(error).split())[:200]}") from None
    return tuple(found)


def place(source: str) -> str:
    """github.com/owner/name, arXiv:2405.04434, or the host of an address."""
    match = PLACE.search(source)
    if match is None:
        return source
    if match[4]:
        return f"arXiv:{match[4]}"
    host = match[1]
    if host in ("github.com", "huggingface.co"):
        return host + (match[2] or "") + (match[3] or "")
    return f"arXiv:{(match[3] or '').strip('/')}" if host.endswith("arxiv.org") else host
