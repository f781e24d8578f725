"""Mistral 4: DeepSeek-V2's latent attention and experts, with a softmax router and the shared expert in every sparse layer."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, dense_first, depth, experts, latent, mlp, or_default, pairs, shared_width

TYPES = ("mistral4",)


def read(c: Config) -> Layout:
    count = depth(c)
    dense = dense_first(c, count)
    attention = {"mla": latent(c, q_lora_rank=or_default(c, "q_lora_rank", 1_024), attention_bias=c.flag("attention_bias"))}
    blocks = {"moe": experts(c, shared=shared_width(c, default=1))}
    if dense:
        blocks["dense"] = mlp(c)
    c.ignore("intermediate_size")
    return decoder(c, attention, blocks, layers=pairs(["mla"] * count, ["dense"] * dense + ["moe"] * (count - dense)))
