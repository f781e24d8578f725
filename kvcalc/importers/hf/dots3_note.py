"""dots3-note: latent attention with a gate per head and a norm on the RoPE key. Full layers have an indexer, the others a window and sizes of
their own (`swa_*`)."""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.hf.glm_moe_dsa import SPARSE, v3_blocks, with_indexer
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, blocks, decoder, depth, latent, layer_types, moe_after_dense, pairs

TYPES = ("dots3_note_text", "dots3_note")
SAVED = "per_layer_config"
"""Where transformers writes the sizes of layers that differ."""
EXTRAS: dict[str, Any] = {"output_gate": "per_head", "rope_key_norm": True}


def read(c: Config) -> Layout:
    for name in ("attention_gate_type", "swa_attention_gate_type", "sdpa_gate_type"):
        c.must(name, "headwise")
    for name in ("k_rope_only_layernorm", "use_dsa", "use_sliding_window"):
        c.must(name, True)
    c.must("normalization", "RMSNorm")
    c.must("final_norm", "RMSNorm")
    c.ignore("num_nextn_predict_layers", "apply_mla_qkv_lora_rescale", "use_dynamic_rsf", "moe_gating_fp32", "swa_rope_theta")
    c.ignore("indexer_rope_interleave", "swa_num_key_value_heads")
    count = depth(c)
    names = layer_types(c, count, {SLIDING: "local"} | SPARSE | ({} if c.has(SAVED) else {FULL: "full"}))
    names = ["full" if name == "sparse" else name for name in names]
    attention = blocks(names, full=lambda: with_indexer(c, **EXTRAS), local=lambda: sliding(c, names.index("local")))
    c.ignore(*(name for name in c.fields if name.startswith("swa_")), "sliding_window", "sliding_window_size", SAVED)
    if not c.has("mlp_layer_types"):
        c.count("first_k_dense_replace", default=1, low=0)
    kinds = moe_after_dense(c, count)
    return decoder(c, attention, v3_blocks(c, kinds, **({"shared": shared(c)} if "moe" in kinds else {})), layers=pairs(names, kinds))


def shared(c: Config) -> Known:
    """Width of the shared experts: how many x the width of one, which has a field of its own."""
    many = c.count("n_shared_experts")
    each = c.count("moe_shared_expert_intermediate_size", "shared_experts_intermediate_size")
    return number(many * each, f"{many.origin} x {each.origin}")


def sliding(c: Config, place: int) -> dict[str, Any]:
    """A layer with a window, whose sizes stand in fields of their own, or in what transformers wrote for that layer."""
    window = c.window("sliding_window_size", "sliding_window")
    if window is None:
        raise c.refuse("sliding_window_size", "is not in the config, and there are layers that slide")
    saved = c.maybe_section(SAVED)
    own = None if saved is None else saved.section(str(place))
    sizes = {name: c.count(f"swa_{name}") if own is None else own.count(name) for name in NAMES}
    ...
