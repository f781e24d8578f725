"""BLOOM: multi-head attention with ALiBi, a plain MLP of four times the width, biases everywhere, a norm on the embeddings."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import TIMES, four_times, multi_head
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, hidden_size

TYPES = ("bloom",)


def read(c: Config) -> Layout:
    c.must("n_inner", None, TIMES * hidden_size(c))
    c.ignore(
        "apply_residual_connection_post_layernorm", "offset_alibi", "skip_bias_add", "skip_bias_add_qkv", "masked_softmax_fusion"
    )
    attention = multi_head(c, qkv_bias=True, o_bias=True)
    residual = {"kind": "plain", "norm_bias": True, "embedding_norm": True}
    return decoder(c, {"full": attention}, {"mlp": four_times(c, mlp_bias=True)}, tied=True, residual=residual)
