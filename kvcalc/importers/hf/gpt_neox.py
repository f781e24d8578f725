"""GPT-NeoX and Pythia: multi-head attention and a plain MLP with biases, two LayerNorms. The Japanese one has only one bias, on
the output projection of the last layer, and says the MLP's width as a multiple."""

from kvcalc.importers.config import Config, number
from kvcalc.importers.hf.gpt2 import multi_head
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, depth, hidden_size, mlp, pairs

TYPES = ("gpt_neox", "gpt_neox_japanese")


def read(c: Config) -> Layout:
    c.ignore("use_parallel_residual")
    if c.model_type == "gpt_neox_japanese":
        return _japanese(c)
    bias = c.flag("attention_bias", default=True)
    attention = multi_head(c, qkv_bias=bias, o_bias=bias)
    return decoder(c, {"full": attention}, {"mlp": mlp(c, gated=False, mlp_bias=True)}, norm_bias=True)


def _japanese(c: Config) -> Layout:
    times = c.count("intermediate_multiple_size")
    width = number(times * hidden_size(c), f"{times.origin} x hidden_size")
    attention = {"full": multi_head(c), "last": multi_head(c, o_bias=True)}
    names = ["full"] * (depth(c) - 1) + ["last"]
    block = {"kind": "mlp", "intermediate_size": width, "gated": False}
    return decoder(c, attention, {"mlp": block}, layers=pairs(names, "mlp"), tied=True, norm_bias=True)
