"""xLSTM-7B: a matrix LSTM and a gated MLP in every layer; widths are factors of the stream's."""

from kvcalc.importers.config import Config, Known, number
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import decoder, hidden_size, tied_against_class

TYPES = ("xlstm",)


def read(c: Config) -> Layout:
    tied_against_class(c)
    c.must("use_bias", False)
    c.must("add_out_norm", True)
    c.ignore("chunk_size", "max_inference_chunksize", "autocast_kernel_dtype", "inference_state_dtype", "weight_mode", "mode")
    c.ignore("chunkwise_kernel", "sequence_kernel", "step_kernel", "return_last_states", "gate_soft_cap", "output_logit_soft_cap")
    c.ignore("norm_reduction_force_float32", "head_dim")
    heads, stream = c.count("num_heads"), hidden_size(c)
    mlstm = {
        "kind": "mlstm",
        "num_heads": heads,
        "qk_head_dim": head(c, heads, "qk_dim_factor", 0.5),
        "v_head_dim": head(c, heads, "v_dim_factor", 1.0),
    }
    factor, multiple = c.ratio("ffn_proj_factor", default=2.667), c.count("ffn_round_up_to_multiple_of", default=64)
    width = int((stream * factor + multiple - 1) // multiple * multiple)
    mlp = {"kind": "mlp", "intermediate_size": number(width, f"hidden_size x {factor:g}, up to a multiple of {multiple}")}
    return decoder(c, {"mlstm": mlstm}, {"mlp": mlp})


def head(c: Config, heads: Known, factor: str, default: float) -> Known:
    """Width of a head: hidden_size x a factor / num_heads."""
    width = int(hidden_size(c) * c.ratio(factor, default=default))
    if not width or width % heads:
        raise c.refuse(factor, f"makes a width of {width:,}, which does not divide into {heads:,} heads")
    return number(width // heads, f"hidden_size x {factor} / num_heads")
