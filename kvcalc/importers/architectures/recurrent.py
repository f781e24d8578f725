"""Architectures with recurrent layers: gated delta nets, Mamba, short convolutions; alone or between layers with attention."""

from kvcalc.errors import SpecError
from kvcalc.importers.gguf_config import Fields, Keys, architecture, biased, dense, expert_width, routed, wide_heads
from kvcalc.importers.pieces import FULL, LINEAR, MAX_LAYERS

HEAD_WIDTH = ("ssm.inner_size", "ssm.time_step_rank")
EXPANSION = ("ssm.inner_size", "embedding_length")
"""Two keys, of which the first divided by the second is the width of a head, or the factor by which a layer is wider than the stream."""


@architecture("qwen3next", "qwen35", "qwen35moe")
def qwen3_next(k: Keys) -> Fields:
    """Gated delta nets: `state_size` is the width of a key head, `time_step_rank` the number of value heads."""
    types = {"qwen3next": "qwen3_next", "qwen35": "qwen3_5_text", "qwen35moe": "qwen3_5_moe_text"}
    interval = k.number("full_attention_interval", 4, high=MAX_LAYERS)
    default = [0 if interval and (layer + 1) % interval == 0 else 1 for layer in range(k.layers)]
    recurrent = k.each("attention.recurrent_layers") if k.has("attention.recurrent_layers") else default
    found = {
        "model_type": types[k.architecture],
        "layer_types": [LINEAR if here else FULL for here in recurrent],
        **k.quotient("linear_value_head_dim", *HEAD_WIDTH),
        **wide_heads(k),
        **k.required(
            linear_conv_kernel_dim="ssm.conv_kernel",
            linear_key_head_dim="ssm.state_size",
            linear_num_key_heads="ssm.group_count",
            linear_num_value_heads="ssm.time_step_rank",
        ),
    }
    if k.architecture == "qwen35":
        return found | dense(k)
    shared = k.required(shared_expert_intermediate_size="expert_shared_feed_forward_length")
    return found | routed(k) | expert_width(k) | shared | {"decoder_sparse_step": 1, "mlp_only_layers": []}


def recurrent_where_no_heads(k: Keys) -> tuple[list[bool], Fields]:
    """Which layers keep a recurrent state, those without KV heads; and the attention of the others."""
    groups = k.each("attention.head_count_kv")
    own = sorted({count for count in groups if count})
    if len(own) > 1:
        raise k.refuse("attention.head_count_kv", f"differs among layers with attention: not understood for {k.architecture}")
    k.origins["num_key_value_heads"] = f"{k.architecture}.attention.head_count_kv"
    heads_each = sorted({count for count in k.each("attention.head_count") if count})
    if len(heads_each) != 1:
        raise k.refuse("attention.head_count", f"differs among layers with attention: not understood for {k.architecture}")
    k.origins["num_attention_heads"] = f"{k.architecture}.attention.head_count"
    found = {"num_attention_heads": heads_each[0], "num_key_value_heads": own[0] if own else heads_each[0]}
    return [not count for count in groups], found


@architecture("granitehybrid")
def granite_hybrid(k: Keys) -> Fields:
    """Granite 4: `ssm.time_step_rank` is the number of Mamba-2 heads."""
    recurrent, found = recurrent_where_no_heads(k)
    many = k.number("expert_count", 0)
    found |= {"model_type": "granitemoehybrid", "layer_types": ["mamba" if here else "attention" for here in recurrent]}
    found |= {"num_local_experts": many}
    if many:
        found |= k.required(num_experts_per_tok="expert_used_count", shared_intermediate_size="expert_shared_feed_forward_length")
        found |= dense(k)
    elif k.has("expert_shared_feed_forward_length"):
        found |= k.required(shared_intermediate_size="expert_shared_feed_forward_length")
    else:
        found |= k.required(shared_intermediate_size="feed_forward_length")
    return found | mamba2_sizes(k)


def mamba2_sizes(k: Keys) -> Fields:
    """Mamba-2 in the words of Bamba's config."""
    return {
        **k.quotient("mamba_d_head", *HEAD_WIDTH),
        **k.quotient("mamba_expand", *EXPANSION),
        "mamba_proj_bias": k.somewhere("ssm_in.bias"),
        "mamba_conv_bias": k.somewhere("ssm_conv1d.bias"),
        **k.required(
            mamba_n_heads="ssm.time_step_rank",
            mamba_d_state="ssm.state_size",
            mamba_n_groups="ssm.group_count",
            mamba_d_conv="ssm.conv_kernel",
        ),
    }


@architecture("falcon-h1")
def falcon_h1(k: Keys) -> Fields:
    sizes = k.required(
        mamba_d_ssm="ssm.inner_size",
        mamba_n_heads="ssm.time_step_rank",
        mamba_d_state="ssm.state_size",
        mamba_n_groups="ssm.group_count",
        mamba_d_conv="ssm.conv_kernel",
    )
    return {
        "model_type": "falcon_h1",
        **k.quotient("mamba_d_head", *HEAD_WIDTH),
        "mamba_rms_norm": k.somewhere("ssm_norm.weight"),
        "mamba_conv_bias": k.somewhere("ssm_conv1d.bias"),
        "mamba_proj_bias": k.somewhere("ssm_in.bias"),
        **sizes,
        **wide_heads(k),
        **dense(k),
        **biased(k),
    }


