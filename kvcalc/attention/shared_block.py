"""A transformer block whose weights several layers share: attention to the stream beside the embeddings, an MLP, a matrix back.

Keeps     per token one key and one value of `num_key_value_heads x head_dim` in each layer: only the weights are shared
Formula   bytes/token/layer = 2 x num_key_value_heads x head_dim x bytes/element; parameters: the block once, and in every layer
          adapters of adapter_rank (Zamba2) and a matrix of hidden_size x hidden_size
Worked    zamba2-2.7b, dense_mlp, parameters: 2 x 3 x 2560 x 10240 + 9 x 128 x (2560 + 2 x 10240) = 183,828,480 parameters
Omits     softmax, norms and rotary embeddings in the FLOPs
Assumes   queries, keys and values come from 2 x hidden_size elements: the stream and the token's embedding; a block that is
          stored in an earlier layer is read and multiplied again
Used by   Zamba (no adapters), Zamba2
Source    Zamba, arXiv:2405.16712; Zamba2, arXiv:2411.15242; transformers models/zamba, zamba2
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, model_validator

from kvcalc.kind import Row, Site, Weight, Width, Work, vector
from kvcalc.projections import GroupedQuery
from kvcalc.slots import EVERY


class SharedBlock(GroupedQuery):
    kind: Literal["shared_block"]
    head_dim: Width = Field(description="Width of a head (attention_head_dim) [elements]")
    intermediate_size: Width = Field(description="Width of the gated MLP [elements]")
    adapter_rank: Width | None = Field(
        None, description="Width of a layer's own adapters, on the MLP's gate and up projections; not given: none [elements]"
    )
    use_shared_attention_adapter: bool = Field(False, description="Adapters on the query, key and value projections too")
    add_bias_linear: bool = Field(False, description="Biases on the MLP's projections")
    stored_earlier: bool = Field(False, description="The block's weights are an earlier layer's; the adapters are its own")

    @model_validator(mode="after")
    def _consistent(self) -> "SharedBlock":
        if self.use_shared_attention_adapter and self.adapter_rank is None:
            raise ValueError("use_shared_attention_adapter needs adapter_rank")
        return self

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        return self.without_groups()

    def rows(self, site: Site) -> Iterator[Row]:
        yield from self.grouped_rows(EVERY, EVERY)

    def weights(self, site: Site) -> Iterator[Weight]:
        for weight in self._block(site.hidden_size):
            yield weight._replace(stored=not self.stored_earlier)
        yield from self._own(site.hidden_size)

    def _block(self, d: int) -> Iterator[Weight]:
        """What the layers share."""
        width = self.intermediate_size
        yield vector("block_input_norm", "norms", 2 * d)
        yield from self.grouped_weights(d, 2 * d)
        yield vector("pre_ff_norm", "norms", d)
        yield Weight("up_proj", "dense_mlp", (width, d), copies=2, split=width)
        yield Weight("down_proj", "dense_mlp", (d, width), split=width)
        if self.add_bias_linear:
            yield vector("up_bias", "dense_mlp", width, copies=2, split=width)
            yield vector("down_bias", "dense_mlp", d)

    def _own(self, d: int) -> Iterator[Weight]:
        """What each layer has for itself."""
        rank, width = self.adapter_rank, self.intermediate_size
        if rank is not None:
            yield Weight("mlp_adapter_down", "dense_mlp", (rank, d), split=rank)
            yield Weight("mlp_adapter_up", "dense_mlp", (2 * width, rank), split=width)
            if self.use_shared_attention_adapter:
                heads = self.num_key_value_heads
                yield Weight("qkv_adapter_down", "attention", (rank, 2 * d), copies=3, split=rank)
                yield Weight("qkv_adapter_up", "attention", (2 * d, rank), copies=3, split=heads, uneven="repeat")
        yield Weight("block_out_proj", "attention", (d, d))

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.grouped_work(EVERY)
