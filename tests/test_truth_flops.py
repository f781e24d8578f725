"""The FLOPs of every product against the matrix products that reference implementations run, counted by torch, product for
product.

truth/flops.json is recorded with tools/record_flops.py: transformers on the meta device, eager attention, 2 FLOPs per
multiply-add. Where a reference runs something else than the formulas count, the difference is one rule below, with its reason;
DIFFERENCES says which model meets which. After the rules, figures are equal to the last FLOP.
"""

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kvcalc.attention.cca import CCA
from kvcalc.attention.dsa import DSA
from kvcalc.attention.gdn import GatedDeltaNet
from kvcalc.attention.mla import MLA
from kvcalc.catalog import load_model
from kvcalc.kind import Part, Row, Stream, Weight, Work
from kvcalc.ledger import Ledger, ledger
from kvcalc.residual.mhc import HyperConnections
from kvcalc.scenario import Scenario
from kvcalc.slots import Law, Top, Window
from kvcalc.spec import Block, ModelSpec

FLOPS: dict[str, Any] = json.loads((Path(__file__).parent / "truth" / "flops.json").read_text())
RUNS = [(model, phase, int(t)) for model, runs in FLOPS.items() for phase in ("decode", "prefill") for t in runs[phase]]

PRODUCTS: tuple[tuple[set[str], set[str]], ...] = (
    ({"q_proj", "gate_proj"}, {"self_attn.q_proj", "self_attn.g_proj", "self_attn.qkv_proj.q_proj"}),
    ({"k_proj"}, {"self_attn.k_proj", "self_attn.qkv_proj.k_proj"}),
    ({"v_proj"}, {"self_attn.v_proj"}),
    ({"q_proj", "k_proj", "v_proj"}, {"attn.c_attn"}),
    ({"o_proj"}, {"self_attn.o_proj", "attn.c_proj"}),
    ({"scores", "value mix", "window scores", "window value mix", "entry scores", "entry value mix"}, {"self_attn", "attn"}),
    ({"v_proj_current"}, {"self_attn.qkv_proj.v_proj_current"}),
    ({"v_proj_delayed"}, {"self_attn.qkv_proj.v_proj_delayed"}),
    ({"conv_depthwise"}, {"self_attn.qkv_proj.conv_qk_depthwise"}),
    ({"conv_per_head"}, {"self_attn.qkv_proj.conv_qk_grouped"}),
    ({"q_a_proj"}, {"self_attn.q_a_proj"}),
    ({"q_b_proj"}, {"self_attn.q_b_proj"}),
    ({"kv_a_proj"}, {"self_attn.kv_a_proj_with_mqa"}),
    ({"kv_b_proj"}, {"self_attn.kv_b_proj"}),
    ({"kv_proj"}, {"self_attn.kv_proj"}),
    ({"o_a_proj"}, {"self_attn.o_a_proj"}),
    ({"o_b_proj"}, {"self_attn.o_b_proj"}),
    ({"index_q_proj"}, {"self_attn.indexer.wq_b", "self_attn.compressor.indexer.q_b_proj"}),
    ({"index_weights_proj"}, {"self_attn.indexer.weights_proj", "self_attn.compressor.indexer.scorer.weights_proj"}),
    ({"index_k_proj"}, {"self_attn.indexer.wk"}),
    ({"index scores"}, {"self_attn.indexer", "self_attn.compressor.indexer.scorer"}),
    ({"compress_kv_proj"}, {"self_attn.compressor.kv_proj"}),
    ({"compress_gate_proj"}, {"self_attn.compressor.gate_proj"}),
    ({"index_compress_kv_proj"}, {"self_attn.compressor.indexer.kv_proj"}),
    ({"index_compress_gate_proj"}, {"self_attn.compressor.indexer.gate_proj"}),
    ({"in_proj_qkvz"}, {"linear_attn.in_proj_qkvz"}),
    ({"in_proj_ba"}, {"linear_attn.in_proj_ba"}),
    ({"out_proj"}, {"linear_attn.out_proj"}),
    ({"conv1d", "delta rule"}, {"linear_attn"}),
    ({"up_proj"}, {"mlp.gate_proj", "mlp.up_proj", "mlp.c_fc"}),
    ({"down_proj"}, {"mlp.down_proj", "mlp.c_proj"}),
    (
        {"shared_up"},
        {f"mlp.{shared}.{proj}" for shared in ("shared_expert", "shared_experts") for proj in ("gate_proj", "up_proj")},
    ),
    ({"shared_down"}, {"mlp.shared_expert.down_proj", "mlp.shared_experts.down_proj"}),
    ({"shared_gate"}, {"mlp.shared_expert_gate"}),
    ({"router_proj"}, {"mlp.gate", "mlp.router", "router.proj"}),
    ({"router_down_proj"}, {"mlp.gate.down_proj"}),
    ({"router_hidden"}, {"mlp.gate.router_mlp.fc1", "mlp.gate.router_mlp.fc2"}),
    ({"router_out_proj"}, {"mlp.gate.router_mlp.out_proj"}),
    ({"hc_coefficients"}, {"attn_hc", "ffn_hc"}),
    ({"hc_head"}, {"hc_head"}),
    ({"stream mixing"}, {"layer"}),
    ({"per_layer_model_projection"}, {"per_layer_model_projection"}),
    ({"per_layer_input_gate"}, {"per_layer_input_gate"}),
    ({"per_layer_projection"}, {"per_layer_projection"}),
    ({"token_embedding", "lm_head"}, {"lm_head"}),
)
"""kvcalc's weights and products, and the modules whose products they are together. A line counts where one of its modules was
run."""


