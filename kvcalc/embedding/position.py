"""Learned absolute positions: a table of which a token reads one row.

Keeps     nothing
Formula   parameters = max_positions x hidden_size
Worked    gpt2-large, position_embeddings, parameters: 1024 x 1280 = 1,310,720 parameters
Omits     nothing
Assumes   contexts beyond the table are arithmetic only
Used by   GPT-2
Source    Radford et al. 2019; transformers models/gpt2
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import EmbeddingPart, Site, TableRows, Weight


class PositionTable(EmbeddingPart):
    kind: Literal["position"] = "position"
    max_positions: TableRows = Field(description="Rows of the table [tokens]")

    def model_weights(self, site: Site) -> Iterator[Weight]:
        yield Weight("position_table", "position_embeddings", (self.max_positions, site.hidden_size), "lookup", chosen=1)
