"""Nanbeige 4.2: Llama's layers, run `num_loops` times; each pass keeps keys and values of its own."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import decoder, depth, grouped_query, mlp

TYPES = ("nanbeige",)
MOST = 64
OFF = (
    "loop_share_kv",
    "enable_double_loop_split",
    "enable_depth_attention",
    "enable_hyper_connection",
    "enable_mhc",
    "qk_layernorm",
)


def read(c: Config) -> Layout:
    for name in OFF:
        c.must(name, False)
    c.must("loop_middle_layers", [])
    weighed = c.items("loop_loss_weights") or []
    loops = c.count("num_loops", high=MOST)
    if weighed and len(weighed) + 1 != loops:
        raise c.refuse("loop_loss_weights", f"has {len(weighed):,} weights; {loops:,} loops have one less than loops")
    c.ignore("skip_loop_final_norm")
    bias, count = c.flag("attention_bias"), depth(c)
    first = [Layer("full", "mlp")] * count
    again = [Layer("full", "mlp", again=place) for place in range(count)]
    if loops > 1:
        c.caveat(
            f"The layers run {loops:,} times: weights are stored once, and read and multiplied in each pass; each has its own cache."
        )
    attention = grouped_query(c, qkv_bias=bias, o_bias=bias)
    return decoder(c, {"full": attention}, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))}, layers=first + again * (loops - 1))
