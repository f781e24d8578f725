"""Phi-3-small: block-sparse attention, dense in the last of every `dense_attention_every_n_layers`; LayerNorms, biases
everywhere."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import even_heads
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, decoder, depth, grouped_query, mlp, pairs

TYPES = ("phi3small",)
SIZES = ("blocksparse_block_size", "blocksparse_num_local_blocks", "blocksparse_vert_stride")


def read(c: Config) -> Layout:
    c.must("blocksparse_homo_head_pattern", None, False)
    c.must("ff_dim_multiplier", None)
    c.ignore("attention_bias", "blocksparse_triton_kernel_block_size", "dummy_token_indices", "gegelu_limit", "gegelu_pad_to_256")
    dense = grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), head_dim=even_heads(c), qkv_bias=True, o_bias=True)
    sparse = dense | {"kind": "block_sparse", **{name: c.count(name) for name in SIZES}}
    period = c.count("dense_attention_every_n_layers")
    names = ["full" if (place + 1) % period == 0 else "sparse" for place in range(depth(c))]
    block = mlp(c, "ff_intermediate_size", mlp_bias=True)
    layers = pairs(names, "mlp")
    return decoder(c, {"sparse": sparse, "full": dense}, {"mlp": block}, layers=layers, tied=True, norm_bias=True)
