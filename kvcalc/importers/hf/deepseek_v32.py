"""DeepSeek-V3.2: V3's layer with an indexer that chooses the tokens a query reads."""

from dataclasses import replace

from kvcalc.importers.config import Config
from kvcalc.importers.hf import deepseek
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import depth, indexed
from kvcalc.importers.quantization import READ

TYPES = ("deepseek_v32",)
STATE = {"latent": "fp8-1x128", "rope_key": "bf16", "index_key": "fp8-1x128"}
"""What vLLM keeps for this model: 656 bytes of latent and RoPE key (fp8_ds_mla), 132 of index key."""


def read(c: Config) -> Layout:
    layout = deepseek.read(c)
    c.words("layer_types", known=("indexed_attention", "deepseek_sparse_attention"), length=depth(c))
    layout.attention = {"dsa": indexed(c, layout.attention.pop("mla"))}
    layout.layers = [layer._replace(attention="dsa") for layer in layout.layers]
    layout.draft = replace(layout.draft, layers=[layer._replace(attention="dsa") for layer in layout.draft.layers])
    layout.weights |= {"indexer": READ, "indexer.index_weights_proj": "bf16"}
    layout.state |= STATE
    c.caveat("The native state is what vLLM keeps (fp8_ds_mla and an fp8 index key); the reference keeps 16 bits.")
    return layout
