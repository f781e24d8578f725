"""A line knows its room; the tools that say so are green; generated files are as generated."""

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from kvcalc import hardware, spec
from kvcalc.catalog import data_folder, read_yaml

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "kvcalc"
SOURCES = sorted(PACKAGE.rglob("*.py"))


def code_of(file: Path) -> str:
    """Source without docstrings, comments and plain strings."""
    text = re.sub(r'""".*?"""', "", file.read_text(), flags=re.S)
    return re.sub(r'f?"[^"\n]*"', '""', re.sub(r"#.*", "", text))


@pytest.mark.parametrize(
    ("pattern", "rooms"),
    [
        (r"\b1024\b|2\s*\*\*\s*[1-9]0|10\s*\*\*|\b1e-?\d", ["units.py", "kind.py", "spec.py", "verify.py"]),
        (r"\bimport yaml|from yaml", ["catalog.py"]),
        (r"(import|from) rich", ["terminal.py"]),
        (r"(import|from) typer", ["options.py", "cli/commands/"]),
        (r"(import|from) matplotlib", ["report/figures/"]),
        (r"(import|from) numpy", []),
        (r"(?<![\w.])print\(", ["output.py", "cli/__init__.py", "options.py", "cli/commands/"]),
        (r"_per_s\b", ["hardware.py", "roofline.py", "devices.py"]),
    ],
)
def test_a_line_stands_in_its_room(pattern: str, rooms: list[str]) -> None:
    paths = {str(file.relative_to(ROOT)) for file in SOURCES if re.search(pattern, code_of(file))}
    strangers = [
        path
        for path in sorted(paths)
        if not any(path.endswith(f"/{room}") or (room.endswith("/") and room in path) for room in rooms)
    ]
    assert strangers == []


@pytest.mark.parametrize("folder", ["attention", "feedforward", "router", "residual", "embedding"])
def test_formulas_hold_no_model_number_no_batch_and_no_bytes(folder: str) -> None:
    for file in (PACKAGE / folder).glob("*.py"):
        code = code_of(file)
        assert not re.search(r"\bmin\(|\bmax\(|batch|bytes", code), file
        assert all(int(number) <= 64 for number in re.findall(r"(?<![\w.])\d+", code)), file


@pytest.mark.parametrize("command", [["ruff", "check", "."], ["mypy"]], ids=lambda command: command[0])
def test_lint_and_types(command: list[str]) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr


def test_import_contracts() -> None:
    done = subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("folder", "schema"), [("specs", spec.json_schema()), ("hardware", hardware.json_schema())])
def test_the_schema_beside_the_data_is_the_generated_one_and_fits_it(folder: str, schema: dict[str, object]) -> None:
    stored = json.loads((data_folder(folder) / "schema.json").read_text())
    assert stored == json.loads(json.dumps(schema)), "run: python tools/generate.py"
    jsonschema.Draft202012Validator.check_schema(stored)
    validator = jsonschema.Draft202012Validator(stored)
    for file in data_folder(folder).glob("*.yaml"):
        validator.validate(json.loads(json.dumps(read_yaml(file).data, default=float)))
        assert file.read_text().startswith("# yaml-language-server: $schema=schema.json\n")


def test_the_readme_is_as_generated() -> None:
    done = subprocess.run([sys.executable, "tools/generate.py", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
