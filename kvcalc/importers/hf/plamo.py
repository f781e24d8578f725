"""PLaMo, the first: attention and MLP side by side behind one norm; `n_shared_head` query heads share a key and a value."""

from kvcalc.importers.config import Config, number
from kvcalc.importers.hf.gpt2 import even_heads
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, decoder, grouped_query, mlp

TYPES = ("plamo",)


def read(c: Config) -> Layout:
    c.ignore("num_key_value_heads")
    heads, shared = c.count(*HEADS), c.count("n_shared_head", default=8)
    groups = number(-(-heads // shared), f"{heads.origin} / {shared.origin}")
    attention = grouped_query(c, num_key_value_heads=groups, head_dim=even_heads(c))
    return decoder(c, {"full": attention}, {"mlp": mlp(c)}, norms=1)
