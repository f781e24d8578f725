"""DiffLlama: Llama's layer with differential attention."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, mlp

TYPES = ("diffllama",)


def read(c: Config) -> Layout:
    return decoder(c, {"full": grouped_query(c, differential=True, **biases(c))}, {"mlp": mlp(c)})
