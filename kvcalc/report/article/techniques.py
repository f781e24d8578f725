"""What the article is about: techniques, whose they are, which claims belong to them, and how they are misread. Numbers stand elsewhere.

Texts with names in braces are filled from the ledger (see `words.Numbers`).
"""

from dataclasses import dataclass

SURVEY = (
    "Recent Developments in LLM Architectures: KV Sharing, mHC, and Compressed Attention",
    "https://magazine.sebastianraschka.com/p/recent-developments-in-llm-architectures",
)
"""The survey that the article goes with: its title and address."""
MODELS = ("gemma-4-e2b", "gemma-4-e4b", "laguna-xs.2", "zaya1-8b", "deepseek-v4-flash", "deepseek-v4-pro")
CONTEXTS = "4K,32K,128K,1M"
DEVICES = "h100-sxm-80gb,a100-sxm-80gb,snapdragon-8-elite-gen-5,rtx-4090"


@dataclass(frozen=True)
class Misreading:
    """What is said, where it can be read, and what the ledger says to it. `other`: a second model that the answer speaks of."""

    claim: str
    seen: tuple[str, ...]
    fact: str
    sources: tuple[str, ...]
    other: str | None = None


@dataclass(frozen=True)
class Shown:
    """A figure: its name in kvcalc.report.figures, and what it is asked. `undone`: beside each model, the same without the trick."""

    figure: str
    models: tuple[str, ...] = ()
    options: tuple[tuple[str, str], ...] = ()
    undone: bool = False
    axis: bool = False
    """Over contexts, rather than at one."""


@dataclass(frozen=True)
class Technique:
    """A section of the article.

    Args:
        key: names its files and its place on the page.
        trick: its name in kvcalc.whatif.
        kinds: (family, kind) whose file says what it keeps.
        parts: fields of the spec that declare it, as dotted paths.
        piece: the piece of the ledger that it adds, if it adds one.
        claims: the sorts of published figures (`what` of a check) that are about it.
        against: models to compare with at the longest context.
    """

    key: str
    name: str
    trick: str
    models: tuple[str, ...]
    shown: tuple[Shown, ...]
    kinds: tuple[tuple[str, str], ...] = ()
    parts: tuple[str, ...] = ("attention",)
    piece: str = ""
    claims: tuple[str, ...] = ()
    misreadings: tuple[Misreading, ...] = ()
    against: tuple[str, ...] = ()


_SUMMARY = "https://www.wesearch.press/s/recent-developments-in-llm-architectures-kv-sharing-mhc-comp-45902f28"