class Step(NamedTuple):
    """A step of the reference at context t, and the kvcalc item that a rule is asked about."""

    model: ModelSpec
    phase: str
    t: int
    block: Block
    part: Part | None
    item: Row | Weight | Work | Stream

    @property
    def prompt(self) -> bool:
        return self.phase == "prefill"

    @property
    def empty(self) -> bool:
        """Nothing is cached before this step."""
        return self.prompt or self.t == 1

    @property
    def new(self) -> int:
        """Tokens of this step."""
        return self.t if self.prompt else 1


def scaled(flops: int, by: int, of: int) -> int:
    """flops x by / of, which must be whole."""
    if flops == 0:
        return 0
    result, rest = divmod(flops * by, of)
    assert rest == 0
    return result


# -- differences: each takes a step and the FLOPs so far, and says what the counter sees of the reference ------------------------


def routed_experts_are_stubbed(step: Step, flops: int) -> int:
    """Their control flow depends on data, which a meta device has not: zeros of the same shape stand in, and nothing is counted.
    They are counted apart, see test_routed_experts."""
    return 0 if isinstance(step.item, Weight) and step.item.piece == "routed_experts" else flops


def latent_is_expanded(step: Step, flops: int) -> int:
    """transformers caches MLA's latent but runs the expanded form in decode too: each step, kv_b_proj turns the latents of all t
    cached tokens into heads, and scores and mixes run over heads. kvcalc counts the absorbed form that engines run: kv_b_proj
    once for the new token, scores over latent and RoPE key, mixes over the latent. In a prompt MLA is expanded in both; DSA is
    absorbed in kvcalc, as each query has its own set of tokens."""
    part, item = step.part, step.item
    if not isinstance(part, MLA | DSA) or (isinstance(part, MLA) and step.prompt):
        return flops
    if item.name == "kv_b_proj" and not step.prompt:
        return flops * step.t
    if isinstance(item, Work) and item.sort == "score":
        return scaled(flops, part.qk_nope_head_dim + part.qk_rope_head_dim, part.kv_lora_rank + part.qk_rope_head_dim)
    if isinstance(item, Work) and item.sort == "mix":
        return scaled(flops, part.v_head_dim, part.kv_lora_rank)
    return flops


