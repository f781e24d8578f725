"""The notebooks run, say what they said when they were committed, and call public functions only."""

import ast
import importlib.util
from pathlib import Path
from typing import Any

import nbformat
import pytest

import kvcalc

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
MOST_CELLS = 12


def runner() -> Any:
    spec = importlib.util.spec_from_file_location("notebooks", ROOT / "tools" / "notebooks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(cell: Any) -> list[tuple[str, str]]:
    """What a cell printed or showed as text; of pictures only that they are there (their bytes are the drawing library's)."""
    found = []
    for output in cell.get("outputs", []):
        data = {"text": output["text"]} if output["output_type"] == "stream" else output["data"]
        found += [(kind, "shown" if kind.startswith("image/") else text) for kind, text in data.items()]
    return sorted(found)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_says_what_it_said(file: Path) -> None:
    committed, fresh = nbformat.read(file, as_version=4), runner().run(file)
    assert len(committed.cells) < MOST_CELLS
    for old, new in zip(committed.cells, fresh.cells, strict=True):
        assert said(old) == said(new), "run: python tools/notebooks.py"
    shown = [kind for cell in committed.cells for kind, _ in said(cell)]
    assert "image/png" in shown and any(kind.startswith("text/") for kind in shown)


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_a_notebook_calls_public_functions_only(file: Path) -> None:
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type != "code":
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("kvcalc"):
                assert node.module == "kvcalc" and {name.name for name in node.names} <= set(kvcalc.__all__)
            assert not (isinstance(node, ast.Attribute) and node.attr.startswith("_"))


def test_there_are_three() -> None:
    assert len(NOTEBOOKS) == 3
