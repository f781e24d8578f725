"""ChatGLM2 to GLM-4 in their first form: `multi_query_group_num` KV heads where `multi_query_attention` says so, a gated MLP."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, decoder, grouped_query, mlp

TYPES = ("chatglm",)


def read(c: Config) -> Layout:
    c.must("quantization_bit", None, 0)
    c.must("pre_seq_len", None, 0)
    c.must("prefix_projection", None, False)
    c.must("post_layer_norm", None, True)
    c.ignore("apply_residual_connection_post_layernorm", "interleaved_qkv", "multi_query_group_num")
    shared = c.flag("multi_query_attention", stated=True)
    linear, qkv = c.flag("add_bias_linear"), c.flag("add_qkv_bias", stated=True)
    attention = grouped_query(
        c,
        num_key_value_heads=c.count("multi_query_group_num") if shared else c.count(*HEADS),
        head_dim=c.count("kv_channels"),
        qkv_bias=linear or qkv,
        o_bias=linear,
    )
    norm_bias = not c.flag("rmsnorm", default=True)
    return decoder(c, {"full": attention}, {"mlp": mlp(c, "ffn_hidden_size", mlp_bias=linear)}, norm_bias=norm_bias)
