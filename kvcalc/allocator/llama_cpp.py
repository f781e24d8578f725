"""llama.cpp: one array of cells for each layer, made at start, as long as the context asked for.

Reserves  full attention n_ctx_seq cells; a window its size and one micro-batch; compressed entries one cell per m tokens; recurrent and
          convolution states one fp32 row for each slot. Each slot (sequence) has its own array (stream), unless the cache is unified.
          Index keys that are pooled elsewhere have a cell for each token, in GLM-5.3-Flash beside gate and pooled key; MiniMax-M3's index
          cache has a V, too, of one head
Formula   n_ctx_seq = pad(n_ctx / slots), unified n_ctx = pad(n_ctx); window: pad(min(n_ctx_seq, W x (slots if unified) + ubatch));
          pad = up to a multiple of 256; bytes = layers x streams x cells x (row of K in type_k + row of V in type_v)
Worked    gemma-4-31b, 131,072 tokens, f16: 10 x 131,072 x 8,192 + 50 x 1,536 x 16,384 = 11,995,709,440 bytes (11,440 MiB)
Omits     compute and output buffers; host prompt cache and context checkpoints of the server
Assumes   DeepSeek-V4's own cache is never unified; a model whose every layer has a window (Mistral-7B) gets full-length cells, as its
          architecture there knows no window; index keys are stored in type_k; the default type is f16, also for bf16 models
Source    llama.cpp 0.5.0-dev: src/llama-context.cpp (n_ctx_seq), src/llama-kv-cache.cpp, src/llama-kv-cache-iswa.cpp,
          src/llama-kv-cache-dsa.cpp, src/llama-kv-cache-dsv4.cpp, src/llama-kv-cache-msa.cpp, src/llama-memory-recurrent.cpp,
          src/llama-memory-hybrid-idx.cpp, src/llama-model.cpp (create_memory)
"""

from typing import ClassVar, NamedTuple

from pydantic import Field

from kvcalc.allocator import Allocator, NotModelled, Reservation, Reserved, owned, reserved, rounded_up, with_field
from kvcalc.errors import ScenarioError
from kvcalc.formats import FORMATS, Format, FormatName, get_format
from kvcalc.kind import Count, Row, Tokens
from kvcalc.scenario import NATIVE, Scenario
from kvcalc.slots import Chunk, Every, EveryNth, Fixed, LastBlock, OpenTail, Window
from kvcalc.spec import Block, ModelSpec

