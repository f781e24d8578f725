"""Grok-1 (as converted for PyTorch) and Grok-2, whose model_type is `git`: experts, four norms in a layer; Grok-2 has a dense block
beside its experts, and a head of its own."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, decoder, experts, grouped_query

TYPES = ("grok-1", "grok", "git")
SECOND = "git"
ARCHITECTURES = ("Grok1ForCausalLM", "Grok1ModelForCausalLM")


def read(c: Config) -> Layout:
    second = c.model_type == SECOND
    if second and not any(name in ARCHITECTURES for name in c.items("architectures") or []):
        raise c.refuse(
            "architectures", "with the model_type 'git' only Grok-2 is understood", f"known: {', '.join(ARCHITECTURES)}"
        )
    c.must("sliding_window_size", -1, 0)
    c.must("global_attn_every_n", 1)
    c.ignore(
        "attn_output_multiplier", "max_attn_value", "attn_temperature_len", "attn_factor", "rope_type", "beta_fast", "beta_slow"
    )
    beside = c.count("intermediate_size") if c.flag("residual_moe") else None
    width = "moe_intermediate_size" if beside is not None or c.has("moe_intermediate_size") else "intermediate_size"
    if beside is None and width != "intermediate_size" and not c.has("residual_moe"):
        raise c.refuse("residual_moe", "is not in the config, and moe_intermediate_size is")
    c.ignore("intermediate_size")
    moe = experts(c, width=(width,), dense_intermediate_size=beside)
    return decoder(
        c,
        {"full": grouped_query(c, num_key_value_heads=c.count(*KV_HEADS))},
        {"moe": moe},
        norms=4,
        tied=not second and beside is None,
    )
