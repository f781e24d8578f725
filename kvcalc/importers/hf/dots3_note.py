"""dots3-note: latent attention with a gate per head and a norm on the RoPE key. Full layers have an indexer, the others a window and
sizes of their own (`swa_*`)."""

from typing import Any

from kvcalc.importers.config import MAX_LIST, SHOWN, Config, Known, number
from kvcalc.importers.hf.glm_moe_dsa import SPARSE, shared, v3_blocks, with_indexer
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import FULL, SLIDING, blocks, decoder, depth, latent, layer_types, moe_after_dense, pairs

TYPES = ("dots3_note_text", "dots3_note")
SAVED = "per_layer_config"
"""Where transformers writes the sizes of layers that differ."""
SHARED_WIDTHS = ("moe_shared_expert_intermediate_size", "shared_experts_intermediate_size")
SIZES = ("num_attention_heads", "q_lora_rank", "kv_lora_rank", "qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim")
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
    attention = blocks(names, full=lambda: with_indexer(c, **EXTRAS), local=lambda: sliding(c, names))
    c.ignore(*(name for name in c.fields if name.startswith("swa_")), "sliding_window", "sliding_window_size", SAVED)
    if not c.has("mlp_layer_types"):
        c.count("first_k_dense_replace", default=1, low=0)
    kinds = moe_after_dense(c, count)
    return decoder(
        c,
        attention,
        v3_blocks(c, kinds, **({"shared": shared(c, *SHARED_WIDTHS)} if "moe" in kinds else {})),
        layers=pairs(names, kinds),
    )


def sliding(c: Config, names: list[str]) -> dict[str, Any]:
    """A layer with a window: its sizes stand in fields of their own, or in what transformers wrote of the layers that differ."""
    window = c.window("sliding_window_size", "sliding_window")
    if window is None:
        raise c.refuse("sliding_window_size", "is not in the config, and there are layers that slide")
    own = differing(c, names)

    def size(name: str) -> Known:
        return c.count(f"swa_{name}") if own is None else own.maybe(name) or c.count(name)

    nope = size("qk_nope_head_dim")
    if own is not None or c.has("swa_qk_rope_head_dim"):
        rope = size("qk_rope_head_dim")
        c.must("swa_head_dim", nope + rope)
    else:
        rope = number(c.count("swa_head_dim") - nope, "swa_head_dim - swa_qk_nope_head_dim")
    return {
        **latent(c, attention_bias=c.flag("attention_bias"), **EXTRAS),
        "num_attention_heads": size("num_attention_heads"),
        "q_lora_rank": size("q_lora_rank"),
        "kv_lora_rank": size("kv_lora_rank"),
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "v_head_dim": size("v_head_dim"),
        "window": window,
    }


def differing(c: Config, names: list[str]) -> Config | None:
    """What transformers wrote of the layers that slide, which must be the same of all of them, and of no others; None if it did not."""
    saved = c.maybe_section(SAVED)
    if saved is None:
        return None
    found: dict[int, Config] = {}
    for key in saved.fields:
        if not (key.isascii() and key.isdigit() and len(key) < len(str(MAX_LIST))):
            raise saved.refuse(key[:SHOWN], "is no layer's number")
        found[int(key)] = saved.section(key)
    slide = [place for place, name in enumerate(names) if name == "local"]
    if found and sorted(found) != slide:
        raise c.refuse(SAVED, "must be of the layers that slide, and of all of them")
    first = found.get(slide[0], Config(c.file, {}, f"{c.section_name}{SAVED}.", c.journal))
    if any(other.fields != first.fields for other in found.values()):
        raise c.refuse(SAVED, "layers that slide and differ from each other are not understood")
    first.ignore("num_key_value_heads", "head_dim")
    for name in SIZES:
        first.has(name)
    first.settle()
    return first
