"""What several attention kinds share: multi-head latent attention, grouped queries (over all tokens or chosen ones), DeepSeek-V4's
shared key, low-rank queries, grouped output, the indexer's projections."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Attention, Count, Row, Site, Tokens, Weight, Width, Work, vector
from kvcalc.slots import EVERY, EveryNth, Law, Top, Window

RopeWidth = Annotated[int, Field(ge=0, le=1 << 20)]


def low_rank_query(hidden_size: int, q_lora_rank: int, heads: int, query_width: int) -> Iterator[Weight]:
    """hidden -> q_lora_rank -> heads x head width, with a norm between. Source: DeepSeek-V2, arXiv:2405.04434, section 2.1.2."""
    yield Weight("q_a_proj", "attention", (q_lora_rank, hidden_size))
    yield vector("q_a_norm", "norms", q_lora_rank)
    yield Weight("q_b_proj", "attention", (query_width, q_lora_rank), split=heads)


def gated_query(hidden_size: int, q_lora_rank: int, heads: int, width: int) -> Iterator[Weight]:
    """The same where one product makes queries and output gates, from the latent normed and as it is, side by side. Source: transformers
    models/axk2."""
    yield Weight("q_a_proj", "attention", (q_lora_rank, hidden_size))
    yield vector("q_a_norm", "norms", q_lora_rank)
    yield Weight("q_gate_proj", "attention", (width, 2 * q_lora_rank), split=heads)


def input_gate(hidden_size: int, rank: int, piece: str) -> Iterator[Weight]:
    """A gate on a normed input, through a narrow layer. Source: transformers models/axk2."""
    yield Weight("input_gate_down", piece, (rank, hidden_size))
    yield Weight("input_gate_up", piece, (hidden_size, rank))


class LatentAttention(Attention):
    """Multi-head latent attention over any law of tokens. Source: DeepSeek-V2, arXiv:2405.04434, section 2.1."""

    kind: str
    num_attention_heads: Count = Field(description="Query heads")
    q_lora_rank: Width | None = Field(None, description="Width of the query latent [elements]; not given: a full q_proj")
    kv_lora_rank: Width = Field(description="Width of the cached latent [elements]")
    qk_nope_head_dim: Width = Field(description="Width of a head's part without rotary embedding [elements]")
    qk_rope_head_dim: RopeWidth = Field(description="Width of the cached RoPE key [elements]; 0: none")
    v_head_dim: Width = Field(description="Width of a value head [elements]")
    attention_bias: bool = Field(False, description="Biases on the projections from and to hidden (not on a full q_proj)")
    output_gate: Literal["per_head", "per_element", "query_latent"] | None = Field(
        None, description="Gate on the attention output; query_latent: per element, and made with the queries from their latent"
    )
    input_gate_rank: Width | None = Field(None, description="Rank of a gate on the normed input [elements]")
    learned_sinks: bool = Field(False, description="One learned sink logit per query head")
    rope_key_norm: bool = Field(False, description="A norm on the RoPE key")
    softmax_scaling: bool = Field(False, description="A learned scale and bias per head by which queries grow with the position")

    @model_validator(mode="after")
    def _rope_is_there(self) -> "LatentAttention":
        if self.rope_key_norm and not self.qk_rope_head_dim:
            raise ValueError("rope_key_norm needs a qk_rope_head_dim")
        if self.output_gate == "query_latent" and self.q_lora_rank is None:
            raise ValueError("an output_gate of query_latent needs a q_lora_rank")
        return self

    def latent_rows(self, site: Site, held: Law, read: Law) -> Iterator[Row]:
        """One latent and one RoPE key for all heads; another layer may read them instead of keeping its own."""
        yield Row("latent", "kv", self.kv_lora_rank, held, read, not site.reuses, reusable=True)
        if self.qk_rope_head_dim:
            yield Row("rope_key", "kv", self.qk_rope_head_dim, held, read, not site.reuses, reusable=True)

    def latent_weights(self, site: Site) -> Iterator[Weight]:
        """Absorbed or not, `kv_b_proj` is used once per token. A layer that reads another's latents makes none."""
        d, heads, nope, rope = site.hidden_size, self.num_attention_heads, self.qk_nope_head_dim, self.qk_rope_head_dim
        if self.q_lora_rank is None:
            yield Weight("q_proj", "attention", (heads * (nope + rope), d), split=heads)
        elif self.output_gate == "query_latent":
            yield from gated_query(d, self.q_lora_rank, heads, heads * (nope + rope + self.v_head_dim))
        else:
            yield from low_rank_query(d, self.q_lora_rank, heads, heads * (nope + rope))
        if not site.reuses:
            yield Weight("kv_a_proj", "attention", (self.kv_lora_rank + rope, d))
            yield vector("kv_a_norm", "norms", self.kv_lora_rank)
            if self.rope_key_norm:
                yield vector("rope_key_norm", "norms", rope)
        yield Weight("kv_b_proj", "attention", (heads * (nope + self.v_head_dim), self.kv_lora_rank), split=heads)
        yield Weight("o_proj", "attention", (d, heads * self.v_head_dim), split=heads)
        if self.attention_bias:
            if self.q_lora_rank is not None:
                yield vector("q_a_bias", "attention", self.q_lora_rank)
            if not site.reuses:
                yield vector("kv_a_bias", "attention", self.kv_lora_rank + rope)
            yield vector("o_bias", "attention", d)
        if self.input_gate_rank is not None:
            yield from input_gate(d, self.input_gate_rank, "attention")
        if self.output_gate in ("per_head", "per_element"):
            gates = heads if self.output_gate == "per_head" else heads * self.v_head_dim
            yield Weight("gate_proj", "attention", (gates, d), split=heads)
        if self.learned_sinks:
            yield vector("sinks", "attention", heads, split=heads)
        if self.softmax_scaling:
            yield vector("softmax_scaling", "attention", heads, copies=2, split=heads)

    def absorbed_work(self, read: Law) -> Iterator[Work]:
        """Scores over latent and RoPE key, mix over the latent."""
        heads = self.num_attention_heads
        yield Work("scores", "attention", 2 * heads * (self.kv_lora_rank + self.qk_rope_head_dim), read, "score", split=heads)
        yield Work("value mix", "attention", 2 * heads * self.kv_lora_rank, read, "mix", split=heads)

    def dense_latent(self) -> dict[str, Any]:
        """The same layer as plain MLA: every latent kept and read."""
        return self.model_dump(include=set(LatentAttention.model_fields), exclude_none=True) | {"kind": "mla"}

    def expanded_heads(self) -> dict[str, Any]:
        """Multi-head attention of the same heads: what the latent replaced."""
        return {
            "kind": "gqa",
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": self.num_attention_heads,
            "head_dim": self.qk_nope_head_dim + self.qk_rope_head_dim,
            "v_head_dim": self.v_head_dim,
            "q_lora_rank": self.q_lora_rank,
            "output_gate": "per_element" if self.output_gate == "query_latent" else self.output_gate,
            "learned_sinks": self.learned_sinks,
        }


