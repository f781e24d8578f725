"""`hf:org/name`, through huggingface_hub's own cache and download, where a person has it. Fetches small files only, never weights."""

import re
from pathlib import Path

from kvcalc.errors import SpecError
from kvcalc.importers import HUB

CONFIG, BESIDE = "config.json", ("hf_quant_config.json",)
_NAME = re.compile(r"(?P<repo>[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(@(?P<revision>[\w./-]+))?")
_REASONS = {
    "GatedRepoError": "gated: its page asks to accept its terms, then `hf auth login`",
    "RepositoryNotFoundError": "no such model, or it is private",
    "RevisionNotFoundError": "no such revision",
    "LocalEntryNotFoundError": "the hub cannot be reached, and the cache does not have it",
    "EntryNotFoundError": f"it has no {CONFIG}",
}
"""What the errors of huggingface_hub mean, by the names of their classes; the special ones first."""


def is_name(text: str) -> bool:
    """Whether it is org/name, perhaps with @revision."""
    return _NAME.fullmatch(text) is not None


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
            f"{source}: huggingface_hub is not installed", f"pip install huggingface_hub, or download its {CONFIG} and give the file"
        ) from None
    try:
        found = Path(hf_hub_download(match["repo"], CONFIG, revision=match["revision"]))
    except Exception as error:  # huggingface_hub and its network libraries raise of many kinds
        raise SpecError(f"{source}: cannot be fetched: {_reason(error)}", f"or download its {CONFIG} elsewhere and give the file") from None
    for name in BESIDE:
        try:
            hf_hub_download(match["repo"], name, revision=match["revision"])
        except Exception:  # most models have none
            continue
    return found


def _reason(error: Exception) -> str:
    """Why something could not be fetched, in a line."""
    kinds = [kind.__name__ for kind in type(error).__mro__]
    known = next((reason for name, reason in _REASONS.items() if name in kinds), None)
    return known or str(error).strip().partition("\n")[0][:160] or kinds[0]
