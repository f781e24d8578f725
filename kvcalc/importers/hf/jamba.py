"""Jamba: Mamba in most layers, grouped-query attention in one of each `attn_layer_period`, experts in one of each `expert_layer_period`."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.mamba import state_space
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import EXPERTS, decoder, depth, experts, grouped_query, mlp, pairs

TYPES = ("jamba",)


def one_of(c: Config, what: str, period: int, offset: int) -> list[bool]:
    """Which layers stand at `offset` in each `period` of layers; the numbers are the class's defaults."""
    every = c.count(f"{what}_layer_period", default=period)
    at = c.count(f"{what}_layer_offset", default=offset, low=0)
    if at >= every:
        raise c.refuse(f"{what}_layer_offset", f"{at:,} is not below {what}_layer_period {every:,}")
    return [place % every == at for place in range(depth(c))]


def read(c: Config) -> Layout:
    c.must("sliding_window")
    c.must("attention_bias", False)
    c.must("mamba_inner_layernorms", True)
    c.ignore("use_mambapy", "use_associative_scan", "calc_logits_for_entire_prompt", "layer_types", "layers_block_type")
    mamba = state_space(c, dt_b_c_norms=True)
    sparse = one_of(c, "expert", 2, 1)
    blocks = {"mlp": mlp(c)}
    if c.count(*EXPERTS) > 1:
        blocks["moe"] = experts(c, width=("intermediate_size",))
    else:
        sparse = [False] * len(sparse)
        c.ignore("num_experts_per_tok")
    layers = pairs(
        ["full" if here else "mamba" for here in one_of(c, "attn", 8, 4)], ["moe" if here else "mlp" for here in sparse]
    )
    return decoder(
        c, {"mamba": mamba, "full": grouped_query(c, num_key_value_heads=c.count("num_key_value_heads"))}, blocks, layers=layers
    )