class GroupedQuery(Attention):
    """Query heads in groups, each over one KV head; key and value are equally wide. Source: Ainslie et al. 2023, arXiv:2305.13245."""

    kind: str
    num_attention_heads: Count = Field(description="Query heads")
    num_key_value_heads: Count = Field(description="KV heads")
    head_dim: Width = Field(description="Width of a head [elements]")

    @model_validator(mode="after")
    def _heads_divide(self) -> "GroupedQuery":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads {self.num_key_value_heads}"
            )
        return self

    @property
    def query_width(self) -> int:
        """Elements of all query heads."""
        return self.num_attention_heads * self.head_dim

    @property
    def kv_width(self) -> int:
        """Elements of all key heads, and of all value heads."""
        return self.num_key_value_heads * self.head_dim

    def without_groups(self) -> dict[str, dict[str, Any]]:
        """The same layer with a KV head for each query head, where it has fewer."""
        if self.num_key_value_heads == self.num_attention_heads:
            return {}
        return {"gqa": self._but(num_key_value_heads=self.num_attention_heads)}

    def grouped_rows(self, held: Law, read: Law) -> Iterator[Row]:
        """A key and a value in each slot."""
        for name in ("key", "value"):
            yield Row(name, "kv", self.kv_width, held, read, split=self.num_key_value_heads)

    def grouped_weights(self, hidden_size: int, source: int) -> Iterator[Weight]:
        """Queries, keys and values of `source` elements, and back to hidden_size."""
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        yield Weight("q_proj", "attention", (self.query_width, source), split=heads)
        yield Weight("k_proj", "attention", (self.kv_width, source), split=kv_heads, uneven="repeat")
        yield Weight("v_proj", "attention", (self.kv_width, source), split=kv_heads, uneven="repeat")
        yield Weight("o_proj", "attention", (hidden_size, self.query_width), split=heads)

    def grouped_work(self, read: Law) -> Iterator[Work]:
        """A dot product of each query head with each slot that it reads, and the sum of the values there."""
        heads, flops = self.num_attention_heads, 2 * self.query_width
        yield Work("scores", "attention", flops, read, "score", split=heads)
        yield Work("value mix", "attention", flops, read, "mix", split=heads)


