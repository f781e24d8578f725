"""LongCat-Flash: each of `num_layers` blocks has two latent attentions and two dense blocks, and beside the first pair routed experts, some
of which do nothing. A block is two layers here. LongCat-Flash-Lite has tables of n-grams beside its token embedding."""

from typing import Any

from kvcalc.importers.config import Config, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import MAX_LAYERS, decoder, drafted, embedding_rows, experts, hidden_size, latent, pairs

TYPES = ("longcat_flash", "longcat_flash_ngram")


def read(c: Config) -> Layout:
    c.must("attention_bias", False)
    c.must("attention_method", "MLA")
    c.must("router_bias", False)
    c.must("zero_expert_type", "identity")
    c.ignore("mla_scale_q_lora", "mla_scale_kv_lora")
    pairs_of_layers = c.count("num_layers", high=MAX_LAYERS)
    count = 2 * pairs_of_layers
    c.must("num_hidden_layers", count, int(pairs_of_layers))
    dense, zero = c.count("ffn_hidden_size", "intermediate_size"), c.count("zero_expert_num", low=0)
    moe = experts(
        c,
        width=("expert_ffn_hidden_size", "moe_intermediate_size"),
        router={"kind": "linear", "correction_bias": "buffer", "zero_experts": zero or None},
        dense_intermediate_size=dense,
    )
    if zero:
        chosen, real = moe["num_experts_per_tok"], moe["num_experts"]
        usual = f"{chosen * real / (real + zero):.1f}"
        c.caveat(
            f"{zero:,} of {real + zero:,} experts do nothing. Active parameters and FLOPs are those of a token that chooses none of them; "
            f"with even routing it uses {usual} of the {chosen:,}."
        )
    block = {"kind": "mlp", "intermediate_size": dense}
    attention = latent(c)
    c.must("qk_head_dim", attention["qk_nope_head_dim"] + attention["qk_rope_head_dim"])
    layers, drafts = pairs(["mla"] * count, ["moe", "mlp"] * pairs_of_layers), drafted(c, "mla", "mlp")
    made = {"moe": moe, "mlp": block}
    return decoder(c, {"mla": attention}, made, layers=layers, tables=ngrams(c), draft=drafts, depth="2 x num_layers")


def ngrams(c: Config) -> dict[str, dict[str, Any]]:
    """Tables of n-grams, each with `ngram_vocab_size_ratio` times the rows of the token embedding and a few."""
    if c.model_type != "longcat_flash_ngram":
        return {}
    rows = embedding_rows(c)
    ratio, longest, heads = (
        c.count("ngram_vocab_size_ratio"),
        c.count("emb_neighbor_num", low=2, high=64),
        c.count("emb_split_num"),
    )
    if hidden_size(c) % ((longest - 1) * heads):
        raise c.refuse("emb_split_num", f"hidden_size does not divide into {(longest - 1) * heads:,} tables")
    if rows is None:
        return {}
    many = number(ratio * rows, f"{ratio.origin} x {rows.origin}")
    return {"hashed_ngram": {"num_embeddings": many, "max_ngram_size": longest, "n_heads": heads}}