PAD = 256
"""Cells of a stream come in multiples of this."""
TYPES = ("fp32", "fp16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
DEFAULT_TYPE = "fp16"
STATE_TYPE = FORMATS["fp32"]
NO_ARCHITECTURE = {
    "csa2": "DeepSeek-V4.1",
    "cca": "ZAYA1",
    "rglru": "RecurrentGemma",
    "shared_block": "Zamba",
    "mlstm": "xLSTM",
    "rwkv4": "RWKV-4",
    "jet": "Jet-Nemotron",
    "sconv_gqa": "Inkling",
    "loop_gqa": "IQuest-Coder Loop",
    "block_sparse": "Phi-3-small",
    "block_summary": "Step 5",
    "infllm2": "InfLLM v2",
    "moba": "MoBA",
    "moa": "JetMoE",
}
NO_FAMILY = {"softmax_scaling": "Mistral Large 4"}
"""By a field that its relatives of the same kind do not have."""
POOLED = {"qsa": 1, "kpool_dsa": 3}
"""Kinds whose index keys are pooled as they are read: keys that a cell holds for each token. The open pool has none of its own."""
KEYS_AND_VALUES = "msa"
"""The kind whose index cache is made like any other, with a V of one head that nothing reads."""
OWN_STREAMS = "csa_hca"
"""The kind whose cache has a stream for each slot also where the cache is unified."""


class Cells(NamedTuple):
    """n_ctx_seq, and the slots, streams and micro-batch that the caches are made for."""

    sequence: int
    slots: int
    streams: int
    ubatch: int


class LlamaCpp(Allocator):
    about: ClassVar[str] = "llama.cpp 0.5.0-dev"

    n_ctx: Tokens | None = Field(None, description="-c: cells of all slots together [tokens]; not given: context x batch")
    parallel: Count | None = Field(None, description="-np: slots [sequences]; not given: the batch")
    kv_unified: bool = Field(False, description="-kvu: all slots share one array")
    swa_full: bool = Field(False, description="--swa-full: windows get cells for the whole context")
    ubatch: Tokens = Field(512, description="-ub: micro-batch [tokens]")
    flash_attn: bool = Field(True, description="-fa: without it every layer's V is as wide as the widest")
    cache_type_k: FormatName | None = Field(None, description="-ctk; not given: the scenario's format, natively f16")
    cache_type_v: FormatName | None = Field(None, description="-ctv; not given: the scenario's format, natively f16")

    def reserve(self, model: ModelSpec, scenario: Scenario) -> Reservation:
        kinds = {kind for block, _ in owned(model, scenario) for kind in block.kinds}
        for kind in sorted(kinds & set(NO_ARCHITECTURE)):
            raise NotModelled(f"{self.about} has no architecture for {NO_ARCHITECTURE[kind]} ({model.id})")
        for family in with_field(model, NO_FAMILY):
            raise NotModelled(f"{self.about} has no architecture for {family} ({model.id})")
        cells = self.cells(scenario)
        windows = knows_windows(model)
        rows = tuple(self._line(model, scenario, cells, windows, block, row) for block, row in owned(model, scenario))
        notes = [f"{cells.sequence:,} cells for each sequence"] if cells.sequence > scenario.context else []
        if not windows and any(isinstance(row.held, Window) for _, row in owned(model, scenario)):
            notes.append("every layer has a window: its architecture in llama.cpp knows none, so all cells are kept")
        extra = tuple(
            self._index_value(scenario, cells, block, row)
            for block, row in owned(model, scenario)
            if block.kind == KEYS_AND_VALUES and row.role == "index"
        )
        return Reservation(self.about, rows, extra, tuple(notes))

    def cells(self, scenario: Scenario) -> Cells:
        """n_ctx_seq and what stands around it. Raises ScenarioError if the scenario's sequences do not fit."""
        slots = self.parallel or scenario.batch
        n_ctx = rounded_up(self.n_ctx or scenario.context * scenario.batch, PAD)
        sequence = n_ctx if self.kv_unified else rounded_up(n_ctx // slots, PAD)
        if slots < scenario.batch:
            raise ScenarioError(f"{slots} slots do not serve a batch of {scenario.batch:,}", "raise parallel")
        if scenario.context > sequence or (self.kv_unified and scenario.context * scenario.batch > sequence):
            raise ScenarioError(f"{sequence:,} cells do not hold a context of {scenario.context:,}", "raise n_ctx")
        return Cells(sequence, slots, 1 if self.kv_unified else slots, self.ubatch)

    def _line(self, model: ModelSpec, scenario: Scenario, cells: Cells, windows: bool, block: Block, row: Row) -> Reserved:
        own_streams = block.kind == OWN_STREAMS
        if own_streams:
            cells = cells._replace(streams=cells.slots)
        slots = self._slots(model, cells, windows, block, row)
        if row.role not in ("kv", "index"):
            return reserved(block, row, STATE_TYPE, slots, cells.slots)
        return reserved(block, row, self._type(scenario, row), slots, cells.streams, self._width(model, block, row))

    def _index_value(self, scenario: Scenario, cells: Cells, block: Block, key: Row) -> Reserved:
        """The V beside index keys: as wide as one head's."""
        value = next(row for row in block.rows if row.name == "value")
        made = key._replace(name="index_value", elements=value.elements // value.split)
        return reserved(block, made, self._type(scenario, value), cells.sequence, cells.streams)

    def _slots(self, model: ModelSpec, cells: Cells, windows: bool, block: Block, row: Row) -> int:
        """Cells of one stream."""
        if block.kind in POOLED and row.piece == "indexer":
            return cells.sequence if row.role == "index" else 0
        match row.held:
            case Every():
                return cells.sequence
            case Window(sinks=0) | Chunk() as law:
                if self.swa_full or not windows:
                    return cells.sequence
                sharing = cells.slots if cells.streams == 1 else 1
                return rounded_up(min(cells.sequence, law.size * sharing + cells.ubatch), PAD)
            case EveryNth(m):
                return rounded_up(-(-cells.sequence // m), PAD)
            case OpenTail(m):
                return m * (2 if overlaps(block, row) else 1)
            case LastBlock():
                return 0  # inside the open block's ring
            case Fixed(n):
                return n
        raise NotModelled(f"{self.about}: cells of {block.label}.{row.name} of {model.id} are not modelled")

    def _width(self, model: ModelSpec, block: Block, row: Row) -> int:
        """Elements of a cell. Without flash attention V is stored transposed, and every layer's is as wide as the widest."""
        if row.role == "index":
            return row.elements * POOLED.get(block.kind, 1)
        if self.flash_attn or row.name != "value":
            return row.elements
        return max(other.elements for block in model.blocks for other in block.rows if other.name == "value")

    def _type(self, scenario: Scenario, row: Row) -> Format:
        asked = self.cache_type_v if row.name == "value" else self.cache_type_k
        stored = get_format(asked or (DEFAULT_TYPE if scenario.kv_format == NATIVE else scenario.kv_format))
        if stored.name not in TYPES:
            raise ScenarioError(f"{self.about} has no cache type {stored.name}", "its types: " + ", ".join(TYPES))
        if row.name == "value" and stored.packed and not self.flash_attn:
            raise ScenarioError("a quantised V cache needs flash attention", "leave out flash_attn=false")
        return stored


def overlaps(block: Block, row: Row) -> bool:
    """Whether the compressor that a row waits for overlaps the block before: its ring then holds two blocks."""
    return any(isinstance(other.held, LastBlock) and other.piece == row.piece for other in block.rows)


def knows_windows(model: ModelSpec) -> bool:
    """Whether some layer keeps every token: a model of windows alone runs there as an architecture without windows."""
    laws = [row.held for block in model.blocks for row in block.rows if row.role == "kv"]
    return any(not isinstance(law, Window) for law in laws)
