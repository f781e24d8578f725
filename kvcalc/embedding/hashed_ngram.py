"""Hashed n-gram embeddings: tables of n-grams beside the token embedding, each with a projection, added to it before the first layer.

Keeps     the last max_ngram_size - 1 token ids (a few bytes, not counted)
Formula   (max_ngram_size - 1) x n_heads tables of hidden / tables columns, table i (from 0) of num_embeddings + 2 i + 1 rows;
          parameters = sum of rows x columns + tables x columns x hidden; rows read/token = one of each table
Worked    longcat-flash-lite, ngram_table, parameters: (12 x 10223616 + 12 x 11 + 12) x 256 = 31,406,985,216 parameters
Omits     the hash and the mean of the embeddings in the FLOPs
Assumes   tables may stand in host memory; they count where the weights are counted
Used by   LongCat-Flash-Lite
Source    LongCat-Flash-Lite, arXiv:2601.21204; mlx-lm models/longcat_flash_ngram
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field

from kvcalc.kind import Count, EmbeddingPart, Site, TableRows, Weight


class HashedNgram(EmbeddingPart):
    kind: Literal["hashed_ngram"] = "hashed_ngram"
    num_embeddings: TableRows = Field(
        description="Rows of a table; the tables grow by two rows each, so that their hashes differ"
    )
    max_ngram_size: Annotated[int, Field(gt=1, le=64)] = Field(description="Longest n-gram (emb_neighbor_num) [tokens]")
    n_heads: Count = Field(description="Tables per n-gram length (emb_split_num)")

    @property
    def tables(self) -> int:
        return (self.max_ngram_size - 1) * self.n_heads

    def model_weights(self, site: Site) -> Iterator[Weight]:
        columns = site.hidden_size // self.tables
        for place in range(self.tables):
            rows = self.num_embeddings + 2 * place + 1
            yield Weight(f"table_{place}", "ngram_table", (rows, columns), "lookup", chosen=1, split=rows, uneven="pad")
        yield Weight("table_proj", "ngram_projection", (site.hidden_size, columns), copies=self.tables)
