"""Multi-head latent attention (MLA).

Keeps     per token one latent of `kv_lora_rank` and one RoPE key of `qk_rope_head_dim`, for all heads together
Formula   bytes/token/layer = (kv_lora_rank + qk_rope_head_dim) x bytes/element
Worked    deepseek-v3, bf16, growth: 61 x (512 + 64) x 2 = 70,272 bytes
Omits     softmax, norms and rotary embeddings in the FLOPs
Assumes   decode in the absorbed form (scores over latent + RoPE key, mix over the latent), prefill expanded to heads
Used by   DeepSeek-V2, V3, R1; Kimi-K2
Source    DeepSeek-V2, arXiv:2405.04434, section 2.1
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from kvcalc.kind import Attention, Count, Row, Site, Weight, Width, Work
from kvcalc.projections import expanded_heads, mla_projections
from kvcalc.slots import EVERY


class MLA(Attention):
    kind: Literal["mla"]
    num_attention_heads: Count = Field(description="Query heads")
    q_lora_rank: Width | None = Field(None, description="Width of the query latent [elements]; not given: a full q_proj")
    kv_lora_rank: Width = Field(description="Width of the cached latent [elements]")
    qk_nope_head_dim: Width = Field(description="Width of a head's part without rotary embedding [elements]")
    qk_rope_head_dim: Width = Field(description="Width of the cached RoPE key [elements]")
    v_head_dim: Width = Field(description="Width of a value head [elements]")

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        key = self.qk_nope_head_dim + self.qk_rope_head_dim
        found = {"latent": expanded_heads(self.num_attention_heads, key, self.v_head_dim, self.q_lora_rank)}
        if self.q_lora_rank is not None:
            found["low-rank-projections"] = self._but(q_lora_rank=None)
        return found

    def rows(self, site: Site) -> Iterator[Row]:
        yield Row("latent", "kv", self.kv_lora_rank, EVERY, EVERY, not site.reuses, reusable=True)
        yield Row("rope_key", "kv", self.qk_rope_head_dim, EVERY, EVERY, not site.reuses, reusable=True)

    def weights(self, site: Site) -> Iterator[Weight]:
        for weight in mla_projections(
            site.hidden_size,
            self.num_attention_heads,
            self.q_lora_rank,
            self.kv_lora_rank,
            self.qk_nope_head_dim,
            self.qk_rope_head_dim,
            self.v_head_dim,
        ):
            if not (site.reuses and weight.name in ("kv_a_proj", "kv_a_norm")):
                yield weight

    def work(self, site: Site) -> Iterator[Work]:
        heads, expanded_key = self.num_attention_heads, self.qk_nope_head_dim + self.qk_rope_head_dim
        yield Work(
            "scores",
            "attention",
            2 * heads * (self.kv_lora_rank + self.qk_rope_head_dim),
            EVERY,
            "score",
            prefill_flops=2 * heads * expanded_key,
            split=heads,
        )
        yield Work(
            "value mix",
            "attention",
            2 * heads * self.kv_lora_rank,
            EVERY,
            "mix",
            prefill_flops=2 * heads * self.v_head_dim,
            split=heads,
        )