class SparseGroupedQuery(GroupedQuery):
    """Grouped-query attention that keeps every token and reads a few."""

    qkv_bias: bool = Field(False, description="Biases on the q, k and v projections")
    o_bias: bool = Field(False, description="Bias on the output projection")
    qk_norm: bool = Field(False, description="A norm of head_dim weights on queries and one on keys")
    output_gate: Literal["per_head", "per_element"] | None = Field(None, description="Gate on the attention output")

    def sparse_weights(self, site: Site) -> Iterator[Weight]:
        """Those of the attention, without what chooses the tokens."""
        d, heads, kv_heads = site.hidden_size, self.num_attention_heads, self.num_key_value_heads
        yield from self.grouped_weights(d, d)
        if self.qkv_bias:
            yield vector("q_bias", "attention", self.query_width, split=heads)
            yield vector("k_bias", "attention", self.kv_width, split=kv_heads, uneven="repeat")
            yield vector("v_bias", "attention", self.kv_width, split=kv_heads, uneven="repeat")
        if self.o_bias:
            yield vector("o_bias", "attention", d)
        if self.qk_norm:
            yield vector("q_norm", "norms", self.head_dim)
            yield vector("k_norm", "norms", self.head_dim)
        if self.output_gate is not None:
            gates = heads if self.output_gate == "per_head" else self.query_width
            yield Weight("gate_proj", "attention", (gates, d), split=heads)

    def dense_heads(self) -> dict[str, Any]:
        """The same layer as plain grouped-query attention: every token read."""
        return self.model_dump(include=set(SparseGroupedQuery.model_fields), exclude_none=True) | {"kind": "gqa"}