def masked_slots_are_computed(step: Step, flops: int) -> int:
    """Eager attention multiplies with every key at hand and masks afterwards. In a prompt that is the square: t queries by t
    tokens (or by all compressed entries), where kvcalc counts the causal sum, t(t + 1)/2, and inside a window less. Where a few
    slots are chosen (top k), all are multiplied in decode too; engines gather the chosen."""
    if not isinstance(step.item, Work) or step.item.sort == "other":
        return flops
    law, t = step.item.read, step.t
    if step.prompt:
        return scaled(flops, t * at_hand(law, t), law.area(t))
    return scaled(flops, law.of.count(t) if isinstance(law, Top) else law.count(t), law.count(t))


def at_hand(law: Law, t: int) -> int:
    """Slots of a prompt of t tokens that a query is multiplied with, whatever the mask says."""
    return t if isinstance(law, Window) else at_hand(law.of, t) if isinstance(law, Top) else law.count(t)


def elementwise_sums_are_not_counted(step: Step, flops: int) -> int:
    """kvcalc counts weighted sums as products also where the reference writes them with elementwise operators, which the counter
    does not see: of DeepSeek-V4's indexer the weighted sum over heads (2 of 2 x width + 2 per head and key; V3.2 runs it as a
    product), of the hyper-connections the mix of n streams into the block and back (2 x 2nd beside the counted 2 n^2 d)."""
    part, item = step.part, step.item
    if step.block.kind == "csa_hca" and item.name == "index scores":
        width: int = part.index_head_dim  # type: ignore[union-attr]
        return scaled(flops, 2 * width, 2 * width + 2)
    if isinstance(part, HyperConnections) and item.name == "stream mixing":
        return scaled(flops, part.hc_mult, part.hc_mult + 2)
    return flops


def convolution_runs_past_its_end(step: Step, flops: int) -> int:
    """Outputs of a causal convolution that the reference computes beside those of the new tokens. CCA chains two: the second
    needs the first's last cca_time1 - 1 outputs, and they are computed anew. Gated DeltaNet's buffer holds K columns, so one more
    output falls out in decode; on an empty cache it is filled up to K, padded by K - 1, and the surplus is cut off."""
    part, new = step.part, step.new
    if isinstance(part, CCA) and step.item.name == "conv_depthwise":
        return scaled(flops, new + part.cca_time1 - 1, new)
    if isinstance(part, GatedDeltaNet) and step.item.name == "conv1d":
        taps = part.linear_conv_kernel_dim
        return scaled(flops, max(new, taps) + taps - 1 if step.empty else new + 1, new)
    return flops


def delayed_value_of_no_token(step: Step, flops: int) -> int:
    """CCA's first token has no token before it: the reference projects one row of zeros for it."""
    delayed = isinstance(step.part, CCA) and step.item.name == "v_proj_delayed" and step.empty
    return scaled(flops, step.new + 1, step.new) if delayed else flops