@architecture("mamba")
def mamba(k: Keys) -> Fields:
    sizes = k.required(
        intermediate_size="ssm.inner_size",
        state_size="ssm.state_size",
        conv_kernel="ssm.conv_kernel",
        time_step_rank="ssm.time_step_rank",
    )
    return {"model_type": "mamba", "use_bias": k.somewhere("ssm_in.bias"), "use_conv_bias": k.somewhere("ssm_conv1d.bias"), **sizes}


@architecture("mamba2")
def mamba2(k: Keys) -> Fields:
    found = mamba2_sizes(k)
    names = {"num_heads": "mamba_n_heads", "head_dim": "mamba_d_head", "state_size": "mamba_d_state", "n_groups": "mamba_n_groups"}
    names |= {"conv_kernel": "mamba_d_conv", "use_bias": "mamba_proj_bias", "use_conv_bias": "mamba_conv_bias", "expand": "mamba_expand"}
    k.origins |= {new: k.origins[old] for new, old in names.items() if old in k.origins}
    return {"model_type": "mamba2"} | {new: found[old] for new, old in names.items()}


@architecture("jamba")
def jamba(k: Keys) -> Fields:
    """Where attention and experts stand must be the same in each period, as in Jamba's config."""
    recurrent, found = recurrent_where_no_heads(k)
    sparse = [k.tensor("ffn_gate_inp.weight", layer) is not None for layer in range(k.layers)]
    for what, here in (("attn", [not there for there in recurrent]), ("expert", sparse)):
        period, offset = period_of(here)
        found |= {f"{what}_layer_period": period, f"{what}_layer_offset": offset}
        if [place % period == offset for place in range(k.layers)] != here:
            raise SpecError(f"{k.file.name}: the layers with {what} do not come at equal distances: not understood for {k.architecture}")
    many = k.fields(num_experts="expert_count", num_experts_per_tok="expert_used_count") if any(sparse) else {"num_experts": 1}
    return {
        "model_type": "jamba",
        **k.quotient("mamba_expand", *EXPANSION),
        "mamba_proj_bias": k.somewhere("ssm_in.bias"),
        "mamba_conv_bias": k.somewhere("ssm_conv1d.bias"),
        **found,
        **dense(k),
        **many,
        **k.required(mamba_d_state="ssm.state_size", mamba_d_conv="ssm.conv_kernel", mamba_dt_rank="ssm.time_step_rank"),
    }


def period_of(here: list[bool]) -> tuple[int, int]:
    """The distance of the places that are true, and the first of them; longer than the list where there are less than two."""
    places = [place for place, true in enumerate(here) if true]
    if not places:
        return len(here) + 1, len(here)
    return (places[1] - places[0] if len(places) > 1 else max(len(here), places[0] + 1)), places[0]


@architecture("nemotron_h", "nemotron_h_moe")
def nemotron_h(k: Keys) -> Fields:
    """Layers of one block each: attention where there are KV heads, a block of matrices where there is a width, else Mamba-2."""
    recurrent, found = recurrent_where_no_heads(k)
    widths = k.each("feed_forward_length")
    words, dense_widths = [], set()
    for layer in range(k.layers):
        if not recurrent[layer]:
            words.append("attention")
        elif k.tensor("ffn_gate_inp.weight", layer) is not None:
            words.append("moe")
        elif widths[layer]:
            words.append("mlp")
            dense_widths.add(widths[layer])
        else:
            words.append("mamba")
    if len(dense_widths) > 1:
        raise k.refuse("feed_forward_length", "differs among the dense layers: not understood for nemotron_h")
    if "mlp" in words:
        found |= {"intermediate_size": dense_widths.pop(), "mlp_bias": k.somewhere("ffn_down.bias")}
        k.origins["intermediate_size"] = f"{k.architecture}.feed_forward_length"
    if "moe" in words:
        found |= {"n_shared_experts": 1}
        found |= k.required(
            n_routed_experts="expert_count",
            num_experts_per_tok="expert_used_count",
            moe_intermediate_size="expert_feed_forward_length",
            moe_shared_expert_intermediate_size="expert_shared_feed_forward_length",
        )
        found |= k.fields(moe_latent_size="moe_latent_size")
    if "attention" in words:
        found |= k.required(head_dim="attention.key_length")
    else:
        del found["num_attention_heads"], found["num_key_value_heads"]
    if "mamba" in words:
        found |= k.quotient("mamba_head_dim", *HEAD_WIDTH)
        found |= {"use_bias": k.somewhere("ssm_in.bias"), "use_conv_bias": k.somewhere("ssm_conv1d.bias")}
        found |= k.required(
            mamba_num_heads="ssm.time_step_rank",
            ssm_state_size="ssm.state_size",
            n_groups="ssm.group_count",
            conv_kernel="ssm.conv_kernel",
        )
    return {"model_type": "nemotron_h", "layers_block_type": words, **found}


@architecture("lfm2", "lfm2moe")
def lfm2(k: Keys) -> Fields:
    """Short convolutions where there are no KV heads."""
    recurrent, found = recurrent_where_no_heads(k)
    found |= {"layer_types": ["conv" if here else FULL for here in recurrent], "conv_bias": k.somewhere("shortconv.in_proj.bias")}
    found |= k.required(conv_L_cache="shortconv.l_cache") | dense(k)
    if k.architecture == "lfm2":
        return found | {"model_type": "lfm2", "block_auto_adjust_ff_dim": False}
    sizes = k.required(num_dense_layers="leading_dense_block_count") | routed(k) | expert_width(k)
    return found | sizes | {"model_type": "lfm2_moe", "use_expert_bias": k.somewhere("exp_probs_b.bias")}
