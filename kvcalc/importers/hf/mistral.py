"""Mistral: Llama's layer, with a sliding window in every layer where the config has one. No field at all means a window of 4,096.
Some files have the names of Mistral's own params.json."""

from kvcalc.importers.config import Config, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, grouped_query, mlp, omitted

TYPES = ("mistral",)
PARAMS = {"dim": "hidden_size", "hidden_dim": "intermediate_size", "n_kv_heads": "num_key_value_heads"}


def read(c: Config) -> Layout:
    for own, name in PARAMS.items():
        value = c.fields.get(own)
        if c.has(own) and isinstance(value, int) and not isinstance(value, bool) and not c.has(name):
            c.fields = c.fields | {name: number(value, own)}
    omitted(c, hidden_size=4096, num_hidden_layers=32, num_attention_heads=32, intermediate_size=14_336, vocab_size=32_000)
    window = c.window("sliding_window", absent=4096)
    attention = grouped_query(c, num_key_value_heads=c.count("num_key_value_heads", default=8), window=window)
    return decoder(c, {"full" if window is None else "local": attention}, {"mlp": mlp(c)})
