"""A GGUF file to a spec: its metadata gives the layout, its tensors give exact bytes, and the two must agree."""

import re
from collections.abc import Iterable
from pathlib import Path

from kvcalc.errors import SpecError
from kvcalc.importers.config import MAX_UNREAD, SHOWN, listed
from kvcalc.importers.gguf_config import config_of, renamed
from kvcalc.importers.gguf_file import GGUF, read_file
from kvcalc.importers.inventory import Named, Tensor, held_against, reworded, with_caveats
from kvcalc.importers.model import Imported, id_of, import_config

QUERY, KEY, VALUE, GATE = "attention.q_proj", "attention.k_proj", "attention.v_proj", "attention.gate_proj"
NORMS, UP, DOWN = ("norms.layer_norms",), ("dense_mlp.up_proj",), ("dense_mlp.down_proj",)
EXPERT_UP, EXPERT_DOWN = ("routed_experts.expert_up",), ("routed_experts.expert_down",)

IN_A_LAYER: dict[str, tuple[str, ...]] = {
    "attn_q.weight": (QUERY, GATE),
    "attn_k.weight": (KEY,),
    "attn_v.weight": (VALUE,),
    "attn_qkv.weight": (QUERY, KEY, VALUE, "attention.qkv_proj", "attention.in_proj_qkvz"),
    "attn_gate.weight": (GATE, "attention.in_proj_qkvz"),
    "attn_output.weight": ("attention.o_proj",),
    "attn_q.bias": ("attention.q_bias",),
    "attn_k.bias": ("attention.k_bias",),
    "attn_v.bias": ("attention.v_bias",),
    "attn_qkv.bias": ("attention.q_bias", "attention.k_bias", "attention.v_bias"),
    "attn_output.bias": ("attention.o_bias",),
    "attn_sinks.weight": ("attention.sinks",),
    "attn_q_norm.weight": ("norms.q_norm",),
    "attn_k_norm.weight": ("norms.k_norm",),
    "attn_output_norm.weight": ("norms.output_norm", "norms.layer_norms"),
    "attn_q_a.weight": ("attention.q_a_proj",),
    "attn_q_a_norm.weight": ("norms.q_a_norm",),
    "attn_q_b.weight": ("attention.q_b_proj",),
    "attn_kv_a_mqa.weight": ("attention.kv_a_proj",),
    "attn_kv_a_norm.weight": ("norms.kv_a_norm",),
    "attn_kv_b.weight": ("attention.kv_b_proj",),
    "attn_k_b.weight": ("attention.kv_b_proj",),
    "attn_v_b.weight": ("attention.kv_b_proj",),
    "indexer.attn_q_b.weight": ("indexer.index_q_proj",),
    "indexer.attn_k.weight": ("indexer.index_k_proj",),
    "indexer.k_norm.weight": ("indexer.index_k_norm",),
    "indexer.k_norm.bias": ("indexer.index_k_norm",),
    "indexer.proj.weight": ("indexer.index_weights_proj",),
    "ffn_gate.weight": UP,
    "ffn_up.weight": UP,
    "ffn_down.weight": DOWN,
    "ffn_gate.bias": ("dense_mlp.up_bias",),
    "ffn_up.bias": ("dense_mlp.up_bias",),
    "ffn_down.bias": ("dense_mlp.down_bias",),
    "ffn_gate_exps.weight": EXPERT_UP,
    "ffn_up_exps.weight": EXPERT_UP,
    "ffn_gate_up_exps.weight": EXPERT_UP,
    "ffn_down_exps.weight": EXPERT_DOWN,
    "ffn_gate_exps.bias": ("routed_experts.expert_up_bias",),
    "ffn_up_exps.bias": ("routed_experts.expert_up_bias",),
    "ffn_gate_up_exps.bias": ("routed_experts.expert_up_bias",),
    "ffn_down_exps.bias": ("routed_experts.expert_down_bias",),
    "ffn_gate_inp.weight": ("router.router_proj",),
    "ffn_gate_inp.bias": ("router.router_bias",),
    "ffn_gate_inp.scale": ("router.input_scale",),
    "ffn_down_exps.scale": ("router.expert_scale",),
    "exp_probs_b.bias": ("router.correction_bias",),
    "ffn_gate_shexp.weight": ("shared_experts.shared_up",),
    "ffn_up_shexp.weight": ("shared_experts.shared_up",),
    "ffn_down_shexp.weight": ("shared_experts.shared_down",),
    "ffn_gate_inp_shexp.weight": ("shared_experts.shared_gate",),
    "ffn_latent_down.weight": ("shared_experts.fc1_latent_proj",),
    "ffn_latent_up.weight": ("shared_experts.fc2_latent_proj",),
    "ssm_in.weight": ("attention.in_proj", "attention.in_proj_zx", "attention.in_proj_bc", "attention.in_proj_dt"),
    "ssm_in.bias": ("attention.in_bias",),
    "ssm_conv1d.weight": ("attention.conv1d", "attention.conv1d_x", "attention.conv1d_bc"),
    "ssm_conv1d.bias": ("attention.conv_bias", "attention.conv_bias_bc"),
    "ssm_x.weight": ("attention.x_proj",),
    "ssm_dt.weight": ("attention.dt_proj",),
    "ssm_dt.bias": ("attention.dt_bias",),
    "ssm_a": ("attention.A_log",),
    "ssm_d": ("attention.D",),
    "ssm_norm.weight": ("norms.gated_norm", "norms.norm"),
    "ssm_dt_norm.weight": ("norms.dt_norm",),
    "ssm_b_norm.weight": ("norms.b_norm",),
    "ssm_c_norm.weight": ("norms.c_norm",),
    "ssm_out.weight": ("attention.out_proj",),
    "ssm_out.bias": ("attention.out_bias",),
    "ssm_ba.weight": ("attention.in_proj_ba",),
    "ssm_alpha.weight": ("attention.in_proj_ba",),
    "ssm_beta.weight": ("attention.in_proj_ba",),
    "altup_router.weight": ("altup.modality_router",),
    "altup_router_norm.weight": ("norms.router_norm",),
    "altup_predict_coef.weight": ("altup.prediction_coefs",),
    "altup_correct_coef.weight": ("altup.correction_coefs",),
    "altup_correct_scale.weight": ("altup.correct_output_scale",),
    "laurel_l.weight": ("laurel.laurel_left",),
    "laurel_r.weight": ("laurel.laurel_right",),
    "laurel_post_norm.weight": ("norms.post_laurel_norm",),
    "inp_gate.weight": ("ple_projections.per_layer_input_gate",),
    "proj.weight": ("ple_projections.per_layer_projection",),
    "post_norm.weight": ("norms.post_per_layer_input_norm",),
    "shortconv.conv.weight": ("attention.conv",),
    "shortconv.in_proj.weight": ("attention.in_proj",),
    "shortconv.out_proj.weight": ("attention.out_proj",),
}
"""Of each tensor of a layer, the weights of a spec that it may hold, the likeliest first. Source: gguf-py/gguf/constants.py."""

