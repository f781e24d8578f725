"""DeepSeek sparse attention (DSA): MLA whose queries read only the `index_topk` tokens that an indexer chooses.

Keeps     per token MLA's latent and RoPE key, and one index key of `index_head_dim` where the layer has an indexer of its own
Formula   bytes/token/layer = (kv_lora_rank + qk_rope_head_dim + index_head_dim) x bytes/element; without the last term where
          indexer_type is shared
Worked    deepseek-v3.2, bf16, growth: 61 x (512 + 64 + 128) x 2 = 85,888 bytes
Omits     softmax, norms and rotary embeddings in the FLOPs; the Hadamard rotation of the index keys
Assumes   the indexer scores every token; the core is absorbed in both phases (each query has its own token set); dense below index_topk;
          a layer with a shared indexer reads the tokens that the last indexer before it chose, and has no indexer's weights and work;
          a layer may read another's latents (`reuse`) and still keep index keys of its own
Used by   DeepSeek-V3.2; GLM-5 to 5.3 (5.2, 5.3: shared indexers), HY-V4, dots3-note, Mistral Large 4 (latents shared between layers)
Source    DeepSeek-V3.2, arXiv:2512.02556; transformers models/glm_moe_dsa, hy_v4, mistral_large4, dots3_note; storage: vLLM
          fp8_ds_mla (656 bytes) and its 132-byte index key
"""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from kvcalc.kind import Count, Row, Site, Tokens, Weight, Width, Work
from kvcalc.projections import LatentAttention, indexer_flops, indexer_weights
from kvcalc.slots import EVERY, Law, Top


class DSA(LatentAttention):
    kind: Literal["dsa"]
    index_n_heads: Count = Field(description="Query heads of the indexer")
    index_head_dim: Width = Field(description="Width of the cached index key [elements]")
    index_topk: Tokens = Field(description="Tokens that a query reads [tokens]")
    indexer_type: Literal["full", "shared"] = Field(
        "full", description="An indexer of its own, or the choice of the last one before"
    )

    @property
    def chosen(self) -> Law:
        """The tokens that one query reads."""
        return Top(self.index_topk, EVERY)

    def without(self, site: Site) -> dict[str, dict[str, Any]]:
        found = {"indexer": self.dense_latent()}
        return found if self.indexer_type == "full" else found | {"index-sharing": self._but(indexer_type="full")}

    def rows(self, site: Site) -> Iterator[Row]:
        yield from self.latent_rows(site, EVERY, self.chosen)
        if self.indexer_type == "full":
            yield Row("index_key", "index", self.index_head_dim, EVERY, EVERY, piece="indexer")

    def weights(self, site: Site) -> Iterator[Weight]:
        yield from self.latent_weights(site)
        if self.indexer_type == "full":
            yield from indexer_weights(self, site, self.index_n_heads, self.index_head_dim)

    def work(self, site: Site) -> Iterator[Work]:
        yield from self.absorbed_work(self.chosen)
        if self.indexer_type == "full":
            flops = indexer_flops(self.index_n_heads, self.index_head_dim)
            yield Work("index scores", "indexer", flops, EVERY, "indexer", operand="index_key")
