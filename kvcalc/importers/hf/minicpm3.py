"""MiniCPM3 and Youtu: DeepSeek-V2's latent attention in every layer, dense blocks."""

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, decoder, hidden_size, latent, mlp, or_default

TYPES = ("minicpm3", "youtu")


def read(c: Config) -> Layout:
    c.ignore("dim_model_base", "embedding_initializer_range")
    minicpm = c.model_type == "minicpm3"
    attention = latent(
        c,
        q_lora_rank=or_default(c, "q_lora_rank", 768 if minicpm else 1536),
        v_head_dim=value_width(c) if minicpm else c.count("v_head_dim"),
        attention_bias=c.flag("attention_bias"),
    )
    return decoder(c, {"mla": attention}, {"mlp": mlp(c, mlp_bias=minicpm and c.flag("mlp_bias"))}, tied=True)


def value_width(c: Config) -> Known:
    """Width of a value head; where MiniCPM3's config does not say it, hidden_size / heads."""
    return c.maybe("v_head_dim") or number(hidden_size(c) // c.count(*HEADS), "hidden_size / num_attention_heads")
