"""DeepSeek-V4.1: entries of a few source layers, which the layers after them reuse; n-gram tables beside the embedding.

`kv_source_layer_ids` own entries, `index_source_layer_ids` choose anew. The layers whose entries hold one token each (ratio 1) are a
decoder: in a prefill only the last tokens of a window run them, but for the projections that make the entries.
"""

from typing import Any

from kvcalc.importers.config import MAX_ROWS, Config, Known, number
from kvcalc.importers.hf.deepseek_v4 import shared_key
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import decoder, depth, experts, shared_width
from kvcalc.importers.quantization import READ

TYPES = ("deepseek_v41_text", "deepseek_v41")
WEIGHTS = {
    "attention.sinks": "fp32",
    "compressor": "bf16",
    "indexer": "bf16",
    "indexer.index_q_proj": READ,
    "router.correction_bias": "fp32",
    "mhc": "fp32",
    "routed_experts": "mxfp4",
    "engram_table": "mxfp8",
}
BIASES = number(2, "for the text and for images")
STATE = {"window": "mxfp8", "entry": "nvfp4", "index_key": "mxfp4"}
"""What vLLM keeps for this model."""


def read(c: Config) -> Layout:
    c.must("attention_bias", False)
    c.must("num_key_value_heads", 1)
    c.ignore("num_nextn_predict_layers", *(name for name in c.fields if name.startswith("dspark_")))
    c.ignore("qk_rope_head_dim", "hc_sinkhorn_iters", "compress_rope_theta", "engram_vocab_size", "engram_compressed_vocab_size")
    count = depth(c)
    ratios = c.numbers("compress_ratios", length=count, longer=True)
    kv, index = c.numbers("kv_source_layer_ids", high=count - 1), c.numbers("index_source_layer_ids", high=count - 1)
    if ratios is None or kv is None or index is None:
        raise c.refuse("compress_ratios", "or kv_source_layer_ids or index_source_layer_ids is not in the config")
    attention: dict[str, dict[str, Any]] = {}
    layers: list[Layer] = []
    source: int | None = None
    for place, ratio in enumerate(ratios):
        role = "window" if ratio == 0 else "source" if place in kv else "reindex" if place in index else "reuse"
        if role == "source":
            source = place
        if ratio and source is None:
            raise c.refuse(f"compress_ratios[{place}]", "a layer with entries, but no source layer stands before it")
        decodes = ratio == 1
        name = f"decoder_{role}" if decodes and role != "reindex" else role
        attention.setdefault(name, _part(c, role, ratio))
        reuses = source if role in ("reindex", "reuse") else None
        layers.append(Layer(name, "moe", reuses, replay=c.count("sliding_window") if decodes else None))
    router = {"kind": "linear", "scoring_func": "sqrtsoftplus", "correction_bias": "parameter", "correction_biases": BIASES}
    c.caveat("The native state is what vLLM keeps. Draft stages and the vision tower are not counted.")
    c.caveat("In a prefill only the last tokens of a window run the decoder's layers; all run the projections of its entries.")
    streams = c.count("hc_mult")
    return decoder(
        c,
        attention,
        {"moe": experts(c, shared=shared_width(c, default=None), router=router)},
        layers=layers,
        residual={"kind": "mhc", "hc_mult": streams, "head": False, "passes": number(1, "fused kernels of this model")},
        tables={"ngram": _tables(c, count, streams)},
        weights=WEIGHTS,
        state=STATE,
        math={"routed_experts": "fp8"},
    )


def _part(c: Config, role: str, ratio: Known) -> dict[str, Any]:
    part: dict[str, Any] = {**shared_key(c), "kind": "csa2", "role": role}
    if role == "window":
        return part
    part |= {
        "compress_ratio": ratio,
        "index_n_heads": c.count("index_n_heads"),
        "index_head_dim": c.count("index_head_dim"),
        "index_topk": c.count("index_topk"),
    }
    if role == "source" and ratio == 1:
        part["produced_by_every_token"] = True
    if role == "reindex":
        blocks, size = c.count("candidate_topk_blocks"), c.count("candidate_block_size")
        part["candidates"] = number(blocks * size, "candidate_topk_blocks x candidate_block_size")
    c.ignore("candidate_source_layer_id")
    return part


def _tables(c: Config, count: int, streams: Known) -> dict[str, Any]:
    return {
        "layers": c.numbers("engram_layer_ids", high=count - 1),
        "num_embeddings": c.numbers("engram_num_embeddings", low=1, high=MAX_ROWS),
        "max_ngram_size": c.count("engram_max_ngram_size"),
        "n_heads": c.count("engram_n_heads"),
        "head_dim": c.count("engram_head_dim"),
        "hc_mult": streams,
    }
