"""LongCat-Flash: each of `num_layers` blocks has two latent attentions and two dense blocks, and beside the first pair routed experts, some
of which do nothing. A block is two layers here."""

from kvcalc.importers.config import Config, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import MAX_LAYERS, decoder, experts, latent, pairs

TYPES = ("longcat_flash",)


def read(c: Config) -> Layout:
    c.must("attention_bias", False)
    c.must("attention_method", "MLA")
    c.must("router_bias", False)
    c.must("zero_expert_type", "identity")
    c.ignore("mla_scale_q_lora", "mla_scale_kv_lora", "num_nextn_predict_layers")
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
    layers = pairs(["mla"] * count, ["moe", "mlp"] * pairs_of_layers)
    return decoder(c, {"mla": attention}, {"moe": moe, "mlp": block}, layers=layers, depth=number(count, "2 x num_layers").origin)