def delta_rule_in_other_forms(step: Step, flops: int) -> int:
    """In decode the reference updates Gated DeltaNet's matrix with elementwise products and sums, which the counter does not see.
    On an empty cache it runs chunks of 64 tokens, the last one filled up: per state element and token 6 FLOPs (read for the
    correction, update, read-out: kvcalc's 7 less the decay, which is elementwise), and the products within a chunk, which kvcalc
    omits: two of 64 x 64 x key width, one of 64 x 64 x value width. The triangular solve is not counted."""
    part, chunk = step.part, 64
    if not isinstance(part, GatedDeltaNet) or step.item.name != "delta rule":
        return flops
    if not step.empty:
        return 0
    key, value = part.linear_key_head_dim, part.linear_value_head_dim
    per_chunk = 6 * chunk * key * value + 2 * chunk * chunk * (2 * key + value)
    return step.block.layers * part.linear_num_value_heads * per_chunk * -(-step.t // chunk)


def reusing_layers_run_for_the_last_token(step: Step, flops: int) -> int:
    """In a prompt transformers runs Gemma 4's layers that reuse the KV of others for the tokens only whose logits are asked for
    (here the last): no later layer keeps state, so nothing else is lost. kvcalc runs every layer for every token, as engines do
    by default (in vLLM it is an option, kv_sharing_fast_prefill)."""
    if not step.prompt or not any(layer.reuses is not None for layer in step.model.plan):
        return flops
    if step.block.label in step.model.feedforward:
        layers = [layer for layer in step.model.plan if layer.feedforward == step.block.label]
    elif step.block.label in step.model.embedding.tables and step.block.layers == step.model.num_hidden_layers:
        layers = step.model.plan
    elif step.block.kind in ("gqa",):
        return scaled(flops, 1, step.t) if "(reads" in step.block.label else flops
    else:
        return flops
    reusing = sum(layer.reuses is not None for layer in layers)
    return scaled(flops, (len(layers) - reusing) * step.t + reusing, len(layers) * step.t)


Rule = Callable[[Step, int], int]
RULES: tuple[Rule, ...] = (
    routed_experts_are_stubbed,
    latent_is_expanded,
    masked_slots_are_computed,
    elementwise_sums_are_not_counted,
    convolution_runs_past_its_end,
    delayed_value_of_no_token,
    delta_rule_in_other_forms,
    reusing_layers_run_for_the_last_token,
)
SQUARE, EXPERTS = {masked_slots_are_computed}, {routed_experts_are_stubbed}
CCA_EDGES = {convolution_runs_past_its_end, delayed_value_of_no_token}
GDN_FORMS = {convolution_runs_past_its_end, delta_rule_in_other_forms}
DIFFERENCES: dict[str, tuple[set[Rule], set[Rule]]] = {
    "llama-3.1-8b": (set(), SQUARE),
    "qwen3-8b": (set(), SQUARE),
    "gemma-3-12b": (set(), SQUARE),
    "gpt2-large": (set(), SQUARE),
    "gemma-4-e2b": (set(), SQUARE | {reusing_layers_run_for_the_last_token}),
    "gemma-4-26b-a4b": (EXPERTS, EXPERTS | SQUARE),
    "gpt-oss-20b": (EXPERTS, EXPERTS | SQUARE),
    "laguna-xs.2": (EXPERTS, EXPERTS | SQUARE),
    "laguna-m.1": (EXPERTS, EXPERTS | SQUARE),
    "zaya1-8b": (EXPERTS | CCA_EDGES, EXPERTS | SQUARE | CCA_EDGES),
    "qwen3-next-80b-a3b": (EXPERTS | GDN_FORMS, EXPERTS | SQUARE | GDN_FORMS),
    "deepseek-v3": (EXPERTS | {latent_is_expanded}, EXPERTS | SQUARE),
    "deepseek-v3.2": (EXPERTS | SQUARE | {latent_is_expanded}, EXPERTS | SQUARE | {latent_is_expanded}),
    "deepseek-v4-flash": (
        EXPERTS | SQUARE | {elementwise_sums_are_not_counted},
        EXPERTS | SQUARE | {elementwise_sums_are_not_counted},
    ),
}
"""Model -> what differs in decode, what differs in a prompt. A difference that is not named here is a failure, and so is one too
many."""


@cache
def book(model_id: str, phase: str, t: int) -> Ledger:
    return ledger(load_model(model_id), Scenario(phase=phase, context=t))  # type: ignore[arg-type]


def lines(model_id: str, phase: str, t: int) -> Iterator[tuple[Step, int]]:
    """Every entry of the ledger with the block and the weight or product that it came from, and its FLOPs."""
    model, entries = load_model(model_id), iter(book(model_id, phase, t).entries)
    parts: dict[str, Part] = {**model.attention, **model.feedforward, "residual": model.residual}
    for block in model.blocks:
        for item in (*block.weights, *block.rows, *block.work, *block.streams):
            entry = next(entries)
            assert (entry.group, entry.name, entry.layers) == (block.label, item.name, block.layers)
            yield Step(model, phase, t, block, parts.get(block.label.partition(" (reads")[0]), item), entry.flops
    assert next(entries, None) is None


def as_the_reference_runs(model_id: str, phase: str, t: int) -> tuple[dict[str, int], set[Rule]]:
    """FLOPs by name of weight or product as the counter should see them, and the rules that changed one."""
    found: dict[str, int] = {}
    used: set[Rule] = set()
    for step, flops in lines(model_id, phase, t):
        for rule in RULES:
            if (changed := rule(step, flops)) != flops:
                used.add(rule)
                flops = changed
        found[step.item.name] = found.get(step.item.name, 0) + flops
    return found, used


def counted(model_id: str, phase: str, t: int) -> dict[str, int]:
    """The recorded FLOPs by module, without the path to the layer."""
    recorded = FLOPS[model_id][phase][str(t)]
    found = {re.sub(r"^(?:transformer\.h|layers)\.\*\.?", "", name) or "layer": flops for name, flops in recorded.items()}
    assert len(found) == len(recorded)
    return found


@pytest.mark.parametrize(("model_id", "phase", "t"), RUNS, ids=lambda value: str(value))
def test_every_product_to_the_last_flop(model_id: str, phase: str, t: int) -> None:
    ours, _ = as_the_reference_runs(model_id, phase, t)
    theirs = counted(model_id, phase, t)
    active = [(names & set(ours), modules & set(theirs)) for names, modules in PRODUCTS if modules & set(theirs)]
    for names, modules in active:
        assert sum(ours.pop(name) for name in names) == sum(theirs.pop(module) for module in modules), (names, modules)
    assert not theirs, "modules that no weight or product explains"
    assert not {name: flops for name, flops in ours.items() if flops}, "products that no module runs"


@pytest.mark.parametrize(
    "model_id", [model for model, (decode, _) in DIFFERENCES.items() if routed_experts_are_stubbed in decode]
)
def test_routed_experts(model_id: str) -> None:
    """One layer's chosen experts, run for one token on real tensors, times layers and tokens."""
    counted_once = FLOPS[model_id]["routed_experts"]
    for phase, t, tokens in (("decode", 4096, 1), ("prefill", 4096, 4096)):
        ours = sum(entry.flops for entry in book(model_id, phase, t).by("piece")["routed_experts"])
        assert ours == tokens * counted_once["modules"] * counted_once["flops_per_token_and_module"]


@pytest.mark.parametrize("model_id", FLOPS)
def test_differences_are_the_named_ones(model_id: str) -> None:
    for phase, named in zip(("decode", "prefill"), DIFFERENCES[model_id], strict=True):
        used = {rule for model, p, t in RUNS if (model, p) == (model_id, phase) for rule in as_the_reference_runs(model, p, t)[1]}
        assert used == named, phase


@pytest.mark.parametrize("model_id", [model for model, (decode, _) in DIFFERENCES.items() if not decode])
def test_decode_totals_without_any_rule(model_id: str) -> None:
    """Dense attention and dense feed-forward in decode: the ledger's totals are the counter's, as they are."""
    for t in map(int, FLOPS[model_id]["decode"]):
        theirs = counted(model_id, "decode", t)
        assert book(model_id, "decode", t).totals.flops == sum(theirs.values())
        assert book(model_id, "decode", t).totals.attention_flops == theirs.get("self_attn", theirs.get("attn"))


def test_a_causal_prompt_is_the_square_less_the_upper_triangle() -> None:
    """Llama: the reference's t^2 against kvcalc's t(t + 1)/2, from the totals alone."""
    for t in map(int, FLOPS["llama-3.1-8b"]["prefill"]):
        theirs, ours = counted("llama-3.1-8b", "prefill", t), book("llama-3.1-8b", "prefill", t).totals
        assert ours.flops - ours.attention_flops == sum(theirs.values()) - theirs["self_attn"]
        assert ours.attention_flops * 2 * t == theirs["self_attn"] * (t + 1)


def test_mla_prompt_form_is_the_expanded_one() -> None:
    """The form that `latent_is_expanded` computes from the widths is the one that kvcalc itself counts in a prompt."""
    for step, _ in lines("deepseek-v3", "decode", 4096):
        if isinstance(step.part, MLA) and isinstance(step.item, Work):
            assert step.item.prefill_flops == latent_is_expanded(step, step.item.flops)
