"""A table says, for each token of the vocabulary, which experts it uses; a matrix still weighs them.

Keeps     nothing
Formula   bytes/layer = vocab_size x num_experts_per_tok x 8 for the table (integers: bytes, no parameters)
Worked    deepseek-v4-flash, router, parameters: 43 x 256 x 4096 = 45,088,768 parameters
Omits     nothing
Assumes   the matrix is there as in the other layers (reference implementation)
Used by   the first layers of DeepSeek-V4
Source    DeepSeek-V4, arXiv:2606.19348; transformers models/deepseek_v4 (tid2eid)
"""

from collections.abc import Iterator
from typing import Literal

from kvcalc.kind import Router, Site, Weight


class HashTableRouter(Router):
    kind: Literal["hash_table"]

    def routing(self, site: Site, num_experts: int, num_experts_per_tok: int) -> Iterator[Weight]:
        yield Weight("router_proj", "router", (num_experts, site.hidden_size))
        yield Weight("token_to_expert", "router", (site.vocab_size, num_experts_per_tok), "table", chosen=1)
