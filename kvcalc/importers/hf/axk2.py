"""A.X K2: DeepSeek-V3.2's latent attention and indexer, whose queries come with output gates from one product; low-rank gates on the inputs
of attention and experts."""

from typing import Any

from kvcalc.importers.config import Config
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    SIGMOID_ROUTER,
    blocks,
    decoder,
    depth,
    experts,
    indexed,
    latent,
    layer_types,
    mlp,
    moe_after_dense,
    pairs,
    shared_width,
)

TYPES = ("axk2",)


def read(c: Config) -> Layout:
    c.ignore("num_nextn_predict_layers", "num_mtp_layers")
    count = depth(c)
    layer_types(c, count, {"indexed_attention": "dsa", "deepseek_sparse_attention": "dsa"}, lambda place: "indexed_attention")
    kinds = moe_after_dense(c, count, default=1)
    gate: dict[str, Any] = {"input_gate_rank": c.count("gated_norm_rank")}
    core = latent(
        c, q_lora_rank=c.count("q_lora_rank"), attention_bias=c.flag("attention_bias"), output_gate="query_latent", **gate
    )
    made = blocks(
        kinds,
        dense=lambda: mlp(c),
        moe=lambda: experts(c, shared=shared_width(c, default=1), router=SIGMOID_ROUTER, **gate),
    )
    return decoder(c, {"dsa": indexed(c, core)}, made, layers=pairs(["dsa"] * count, kinds))