LAYER_NORM = re.compile(r"(attn|ffn|post_attention|post_ffw|pre_ffw|attn_post|layer_output)_norm(_[12])?(\.weight|\.bias)?")
OLD_EXPERT = re.compile(r"ffn_(gate|up|down)\.\d+\.weight")
"""The first files of Mixtral had a tensor for each expert."""

OUTSIDE: dict[str, tuple[str, ...]] = {
    "token_embd.weight": ("embeddings.token_embedding",),
    "output.weight": ("lm_head.lm_head",),
    "output.bias": ("lm_head.lm_head_bias",),
    "output_norm.weight": ("norms.final_norm",),
    "output_norm.bias": ("norms.final_norm",),
    "token_embd_norm.weight": ("norms.embedding_norm", "norms.final_norm"),  # LFM2's last norm goes by this name
    "token_embd_norm.bias": ("norms.embedding_norm",),
    "position_embd.weight": ("position_embeddings.position_table",),
    "per_layer_token_embd.weight": ("ple_table.per_layer_table",),
    "per_layer_model_proj.weight": ("ple_projections.per_layer_model_projection",),
    "altup_proj.weight": ("altup.altup_projections",),
    "altup_unembd_proj.weight": ("altup.altup_unembed_projections",),
    "per_layer_proj_norm.weight": ("norms.per_layer_projection_norm",),
}

ASIDE = re.compile(r"(blk\.\d+\.)?(rope_freqs|rope_factors_long|rope_factors_short|layer_output_scale)\.weight|.*\.(input_)?scale")
"""Bytes, and no parameters."""

TABLES, DRAFT = "tables that an engine could calculate, and scales", "layers that draft"
_IN_A_LAYER = re.compile(r"blk\.(?P<layer>\d{1,6})\.(?P<name>.+)")


def read_gguf(path: str | Path, *, id: str | None = None, ignore: Iterable[str] = ()) -> Imported:
    """The spec of a GGUF file, or of a model that is split into several.

    Raises:
        SpecError: a file that is not there, is damaged, is no language model that is known, or whose metadata and tensors differ.
    """
    file = read_file(path)
    fields, origins, keys = config_of(file)
    title = file.metadata.get("general.name")
    title = title[:SHOWN] if isinstance(title, str) and title.strip() and title.isprintable() else Path(path).stem
    try:
        imported = import_config(file.name, fields, id=id or id_of(Path(path).stem), title=title, ignore=ignore)
    except SpecError as error:
        raise SpecError(_in_keys(error.message, file, origins), error.hint) from None
    data = reworded(imported.data, lambda text: renamed(text, origins)) | {"sources": {"gguf": file.name}}
    imported = Imported(imported.model, data, imported.notes)
    if keys.unread:
        unread = f"Keys of the file that were not read: {listed(keys.unread, MAX_UNREAD)}."
        imported = with_caveats(imported, file.name, [unread])
    return held_against(imported, file.name, [named(tensor, keys.layers) for tensor in file.tensors], strict=True)


def named(tensor: Tensor, layers: int) -> Named:
    """Where a tensor stands and which weights of a spec it may hold."""
    match = _IN_A_LAYER.fullmatch(tensor.name)
    if ASIDE.fullmatch(tensor.name) and not (match and match["name"] in IN_A_LAYER):
        return Named(tensor, None, aside=TABLES)
    if match is None:
        return Named(tensor, None, OUTSIDE.get(tensor.name, ()))
    layer, name = int(match["layer"]), match["name"]
    if layer >= layers:
        return Named(tensor, layer, aside=DRAFT)
    if LAYER_NORM.fullmatch(name):
        return Named(tensor, layer, NORMS)
    if OLD_EXPERT.fullmatch(name):
        return Named(tensor, layer, EXPERT_DOWN if name.startswith("ffn_down") else EXPERT_UP)
    return Named(tensor, layer, IN_A_LAYER.get(name, ()))


def _in_keys(message: str, file: GGUF, origins: dict[str, str]) -> str:
    """An error about a field, with the key of the file in its place."""
    head, _, rest = message.removeprefix(f"{file.name}: ").partition(": ")
    return f"{file.name}: {origins.get(head, head)}: {rest}" if rest else message
