"""What many families have in common: how a config says heads, widths, windows, experts and lists of layers.

Each function reads fields and gives the fields of a spec's part back. Whatever a family does otherwise it says by an argument, or it
reads the field itself.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from kvcalc.importers.config import MAX_ROWS, Config, Known, number
from kvcalc.importers.layout import Drafts, Layer, Layout

HIDDEN = ("hidden_size", "n_embd", "n_embed", "d_model", "model_dim", "embedding_dim")
DEPTH = ("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_blocks")
HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "attention_heads")
KV_HEADS = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "multi_query_group_num", "num_attention_groups")
HEAD_DIM = ("head_dim", "kv_channels", "attention_head_dim")
VOCAB = ("vocab_size", "padded_vocab_size")
CONTEXT = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "max_seq_len",
    "seq_length",
    "max_position_embedding",
    "max_sequence_length",
    "model_max_length",
)
EXPERTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts", "num_moe_experts")
CHOSEN = ("num_experts_per_tok", "num_experts_per_token", "moe_topk", "moe_top_k", "moe_k", "experts_per_token", "top_k_experts")
SHARED = ("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
DRAFTED = ("num_nextn_predict_layers", "num_mtp_layers")
MAX_LAYERS, MAX_DRAFTED = 2_000, 64
NO_CONTEXT = 1 << 20


def hidden_size(c: Config) -> Known:
    """Width of the residual stream."""
    return c.count(*HIDDEN)


def depth(c: Config, *names: str) -> Known:
    """Number of layers."""
    return c.count(*(names or DEPTH), high=MAX_LAYERS)


def head_dim(c: Config, heads: int, *names: str, default: int | None = None) -> Known:
    """Width of a head: said; else the class's default; else hidden_size / heads, which must divide."""
    said = c.maybe(*(names or HEAD_DIM))
    if said is not None:
        return said
    if default is not None:
        name = (names or HEAD_DIM)[0]
        if name in c.fields:
            raise c.refuse(name, "is null, and not hidden_size / heads in this family")
        return c.count(name, default=default)
    width = hidden_size(c)
    if width % heads:
        raise c.refuse("hidden_size", f"{width:,} is no multiple of {heads:,} heads, and head_dim is not in the config")
    return number(width // heads, "hidden_size / num_attention_heads")


def kv_heads(c: Config, heads: Known, *names: str) -> Known:
    """KV heads; as many as query heads where the field is null, or not there, which is stated."""
    names = names or KV_HEADS
    said = c.maybe(*names)
    if said is None and not any(name in c.fields for name in names):
        c.journal.defaults[names[0]] = f"{heads:,} (one for each query head)"
    return number(heads, f"{heads.origin}: no field for KV heads") if said is None else said


def or_default(c: Config, name: str, default: int) -> Known | None:
    """A field of which the class has a number, stated, where it is not there at all; None where it is null."""
    return c.maybe(name) if name in c.fields else c.count(name, default=default)


def said_or_null(c: Config, name: str) -> Known | None:
    """A field that may be null, but must be there."""
    if name not in c.fields:
        raise c.refuse(name, "is not in the config")
    return c.maybe(name)


def omitted(c: Config, **defaults: int) -> None:
    """What a section leaves out because its class says the same, stated: into a section, transformers writes only what differs. A file
    without sections has every field, and nothing is filled in."""
    if c.section_name:
        c.fields = {name: c.count(name, default=value) for name, value in defaults.items() if name not in c.fields} | c.fields


def grouped_query(c: Config, *, default_head_dim: int | None = None, **more: Any) -> dict[str, Any]:
    """Grouped-query attention as Llama's config says it. `more`: further fields of the spec's kind `gqa`, or other values for these."""
    heads = more.pop("num_attention_heads", None) or c.count(*HEADS)
    groups = more.pop("num_key_value_heads", None) or kv_heads(c, heads)
    width = more.pop("head_dim", None) or head_dim(c, heads, default=default_head_dim)
    return {"kind": "gqa", "num_attention_heads": heads, "num_key_value_heads": groups, "head_dim": width, **more}


def biases(c: Config, name: str = "attention_bias", *, default: bool = False) -> dict[str, bool]:
    """Biases on all four projections of grouped-query attention, or on none. A default that adds them is stated."""
    said = c.flag(name, default=default, stated=default)
    return {"qkv_bias": said, "o_bias": said}


def latent(c: Config, **more: Any) -> dict[str, Any]:
    """Multi-head latent attention as DeepSeek's config says it. Its KV heads and head_dim say nothing about the cache."""
    c.ignore("num_key_value_heads", "head_dim", "qk_head_dim")
    return {
        "kind": "mla",
        "num_attention_heads": c.count(*HEADS),
        "q_lora_rank": more.pop("q_lora_rank") if "q_lora_rank" in more else said_or_null(c, "q_lora_rank"),
        "kv_lora_rank": c.count("kv_lora_rank"),
        "qk_nope_head_dim": c.count("qk_nope_head_dim"),
        "qk_rope_head_dim": c.count("qk_rope_head_dim", low=0),
        "v_head_dim": more.pop("v_head_dim", None) or c.count("v_head_dim"),
        **more,
    }


def indexed(c: Config, part: Mapping[str, Any]) -> dict[str, Any]:
    """Latent attention with an indexer of its own."""
    return {
        **part,
        "kind": "dsa",
        "index_n_heads": c.count("index_n_heads"),
        "index_head_dim": c.count("index_head_dim"),
        "index_topk": c.count("index_topk"),
    }


def mlp(c: Config, *names: str, **more: Any) -> dict[str, Any]:
    """A gated MLP; `gated=False`: two matrices."""
    return {"kind": "mlp", "intermediate_size": c.count(*(names or ("intermediate_size",))), **more}


def experts(
    c: Config,
    *,
    width: Sequence[str] = ("moe_intermediate_size",),
    shared: int | Known | None = None,
    router: Mapping[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Routed experts. `shared`: width of all shared experts together."""
    return {
        "kind": "moe",
        "num_experts": more.pop("num_experts", None) or c.count(*EXPERTS),
        "num_experts_per_tok": more.pop("num_experts_per_tok", None) or c.count(*CHOSEN),
        "moe_intermediate_size": c.count(*width),
        "shared_intermediate_size": shared or None,
        "router": dict(router or {"kind": "linear"}),
        **more,
    }


def shared_width(c: Config, of: Sequence[str] = ("moe_intermediate_size",), *, default: int | None = 0) -> Known | None:
    """Width of all shared experts together: their number x the width of one. `default`: their number in the class, stated, where the
    config has no field for it (null is none); None: it must be there."""
    many = c.maybe(*SHARED, low=0)
    if many is None and not any(name in c.fields for name in SHARED):
        if default is None:
            raise c.refuse(SHARED[0], "is not in the config")
        many = c.count(SHARED[0], default=default) if default else None
    if not many:
        return None
    each = c.count(*of)
    return number(many * each, f"{many.origin} x {each.origin}")


# -- which layer is what ------------------------------------------------------------------------------------------------------------

FULL, SLIDING, LINEAR, CHUNKED = "full_attention", "sliding_attention", "linear_attention", "chunked_attention"


def layer_types(
    c: Config, count: int, named: Mapping[str, str], default: Callable[[int], str] | None = None, *, longer: bool = True
) -> list[str]:
    """The attention name of each layer, from the list `layer_types`; where there is none, from the class's rule.

    Args:
        named: what the list may say, and the name of the part that it means.
        default: the rule of the class, layer number to a value of the list.
        longer: the list may go on (draft layers).
    """
    said = c.words("layer_types", known=named, length=count, longer=longer)
    if said is None:
        if default is None:
            raise c.refuse("layer_types", "is not in the config")
        said = [default(place) for place in range(count)]
    return [named[word] for word in said]


def full_or_local(c: Config, default: Callable[[int], str]) -> list[str]:
    """Which layers slide, in the words of the spec: `full` and `local`; from a list as long as the model, or the class's rule."""
    return layer_types(c, depth(c), {FULL: "full", SLIDING: "local"}, default, longer=False)


def every(period: int, first: str, last: str) -> Callable[[int], str]:
    """The last of each `period` layers is `last`, the others are `first`."""
    return lambda place: last if (place + 1) % period == 0 else first


DENSE, MOE = "dense", "moe"
SIGMOID_ROUTER = {"kind": "linear", "scoring_func": "sigmoid", "correction_bias": "buffer"}
"""DeepSeek-V3's router, which many took over: sigmoid scores, and a bias that balances the load."""


def moe_layers(c: Config, count: int, rule: Callable[[int], bool]) -> list[str]:
    """The block of each layer, `dense` or `moe`: from the list `mlp_layer_types`; where there is none, `moe` where the rule holds. Fields
    of a block that no layer has need not be read after it."""
    said = c.words("mlp_layer_types", known=("dense", "sparse"), length=count, longer=True)
    if said is None:
        kinds = [MOE if rule(place) else DENSE for place in range(count)]
    else:
        c.ignore("first_k_dense_replace", "moe_layer_freq", "num_dense_layers")
        kinds = [MOE if word == "sparse" else DENSE for word in said]
    c.ignore("intermediate_size")
    if MOE not in kinds:
        c.ignore(*EXPERTS, *CHOSEN, *SHARED, "moe_intermediate_size", "shared_expert_intermediate_size")
    return kinds


def moe_after_dense(c: Config, count: int, *, default: int | None = None) -> list[str]:
    """The same where the rule is DeepSeek's: after the first `first_k_dense_replace` layers, every `moe_layer_freq`-th by number (or
    those that are 1 in a list of that name). `default`: dense layers in the class, stated; None: the config must say it."""
    if isinstance(c.fields.get("moe_layer_freq"), list):
        listed = c.numbers("moe_layer_freq", length=count, high=1, longer=True) or []
        return moe_layers(c, count, lambda place: listed[place] == 1)
    if c.has("mlp_layer_types"):
        return moe_layers(c, count, lambda place: True)
    step = c.maybe("moe_layer_freq") or 1
    first = c.count("first_k_dense_replace", default=default, low=0, high=MAX_LAYERS)
    return moe_layers(c, count, lambda place: place >= first and place % step == 0)


def blocks(names: Sequence[str], **made: Callable[[], dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The feed-forward blocks that some layer has. The fields of the others are not read."""
    return {name: make() for name, make in made.items() if name in names}


def full_and_local(c: Config, names: Sequence[str], window: Known | None, **more: Any) -> dict[str, dict[str, Any]]:
    """Grouped-query attention in the layers named `full`, and the same in a window in those named `local`."""
    if "local" in names and window is None:
        raise c.refuse("sliding_window", "is not in the config, and there are layers that slide")
    made = {"full": lambda: grouped_query(c, **more), "local": lambda: grouped_query(c, window=window, **more)}
    return blocks(names, **made)


def dense_first(c: Config, count: int, *names: str, default: int = 0) -> int:
    """How many layers at the beginning have a dense block."""
    said = c.maybe(*(names or ("first_k_dense_replace",)), low=0, high=MAX_LAYERS)
    return min(default if said is None else said, count)


# -- layers that draft --------------------------------------------------------------------------------------------------------------


def drafted(
    c: Config,
    attention: str | Sequence[str],
    feedforward: str,
    *,
    many: Known | None = None,
    fields: Sequence[str] = DRAFTED,
    norms: int = 3,
    at_once: bool = False,
    own_head: bool = False,
    **more: Any,
) -> Drafts:
    """Layers for multi-token prediction: before each, a projection of the next token's embedding beside the hidden state, 2d -> d.

    Args:
        attention, feedforward: names of the parts of each; of attentions perhaps one for each layer.
        many: how many; None: as one of the `fields` says; null, 0 or not there: none.
        norms: norms of hidden_size beside the layer's own: on the embedding, on the hidden state, after the layer.
        at_once: one projection and its norms serve all layers.
        own_head: each layer has a head of its own.
        more: further fields of Drafts.
    """
    if many is None:
        many = c.maybe(*fields, low=0, high=MAX_DRAFTED)
    if not many:
        return Drafts()
    names = [attention] * many if isinstance(attention, str) else list(attention)
    if len(names) != many:
        raise c.refuse(many.origin, f"says {many} layers, but {len(names)} are listed")
    width, rows = hidden_size(c), embedding_rows(c)
    count = 1 if at_once else int(many)
    weights = [
        extra_weight("eh_proj", width, number(2 * width, f"2 x {width.origin}"), count=count),
        extra_weight("norms", 1, width, count=norms * count),
    ]
    if own_head and rows:
        weights.append(extra_weight("heads", rows, width, count=int(many)))
    shared = "the embedding" if own_head else "embedding and head"
    c.caveat(f"Layers for multi-token prediction ({many.origin} {many}) count only with --include draft. They share {shared}.")
    return Drafts(pairs(names, feedforward), weights, **more)


def extra_weight(name: str, *shape: int, count: int = 1) -> dict[str, Any]:
    """A tensor beside the layers, or several equal ones."""
    return {"name": name, "shape": list(shape)} | ({"count": count} if count > 1 else {})


def undrafted(c: Config, *fields: str) -> Drafts:
    """None are counted, because no code says how they are built; if the config has some, that is said."""
    many = c.maybe(*(fields or DRAFTED), low=0, high=MAX_DRAFTED)
    if many:
        c.caveat(f"Layers for multi-token prediction ({many.origin} {many}) are not counted: public code does not say how they are built.")
    return Drafts()


# -- the whole ----------------------------------------------------------------------------------------------------------------------


def embedding_rows(c: Config) -> Known | None:
    """Rows of the token embedding; None where the config does not say it: then the parameters are not known, and state is."""
    return c.maybe(*VOCAB, high=MAX_ROWS)


def max_context(c: Config) -> Known:
    """The longest context that the config names; where several of its fields differ, the longest."""
    said = [found for name in CONTEXT if (found := c.maybe(name, high=1 << 40)) is not None]
    if said:
        return max(said)
    c.caveat(f"The config names no longest context; {NO_CONTEXT:,} tokens stand in its place.")
    return number(NO_CONTEXT, "no field says it")


def decoder(
    c: Config,
    attention: Mapping[str, Mapping[str, Any]],
    feedforward: Mapping[str, Mapping[str, Any]],
    *,
    layers: Sequence[Layer] | None = None,
    tied: bool = False,
    norms: int = 2,
    norm_bias: bool = False,
    **more: Any,
) -> Layout:
    """A decoder of equal layers, or of those given.

    Args:
        layers: in order; None: each has the only attention and the only feed-forward block.
        tied: the class's default of tie_word_embeddings.
        norms: norms of hidden_size in each layer.
        norm_bias: they have biases (LayerNorm).
        more: further fields of a Layout.
    """
    if layers is None:
        (only,), (block,) = attention, feedforward
        layers = [Layer(only, block)] * depth(c)
    return Layout(
        hidden_size=hidden_size(c),
        vocab_size=embedding_rows(c),
        tied=tied_embeddings(c, default=tied),
        max_context=more.pop("context", None) or max_context(c),
        attention={name: dict(part) for name, part in attention.items()},
        feedforward={name: dict(part) for name, part in feedforward.items()},
        layers=list(layers),
        residual=more.pop("residual", None) or residual(norms, norm_bias=norm_bias),
        **more,
    )


def tied_embeddings(c: Config, *, default: bool) -> bool:
    """Whether the head is the embedding's matrix. Where the config does not say it, the class's default, which is then stated."""
    return c.flag("tie_word_embeddings", "tie_embedding", "share_input_output_layers", default=default, stated=True)


def tied_outside(c: Config) -> None:
    """In a class that looks only outside the text model's section for it: whether the head is the embedding's matrix."""
    if c.outer is not None:
        c.fields = c.fields | {"tie_word_embeddings": c.outer.flag("tie_word_embeddings", stated=True)}


def tied_against_class(c: Config) -> None:
    """Says so where the config ties the head and the class in transformers cannot."""
    if c.flag("tie_word_embeddings"):
        c.caveat("The head is the embedding's matrix, as the config says; transformers' class cannot tie them and holds both.")


def residual(norms: int, *, norm_bias: bool = False) -> dict[str, Any]:
    """A plain residual with so many norms in a layer."""
    return {"kind": "plain", "norms_per_layer": norms, "norm_bias": norm_bias}


def pairs(attention: Sequence[str], feedforward: Sequence[str] | str) -> list[Layer]:
    """One layer for each attention name, with its block."""
    blocks = [feedforward] * len(attention) if isinstance(feedforward, str) else feedforward
    return [Layer(one, other) for one, other in zip(attention, blocks, strict=True)]
