"""Whisper's decoder: self-attention and cross-attention to the encoder's output in every layer. The encoder is a tower."""

from typing import Any

from kvcalc.importers.config import Config, number
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import decoder, depth, hidden_size, mlp
from kvcalc.importers.quantization import dtype_of

TYPES = ("whisper",)
KERNEL, CONVOLUTIONS = 3, 2
"""Taps and number of the convolutions before the encoder's layers."""


def attention(c: Config) -> dict[str, Any]:
    heads, stream = c.count("decoder_attention_heads"), hidden_size(c)
    if stream % heads:
        raise c.refuse("d_model", f"{stream:,} is no multiple of {heads:,} heads")
    width = number(stream // heads, "d_model / decoder_attention_heads")
    same = {"num_attention_heads": heads, "num_key_value_heads": heads, "head_dim": width}
    biases = {"qkv_bias": True, "k_bias": False, "o_bias": True}
    frames = c.count("max_source_positions")
    return {
        "kind": "composite",
        "parts": {
            "self": {"kind": "gqa", **same, **biases},
            "cross": {"kind": "cross", **same, "max_source_positions": frames, **biases},
        },
    }


def encoder(c: Config) -> int:
    """Parameters of the encoder: convolutions, positions, layers of attention and an MLP, norms."""
    d, width = hidden_size(c), c.count("encoder_ffn_dim")
    convolutions = KERNEL * d * (c.count("num_mel_bins") + d) + CONVOLUTIONS * d
    attends, mlp, norms = 4 * d * d + 3 * d, 2 * d * width + width + d, 2 * 2 * d
    return convolutions + c.count("max_source_positions") * d + c.count("encoder_layers") * (attends + mlp + norms) + 2 * d


def read(c: Config) -> Layout:
    c.ignore(
        *("num_hidden_layers", "encoder_attention_heads", "classifier_proj_size", "median_filter_width"),
        *("use_weighted_layer_sum", "is_encoder_decoder"),
    )
    c.ignore(
        "apply_spec_augment", "encoder_layerdrop", "decoder_layerdrop", *(name for name in c.fields if name.startswith("mask_"))
    )
    positions = c.count("max_target_positions", high=1 << 40)
    block = mlp(c, "decoder_ffn_dim", gated=False, mlp_bias=True)
    c.caveat("The decoder. The encoder runs once for each piece of audio; it is counted with `--include encoder`.")
    c.caveat(f"The decoder cannot run beyond its {positions:,} positions; longer contexts are arithmetic only.")
    return decoder(
        c,
        {"both": attention(c)},
        {"mlp": block},
        layers=[Layer("both", "mlp")] * depth(c, "decoder_layers"),
        tied=True,
        norms=3,
        norm_bias=True,
        context=positions,
        tables={"position": {"max_positions": positions}},
        towers={"encoder": {"parameters": encoder(c), "format": dtype_of(c, c), "source": "the encoder's fields of the config"}},
        depth="decoder_layers",
    )
