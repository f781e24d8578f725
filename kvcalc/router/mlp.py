"""A small network scores the experts: down-projection, norm, two hidden layers, output (with one more output to skip all experts).

Keeps     nothing
Formula   parameters/layer = hidden x r + r + r + 2 (r x r + r) + (num_experts + skip) x r, + r where the layer scales the last router state
Worked    zaya1-8b, router, parameters: 40 x (2048 x 256 + 256 + 256 + 2 x (256 x 256 + 256) + 17 x 256) + 39 x 256 = 26,439,424 parameters
Omits     the balancing biases (num_experts + skip per layer: buffers, outside parameters and bytes); activations in the FLOPs
Assumes   a token never skips (the skip output makes the experts' traffic an upper figure)
Used by   ZAYA1
Source    transformers models/zaya; ZAYA1 technical report, arXiv:2511.17127
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Router, Site, Weight, Width, vector


class MLPRouter(Router):
    kind: Literal["mlp"]
    router_hidden_size: Width = Field(description="Width of the router [elements]")
    skip_expert: bool = Field(False, description="One more output, which chooses no expert")
    states_scale: bool = Field(False, description="A scale on the router state of the layer before")

    def routing(self, site: Site, num_experts: int, num_experts_per_tok: int) -> Iterator[Weight]:
        r = self.router_hidden_size
        yield Weight("router_down_proj", "router", (r, site.hidden_size))
        yield vector("router_down_bias", "router", r)
        yield vector("router_norm", "router", r)
        yield Weight("router_hidden", "router", (r, r), copies=2)
        yield vector("router_hidden_bias", "router", r, copies=2)
        yield Weight("router_out_proj", "router", (num_experts + self.skip_expert, r))
        if self.states_scale:
            yield vector("router_states_scale", "router", r)
