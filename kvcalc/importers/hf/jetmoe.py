"""JetMoE: mixture of attention heads (each expert has query heads for all KV heads) and of MLPs."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import CHOSEN, EXPERTS, decoder, experts

TYPES = ("jetmoe",)


def read(c: Config) -> Layout:
    c.ignore("num_attention_heads", "length")
    c.must("bias", True)
    c.must("glu", True)
    attention = {
        "kind": "moa",
        "num_experts": c.count(*EXPERTS),
        "num_experts_per_tok": c.count(*CHOSEN),
        "num_key_value_heads": c.count("num_key_value_heads"),
        "head_dim": c.count("kv_channels"),
    }
    moe = experts(c, width=("intermediate_size", "ffn_hidden_size"), output_bias=True)
    return decoder(c, {"moa": attention}, {"moe": moe}, tied=True)