def grouped_output(hidden_size: int, o_groups: int, o_lora_rank: int, value_width: int) -> Iterator[Weight]:
    """Each group of heads to o_lora_rank, and all of these to hidden. Source: DeepSeek-V4, arXiv:2606.19348, section 2.3."""
    yield Weight("o_a_proj", "attention", (o_groups * o_lora_rank, value_width // o_groups), split=o_groups)
    yield Weight("o_b_proj", "attention", (hidden_size, o_groups * o_lora_rank), split=o_groups)


class SharedKeyAttention(Attention):
    """DeepSeek-V4's attention: low-rank queries over one key that is also the value, sinks, output in groups; a window of tokens, and
    compressed entries beside it. Source: DeepSeek-V4, arXiv:2606.19348, section 2.3."""

    kind: str
    num_attention_heads: Count = Field(description="Query heads, over one shared key")
    head_dim: Width = Field(description="Width of the shared key = value [elements]")
    q_lora_rank: Width = Field(description="Width of the query latent [elements]")
    o_groups: Count = Field(description="Groups of the output projection")
    o_lora_rank: Width = Field(description="Width of a group's output latent [elements]")
    window: Tokens | None = Field(description="Sliding window, the current token included [tokens]; null: every token")
    compress_ratio: Tokens | None = Field(None, description="Tokens per compressed entry [tokens]; not given: window only")
    index_n_heads: Count | None = Field(None, description="Query heads of the indexer")
    index_head_dim: Width | None = Field(None, description="Width of an entry's index key [elements]")
    index_topk: Tokens | None = Field(None, description="Entries that a query reads [entries]; not given: all")

    @model_validator(mode="after")
    def _whole(self) -> "SharedKeyAttention":
        if any(self._indexer) and not all(self._indexer):
            raise ValueError("an indexer needs index_n_heads, index_head_dim and index_topk")
        if (self.num_attention_heads * self.head_dim) % self.o_groups:
            raise ValueError(f"num_attention_heads x head_dim does not divide into o_groups {self.o_groups}")
        return self

    @property
    def _indexer(self) -> tuple[int | None, ...]:
        return self.index_n_heads, self.index_head_dim, self.index_topk

    @property
    def visible(self) -> Law:
        """The tokens whose own rows a query reads."""
        return EVERY if self.window is None else Window(self.window)

    @property
    def entries(self) -> EveryNth:
        """The compressed entries that there are."""
        return EveryNth(self.compress_ratio or 1)

    @property
    def visible_entries(self) -> Law:
        """Those of them that a query reads."""
        return Top(self.index_topk, self.entries) if self.index_topk else self.entries

    def shared_key_weights(self, site: Site) -> Iterator[Weight]:
        """Those of the attention, without compressor and indexer."""
        d, heads, query_width = site.hidden_size, self.num_attention_heads, self.num_attention_heads * self.head_dim
        yield from low_rank_query(d, self.q_lora_rank, heads, query_width)
        yield Weight("kv_proj", "attention", (self.head_dim, d))
        yield vector("kv_norm", "norms", self.head_dim)
        yield vector("sinks", "attention", heads, split=heads)
        yield from grouped_output(d, self.o_groups, self.o_lora_rank, query_width)

    def shared_key_work(self, what: str, read: Law) -> Iterator[Work]:
        """Scores and value mix over the window's rows, or over entries."""
        heads, flops = self.num_attention_heads, 2 * self.num_attention_heads * self.head_dim
        yield Work(f"{what} scores", "attention", flops, read, "score", split=heads)
        yield Work(f"{what} value mix", "attention", flops, read, "mix", split=heads)

    def without_shared_key(self) -> dict[str, dict[str, Any]]:
        """Attention to every token without one of two tricks: that all heads share a key, or that it is the value too."""
        shared = {
            "kind": "gqa",
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": 1,
            "head_dim": self.head_dim,
            "attention_k_eq_v": True,
            "store_k_eq_v_once": True,
            "q_lora_rank": self.q_lora_rank,
            "o_groups": self.o_groups,
            "o_lora_rank": self.o_lora_rank,
            "learned_sinks": True,
        }
        return {
            "gqa": shared | {"num_key_value_heads": self.num_attention_heads},
            "key-is-value": shared | {"attention_k_eq_v": False, "store_k_eq_v_once": False},
        }


def indexer_queries(
    hidden_size: int, query_input: int, index_n_heads: int, index_head_dim: int, split: int = 1
) -> Iterator[Weight]:
    """The indexer's queries (from the low-rank query, or from hidden) and its weight per head. Engines keep the whole indexer on every
    device, but where each KV head has index heads of its own (`split`)."""
    yield Weight("index_q_proj", "indexer", (index_n_heads * index_head_dim, query_input), split=split, uneven="repeat")
    yield Weight("index_weights_proj", "indexer", (index_n_heads, hidden_size), split=split, uneven="repeat")


def indexer_weights(core: LatentAttention, site: Site, index_n_heads: int, index_head_dim: int) -> Iterator[Weight]:
    """DSA's indexer, beside MLA: queries, one key for all of them, a weight per head. Where MLA has no low-rank query, they come from
    hidden through a norm of their own. Source: DeepSeek-V3.2, arXiv:2512.02556; transformers models/mistral_large4."""
    yield from indexer_queries(site.hidden_size, core.q_lora_rank or site.hidden_size, index_n_heads, index_head_dim)
    yield Weight("index_k_proj", "indexer", (index_head_dim, site.hidden_size))
    yield vector("index_k_norm", "indexer", index_head_dim, copies=2)
    if core.q_lora_rank is None:
        yield vector("index_q_norm", "indexer", site.hidden_size, copies=2)
    if core.softmax_scaling:
        yield vector("index_softmax_scaling", "indexer", index_n_heads, copies=2)


def indexer_flops(index_n_heads: int, index_head_dim: int) -> int:
    """FLOPs to score one key: a dot product per head, then the weighted sum over the heads."""
    return index_n_heads * (2 * index_head_dim + 2)
