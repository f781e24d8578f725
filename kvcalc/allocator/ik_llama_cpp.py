"""ik_llama.cpp: cells for the whole context in every layer; a latent stored once, twice, or expanded to heads.

Reserves  n_ctx cells in every layer, windows included; for MLA, by its `-mla`: 0 K and V of every head; 1 the latent with its RoPE key,
          and the latent again transposed; 2 and 3 the latent with its RoPE key
Formula   bytes = layers x pad(n_ctx) x (row of K in type_k + row of V in type_v); pad = up to a multiple of 256
Worked    gemma-3-27b, 131,072 tokens: 62 x 131,072 x 16 x (128 + 128) x 2 = 66,571,993,088 bytes (63,488 MiB)
Omits     compute and output buffers
Assumes   one sequence's array serves all slots; the default type is f16, also for bf16 models; V2, V3 and R1 have no sparse attention there
Source    logs of 2024 to 2025: https://github.com/ikawrakow/ik_llama.cpp discussions 223, 334, 357, 477 and pull requests 237, 259, 273
"""

from typing import ClassVar, Literal

from pydantic import Field

from kvcalc.allocator import Allocator, NotModelled, Reservation, Reserved, owned, reserved, rounded_up
from kvcalc.attention.mla import MLA
from kvcalc.formats import Format, FormatName, get_format
from kvcalc.kind import Row, Tokens
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.spec import Block, ModelSpec

PAD = 256
DEFAULT_TYPE = "fp16"
KINDS = ("gqa", "mla")


class IkLlamaCpp(Allocator):
    about: ClassVar[str] = "ik_llama.cpp, 2025"

    n_ctx: Tokens | None = Field(None, description="-c: cells of all slots together [tokens]; not given: context x batch")
    mla: Literal[0, 1, 2, 3] = Field(3, description="-mla: 0 expanded to heads, 1 latent and its transpose, 2 and 3 latent")
    cache_type_k: FormatName | None = Field(None, description="-ctk; not given: the scenario's format, natively f16")
    cache_type_v: FormatName | None = Field(None, description="-ctv; not given: the scenario's format, natively f16")

    def reserve(self, model: ModelSpec, scenario: Scenario) -> Reservation:
        rows = owned(model, scenario)
        for kind in sorted({block.kind for block, _ in rows} - set(KINDS)):
            raise NotModelled(f"{self.about}: its cache of {kind} layers is not modelled ({model.id})")
        cells = rounded_up(self.n_ctx or scenario.context * scenario.batch, PAD)
        lines = tuple(self._line(scenario, cells, block, row) for block, row in rows)
        extra = tuple(
            line for block, row in rows if row.name == "latent" for line in self._beside(model, scenario, cells, block, row)
        )
        return Reservation(self.about, lines, extra)

    def _line(self, scenario: Scenario, cells: int, block: Block, row: Row) -> Reserved:
        expanded = block.kind == "mla" and self.mla == 0
        return reserved(block, row, self._type(scenario, row.name), 0 if expanded else cells)

    def _beside(self, model: ModelSpec, scenario: Scenario, cells: int, block: Block, latent: Row) -> list[Reserved]:
        """What an MLA layer keeps that is no row of the model: the transposed latent, or K and V of every head."""
        part = model.attention[block.label.removeprefix("draft ").split(" ")[0]]
        if not isinstance(part, MLA) or self.mla > 1:
            return []
        if self.mla == 1:
            return [reserved(block, latent._replace(name="transposed_latent"), self._type(scenario, "value"), cells)]
        key = part.num_attention_heads * (part.qk_nope_head_dim + part.qk_rope_head_dim)
        value = part.num_attention_heads * part.v_head_dim
        return [
            reserved(block, latent._replace(name=name, elements=width), self._type(scenario, name), cells)
            for name, width in (("key", key), ("value", value))
        ]

    def _type(self, scenario: Scenario, row: str) -> Format:
        asked = self.cache_type_v if row == "value" else self.cache_type_k
        return get_format(asked or (DEFAULT_TYPE if scenario.kv_format == NATIVE else scenario.kv_format))
