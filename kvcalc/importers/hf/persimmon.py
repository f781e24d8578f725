"""Persimmon, and Fuyu's text model: multi-head attention and a plain MLP with biases, LayerNorms on each head's queries and keys.

The first Fuyu configs are flat; later ones have a section whose type is Persimmon.
"""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import multi_head
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, mlp

TYPES = ("persimmon", "fuyu")


def read(c: Config) -> Layout:
    if c.model_type == "fuyu":
        c.ignore("image_size", "patch_size", "num_channels")
        c.caveat("Only the text model is counted, not the projection of image patches.")
    normed = c.flag("qk_layernorm", default=True, stated=True)
    attention = multi_head(c, qkv_bias=True, o_bias=True, qk_norm=normed, qk_norm_bias=normed)
    return decoder(c, {"full": attention}, {"mlp": mlp(c, gated=False, mlp_bias=True)}, norm_bias=True)
