"""Mixture of attention heads: query and output projections are experts, keys and values are common to all.

Keeps     per token one key and one value of num_key_value_heads x head_dim
Formula   bytes/token/layer = num_key_value_heads x 2 x head_dim x bytes/element; parameters/layer =
          2 x hidden x num_key_value_heads x head_dim (keys and values) + num_experts x as much (queries and output) + the router's
Worked    jetmoe-8b, bf16, growth: 24 x 16 x (128 + 128) x 2 = 196,608 bytes
Omits     softmax and rotary embeddings in the FLOPs; the choice of experts
Assumes   an expert has one query head for each KV head, so that a token has num_experts_per_tok x num_key_value_heads of them;
          uniform routing; each chosen expert is read once per step
Used by   JetMoE
Source    Zhang et al. 2022, arXiv:2210.05144; JetMoE, arXiv:2404.07413; transformers models/jetmoe
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Attention, Count, Row, Site, Weight, Width, Work, vector
from kvcalc.slots import EVERY


class MixtureOfAttention(Attention):
    kind: Literal["moa"]
    num_experts: Count = Field(description="Experts, each a query and an output projection")
    num_experts_per_tok: Count = Field(description="Experts that one token uses")
    num_key_value_heads: Count = Field(description="KV heads, and query heads of an expert")
    head_dim: Width = Field(description="Width of a head [elements]")

    @model_validator(mode="after")
    def _consistent(self) -> "MixtureOfAttention":
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(f"num_experts_per_tok {self.num_experts_per_tok} is more than num_experts {self.num_experts}")
        return self

    @property
    def width(self) -> int:
        """Elements of a key, of a value and of an expert's queries."""
        return self.num_key_value_heads * self.head_dim

    @property
    def num_attention_heads(self) -> int:
        """Query heads of one token."""
        return self.num_experts_per_tok * self.num_key_value_heads

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        shared = {"kind": "gqa", "num_attention_heads": self.num_attention_heads, "head_dim": self.head_dim}
        return {"gqa": shared | {"num_key_value_heads": self.num_attention_heads}} if self.num_experts_per_tok > 1 else {}

    def rows(self, site: Site) -> Iterator[Row]:
        owned = not site.reuses
        for name in ("key", "value"):
            yield Row(name, "kv", self.width, EVERY, EVERY, owned, reusable=True, split=self.num_key_value_heads)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads, experts, chosen = site.hidden_size, self.num_key_value_heads, self.num_experts, self.num_experts_per_tok
        if not site.reuses:
            yield Weight("kv_proj", "attention", (2 * self.width, d), split=heads)
        yield Weight("expert_q_proj", "attention", (self.width, d), copies=experts, chosen=chosen, split=heads)
        yield Weight("expert_o_proj", "attention", (d, self.width), copies=experts, chosen=chosen, split=heads)
        yield vector("o_bias", "attention", d)
        yield Weight("router_proj", "router", (experts, d))

    def work(self, site: Site) -> Iterator[Work]:
        flops = 2 * self.num_attention_heads * self.head_dim
        yield Work("scores", "attention", flops, EVERY, "score", split=self.num_key_value_heads)
        yield Work("value mix", "attention", flops, EVERY, "mix", split=self.num_key_value_heads)
