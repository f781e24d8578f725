"""OLMo, the first, in its authors' own form: Llama's layer, whose norms have weights or not; the MLP is half as wide as its field or
`mlp_ratio` says, as this is the width of gate and up projection together.

Source: github.com/allenai/OLMo, olmo/{config,model}.py.
"""

from typing import Any

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.hf.gpt2 import even_heads
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, decoder, grouped_query, hidden_size, or_default

TYPES = ("hf_olmo",)
RATIO, ROWS = 4, 50_304
RELEASED = {"include_bias": False, "rope": True}
"""What the released models say, and the class has otherwise."""
NOT_SIZED = ("flash_attention", "clip_qkv", "scale_logits", "layer_norm_type", "precision", "embedding_fraction")


def groups(c: Config) -> Known:
    """KV heads: said, or one of `multi_query_attention`, or as many as query heads."""
    heads, said = c.count(*HEADS), c.maybe("n_kv_heads")
    if c.has("multi_query_attention"):
        alone = c.flag("multi_query_attention")
        c.must("n_kv_heads", None, 1 if alone else heads)
        return number(1 if alone else heads, "multi_query_attention")
    return number(heads, f"{heads.origin}: no field for KV heads") if said is None else said


def width(c: Config) -> Known:
    """Width of the MLP: half of what gate and up projection have together."""
    together = c.maybe("mlp_hidden_size") or number(c.count("mlp_ratio", default=RATIO) * hidden_size(c), "mlp_ratio x d_model")
    if together % 2:
        raise c.refuse("mlp_hidden_size", f"{together:,} does not divide into gate and up projection")
    return number(together // 2, f"{together.origin} / 2")


def read(c: Config) -> Layout:
    for name, value in RELEASED.items():
        if name not in c.fields:
            raise c.refuse(name, "is not in the config")
        c.must(name, value)
    for name in ("bias_for_layer_norm", "attention_layer_norm", "embedding_layer_norm", "alibi", "norm_after"):
        c.must(name, False)
    c.must("activation_type", "swiglu")
    c.must("block_type", "sequential", "llama")
    c.ignore("mlp_ratio", "block_group_size", *NOT_SIZED)
    affine = c.flag("layer_norm_with_affine", default=True, stated=True)
    residual: dict[str, Any] = {"kind": "plain"} | ({} if affine else {"norms_per_layer": 0, "no_final_norm": True})
    c.fields = c.fields | {"tie_word_embeddings": c.flag("weight_tying", default=True, stated=True)}
    attention = grouped_query(c, num_key_value_heads=groups(c), head_dim=even_heads(c))
    block = {"kind": "mlp", "intermediate_size": width(c)}
    layout = decoder(c, {"full": attention}, {"mlp": block}, residual=residual)
    layout.vocab_size = or_default(c, "embedding_size", ROWS) or layout.vocab_size
    return layout
