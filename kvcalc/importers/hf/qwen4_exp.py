"""Qwen3.8-Flash-Next: gated delta nets, and in every fourth layer gated attention whose queries read chosen groups of tokens (QSA). Streams
with gates between the layers, and tables of n-grams whose sizes follow from the smallest of them."""

from typing import Any

from kvcalc.importers.config import MAX_ROWS, Config, Known, number
from kvcalc.importers.hf.qwen3_next import DTYPES, delta_net
from kvcalc.importers.hf.qwen_moe import gated_shared
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import (
    FULL,
    KV_HEADS,
    LINEAR,
    blocks,
    decoder,
    depth,
    every,
    experts,
    grouped_query,
    hidden_size,
    layer_types,
    pairs,
)

TYPES = ("qwen4_exp_text", "qwen4_exp", "qwen3_8_flash_next_text", "qwen3_8_flash_next")
NAMES = {LINEAR: "linear"} | dict.fromkeys((FULL, "indexed_attention", "qwen_sparse_attention"), "sparse")
PERIOD = 4
MOST_TABLES = 4_096
WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)
"""Bases of the Miller-Rabin test, which is exact with these for every number that a config may have."""


def read(c: Config) -> Layout:
    c.must("attention_bias", False)
    c.must("attn_output_gate", True)
    c.must("indexer_kv_heads", 1)
    c.must("decoder_sparse_step", 1)
    c.ignore(
        "mtp_num_hidden_layers", "mtp_use_dedicated_embeddings", "output_gate_type", "mlp_only_layers", "number_of_conv_states"
    )
    count = depth(c)
    period = c.maybe("full_attention_interval")
    if period is None and not c.has("layer_types"):
        period = c.count("full_attention_interval", default=PERIOD)
    names = layer_types(c, count, NAMES, every(period or 1, LINEAR, FULL))
    attention = blocks(names, linear=lambda: delta_net(c), sparse=lambda: sparse(c))
    kept = c.text("mamba_ssm_dtype", known=DTYPES, default="float32") or "float32"
    state = {"index_open_group": "bf16"} if "sparse" in names else {}
    if "linear" in names and kept != "float32":
        state["recurrent"] = DTYPES[kept]
    streams = c.count("hc_count")
    return decoder(
        c,
        attention,
        {"moe": experts(c, **gated_shared(c))},
        layers=pairs(names, "moe"),
        residual={"kind": "gated_streams", "hc_count": streams, "hc_lowrank": c.count("hc_lowrank")},
        tables=ngrams(c, count, streams),
        state=state,
    )


def sparse(c: Config) -> dict[str, Any]:
    """Gated attention with an index key for each group of tokens."""
    names = ("indexer_n_heads", "indexer_head_dim", "indexer_budget", "indexer_compress_ratio")
    indexer = {name: c.count(name) for name in names}
    groups = c.count(*KV_HEADS)
    heads = grouped_query(c, num_key_value_heads=groups, default_head_dim=256, qk_norm=True, output_gate="per_element")
    return {**heads, "kind": "qsa", **indexer}


# -- n-grams ------------------------------------------------------------------------------------------------------------------------


def ngrams(c: Config, count: int, streams: int) -> dict[str, Any]:
    """The tables of the layers in `ple_layer_ids`, which counts from 1; none where it is empty."""
    c.ignore("split_ngram_parts", "seed")
    if "ple_layer_ids" not in c.fields:
        raise c.refuse("ple_layer_ids", "is not in the config: which layers look n-grams up, or [] for none")
    layers = sorted(set(c.numbers("ple_layer_ids", low=1, high=count) or []))
    names = (
        "ngram_size",
        "heads_per_ngram",
        "ngram_vocab_size_base",
        "ple_conv_kernel_size",
        "make_ngram_vocab_size_divisible_by",
    )
    if not layers:
        c.ignore(*names, "ple_embed_dim")
        return {}
    longest, each = c.count("ngram_size", low=2, high=64), c.count("heads_per_ngram")
    hashes, width = (longest - 1) * each, c.maybe("ple_embed_dim") or hidden_size(c)
    if hashes * len(layers) > MOST_TABLES:
        raise c.refuse("heads_per_ngram", f"makes {hashes * len(layers):,} tables, more than {MOST_TABLES:,}")
    if width % hashes:
        raise c.refuse("ple_embed_dim", f"{width:,} is no multiple of {hashes:,} hashes")
    return {
        "ngram": {
            "layers": [number(layer - 1, f"{layer.origin} - 1") for layer in layers],
            "num_embeddings": rows(c, hashes, len(layers)),
            "max_ngram_size": longest,
            "n_heads": each,
            "head_dim": number(width // hashes, "ple_embed_dim / ((ngram_size - 1) x heads_per_ngram)"),
            "hc_mult": streams,
            "conv_kernel_size": c.count("ple_conv_kernel_size"),
        }
    }


def rows(c: Config, hashes: int, layers: int) -> list[Known]:
    """Rows of each layer's table: a hash has as many as the next prime number from the smallest on, and the sum is filled up."""
    base, unit = c.count("ngram_vocab_size_base", high=MAX_ROWS), c.count("make_ngram_vocab_size_divisible_by")
    found, prime = list[Known](), base - 1
    for _ in range(layers):
        total = 0
        for _ in range(hashes):
            prime = next_prime(prime)
            total += prime
        how = f"{hashes:,} primes from ngram_vocab_size_base on, filled up to a multiple of make_ngram_vocab_size_divisible_by"
        found.append(number(-(-total // unit) * unit, how))
    return found


def next_prime(above: int) -> int:
    """The smallest prime number that is larger."""
    candidate = above + 1
    while not is_prime(candidate):
        candidate += 1
    return candidate


def is_prime(n: int) -> bool:
    """Whether a number is prime."""
    if n < 2 or any(n % base == 0 for base in WITNESSES):
        return n in WITNESSES
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_passes(n, pow(base, odd, n), twos) for base in WITNESSES)


def _passes(n: int, power: int, twos: int) -> bool:
    """Miller-Rabin for one base: a power of it is 1, or -1 on the way to the power n - 1."""
    if power == 1:
        return True
    for _ in range(twos):
        if power == n - 1:
            return True
        power = power * power % n
    return False
