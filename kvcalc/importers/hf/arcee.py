"""Arcee (AFM) and Apertus: Llama's attention with a plain MLP; Apertus has norms on queries and keys, and two learned numbers in
each activation (xIELU)."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, mlp

TYPES = ("arcee", "apertus")
XIELU_NUMBERS = 2


def read(c: Config) -> Layout:
    attention = grouped_query(c, qk_norm=c.model_type == "apertus", **biases(c))
    if c.model_type == "arcee":
        return decoder(c, {"full": attention}, {"mlp": mlp(c, gated=False, mlp_bias=c.flag("mlp_bias"))})
    c.must("mlp_bias", False)
    c.must("qk_norm", True)
    c.must("post_norm", False)
    learned = XIELU_NUMBERS if c.text("hidden_act", default="xielu") == "xielu" else None
    return decoder(c, {"full": attention}, {"mlp": mlp(c, gated=False, activation_parameters=learned)})
