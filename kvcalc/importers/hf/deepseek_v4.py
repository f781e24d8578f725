"""DeepSeek-V4: a window in every layer, compressed entries beside it by `compress_ratios` (4: sparse, with an indexer; above: all read).
Saved by the reference class, `layer_types` and `compress_rates` say the same, and `mlp_layer_types` which layers have a table."""

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import HEADS, decoder, depth, experts, pairs, shared_width
from kvcalc.importers.quantization import READ

TYPES = ("deepseek_v4",)
RATES = {"sliding_attention": 0, "compressed_sparse_attention": 4, "heavily_compressed_attention": 128}
"""What a layer type compresses, in the class."""
HASHED = 3
"""First layers with a table instead of a router, in the class."""
SPARSE = 4
"""The ratio whose entries overlap and are chosen by an indexer; a larger one pools its own block only, and all of it is read."""
BIAS = "router.correction_bias"
"""What routers have that choose by scores; those that choose by a table of hashes have none."""
WEIGHTS = {
    "compressor": "bf16",
    "indexer": "bf16",
    "indexer.index_q_proj": READ,
    "attention.sinks": "fp32",
    "compressor.position_bias": "fp32",
    "indexer.index_position_bias": "fp32",
    BIAS: "fp32",
    "mhc": "fp32",
}
STATE = {"window": "fp8-448+bf16-64", "entry": "fp8-448+bf16-64", "index_key": "mxfp4"}
"""What vLLM keeps for this model (fp8_ds_mla)."""


def read(c: Config) -> Layout:
    c.must("attention_bias", False)
    c.must("num_key_value_heads", 1)
    c.must("n_shared_experts", 1)
    c.ignore("num_nextn_predict_layers", *(name for name in c.fields if name.startswith("dspark_")))
    c.ignore("qk_rope_head_dim", "hc_sinkhorn_iters", "compress_rope_theta")
    count = depth(c)
    ratios = compress_ratios(c, count)
    base = shared_key(c)
    attention: dict[str, dict[str, object]] = {}
    for ratio in ratios:
        attention[name_of(ratio)] = base | compressed(c, ratio)
    said = c.words("mlp_layer_types", known=("hash_moe", "moe"), length=count)
    if said is None:
        hashed = min(c.count("num_hash_layers", low=0, default=HASHED), count)
        said = ["hash_moe"] * hashed + ["moe"] * (count - hashed)
    c.ignore("num_hash_layers")
    routed = experts(
        c, shared=shared_width(c, default=1), router={"kind": "linear", "scoring_func": "sqrtsoftplus", "correction_bias": "buffer"}
    )
    blocks = {"hash": {**routed, "router": {"kind": "hash_table"}}, "moe": routed}
    c.caveat("The native state is what vLLM keeps: rows of 584 bytes and index keys in mxfp4. The draft stages are not counted.")
    layers = pairs([name_of(ratio) for ratio in ratios], [word.removesuffix("_moe") for word in said])
    formats = {name: chosen for name, chosen in WEIGHTS.items() if name != BIAS or "moe" in said}
    fp4 = c.text("expert_dtype", known=("fp4", "fp8")) == "fp4"
    return decoder(
        c,
        attention,
        blocks,
        layers=layers,
        residual={"kind": "mhc", "hc_mult": c.count("hc_mult")},
        weights=usual(base, attention, formats) | ({"routed_experts": "mxfp4"} if fp4 else {}),
        state=usual(base, attention, STATE),
        math={"routed_experts": "fp8"} if fp4 else {},
    )


def compress_ratios(c: Config, count: int) -> list[Known]:
    """What each layer compresses; 0: nothing."""
    listed = c.numbers("compress_ratios", length=count, low=0, longer=True)
    named = c.words("layer_types", known=RATES, length=count)
    if named is None:
        if listed is None:
            raise c.refuse("compress_ratios", "is not in the config")
        c.ignore("compress_rates")
        return listed
    rates = c.maybe_section("compress_rates")
    known = {name: rate if rates is None else rates.count(name, default=rate, low=0) for name, rate in RATES.items() if name in named}
    said = [number(known[name], f"compress_rates of {name}") for name in named]
    if listed is not None and listed != said:
        raise c.refuse("layer_types", "says other layers than compress_ratios")
    return said


def shared_key(c: Config) -> dict[str, object]:
    """The part that every layer has."""
    return {
        "kind": "csa_hca",
        "num_attention_heads": c.count(*HEADS),
        "head_dim": c.count("head_dim"),
        "q_lora_rank": c.count("q_lora_rank"),
        "o_groups": c.count("o_groups"),
        "o_lora_rank": c.count("o_lora_rank"),
        "window": c.count("sliding_window"),
    }


def name_of(ratio: Known) -> str:
    """`window`, `csa` or `hca`."""
    return "window" if ratio == 0 else "csa" if ratio == SPARSE else "hca"


def compressed(c: Config, ratio: Known) -> dict[str, object]:
    """What compressed entries add to a layer."""
    if ratio == 0:
        return {}
    if ratio != SPARSE:
        return {"compress_ratio": ratio}
    return {
        "compress_ratio": ratio,
        "overlap": True,
        "index_n_heads": c.count("index_n_heads"),
        "index_head_dim": c.count("index_head_dim"),
        "index_topk": c.count("index_topk"),
    }


def usual(base: dict[str, object], attention: dict[str, dict[str, object]], formats: dict[str, str]) -> dict[str, str]:
    """Formats of the rows and pieces that this model has."""
    indexer = any("index_topk" in part for part in attention.values())
    entries = any("compress_ratio" in part for part in attention.values())
    return {
        name: chosen
        for name, chosen in formats.items()
        if (indexer or not name.startswith("index")) and (entries or not name.startswith(("compressor", "entry")))
    }
