"""MiniMax-M2 to M2.7: full attention with norms over all heads of q and k, experts of `intermediate_size`."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, SIGMOID_ROUTER, decoder, experts, grouped_query, undrafted

TYPES = ("minimax_m2",)


def read(c: Config) -> Layout:
    c.ignore("use_mtp", "mtp_transformer_layers", "rotary_dim")
    undrafted(c, "num_mtp_modules")
    c.must("qk_norm_type", "per_layer")
    if any(word != 1 for word in c.numbers("attn_type_list") or []):
        raise c.refuse("attn_type_list", "says something else than 1: only full attention is known here")
    c.must("use_qk_norm", True)
    router = dict(SIGMOID_ROUTER) if c.flag("use_routing_bias", default=True) else {"kind": "linear", "scoring_func": "sigmoid"}
    attention = grouped_query(
        c, num_key_value_heads=c.count(*KV_HEADS), qk_norm=True, qk_norm_all_heads=True, default_head_dim=128
    )
    moe = experts(c, width=("intermediate_size",), shared=c.maybe("shared_intermediate_size", low=0), router=router)
    return decoder(c, {"full": attention}, {"moe": moe})
