"""Routed experts, with shared experts and a dense block beside them where the model has them.

Keeps     nothing
Formula   parameters/layer = num_experts x 3 x hidden_size x moe_intermediate_size + shared + router; a token uses num_experts_per_tok of
          num_experts; a step over B tokens touches num_experts x (1 - (1 - k/E)^B) of them, in expectation. Experts of a latent are
          latent_size wide instead of hidden_size, and 2 x hidden_size x latent_size lead there and back
Worked    deepseek-v3, routed_experts, parameters: 58 x 256 x 3 x 7168 x 2048 = 653,908,770,816 parameters
Omits     the activation function and the weighting of the experts' outputs in the FLOPs
Assumes   uniform routing; each chosen expert is read once per step
Used by   DeepSeek, Laguna, ZAYA1, gpt-oss, Kimi-K2, Qwen3-Next, Gemma 4 26B-A4B (with a dense block beside), Nemotron 3
          Super and Kimi-K3 (experts of a latent)
Source    Shazeer et al. 2017, arXiv:1701.06538; DeepSeekMoE, arXiv:2401.06066; transformers models/nemotron_h
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, model_validator

import kvcalc.router
from kvcalc.kind import Count, FeedForward, Kinds, OneOf, Router, Site, Weight, Width, vector
from kvcalc.projections import input_gate

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
    input_gate_rank: Width | None = Field(None, description="Rank of a gate on the normed input [elements]")
    output_bias: bool = Field(False, description="A bias on the sum of the experts' outputs")
    output_norm: bool = Field(False, description="A norm on the sum of all experts' outputs")
    dense_intermediate_size: Width | None = Field(None, description="Width of a dense gated block beside the experts [elements]")
    latent_size: Width | None = Field(
        None,
        description="Width that the experts work in, between a projection down and one up; not given: hidden_size [elements]",
    )
    latent_norm: bool = Field(False, description="A norm on the sum of the routed experts' outputs, before the projection up")

    @model_validator(mode="after")
    def _consistent(self) -> "MoE":
        if self.num_experts_per_tok > self.num_experts:
            raise ValueError(f"num_experts_per_tok {self.num_experts_per_tok} is more than num_experts {self.num_experts}")
        if self.shared_expert_gate and self.shared_intermediate_size is None:
            raise ValueError("shared_expert_gate needs shared_intermediate_size")
        if self.latent_norm and self.latent_size is None:
            raise ValueError("latent_norm needs latent_size")
        return self

    def weights(self, site: Site) -> Iterator[Weight]:
        d, width, into = site.hidden_size, self.moe_intermediate_size, 2 if self.gated else 1
        experts, chosen = self.num_experts, self.num_experts_per_tok

        def routed(weight: Weight, of_an_expert: int = 1) -> Weight:
            return weight._replace(copies=of_an_expert * experts, chosen=of_an_expert * chosen, experts=experts)

        inside = self.latent_size or d
        yield routed(Weight("expert_up", "routed_experts", (width, inside), split=width), into)
        yield routed(Weight("expert_down", "routed_experts", (inside, width), split=width))
        if self.expert_bias:
            yield routed(vector("expert_up_bias", "routed_experts", width, split=width), into)
            yield routed(vector("expert_down_bias", "routed_experts", inside))
        if self.latent_size is not None:
            yield Weight("fc1_latent_proj", "shared_experts", (inside, d))
            yield Weight("fc2_latent_proj", "shared_experts", (d, inside))
        if self.latent_norm:
            yield vector("latent_norm", "norms", inside)
        yield from self.router.routing(site, experts, chosen)
        if self.input_gate_rank is not None:
            yield from input_gate(d, self.input_gate_rank, "router")
        if self.shared_intermediate_size is not None:
            shared = self.shared_intermediate_size
            yield Weight("shared_up", "shared_experts", (shared, d), copies=into, split=shared)
            yield Weight("shared_down", "shared_experts", (d, shared), split=shared)
        if self.shared_expert_gate:
            yield Weight("shared_gate", "shared_experts", (1, d))
        if self.output_bias:
            yield vector("output_bias", "routed_experts", d)
        if self.output_norm:
            yield vector("output_norm", "norms", d)
        if self.dense_intermediate_size is not None:
            dense = self.dense_intermediate_size
            yield Weight("up_proj", "dense_mlp", (dense, d), copies=2, split=dense)
            yield Weight("down_proj", "dense_mlp", (d, dense), split=dense)
