"""Multi-head latent attention (MLA).

Keeps     per token one latent of `kv_lora_rank` and one RoPE key of `qk_rope_head_dim`, for all heads together
Formula   bytes/token/layer = (kv_lora_rank + qk_rope_head_dim) x bytes/element; a window keeps min(t, window) of them
Worked    deepseek-v3, bf16, growth: 61 x (512 + 64) x 2 = 70,272 bytes
Omits     softmax, norms and rotary embeddings in the FLOPs
Assumes   decode in the absorbed form (scores over latent + RoPE key, mix over the latent), prefill expanded to heads; a layer without
          rotary embedding (qk_rope_head_dim 0) keeps the latent only; the window counts the current token
Used by   DeepSeek-V2, V3, R1; Kimi-K2; the window layers of dots3-note, each with ranks of its own
Source    DeepSeek-V2, arXiv:2405.04434, section 2.1
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from kvcalc.kind import Row, Site, Tokens, Weight, Work
from kvcalc.projections import LatentAttention
from kvcalc.slots import EVERY, Law, Window


class MLA(LatentAttention):
    kind: Literal["mla"]
    window: Tokens | None = Field(None, description="Sliding window, the current token included [tokens]")

    @property
    def visible(self) -> Law:
        """The tokens that one query attends to."""
        return EVERY if self.window is None else Window(self.window)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        windowed = {} if self.window is None else {"window": self.window}
        found = {"latent": self.expanded_heads() | windowed}
        if self.window is not None:
            found["window"] = self._but(window=None)
        if self.q_lora_rank is not None:
            found["low-rank-projections"] = self._but(q_lora_rank=None)
        return found

    def rows(self, site: Site) -> Iterator[Row]:
        yield from self.latent_rows(site, self.visible, self.visible)

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from self.latent_weights(site)

    def work(self, site: Site) -> Iterator[Work]:
        heads = self.num_attention_heads
        expanded = {
            "scores": 2 * heads * (self.qk_nope_head_dim + self.qk_rope_head_dim),
            "value mix": 2 * heads * self.v_head_dim,
        }
        for work in self.absorbed_work(self.visible):
            yield work._replace(prefill_flops=expanded[work.name])
