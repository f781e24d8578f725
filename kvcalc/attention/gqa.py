"""Grouped-query attention (GQA); multi-head (MHA) and multi-query (MQA) attention are its two ends.

Keeps     per token one key of `num_key_value_heads x head_dim` and one value of `num_key_value_heads x v_head_dim`
Formula   bytes/token/layer = num_key_value_heads x (head_dim + v_head_dim) x bytes/element; a window keeps min(t, window) of them
Worked    llama-3.1-8b, bf16, growth: 32 x 8 x (128 + 128) x 2 = 131,072 bytes
Omits     softmax, norms and rotary embeddings in the FLOPs; learned sink logits are weights, not state
Assumes   the window counts the current token; K and V are both stored where both come from one projection (attention_k_eq_v)
Used by   Llama, Qwen, Mistral, Gemma, Laguna, gpt-oss, GPT-2
Source    Ainslie et al. 2023, arXiv:2305.13245; Vaswani et al. 2017, arXiv:1706.03762; Ye et al. 2024, arXiv:2410.05258
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Count, Row, Site, Tokens, Weight, Width, Work, vector
from kvcalc.projections import GroupedQuery, grouped_output, low_rank_query
from kvcalc.slots import EVERY, Chunk, Law, Window

VALUES_OF_A_PAIR = 2
LAMBDAS = 4
"""Vectors of head_dim whose products weigh the subtracted half."""


class GQA(GroupedQuery):
    kind: Literal["gqa"]
    head_dim: Width = Field(description="Width of a query and key head [elements]")
    v_head_dim: Width | None = Field(None, description="Width of a value head [elements]; head_dim if not given")
    window: Tokens | None = Field(None, description="Sliding window, the current token included [tokens]")
    sink_tokens: Count | None = Field(None, description="First tokens that a window keeps for ever [tokens]")
    attention_chunk_size: Tokens | None = Field(None, description="Chunked local attention: tokens of a chunk [tokens]")
    attention_k_eq_v: bool = Field(False, description="The value comes from the key's projection (no v_proj)")
    store_k_eq_v_once: bool = Field(False, description="Keep one copy where K and V share a projection (no engine known does)")
    qkv_bias: bool = Field(False, description="Biases on the q, k and v projections")
    k_bias: bool = Field(True, description="The k projection has one too, where q and v have")
    o_bias: bool = Field(False, description="Bias on the output projection")
    qk_norm: bool = Field(False, description="A norm of head_dim weights on queries and one on keys")
    qk_norm_all_heads: bool = Field(False, description="These norms span all heads: a weight for each of their elements")
    qk_norm_bias: bool = Field(False, description="These norms are LayerNorms with biases")
    k_norm_where_reused: bool = Field(False, description="A layer that reads another's keys has a key norm of its own, too")
    q_lora_rank: Width | None = Field(None, description="Width of the query latent [elements]; not given: a full q_proj")
    o_groups: Count | None = Field(None, description="Groups of the output projection; not given: a full o_proj")
    o_lora_rank: Width | None = Field(None, description="Width of a group's output latent [elements]")
    output_gate: Literal["per_head", "per_element"] | None = Field(None, description="Gate on the attention output")
    output_norm: bool = Field(False, description="A norm on the attention output, before the output projection")
    learned_sinks: bool = Field(False, description="One learned sink logit per query head")
    differential: bool = Field(
        False, description="Each head mixes the values of two, and half the heads are subtracted from the others (DIFF Transformer)"
    )
    value_mask: bool = Field(False, description="A score per KV head, made from the values, masks tokens (Doge)")

    @model_validator(mode="after")
    def _consistent(self) -> "GQA":
        if self.window is not None and self.attention_chunk_size is not None:
            raise ValueError("window and attention_chunk_size exclude each other")
        if self.sink_tokens is not None and self.window is None:
            raise ValueError("sink_tokens needs a window")
        if self.differential and self.num_key_value_heads % VALUES_OF_A_PAIR:
            raise ValueError("differential needs an even number of KV heads")
        if (self.qk_norm_all_heads or self.qk_norm_bias) and not self.qk_norm:
            raise ValueError("qk_norm_all_heads and qk_norm_bias need qk_norm")
        if self.store_k_eq_v_once and not self.attention_k_eq_v:
            raise ValueError("store_k_eq_v_once needs attention_k_eq_v")
        if (self.o_groups is None) != (self.o_lora_rank is None):
            raise ValueError("o_groups and o_lora_rank belong together")
        if self.o_groups is not None and (self.num_attention_heads * self.value_dim) % self.o_groups:
            raise ValueError(f"num_attention_heads x v_head_dim does not divide into o_groups {self.o_groups}")
        return self

    @property
    def value_dim(self) -> int:
        """Width of a value head."""
        return self.head_dim if self.v_head_dim is None else self.v_head_dim

    @property
    def visible(self) -> Law:
        """The tokens that one query attends to."""
        if self.window is not None:
            return Window(self.window, self.sink_tokens or 0)
        return Chunk(self.attention_chunk_size) if self.attention_chunk_size is not None else EVERY

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        if self.window is not None:
            found["window"] = self._but(window=None, sink_tokens=None)
        if self.attention_chunk_size is not None:
            found["window"] = self._but(attention_chunk_size=None)
        if self.attention_k_eq_v:
            found["key-is-value"] = self._but(attention_k_eq_v=False, store_k_eq_v_once=False)
        if self.q_lora_rank is not None or self.o_groups is not None:
            found["low-rank-projections"] = self._but(q_lora_rank=None, o_groups=None, o_lora_rank=None)
        return found | self.without_groups()

    def rows(self, site: Site) -> Iterator[Row]:
        law, owned, heads = self.visible, not site.reuses, self.num_key_value_heads
        yield Row("key", "kv", heads * self.head_dim, law, law, owned, reusable=True, split=heads)
        if not self.store_k_eq_v_once:
            yield Row("value", "kv", heads * self.value_dim, law, law, owned, reusable=True, split=heads)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, query, value = site.hidden_size, self.num_attention_heads * self.head_dim, self.num_attention_heads * self.value_dim
        key_out, value_out = self.num_key_value_heads * self.head_dim, self.num_key_value_heads * self.value_dim
        heads, kv_heads = self.num_attention_heads, self.num_key_value_heads
        if self.q_lora_rank is None:
            yield Weight("q_proj", "attention", (query, d), split=heads)
        else:
            yield from low_rank_query(d, self.q_lora_rank, heads, query)
        if not site.reuses:
            yield Weight("k_proj", "attention", (key_out, d), split=kv_heads, uneven="repeat")
            if not self.attention_k_eq_v:
                yield Weight("v_proj", "attention", (value_out, d), split=kv_heads, uneven="repeat")
        if self.o_groups is None or self.o_lora_rank is None:
            yield Weight("o_proj", "attention", (d, value), split=heads)
        else:
            yield from grouped_output(d, self.o_groups, self.o_lora_rank, value)
        if self.qkv_bias:
            yield vector("q_bias", "attention", query, split=heads)
            if not site.reuses:
                if self.k_bias:
                    yield vector("k_bias", "attention", key_out, split=kv_heads, uneven="repeat")
                if not self.attention_k_eq_v:
                    yield vector("v_bias", "attention", value_out, split=kv_heads, uneven="repeat")
        if self.o_bias:
            yield vector("o_bias", "attention", d)
        if self.qk_norm:
            vectors = 1 + self.qk_norm_bias
            yield vector("q_norm", "norms", query if self.qk_norm_all_heads else self.head_dim, copies=vectors)
            if not site.reuses or self.k_norm_where_reused:
                yield vector("k_norm", "norms", key_out if self.qk_norm_all_heads else self.head_dim, copies=vectors)
        if self.output_gate is not None:
            yield Weight("gate_proj", "attention", (heads if self.output_gate == "per_head" else value, d), split=heads)
        if self.output_norm:
            yield vector("output_norm", "norms", value)
        if self.learned_sinks:
            yield vector("sinks", "attention", heads, split=heads)
        if self.differential:
            yield vector("lambda", "attention", self.head_dim, copies=LAMBDAS)
        if self.value_mask:
            yield Weight("dt_proj", "attention", (kv_heads, value_out))
            yield vector("mask_scale", "attention", kv_heads)
            if self.qkv_bias:
                yield vector("dt_bias", "attention", kv_heads)

    def work(self, site: Site) -> Iterator[Work]:
        heads = self.num_attention_heads
        yield Work("scores", "attention", 2 * heads * self.head_dim, self.visible, "score", split=heads)
        mixed = self.value_dim * (VALUES_OF_A_PAIR if self.differential else 1)
        yield Work("value mix", "attention", 2 * heads * mixed, self.visible, "mix", split=heads)
