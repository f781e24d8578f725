"""SGLang: pools of token slots for the whole device, made once at start; a request takes slots from them.

Reserves  a pool of max_total_tokens slots for the layers that keep every token, one of a fixed share of it for layers with a window,
          and a pool of states; each token pool has one spare page, the pool of states one spare slot
Formula   tokens T = max_total_tokens, or batch x pages of a sequence, in whole pages; full layers T + page slots; windows
          pages(T x swa_full_tokens_ratio) + page slots, without radix cache pages(batch x (W + 128 + 2 page) + 2 chunk + page) + page;
          states max_mamba_cache_size + 1 slots, natively 3 x batch, without radix cache 1 x batch
Worked    gemma-4-31b, 131,072 tokens, bf16: (131,072 + 1) x 10 x 8,192 + (104,857 + 1) x 50 x 16,384 = 96,637,173,760 bytes
Omits     the request-to-token map (4 bytes per request and token); what memory is left beyond the scenario goes to the pools as well
Assumes   pages of 1 token, 64 for sparse MLA, unless page_size says otherwise; KV in 16 bits or fp8, sparse MLA in fp8 as 656 bytes;
          recurrent state in fp32 unless the spec declares its format; a model of windows alone has no share but T slots
Source    read, not run: SGLang 0.5.23, sglang/srt/model_executor/pool_configurator.py, sglang/srt/mem_cache/memory_pool.py,
          sglang/srt/mem_cache/kv_cache_configurator.py, sglang/srt/configs/mamba_utils.py
"""

from decimal import Decimal
from typing import ClassVar, NamedTuple

from pydantic import Field

from kvcalc.allocator import Allocator, NotModelled, Reservation, Reserved, owned, reserved, rounded_up, with_field
from kvcalc.errors import ScenarioError
from kvcalc.formats import FORMATS, Format
from kvcalc.kind import Count, Row, Tokens
from kvcalc.ledger import row_format
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.slots import Every, Window
from kvcalc.spec import Block, ModelSpec

NOT_MODELLED = {
    "csa_hca": "DeepSeek-V4's pools",
    "csa2": "DeepSeek-V4.1's pools",
    "cca": "ZAYA1's pools",
    "msa": "MiniMax-M3's pools",
}
FAMILIES = {"rope_key_norm": "dots3-note's pools", "softmax_scaling": "Mistral Large 4's pools"}
"""The same by a field that their relatives of the same kind do not have."""
CACHE_TYPES = {NATIVE: "bf16", "bf16": "bf16", "fp16": "fp16", "fp8": "fp8", "mxfp8": "mxfp8"}
SPARSE_PAGE = 64
EVICTION_INTERVAL = 128
"""Tokens between two evictions behind a window (SGLANG_SWA_EVICTION_INTERVAL)."""
CHUNKS_IN_FLIGHT = 2
STATES_PER_REQUEST = 3
"""With a radix cache: the running state, and those kept for prefixes."""


class Pools(NamedTuple):
    """Slots of the pools, spare ones included."""

    full: int
    window: int
    state: int


