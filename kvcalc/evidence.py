"""Published and logged figures as data: what others printed about sizes, speeds and energy, each with its address.

One row of evidence/published.csv is one figure. What it measures is one of WHATS; sizes are evaluated like the checks of a spec
(`check` holds the same fields as JSON, `rule` says in words how the source or engine counts); speeds and energy are held against
bounds. `expect` is `differs` for figures known to be wrong, with `because`.
"""

import csv
import json
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

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
OTHER = "other"


def _empty_is_none(value: Any) -> Any:
    return None if value == "" else value


def _integer(value: Any) -> Any:
    return None if value in ("", None) else int(value)


def _fields(value: Any) -> Any:
    return {} if value in ("", None) else json.loads(value)


Text = Annotated[str | None, BeforeValidator(_empty_is_none)]
Whole = Annotated[int | None, BeforeValidator(_integer)]


class Figure(Record):
    """One published figure.

    `context`: tokens in the state when it was taken (the mean where it grew); `prompt`: for a prefill, the tokens that were there
    before it. `weight_bytes`: the size of the file that ran, where it is known.
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
        "other",
    ]
    published: str
    unit: str
    context: Whole
    prompt: Whole
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
    check: Annotated[dict[str, Any], BeforeValidator(_fields)]
    rule: Text
    unfit: Text = Field(description="Why no efficiency is fitted on it")
    expect: Literal["agrees", "differs"]
    because: Text
    source: str = Field(pattern=r"^https://")
    quote: Text


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
