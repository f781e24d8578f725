"""Text models of MiniCPM-V and MiniCPM-o: another family's, whose fields stand beside those of the encoders. `version` says whose.

Source: vllm model_executor/models/{minicpmv,minicpmo}.
"""

from collections.abc import Callable

from kvcalc.importers.config import Config
from kvcalc.importers.hf import llama, minicpm, qwen2, qwen3
from kvcalc.importers.layout import Layout
from kvcalc.importers.pieces import hidden_size

TYPES = ("minicpmv", "minicpmo")
READERS: dict[str, dict[str, Callable[[Config], Layout]]] = {
    "minicpmv": {"2.0": minicpm.read, "2.5": llama.read, "2.6": qwen2.read, "4.0": llama.read, "4.5": qwen3.read},
    "minicpmo": {"2.6": qwen2.read, "4.5": qwen3.read},
}
OF_THE_FIRST = {"hidden_size": 2304, "query_num": 64}
"""What MiniCPM-V 2.0 says, which has no version, as 2.5 has none."""
BESIDE = (
    *("query_num", "image_size", "patch_size", "num_channels", "slice_config", "slice_mode", "vision_batch_size"),
    *("audio_pool_step", "audio_chunk_length", "tts_config", "init_tts", "init_audio", "init_vision", "batch_vision_input"),
    *("drop_vision_last_layer", "batch_3d_resampler", "stream_input", "chunk_input", "listen_speak_type", "use_image_id"),
)


def version(c: Config) -> str:
    """The version that picks the text model: said, as a number or as text, or known by what is not there."""
    _, said = c.value("version")
    if said is not None:
        return str(said)
    if c.model_type == "minicpmo":
        return "2.6"
    first = c.maybe("query_num") == OF_THE_FIRST["query_num"] and hidden_size(c) == OF_THE_FIRST["hidden_size"]
    return "2.0" if first else "2.5"


def read(c: Config) -> Layout:
    known, said = READERS[c.model_type], version(c)
    if said not in known:
        raise c.refuse("version", f"{said[:9]!r} is not known for model_type {c.model_type}", f"known: {', '.join(known)}")
    c.ignore(*BESIDE)
    c.caveat("Only the text model is counted, not the encoders and the speech decoder.")
    return known[said](c)