class Sglang(Allocator):
    about: ClassVar[str] = "SGLang 0.5.23"
    devices_setting: ClassVar[str] = "tp_size"

    max_total_tokens: Tokens | None = Field(None, description="Slots of the pool [tokens]; not given: what the scenario fills")
    page_size: Count | None = Field(None, description="--page-size [tokens]; not given: 1, 64 for sparse MLA")
    swa_full_tokens_ratio: Decimal = Field(Decimal("0.8"), gt=0, le=1, description="Slots of windows for each full slot")
    disable_radix_cache: bool = Field(False, description="--disable-radix-cache: windows and states sized for the batch alone")
    chunked_prefill_size: Tokens = Field(8192, description="--chunked-prefill-size [tokens]")
    max_mamba_cache_size: Count | None = Field(None, description="States that the pool keeps, beside the spare one")
    tp_size: Count = Field(1, description="--tp-size: devices that share each layer; bytes are one device's")

    def reserve(self, model: ModelSpec, scenario: Scenario) -> Reservation:
        rows = owned(model, scenario)
        for kind in sorted({block.kind for block, _ in rows} & set(NOT_MODELLED)):
            raise NotModelled(f"{self.about}: {NOT_MODELLED[kind]} are not modelled ({model.id})")
        for family in with_field(model, FAMILIES):
            raise NotModelled(f"{self.about}: {family} are not modelled ({model.id})")
        pools = self._pools(rows, scenario)
        return Reservation(self.about, tuple(self._line(model, scenario, pools, block, row) for block, row in rows))

    def _pools(self, rows: list[tuple[Block, Row]], scenario: Scenario) -> Pools:
        page = self.page_size or (SPARSE_PAGE if any(block.kind == "dsa" for block, _ in rows) else 1)
        tokens = (self.max_total_tokens or scenario.batch * rounded_up(scenario.context, page)) // page * page
        needed = scenario.batch * rounded_up(scenario.context, page)
        windows = [row.held.size for _, row in rows if isinstance(row.held, Window)]
        full = any(isinstance(row.held, Every) for _, row in rows)
        if full and needed > tokens:
            raise ScenarioError(f"a pool of {tokens:,} tokens does not hold {scenario.batch:,} x {scenario.context:,}")
        window = self._window_pool(tokens, max(windows), page, scenario) if windows and full else tokens
        if windows and full and max(windows) + page >= window:
            raise ScenarioError(
                f"{self.about} does not start: {window:,} slots for windows hold no request with a window of {max(windows):,}",
                "raise max_total_tokens or swa_full_tokens_ratio",
            )
        states = self.max_mamba_cache_size or scenario.batch * (1 if self.disable_radix_cache else STATES_PER_REQUEST)
        return Pools(tokens + page, window + page, states + 1)

    def _window_pool(self, tokens: int, window: int, page: int, scenario: Scenario) -> int:
        if not self.disable_radix_cache:
            return int(tokens * self.swa_full_tokens_ratio) // page * page
        per_request = window + EVICTION_INTERVAL + 2 * page
        in_flight = CHUNKS_IN_FLIGHT * self.chunked_prefill_size
        return rounded_up(scenario.batch * per_request + in_flight + page, page)

    def _line(self, model: ModelSpec, scenario: Scenario, pools: Pools, block: Block, row: Row) -> Reserved:
        stored, part = self._format(model, scenario, block, row), self._part(row)
        if row.role in ("recurrent", "conv"):
            return reserved(block, row, stored, pools.state * row.held.count(1), elements=part)
        match row.held:
            case Every():
                return reserved(block, row, stored, pools.full, elements=part)
            case Window(sinks=0):
                return reserved(block, row, stored, pools.window, elements=part)
        raise NotModelled(f"{self.about}: the pool of {block.label}.{row.name} ({model.id}) is not modelled")

    def _format(self, model: ModelSpec, scenario: Scenario, block: Block, row: Row) -> Format:
        if row.role not in ("kv", "index"):
            return row_format(model, scenario, row)
        if scenario.kv_format not in CACHE_TYPES:
            raise ScenarioError(f"{self.about} has no KV cache of {scenario.kv_format}", "it has: " + ", ".join(CACHE_TYPES))
        stored = CACHE_TYPES[scenario.kv_format]
        if row.role == "index" or (block.kind == "dsa" and stored == "fp8" and row.name == "latent"):
            return FORMATS["fp8-1x128"]
        return FORMATS["bf16" if block.kind == "dsa" and row.name == "rope_key" else stored]

    def _part(self, row: Row) -> int:
        """Elements of a slot on one device: heads are dealt out, beyond their number repeated."""
        if row.split % self.tp_size and self.tp_size % row.split:
            raise ScenarioError(f"tp_size {self.tp_size} does not divide the {row.split} heads of {row.name}")
        return row.elements // min(row.split, self.tp_size)
