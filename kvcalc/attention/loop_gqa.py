"""A further pass of a looped model through a layer: it attends to the first pass's keys and values and, in a window, to its own.

Keeps     a key and a value of its own for the last loop_window_size tokens; those of every token stand with the layer's first pass
Formula   bytes/layer and pass = min(tokens, loop_window_size) x num_key_value_heads x 2 x head_dim x bytes/element;
          parameters/layer = num_attention_heads x (head_dim + 1) for the gate, the others are the first pass's
Worked    iquest-coder-v1-40b-loop, attention, parameters: 80 x (5120 x (2 x 5120 + 2 x 1024) + 40 x 129) = 5,033,577,600 parameters
Omits     softmax and the gated sum of the two outputs in the FLOPs
Assumes   the window counts the current token; the gate is a product of each query head with a vector of its own
Used by   IQuest-Coder-V1 Loop
Source    mlx-lm models/iquestloopcoder
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Attention, Count, Row, Site, Tokens, Weight, Width, Work, vector
from kvcalc.slots import EVERY, Window


class LoopGQA(Attention):
    kind: Literal["loop_gqa"]
    num_attention_heads: Count = Field(description="Query heads")
    num_key_value_heads: Count = Field(description="KV heads")
    head_dim: Width = Field(description="Width of a head [elements]")
    loop_window_size: Tokens = Field(
        description="Window over the keys and values of this pass, the current token included [tokens]"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "LoopGQA":
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"num_attention_heads {self.num_attention_heads} is not a multiple of num_key_value_heads {self.num_key_value_heads}"
            )
        return self

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        found = {"kv-sharing": {"kind": "gqa"} | self.model_dump(exclude={"kind", "loop_window_size"})}
        if self.num_key_value_heads < self.num_attention_heads:
            found["gqa"] = self._but(num_key_value_heads=self.num_attention_heads)
        return found

    def rows(self, site: Site) -> Iterator[Row]:
        width, heads, own = self.num_key_value_heads * self.head_dim, self.num_key_value_heads, Window(self.loop_window_size)
        yield Row("key", "kv", width, EVERY, EVERY, owned=False, split=heads)
        yield Row("value", "kv", width, EVERY, EVERY, owned=False, split=heads)
        yield Row("key_loop", "kv", width, own, own, split=heads)
        yield Row("value_loop", "kv", width, own, own, split=heads)

    def weights(self, site: Site) -> Iterator[Weight]:
        d, heads, kv_heads = site.hidden_size, self.num_attention_heads, self.num_key_value_heads
        query, key = heads * self.head_dim, kv_heads * self.head_dim
        yield Weight("q_proj", "attention", (query, d), split=heads)
        yield Weight("k_proj", "attention", (key, d), split=kv_heads, uneven="repeat")
        yield Weight("v_proj", "attention", (key, d), split=kv_heads, uneven="repeat")
        yield Weight("o_proj", "attention", (d, query), split=heads)
        yield Weight("loop_gate", "attention", (heads, self.head_dim), split=heads)
        yield vector("loop_gate_bias", "attention", heads, split=heads)

    def work(self, site: Site) -> Iterator[Work]:
        heads, flops, own = self.num_attention_heads, 2 * self.num_attention_heads * self.head_dim, Window(self.loop_window_size)
        yield Work("scores", "attention", flops, EVERY, "score", split=heads)
        yield Work("value mix", "attention", flops, EVERY, "mix", split=heads)
        yield Work("scores of this pass", "attention", flops, own, "score", split=heads)
        yield Work("value mix of this pass", "attention", flops, own, "mix", split=heads)