TECHNIQUES = (
    Technique(
        key="kv-sharing",
        name="KV sharing",
        trick="kv-sharing",
        models=("gemma-4-e2b", "gemma-4-e4b"),
        shown=(Shown("savings", options=(("trick", "kv-sharing"),), axis=True), Shown("layers")),
        claims=("sharing_saves_bytes", "state_bytes_per_token", "state_bytes"),
        misreadings=(
            Misreading(
                "KV sharing lowers the memory traffic of a decode step",
                (_SUMMARY,),
                "It lowers what is kept, not what is read: a layer that keeps no rows still reads all those of the layer that it shares "
                "with. At {context} a step of {model} reads {state_read} of state with sharing and {state_read_without} without. What goes "
                "is memory, {state_saved} of state, and the projections of keys and values, {weights_saved} of weights.",
                ("{code}",),
            ),
        ),
    ),
    Technique(
        key="per-layer-embeddings",
        name="Per-layer embeddings",
        trick="per-layer-embeddings",
        models=("gemma-4-e2b", "gemma-4-e4b"),
        shown=(Shown("breakdown"),),
        kinds=(("embedding", "per_layer"),),
        parts=("embedding.per_layer",),
        piece="ple_table",
        claims=("parameters", "active_parameters", "weight_bytes"),
        misreadings=(
            Misreading(
                "Per-layer embeddings lower cache size and memory traffic",
                (_SUMMARY,),
                "They leave the cache as it is, and add to the traffic: {model} keeps {state} of state with them and {state_without} "
                "without, and moves {traffic} per step instead of {traffic_without}. The table takes {piece_weights} of storage; a "
                "token reads {piece_read} of it.",
                ("{code}",),
            ),
        ),
    ),
    Technique(
        key="head-budgets",
        name="Layer-wise head budgets",
        trick="head-budget",
        models=("laguna-xs.2",),
        shown=(Shown("flops", undone=True, axis=True),),
        kinds=(("attention", "gqa"),),
        claims=("heads_per_kv_head", "parameters", "active_parameters", "weight_bytes", "state_bytes", "state_bytes_per_token"),
        misreadings=(
            Misreading(
                "Laguna XS.2 is of the 3B class and takes about 7 GB in 16 bits",
                ("https://specpicks.com/reviews/laguna-xs2-llama-cpp-local-inference-2026",),
                "That is what one token uses, not what must be there. {model} has {parameters} parameters, {active} of them active for "
                "one token; each token chooses its experts anew, so that all must be at hand: {weights} as released, {weights_q4_k} in "
                "q4_k, before any state.",
                ("{card}", "{config}"),
            ),
        ),
    ),
    Technique(
        key="cca",
        name="Compressed convolutional attention (CCA)",
        trick="compression",
        models=("zaya1-8b",),
        shown=(Shown("savings", options=(("trick", "compression"),), axis=True),),
        kinds=(("attention", "cca"),),
        claims=("parameters", "active_parameters", "weight_bytes", "state_bytes", "state_bytes_per_token"),
        misreadings=(
            Misreading(
                "ZAYA1 replaces attention by convolutions, or puts a mixture of experts into it ('soft-MoE attention')",
                ("a public reading note on the survey, without an address of its own",),
                "All {layers} layers of {model} attend to every token: state grows by {per_token} with each. The two convolutions stand "
                "before the scores, on q and k; what they keep is {fixed_state}, whatever the context. The experts are in the feed-forward "
                "blocks, as elsewhere.",
                ("{attention_source}", "{code}"),
            ),
        ),
    ),
    Technique(
        key="mhc",
        name="Manifold-constrained hyper-connections (mHC)",
        trick="hyper-connections",
        models=("deepseek-v4-flash", "deepseek-v4-pro"),
        shown=(Shown("ladder", models=("deepseek-v4-flash",)),),
        kinds=(("residual", "mhc"),),
        parts=("residual",),
        piece="mhc",
        misreadings=(
            Misreading(
                "mHC is short for multi-head compression: it condenses attention heads and shrinks the cache",
                (
                    _SUMMARY,
                    "https://www.tickrwire.tech/article/how-new-open-weight-llms-slash-long-context-costs-with-smarter-attenti",
                ),
                "mHC is short for manifold-constrained hyper-connections: the residual stream, not the attention heads. {summary} It keeps "
                "nothing between steps: at {context} {model} holds {state} of state with it and {state_without} without. It costs: "
                "{traffic_cost} more traffic and {work_cost} more work in every step.",
                ("arXiv:2512.24880", "{report}"),
            ),
        ),
    ),
    Technique(
        key="csa-hca",
        name="Compressed attention (CSA and HCA)",
        trick="compression",
        models=("deepseek-v4-flash", "deepseek-v4-pro"),
        shown=(
            Shown("savings", options=(("trick", "compression"),), axis=True),
            Shown("memory", models=("deepseek-v4-flash", "deepseek-v4-pro", "deepseek-v3.2"), axis=True),
        ),
        kinds=(("attention", "csa_hca"),),
        claims=("state_bytes", "state_bytes_per_token", "fp8_equivalent_flops", "attention_flops", "flops"),
        misreadings=(
            Misreading(
                "DeepSeek V4 saves its cache by multi-head latent attention (MLA)",
                ("https://blog.restlessapi.stream/2026/05/the-secret-behind-deepseek-v4-scaling.html",),
                "None of its {layers} layers is MLA. {model} has {attention}. {summary}",
                ("{report}", "{code}"),
            ),
            Misreading(
                "The release 0731 of V4-Flash has a cache eight times larger, 56 bytes per token instead of 7.2",
                ("https://github.com/vllm-project/vllm/issues/51041",),
                "Both keep the same rows: {per_token} for each further token in {model}, {other_per_token} in {other}. The unit of the two "
                "figures is KiB, and they are what an engine set aside over the tokens that it promised, not what the layout needs.",
                ("{state_source}", "{report}"),
                other="deepseek-v4-flash-0731",
            ),
        ),
        against=("deepseek-v3.2",),
    ),
)
