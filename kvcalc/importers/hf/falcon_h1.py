"""Falcon-H1: grouped-query attention and Mamba-2 side by side in every layer. The width of the state space is `mamba_d_ssm`, not
mamba_expand x hidden_size."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.bamba import state_space
from kvcalc.importers.hf.mamba import times
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, mlp

TYPES = ("falcon_h1",)
WIDTH = "mamba_d_ssm"


def read(c: Config) -> Layout:
    c.must("attn_layer_indices")
    c.must("mamba_use_mlp", True)
    c.ignore(
        "mlp_expansion_factor", "mamba_norm_before_gate", "ssm_multipliers", "mlp_multipliers", "layer_types", "layers_block_type"
    )
    if WIDTH not in c.fields:
        raise c.refuse(WIDTH, "is not in the config")
    mamba = state_space(
        c,
        c.maybe(WIDTH) or times(c, "mamba_expand"),
        out_bias=c.flag("projectors_bias"),
        gated_norm=c.flag("mamba_rms_norm", stated=True),
    )
    full = grouped_query(c, num_key_value_heads=c.count("num_key_value_heads"), **biases(c))
    both = {"kind": "composite", "parts": {"full": full, "mamba": mamba}}
    return decoder(c, {"both": both}, {"mlp": mlp(c, mlp_bias=c.flag("mlp_bias"))})
