"""Hunyuan-Large (layers that read the keys and values of the one before), Hunyuan-A13B, Hy3.

Fields of the experts may be lists with an entry for each layer.
"""

from typing import Any

from kvcalc.importers.config import MAX_WIDTH, Config, Known, number
from kvcalc.importers.layout import Layer, Layout
from kvcalc.importers.pieces import (
    EXPERTS,
    KV_HEADS,
    SIGMOID_ROUTER,
    blocks,
    decoder,
    depth,
    drafted,
    experts,
    grouped_query,
    mlp,
    moe_layers,
    shared_width,
)

TYPES = ("hunyuan", "hunyuan_moe", "hunyuan_v1_moe", "hy_v3")
V1 = ("hunyuan_v1_moe",)
CHOSEN = ("moe_topk", "num_experts_per_tok")
SHARED = ("num_shared_expert", "num_shared_experts")


def read(c: Config) -> Layout:
    return hy3(c) if c.model_type == "hy_v3" else hunyuan(c)


def hy3(c: Config) -> Layout:
    c.ignore("enable_moe_fp32_combine", "qk_norm", "route_norm")
    count = depth(c)
    first = c.maybe("first_k_dense_replace", low=0)
    kinds = moe_layers(c, count, lambda place: place >= (1 if first is None else first))
    if first is None and not c.has("mlp_layer_types"):
        c.caveat("The config does not say which layers have experts; as in its class, all but the first.")
    bias = c.flag("attention_bias")
    attention = grouped_query(
        c, num_key_value_heads=c.count(*KV_HEADS), qkv_bias=bias, o_bias=bias, qk_norm=True, default_head_dim=128
    )
    c.must("mlp_bias", False)
    made = blocks(
        kinds,
        dense=lambda: mlp(c),
        moe=lambda: experts(c, shared=shared_width(c, default=1), router=SIGMOID_ROUTER),
    )
    layers = [Layer("full", kind) for kind in kinds]
    return decoder(c, {"full": attention}, made, layers=layers, draft=drafted(c, "full", kinds[-1]))


def each(c: Config, *names: str, count: int, low: int = 1) -> list[Known] | None:
    """One number for each layer, from a number or a list."""
    name, said = c.value(*names)
    if isinstance(said, list):
        return c.numbers(name, length=count, low=low, longer=True)
    one = c.maybe(*names, low=low)
    return None if one is None else [one] * count


def required_flag(c: Config, name: str) -> bool:
    """A flag of which there is no class that has a default."""
    if not c.has(name):
        raise c.refuse(name, "is not in the config")
    return c.flag(name)


def hunyuan(c: Config) -> Layout:
    c.ignore(
        "capacity_factor", "moe_drop_tokens", "moe_random_routing_dropped_token", "group_limited_greedy", "norm_type", "use_mla"
    )
    c.ignore(
        "kv_lora_rank",
        "q_lora_rank",
        "qk_rope_head_dim",
        "v_head_dim",
        "qk_nope_head_dim",
        "num_media_embeds",
        "use_rotary_pos_emb",
    )
    c.ignore("org_vocab_size", "pool_type", "dense_list", "cla_num")
    c.ignore(*(name for name in c.fields if name.startswith(("vit_", "anyres_", "im_", "class_", "add_classification"))))
    c.must("use_mla", False)
    c.must("mlp_bias", False)
    count, v1 = depth(c), c.model_type in V1
    bias = c.flag("attention_bias")
    if v1:
        c.must("use_qk_norm", True)
    norm = v1 or required_flag(c, "use_qk_norm")
    reuses = reused(c, count)
    groups = {} if v1 else {"num_key_value_heads": c.count(*KV_HEADS)}
    attention = grouped_query(c, **groups, qkv_bias=bias, o_bias=bias, qk_norm=norm, k_norm_where_reused=norm and any(reuses))
    made, kinds = expert_blocks(c, count)
    layers = [Layer("full", kind, owner) for kind, owner in zip(kinds, reuses, strict=True)]
    return decoder(c, {"full": attention}, made, layers=layers)


def reused(c: Config, count: int) -> list[int | None]:
    """Cross-layer attention: of every `cla_share_factor` layers the first keeps keys and values, and the others read them."""
    if c.has("cla_share_factor") and not c.has("use_cla"):
        raise c.refuse("use_cla", "is not in the config, and cla_share_factor is")
    if not c.flag("use_cla"):
        c.ignore("cla_share_factor")
        return [None] * count
    factor = c.count("cla_share_factor")
    return [None if place % factor == 0 else place - place % factor for place in range(count)]


def expert_blocks(c: Config, count: int) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The blocks, and each layer's: as many different ones as the lists say."""
    mixed = c.flag("use_mixed_mlp_moe", default=True) if c.model_type in V1 else required_flag(c, "use_mixed_mlp_moe")
    experts_each, chosen = each(c, *EXPERTS, count=count), each(c, *CHOSEN, count=count)
    if experts_each is None or chosen is None:
        raise c.refuse(EXPERTS[0] if experts_each is None else CHOSEN[0], "is not in the config")
    dense = each(c, "intermediate_size", count=count)
    if dense is None:
        raise c.refuse("intermediate_size", "is not in the config")
    widths = each(c, "moe_intermediate_size", count=count) or dense
    shared = each(c, *SHARED, count=count, low=0)
    if mixed and shared is None:
        if c.model_type not in V1:
            raise c.refuse(SHARED[0], "is not in the config")
        shared = [c.count(SHARED[0], default=1)] * count
    skipped = c.maybe("moe_layer_num_skipped", low=0) or 0
    made: dict[str, dict[str, Any]] = {}
    kinds = []
    for place in range(count):
        if place < skipped or (max(experts_each) == 1 and c.model_type not in V1):
            block: dict[str, Any] = {"kind": "mlp", "intermediate_size": dense[place]}
        else:
            many = shared[place] if mixed and shared is not None else None
            wide = number(many * dense[place], f"{many.origin} x {dense[place].origin}") if many else None
            if wide is not None and wide > MAX_WIDTH:
                raise c.refuse(SHARED[0], f"{many:,} shared experts are too wide together")
            block = {
                "kind": "moe",
                "num_experts": experts_each[place],
                "num_experts_per_tok": chosen[place],
                "moe_intermediate_size": widths[place],
                "shared_intermediate_size": wide,
                "router": {"kind": "linear"},
            }
        name = next((name for name, known in made.items() if known == block), None)
        if name is None:
            name = block["kind"] if not made else f"{block['kind']}-{len(made) + 1}"
            made[name] = block
        kinds.append(name)
    return made, kinds
