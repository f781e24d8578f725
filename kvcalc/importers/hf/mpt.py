"""MPT and Replit-Code: ALiBi, no biases, LayerNorms without biases, a plain MLP four times as wide as the stream. `attn_config`
describes the attention."""

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.hf.gpt2 import TIMES, four_times, multi_head
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, decoder

TYPES = ("mpt",)
ALL, ONE, SOME = "multihead_attention", "multiquery_attention", "grouped_query_attention"


def groups(c: Config) -> Known:
    """KV heads. `kv_n_heads` counts only where attn_type is grouped."""
    heads, a = c.count(*HEADS), c.maybe_section("attn_config")
    if a is None:
        return heads
    a.must("qk_ln", None, False)
    a.must("qk_gn", None, False)
    a.must("sliding_window_size", None, -1)
    a.must("attn_type", ALL, ONE, SOME)
    a.must("alibi", None, True)
    sort = a.text("attn_type", default=ALL)
    if sort == SOME:
        return a.count("kv_n_heads")
    a.must("kv_n_heads", None, heads if sort == ALL else 1)
    return number(1, "attn_config.attn_type") if sort == ONE else heads


def read(c: Config) -> Layout:
    if not c.flag("no_bias", default=True, stated=True):
        raise c.refuse("no_bias", "false is not understood for model_type 'mpt'")
    c.must("expansion_ratio", None, TIMES)
    c.must("norm_type", "low_precision_layernorm", "layernorm")
    block = c.maybe_section("ffn_config")
    if block is not None:
        block.must("ffn_type", None, "mptmlp")
        block.must("ffn_hidden_size", None)
    c.must("ffn_hidden_size", None)
    c.ignore("learned_pos_emb", "embedding_fraction", "emb_pdrop", "fc_type", "init_config", "embed_init_std", "verbose")
    return decoder(c, {"full": multi_head(c, num_key_value_heads=groups(c))}, {"mlp": four_times(c)}, tied=True)
