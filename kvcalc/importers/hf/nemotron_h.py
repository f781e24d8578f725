"""Nemotron-H, Nemotron Nano 2 and Nemotron 3: layers of one block each, Mamba-2, attention, a plain MLP or experts, in the order of
`hybrid_override_pattern` or `layers_block_type`. Layers that draft have attention and experts."""

from typing import Any

from kvcalc.importers.config import MAX_ROWS, Config
from kvcalc.importers.layout import Drafts, Layer, Layout
from kvcalc.importers.pieces import (
    FULL,
    LINEAR,
    MAX_LAYERS,
    VOCAB,
    decoder,
    drafted,
    experts,
    grouped_query,
    head_dim,
    mlp,
    undrafted,
)

TYPES = ("nemotron_h",)
MAMBA, ATTENTION, MLP, MOE = Layer("mamba", "none"), Layer("full", "none"), Layer("none", "mlp"), Layer("none", "moe")
LETTERS = {"M": MAMBA, "*": ATTENTION, "-": MLP, "E": MOE}
WORDS = {"mamba": MAMBA, LINEAR: MAMBA, "attention": ATTENTION, FULL: ATTENTION, "mlp": MLP, "moe": MOE}
LISTS = ("layers_block_type", "layer_types")
PATTERN = "hybrid_override_pattern"
FORMATS = {"float32": "fp32", "bfloat16": "bf16", "float16": "fp16"}
VOCABULARY, HEAD_DIM = 131_072, 128
"""The class's defaults."""
OF_SOME_LAYERS = (
    "intermediate_size",
    "mlp_bias",
    "moe_intermediate_size",
    "moe_shared_expert_intermediate_size",
    "moe_latent_size",
    "n_routed_experts",
    "n_shared_experts",
    "num_experts_per_tok",
    "mamba_num_heads",
    "mamba_head_dim",
    "ssm_state_size",
    "mamba_ssm_cache_dtype",
    "n_groups",
    "conv_kernel",
    "use_conv_bias",
    "use_bias",
)
"""Fields that stand in every config, also in those without such layers."""


def order(c: Config) -> list[Layer]:
    """The layers, each with its one block. What says it twice must say the same."""
    letters = c.text(PATTERN)
    words = c.words(*LISTS, known=WORDS)
    if letters is None and words is None:
        raise c.refuse(LISTS[0], f"is not in the config (or {PATTERN})")
    if letters is not None and not (set(letters) <= set(LETTERS) and 0 < len(letters) <= MAX_LAYERS):
        raise c.refuse(PATTERN, "must be a few letters, one for each layer", f"known: {' '.join(LETTERS)}")
    layers = [LETTERS[letter] for letter in letters or ""] or [WORDS[word] for word in words or []]
    if words is not None and layers != [WORDS[word] for word in words]:
        raise c.refuse(PATTERN, "says other layers than the list of blocks")
    said = c.maybe("num_hidden_layers", high=MAX_LAYERS)
    if said is not None and said != len(layers):
        raise c.refuse("num_hidden_layers", f"says {said:,}, but {len(layers):,} blocks are listed")
    return layers


def drafting(c: Config) -> Drafts:
    """Layers that draft: a block of attention and one of experts are one layer here. Code runs no others."""
    letters = c.text("mtp_hybrid_override_pattern") or ""
    words = c.words("mtp_layers_block_type", known=WORDS) or []
    said = [LETTERS.get(letter) for letter in letters] or [WORDS[word] for word in words] or [ATTENTION, MOE]
    return drafted(c, "full", "moe") if said == [ATTENTION, MOE] else undrafted(c)


def state_space(c: Config) -> dict[str, Any]:
    """Mamba-2 as Nemotron-H's config says it."""
    c.must("mamba_proj_bias", False)
    bias = c.flag("use_bias")
    return {
        "kind": "mamba2",
        "num_heads": c.count("mamba_num_heads"),
        "head_dim": c.count("mamba_head_dim"),
        "state_size": c.count("ssm_state_size"),
        "n_groups": c.count("n_groups", "mamba_n_groups"),
        "conv_kernel": c.count("conv_kernel", "mamba_d_conv", default=4),
        "use_bias": bias,
        "out_bias": bias,
        "use_conv_bias": c.flag("use_conv_bias", "mamba_conv_bias", default=True, stated=True),
    }


def recurrent_format(c: Config) -> str:
    """The format of the recurrent state."""
    said = c.text("mamba_ssm_cache_dtype", known=FORMATS)
    if said is None:
        c.caveat("The recurrent state is kept in fp32, the default of the class and of engines for it.")
    return FORMATS[said or "float32"]


def routed(c: Config) -> dict[str, Any]:
    """Plain experts, those that all tokens use, and, in the larger models, projections to a narrower width before and after."""
    c.must("n_shared_experts", 1)
    c.must("mlp_bias", False)
    return experts(
        c,
        shared=c.count("moe_shared_expert_intermediate_size"),
        router={"kind": "linear", "scoring_func": "sigmoid", "correction_bias": "buffer"},
        gated=False,
        latent_size=c.maybe("moe_latent_size"),
    )


def full(c: Config) -> dict[str, Any]:
    """Grouped-query attention."""
    width = head_dim(c, 1, "head_dim", "attention_head_dim", default=HEAD_DIM)
    return grouped_query(c, head_dim=width, num_key_value_heads=c.count("num_key_value_heads"))


def dense(c: Config) -> dict[str, Any]:
    """A plain MLP."""
    return mlp(c, gated=False, mlp_bias=c.flag("mlp_bias"))


def unsized(c: Config) -> None:
    """What sizes nothing, or is always the same."""
    c.must("sliding_window")
    c.must("attention_bias", False)
    c.must("tie_word_embeddings", False)
    c.ignore("expand", "chunk_size", "mamba_chunk_size", "mamba_hidden_act", "mlp_hidden_act", "moe_shared_expert_overlap")
    c.ignore(*OF_SOME_LAYERS)


def read(c: Config) -> Layout:
    unsized(c)
    layers, drafts = order(c), drafting(c)
    used = {name for layer in (*layers, *drafts.layers) for name in layer[:2]}
    attention: dict[str, Any] = {"none": {"kind": "none"}}
    feedforward: dict[str, Any] = {"none": {"kind": "none"}}
    state = {}
    if "mamba" in used:
        attention["mamba"] = state_space(c)
        state["recurrent"] = recurrent_format(c)
    if "full" in used:
        attention["full"] = full(c)
    if "mlp" in used:
        feedforward["mlp"] = dense(c)
    if "moe" in used:
        feedforward["moe"] = routed(c)
    layout = decoder(c, attention, feedforward, layers=layers, state=state, draft=drafts, depth="the list of blocks")
    layout.vocab_size = c.count(*VOCAB, default=VOCABULARY, high=MAX_ROWS)
    return layout
