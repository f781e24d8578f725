"""A new attention kind is one new file, and a spec that uses it: nothing else is touched."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
KIND = '''"""Half attention: keeps the key only.

Keeps     per token one key
"""

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from kvcalc.kind import Attention, Row, Site, Weight, Width, Work
from kvcalc.slots import EVERY


class Half(Attention):
    kind: Literal["half"]
    width: Width = Field(description="Width of the key [elements]")

    def rows(self, site: Site) -> Iterator[Row]:
        yield Row("key", "kv", self.width, EVERY, EVERY)

    def weights(self, site: Site) -> Iterator[Weight]:
        yield Weight("k_proj", "attention", (self.width, site.hidden_size))

    def work(self, site: Site) -> Iterator[Work]:
        yield Work("scores", "attention", 2 * self.width, EVERY, "score")
'''
SPEC = """id: mine
name: Mine
family: mine
released: 2026-11-23
sources: {config: "https://example.org/config.json"}
max_context: 4096
hidden_size: 64
num_hidden_layers: 3
embedding: {vocab_size: 100, tied: true}
attention: {only: {kind: half, width: 32}}
feedforward: {mlp: {kind: mlp, intermediate_size: 128}}
residual: {kind: plain}
layers: [{of: [3 only], feedforward: mlp}]
"""


def test_one_file_makes_a_kind(tmp_path: Path) -> None:
    for folder in ("kvcalc", "specs", "hardware"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "kvcalc" / "attention" / "half.py").write_text(KIND)
    (tmp_path / "mine.yaml").write_text(SPEC)

    def kvcalc(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "kvcalc", *arguments],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "half\tHalf attention: keeps the key only." in kvcalc("list", "attention")
    assert "Width of the key [elements]" in kvcalc("explain", "half")
    assert '"const": "half"' in kvcalc("schema", "model")
    assert "state(t) = 192 t bytes" in kvcalc("explain", "./mine.yaml")
    data = json.loads(kvcalc("estimate", "./mine.yaml", "-c", "1000", "--format", "json"))
    assert data["totals"]["state_bytes"] == 3 * 32 * 2 * 1000
    assert data["totals"]["attention_flops"] == 3 * 2 * 32 * 1000
    assert data["parameters"]["total"] == 100 * 64 + 64 + 3 * (32 * 64 + 3 * 64 * 128 + 2 * 64)
