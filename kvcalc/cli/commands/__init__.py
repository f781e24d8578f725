"""The commands, one file each. Each imports what it needs when it runs, so that `--help` is quick."""

from importlib import import_module

ORDER = (
    "estimate",
    "compare",
    "whatif",
    "diff",
    "fit",
    "throughput",
    "energy",
    "fleet",
    "plot",
    "article",
    "sweep",
    "explain",
    "list_",
    "import_",
    "verify",
    "check",
    "schema",
)
"""As `--help` lists them."""


def load() -> None:
    """Register every command with the application."""
    for name in ORDER:
        import_module(f"{__name__}.{name}")
