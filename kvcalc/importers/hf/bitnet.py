"""BitNet b1.58: Llama's layer with norms on the attention's output and inside the MLP. NanoChat: norms without weights, a plain
MLP."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, mlp, or_default

TYPES = ("bitnet", "nanochat")


def read(c: Config) -> Layout:
    if c.model_type == "nanochat":
        bare = {"kind": "plain", "norms_per_layer": 0, "no_final_norm": True}
        return decoder(c, {"full": grouped_query(c, **biases(c))}, {"mlp": mlp(c, gated=False)}, residual=bare)
    groups = or_default(c, "num_key_value_heads", 5)
    attention = grouped_query(c, num_key_value_heads=groups, output_norm=True, **biases(c))
    return decoder(c, {"full": attention}, {"mlp": mlp(c, inner_norm=True)})
