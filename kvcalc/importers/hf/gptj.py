"""GPT-J and CodeGen: attention and MLP side by side behind one norm, no biases in attention, one on the head."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import four_times, multi_head
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder

TYPES = ("gptj", "codegen")


def read(c: Config) -> Layout:
    block = four_times(c, "n_inner", mlp_bias=True)
    return decoder(c, {"full": multi_head(c)}, {"mlp": block}, norms=1, norm_bias=True, head_bias=True)
