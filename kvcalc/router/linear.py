"""One matrix scores the experts; softmax or sigmoid, then the top k.

Keeps     nothing
Formula   parameters/layer = num_experts x hidden_size, + rows of weighed shared experts and of zero experts, biases and scales
Worked    deepseek-v3, router, parameters: 58 x 256 x 7168 = 106,430,464 parameters
Omits     the choice itself (top k, groups) in the FLOPs
Assumes   every expert that a token uses is a real one (zero experts make the traffic of experts an upper figure);
          a correction bias counts as parameter or as buffer as the reference implementation registers it
Used by   DeepSeek, Laguna, Kimi-K2, Qwen3-Next, gpt-oss, Gemma 4, Inkling, LongCat-Flash (zero experts)
Source    Shazeer et al. 2017, arXiv:1701.06538; DeepSeek-V3, arXiv:2412.19437, section 2.1.2
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Count, Router, Site, Weight, vector


class LinearRouter(Router):
    kind: Literal["linear"]
    scoring_func: Literal["softmax", "sigmoid", "sqrtsoftplus"] = Field("softmax", description="How scores become weights")
    bias: bool = Field(False, description="A bias per expert")
    correction_bias: Literal["parameter", "buffer"] | None = Field(
        None, description="Load-balancing bias per expert, and what the reference implementation registers it as"
    )
    correction_biases: Count = Field(1, description="How many of them")
    n_shared_experts: Count | None = Field(None, description="Shared experts that it weighs with the chosen ones: a row for each")
    zero_experts: Count | None = Field(None, description="Choices that leave a token as it is: a row and a correction bias for each")
    global_scale: bool = Field(False, description="One learned scale of the experts' weights")
    scales: bool = Field(False, description="A scale per input element and one per expert (Gemma 4)")

    def routing(self, site: Site, num_experts: int, num_experts_per_tok: int) -> Iterator[Weight]:
        choices = num_experts + (self.zero_experts or 0)
        yield Weight("router_proj", "router", (choices + (self.n_shared_experts or 0), site.hidden_size))
        if self.bias:
            yield vector("router_bias", "router", choices)
        if self.correction_bias is not None:
            yield vector(
                "correction_bias", "router", choices, copies=self.correction_biases, buffer=self.correction_bias == "buffer"
            )
        if self.global_scale:
            yield vector("global_scale", "router", 1)
        if self.scales:
            yield vector("input_scale", "router", site.hidden_size)
            yield vector("expert_scale", "router", num_experts)
