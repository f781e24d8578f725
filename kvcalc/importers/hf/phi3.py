"""Phi-3, Phi-3.5, Phi-4 and the text model of Phi-4-multimodal: Llama's layer with fused projections, all layers in a window
where there is one. A window as long as the context saves nothing."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp, or_default

TYPES = ("phi3", "phi3_v", "phi4_multimodal", "phi4mm")


def read(c: Config) -> Layout:
    for name in ("attention_bias", "mlp_bias", "lm_head_bias"):
        c.must(name, False)
    c.must("full_attn_mod", 1)
    c.ignore("interpolate_factor")
    if c.model_type != "phi3":
        c.ignore("img_processor", "audio_processor", "embd_layer", "vision_lora", "speech_lora")
        c.caveat("Only the text model is counted, not the encoders of images and speech nor their adapters.")
    groups = or_default(c, "num_key_value_heads", 8) if c.model_type.startswith("phi4") else None
    window = c.window("sliding_window")
    part = grouped_query(c, num_key_value_heads=groups, window=window)
    return decoder(c, {"full" if window is None else "local": part}, {"mlp": mlp(c)})
