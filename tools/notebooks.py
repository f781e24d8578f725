"""Run the notebooks of notebooks/ and write their outputs into them: `python tools/notebooks.py`."""

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
SECONDS = 300


def run(file: Path) -> Any:
    """A notebook with the outputs that its cells give now. Raises CellExecutionError for a cell that fails."""
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=SECONDS, kernel_name="python3", record_timing=False).execute()
    notebook.metadata.pop("language_info", None)
    return notebook


def main() -> int:
    """Run each, and write it."""
    for file in sorted(FOLDER.glob("*.ipynb")):
        nbformat.write(run(file), file)
        print(f"ran {file.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
