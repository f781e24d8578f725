"""What a model ships (config.json, safetensors, GGUF) to a spec: one file per source. What it does not know it refuses by name."""

from pathlib import Path

HUB = "hf:"
SUFFIXES = (".json", ".gguf", ".safetensors")


def is_source(name: str) -> bool:
    """Whether a MODEL is what a model ships (a file, a folder, a pipe, hf:org/name), rather than a spec or an id."""
    try:
        if name.startswith(HUB) or name.lower().endswith(SUFFIXES):
            return True
        return bool(name) and (Path(name).is_dir() or Path(name).is_fifo())
    except (OSError, ValueError):
        return False
