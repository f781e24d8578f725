"""Per-layer embeddings (PLE): a second token table with a row for every layer; each layer gates and adds its part.

Keeps     nothing; the table is stored (host memory or flash will do) and a token reads one row of it
Formula   parameters = vocab_size x layers x dim (table) + layers x dim x hidden (projection of the embedding)
          + layers x 2 x hidden x dim (gate and projection in each layer), + norms
Worked    gemma-4-e2b, ple_table, parameters: 262144 x 35 x 256 = 2,348,810,240 parameters
Omits     the gate's activation and elementwise products in the FLOPs
Assumes   the table counts where the weights are counted: parameters, bytes in storage and bytes read per token are three numbers
Used by   Gemma 3n, Gemma 4 E2B and E4B
Source    Gemma 4 documentation; transformers models/gemma4
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import EmbeddingPart, Site, TableRows, Weight, Width, vector


class PerLayerEmbedding(EmbeddingPart):
    kind: Literal["per_layer"] = "per_layer"
    vocab_size: TableRows = Field(description="Rows of the table [tokens]")
    dim: Width = Field(description="Width of a token's row for one layer [elements] (hidden_size_per_layer_input)")

    def model_weights(self, site: Site) -> Iterator[Weight]:
        row = site.num_hidden_layers * self.dim
        yield Weight(
            "per_layer_table", "ple_table", (self.vocab_size, row), "lookup", chosen=1, split=self.vocab_size, uneven="pad"
        )
        yield Weight("per_layer_model_projection", "ple_projections", (row, site.hidden_size), split=row)
        yield vector("per_layer_projection_norm", "norms", self.dim)

    def weights(self, site: Site) -> Iterator[Weight]:
        yield Weight("per_layer_input_gate", "ple_projections", (self.dim, site.hidden_size))
        yield Weight("per_layer_projection", "ple_projections", (site.hidden_size, self.dim))
        yield vector("post_per_layer_input_norm", "norms", site.hidden_size)
