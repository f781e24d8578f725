"""A published figure as data: what a source says, under which convention, where. `kvcalc.verify` evaluates it."""

from decimal import Decimal
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from kvcalc.formats import FormatName
from kvcalc.kind import Count, Name, Record, Tokens


class Versus(Record):
    """The other side of a ratio: a model under its own convention, or a published number in base units."""

    model: Name | None = None
    value: Annotated[int, Field(gt=0)] | None = None
    context: Tokens | None = Field(None, description="Not given: the check's")
    format: FormatName | None = Field(None, description="Not given: the check's")
    rows: list[str] | None = Field(None, description="Not given: the check's")
    set: dict[str, int | bool | str] = Field(default_factory=dict)
    inverse: bool = Field(False, description="How many times smaller this model is, instead of larger")

    @model_validator(mode="after")
    def _one_of_two(self) -> "Versus":
        if (self.model is None) == (self.value is None):
            raise ValueError("a ratio is against a model or a value, one of the two")
        return self


class Check(Record):
    """A published figure: what it says, under which convention, and where. Evaluated by `kvcalc.verify`."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)

    what: Literal[
        "parameters",
        "active_parameters",
        "weight_bytes",
        "state_bytes",
        "state_bytes_per_token",
        "attention_flops",
        "flops",
        "fp8_equivalent_flops",
        "prefill_active_parameters",
        "sharing_saves_bytes",
        "heads_per_kv_head",
    ]
    equals: Decimal | int = Field(description="The published figure, as printed")
    unit: Literal["", "B", "KB", "KiB", "MB", "MiB", "GB", "GiB", "M", "billion", "T", "%", "x"] = ""
    source: str
    convention: str = Field(description="How the source counts, in one sentence")
    context: Tokens | None = None
    batch: Count = 1
    format: FormatName | None = Field(None, description="Format of kv and index rows; not given: native")
    weight_format: FormatName | None = None
    upto: FormatName | None = Field(
        None, description="weight_bytes of a file of mixed widths: it lies between those in weight_format and those in this one"
    )
    formats: dict[str, FormatName] = Field(default_factory=dict, description="Format of single rows")
    rows: list[str] | None = Field(None, description="Only these rows")
    groups: list[str] | None = Field(None, description="Only the attention of these names")
    include: list[str] = Field(default_factory=list, description="Pieces outside the plain decode")
    ignore: list[Literal["window", "sharing"]] = Field(default_factory=list, description="Tricks that the source does not honour")
    set: dict[str, int | bool | str] = Field(default_factory=dict, description="Spec fields as the source takes them")
    engine: str | None = Field(None, description="state_bytes: the engine (allocator) that reserves them")
    settings: dict[str, int | bool | str] = Field(default_factory=dict, description="Settings of the engine")
    versus: Versus | None = None
    times: Decimal | int = Field(1, description="A factor that the source applies (overhead)")
    plus: int = Field(0, description="What the source adds (in base units)")
    within: Decimal | None = Field(
        None, description="Relative tolerance where the source rounds by hand; not given: the printed digits"
    )
    agrees: bool = True
    because: str | None = Field(None, description="Why it differs, or what is not known")

    @model_validator(mode="after")
    def _explained(self) -> "Check":
        if not self.agrees and not self.because:
            raise ValueError("a check that does not agree needs `because`")
        if (self.engine is not None and self.what != "state_bytes") or (self.settings and self.engine is None):
            raise ValueError("an engine belongs to state_bytes, settings to an engine")
        if self.upto is not None and (self.what != "weight_bytes" or self.weight_format is None):
            raise ValueError("upto belongs to weight_bytes in a weight_format")
        return self
