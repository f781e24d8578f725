"""MiniCPM-SALA: Lightning attention, and InfLLM v2 in the layers that `mixer_types` names `minicpm4`."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import KV_HEADS, blocks, decoder, depth, grouped_query, mlp, pairs

TYPES = ("minicpm_sala",)
SPARSE = dict.fromkeys(("minicpm4", "minicpm", "standard", "attention", "attn"), "sparse")
LIGHTNING = dict.fromkeys(("lightning", "lightning_attn", "lightning-attn"), "lightning")
BLOCKS = ("kernel_size", "kernel_stride", "block_size", "window_size", "topk", "dense_len")


def lightning(c: Config, *, bias: bool) -> dict[str, Any]:
    heads = c.count("lightning_nh")
    if c.count("lightning_nkv") != heads:
        raise c.refuse("lightning_nkv", f"must be lightning_nh, {heads:,}")
    return {
        "kind": "lightning",
        "num_attention_heads": heads,
        "head_dim": c.count("lightning_head_dim"),
        "output_gate": c.flag("use_output_gate", stated=True),
        "output_norm": c.flag("use_output_norm", stated=True),
        "qk_norm": c.flag("qk_norm", default=True, stated=True),
        "qkv_bias": bias,
        "gate_bias": bias and c.flag("use_output_gate"),
        "o_bias": bias,
    }


def sparse(c: Config, *, bias: bool) -> dict[str, Any]:
    """Grouped-query attention; InfLLM v2 where the config has its section."""
    gate = "per_element" if c.flag("attn_use_output_gate", stated=True) else None
    heads = grouped_query(c, num_key_value_heads=c.count(*KV_HEADS), qkv_bias=bias, o_bias=bias, output_gate=gate)
    choice = c.maybe_section("sparse_config")
    if choice is None:
        c.caveat("The config has no sparse_config: its attention layers are counted as plain grouped-query attention.")
        return heads
    choice.ignore("init_blocks", "use_nope")
    found = {name: choice.count(name) for name in BLOCKS}
    choice.settle()
    return {**heads, "kind": "infllm2", **found}


def read(c: Config) -> Layout:
    bias = c.flag("attention_bias")
    if bias and c.flag("attn_use_output_gate"):
        raise c.refuse("attention_bias", "is not understood beside attn_use_output_gate: a bias of the gate")
    c.ignore(
        "attn_use_rope", "lightning_use_rope", "lightning_scale", "lightning_layerwise_decay", "mup_denominator", "dim_model_base"
    )
    c.ignore("scale_depth", "scale_emb", "shift_labels")
    count = depth(c)
    said = c.words("mixer_types", known=(*SPARSE, *LIGHTNING))
    if not said or len(said) > count:
        raise c.refuse(
            "mixer_types", "is not in the config" if said is None else f"has {len(said):,} entries for {count:,} layers"
        )
    names = [(SPARSE | LIGHTNING)[said[place % len(said)]] for place in range(count)]
    attention = blocks(names, sparse=lambda: sparse(c, bias=bias), lightning=lambda: lightning(c, bias=bias))
    return decoder(c, attention, {"mlp": mlp(c)}, layers=pairs(names, "mlp"))
