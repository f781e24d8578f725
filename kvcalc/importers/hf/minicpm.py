"""MiniCPM: Llama's layer with a tied head. MiniCPM4.1 says under `sparse_config` that long contexts are read by blocks (InfLLM
v2)."""

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import biases, decoder, grouped_query, mlp

TYPES = ("minicpm",)
SPARSE = ("kernel_size", "kernel_stride", "block_size", "window_size", "topk", "dense_len")


def read(c: Config) -> Layout:
    c.ignore("dim_model_base")
    part = grouped_query(c, **biases(c))
    sparse = c.maybe_section("sparse_config")
    if sparse is not None:
        sparse.must("use_nope", False)
        sparse.ignore("init_blocks")
        part |= {"kind": "infllm2", **{name: sparse.count(name) for name in SPARSE}}
        sparse.settle()
    return decoder(c, {"full" if sparse is None else "sparse": part}, {"mlp": mlp(c)}, tied=True)
