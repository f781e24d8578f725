"""Cross-attention: queries of the tokens against keys and values of an encoder's output, which is given with the first token.

Keeps     one key and one value of `num_key_value_heads x head_dim` for each of max_source_positions, however long the text
Formula   bytes/layer = max_source_positions x num_key_value_heads x 2 x head_dim x bytes/element
Worked    llama-3.2-11b-vision, bf16, fixed: 8 x 1601 x 8 x (128 + 128) x 2 = 52,461,568 bytes
Omits     softmax, norms and gates in the FLOPs; the encoder (a tower of the spec), which keeps nothing
Assumes   as many positions as the spec says, in every sequence: they are projected to keys and values once, with the first token, and
          read at every step; without an encoder's output the reference skips these layers
Used by   Llama 3.2 Vision (layers of their own), Whisper, T5, BART (beside self-attention in every layer)
Source    Vaswani et al. 2017, arXiv:1706.03762, section 3.2.3; transformers models/mllama, models/whisper
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from kvcalc.kind import Row, Site, Tokens, Weight, Width, Work, vector
from kvcalc.projections import GroupedQuery
from kvcalc.slots import Given


class CrossAttention(GroupedQuery):
    kind: Literal["cross"]
    max_source_positions: Tokens = Field(description="Positions of the encoder's output [positions]")
    cross_attention_hidden_size: Width | None = Field(
        None, description="Width of that output [elements]; hidden_size if not given"
    )
    qkv_bias: bool = Field(False, description="Biases on the q, k and v projections")
    k_bias: bool = Field(True, description="The k projection has one too, where q and v have")
    o_bias: bool = Field(False, description="Bias on the output projection")
    qk_norm: bool = Field(False, description="A norm of head_dim weights on queries and one on keys")
    gates: bool = Field(False, description="Two learned scalars, on what attention and the feed-forward block add to the stream")

    @property
    def positions(self) -> Given:
        """The encoder's output: all of it seen by every token."""
        return Given(self.max_source_positions)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        return self.without_groups()

    def rows(self, site: Site) -> Iterator[Row]:
        for row in self.grouped_rows(self.positions, self.positions):
            yield row._replace(name=f"cross_{row.name}")

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads, kv_heads, given = site.hidden_size, self.num_attention_heads, self.num_key_value_heads, self.positions
        query, key, source = self.query_width, self.kv_width, self.cross_attention_hidden_size or d
        yield Weight("q_proj", "attention", (query, d), split=heads)
        yield Weight("k_proj", "attention", (key, source), runs=given, split=kv_heads, uneven="repeat")
        yield Weight("v_proj", "attention", (key, source), runs=given, split=kv_heads, uneven="repeat")
        yield Weight("o_proj", "attention", (d, query), split=heads)
        if self.qkv_bias:
            yield vector("q_bias", "attention", query, split=heads)
            if self.k_bias:
                yield vector("k_bias", "attention", key, split=kv_heads, uneven="repeat")._replace(runs=given)
            yield vector("v_bias", "attention", key, split=kv_heads, uneven="repeat")._replace(runs=given)
        if self.o_bias:
            yield vector("o_bias", "attention", d)
        if self.qk_norm:
            yield vector("q_norm", "norms", self.head_dim)
            yield vector("k_norm", "norms", self.head_dim)._replace(runs=given)
        if self.gates:
            yield vector("gates", "attention", 2)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.grouped_work(self.positions)
