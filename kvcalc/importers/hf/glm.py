"""GLM-4 in its second form (`glm`) and GLM-4-0414 (`glm4`, four norms in a layer): Llama's layer with biases on q, k and v."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, decoder, grouped_query, mlp

TYPES = ("glm", "glm4")


def read(c: Config) -> Layout:
    bias = c.flag("attention_bias", default=True, stated=True)
    attention = grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), default_head_dim=128, qkv_bias=bias)
    return decoder(c, {"full": attention}, {"mlp": mlp(c)}, norms=4 if c.model_type == "glm4" else 2)
