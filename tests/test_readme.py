"""README.md: every command in it runs, every picture and page that it names is there. Output blocks are compared by test_architecture."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "README.md").read_text()
PAGES = TEXT + (ROOT / "docs" / "import.md").read_text()
COMMANDS = [
    line.partition("  #")[0].strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGES, re.S)
    for line in block.splitlines()
    if line.startswith("kvcalc ")
]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_readme_runs(command: str, tmp_path: Path) -> None:
    """0, or 1 where the answer may be no."""
    (tmp_path / "specs").symlink_to(ROOT / "specs")
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        command, shell=True, cwd=tmp_path, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=280
    )
    assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
    assert done.stdout or "wrote" in done.stderr


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", TEXT))
def test_what_the_readme_names_is_there(link: str) -> None:
    assert link.startswith("https://") or (ROOT / link).exists()


def test_the_readme_has_commands() -> None:
    assert len(COMMANDS) > 15
