"""GLM-4 in its second form (`glm`), GLM-4-0414 (`glm4`, four norms in a layer) and the text model of GLM-4.1V (`glm4v`): Llama's layer
with biases on q, k and v."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, decoder, grouped_query, mlp, omitted

TYPES = ("glm", "glm4", "glm4v", "glm4v_text")
VISION = ("glm4v", "glm4v_text")


def read(c: Config) -> Layout:
    vision = c.model_type in VISION
    if vision:
        omitted(c, num_attention_heads=32, num_key_value_heads=2, vocab_size=151_552)
        c.must("attention_bias", True)
    bias = vision or c.flag("attention_bias", default=True, stated=True)
    attention = grouped_query(
        c, num_key_value_heads=c.count(*KV_HEADS), default_head_dim=None if vision else 128, qkv_bias=bias
    )
    if vision and not c.section_name:
        c.caveat("Only the text model is counted, not the vision encoder.")
    return decoder(c, {"full": attention}, {"mlp": mlp(c)}, norms=2 if c.model_type == "glm" else 4)
