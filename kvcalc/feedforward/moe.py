"""Routed experts, with shared experts and a dense block beside them where the model has them.

Keeps     nothing
Formula   parameters/layer = num_experts x 3 x hidden_size x moe_intermediate_size + shared + router; a token uses num_experts_per_tok of
          num_experts; a step over B tokens touches num_experts x (1 - (1 - k/E)^B) of them, in expectation
Worked    deepseek-v3, routed_experts, parameters: 58 x 256 x 3 x 7168 x 2048 = 653,908,770,816 parameters
Omits     the activation function and the weighting of the experts' outputs in the FLOPs
Assumes   uniform routing; each chosen expert is read once per step
Used by   DeepSeek, Laguna, ZAYA1, gpt-oss, Kimi-K2, Qwen3-Next, Gemma 4 26B-A4B (with a dense block beside)
Source    Shazeer et al. 2017, arXiv:1701.06538; DeepSeekMoE, arXiv:2401.06066
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

import kvcalc.router
from kvcalc.kind import Count, FeedForward, Kinds, OneOf, Router, Site, Weight, Width

ROUTERS = Kinds(kvcalc.router, Router)


class MoE(FeedForward):
    kind: Literal["moe"]
    num_experts: Count = Field(description="Routed experts")
    num_experts_per_tok: Count = Field(description="Experts that one token uses")
    moe_intermediate_size: Width = Field(description="Width of an expert [elements]")
    router: Annotated[Router, OneOf(ROUTERS)] = Field(description="What chooses the experts")
    gated: bool = Field(True, description="Experts of three matrices (gate, up, down); otherwise two")
    expert_bias: bool = Field(False, description="Biases on every matrix of an expert")
    shared_intermediate_size: Width | None = Field(None, description="Width of all shared experts together [elements]")
    shared_expert_gate: bool = Field(False, description="A learned gate on the shared expert")
    dense_intermediate_size: Width | None = Field(None, description="Width of a dense gated block beside the experts [elements]")

    @model_validator(mode="after")
    def _consistent(self) -> "MoE":
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(f"num_experts_per_tok {self.num_experts_per_tok} is more than num_experts {self.num_experts}")
        if self.shared_expert_gate and self.shared_intermediate_size is None:
            raise ValueError("shared_expert_gate needs shared_intermediate_size")
        return self

    def weights(self, site: Site) -> Iterator[Weight]:
        d, width, into = site.hidden_size, self.moe_intermediate_size, 2 if self.gated else 1
        experts, chosen = self.num_experts, self.num_experts_per_tok
        yield Weight("expert_up", "routed_experts", (width, d), copies=into * experts, chosen=into * chosen)
        yield Weight("expert_down", "routed_experts", (d, width), copies=experts, chosen=chosen)
        if self.expert_bias:
            yield Weight("expert_up_bias", "routed_experts", (1, width), "vector", copies=into * experts, chosen=into * chosen)
            yield Weight("expert_down_bias", "routed_experts", (1, d), "vector", copies=experts, chosen=chosen)
        yield from self.router.routing(site, experts, chosen)
        if self.shared_intermediate_size is not None:
            yield Weight("shared_up", "shared_experts", (self.shared_intermediate_size, d), copies=into)
            yield Weight("shared_down", "shared_experts", (d, self.shared_intermediate_size))
        if self.shared_expert_gate:
            yield Weight("shared_gate", "shared_experts", (1, d))
        if self.dense_intermediate_size is not None:
            yield Weight("up_proj", "dense_mlp", (self.dense_intermediate_size, d), copies=2)
            yield Weight("down_proj", "dense_mlp", (d, self.dense_intermediate_size))
