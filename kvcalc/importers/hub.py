"""`hf:org/name`, through huggingface_hub's own cache and download, where a person has it. Fetches small files only, never weights."""

import re
from pathlib import Path

from kvcalc.errors import SpecError
from kvcalc.importers import HUB

CONFIG, BESIDE = "config.json", ("hf_quant_config.json",)
_NAME = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")


def fetch(source: str) -> Path:
    """The config.json of `hf:org/name` or `hf:org/name@revision`, from the cache or the hub.

    Raises:
        SpecError: no such name, huggingface_hub is not installed, or the hub cannot be reached. One line.
    """
    match = _NAME.fullmatch(source.removeprefix(HUB))
    if match is None:
        raise SpecError(f"{source[:80]!r} is not the name of a model", "write hf:org/name, e.g. hf:Qwen/Qwen3-8B")
    try:
        from huggingface_hub import hf_hub_download
    except ImportError:
        raise SpecError(
            f"{source}: huggingface_hub is not installed", "pip install 'kvcalc[hf]', or download its config.json and give the file"
        ) from None
    try:
        found = Path(hf_hub_download(match["repo"], CONFIG, revision=match["revision"]))
    except (OSError, ValueError, RuntimeError) as error:  # what huggingface_hub and its network libraries raise
        reason = str(error).strip().partition("\n")[0][:160] or type(error).__name__
        raise SpecError(f"{source}: cannot be fetched: {reason}", "offline? download its config.json elsewhere and give the file") from None
    for name in BESIDE:
        try:
            hf_hub_download(match["repo"], name, revision=match["revision"])
        except (OSError, ValueError, RuntimeError):  # most models have none
            continue
    return found
