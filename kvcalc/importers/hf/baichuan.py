"""Baichuan and Baichuan2: Llama's layer with as many KV heads as query heads (ALiBi in the 13B)."""

from kvcalc.importers.config import Config
from kvcalc.importers.hf.gpt2 import multi_head
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, mlp

TYPES = ("baichuan",)


def read(c: Config) -> Layout:
    c.ignore("z_loss_weight")
    return decoder(c, {"full": multi_head(c)}, {"mlp": mlp(c)})
