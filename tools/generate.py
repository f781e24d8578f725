"""Write what is generated: the JSON Schemas beside the data, and the output blocks of README.md. `--check` only compares; `--figures`
draws the figures of README.md too.

A block of README.md that begins with `$ kvcalc ...` shows what that command prints on an 80-column terminal without colour.
"""

import json
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"```console\n\$ (kvcalc [^\n]+)\n.*?```", re.S)


def on_a_terminal(command: str) -> str:
    """The command's output on a terminal."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "COLUMNS": "80", "LINES": "60"}
    arguments = [sys.executable, "-m", "kvcalc", *shlex.split(command)[1:]]
    with subprocess.Popen(arguments, stdout=theirs, stderr=theirs, stdin=subprocess.DEVNULL, env=environment, cwd=ROOT):
        os.close(theirs)
        chunks = []
        while True:
            try:
                chunk = os.read(ours, 65536)
            except OSError:
                break
            if not chunk:
                break
            chunks.append(chunk)
    os.close(ours)
    text = b"".join(chunks).decode().replace("\r\n", "\n")
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


def schema(what: str) -> str:
    """The JSON Schema that `kvcalc schema` prints."""
    return subprocess.run(
        [sys.executable, "-m", "kvcalc", "schema", what], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout


def samples() -> str:
    """Measured over bound speed of every measurement that a factor may rest on."""
    from kvcalc.catalog import load_device, load_model
    from kvcalc.efficiency import WORDS
    from kvcalc.fitting import fitted

    lines = [",".join([*WORDS, "ratio"])]
    for sample in fitted(load_model, load_device):
        lines.append(",".join([*(str(getattr(sample, name)) for name in WORDS), f"{sample.ratio:.4g}"]))
    return "\n".join(lines) + "\n"


def figures() -> None:
    """Draw the figures of README.md again, by the commands that stand in it. Not compared: their bytes are the drawing library's."""
    folder = ROOT / "docs" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for command in re.findall(r"^kvcalc (plot .* -o \w+\.svg)$", (ROOT / "README.md").read_text(), re.M):
        subprocess.run([sys.executable, "-m", "kvcalc", *shlex.split(command)], check=True, cwd=folder, capture_output=True)


def wanted() -> dict[Path, str]:
    """Every generated file and its content."""
    readme, ratios = ROOT / "README.md", ROOT / "evidence" / "samples.csv"
    return {
        ROOT / "specs" / "schema.json": schema("model"),
        ROOT / "hardware" / "schema.json": schema("hardware"),
        ratios: samples(),
        readme: BLOCK.sub(lambda block: f"```console\n$ {block[1]}\n{on_a_terminal(block[1])}\n```", readme.read_text()),
    }


def main() -> int:
    """Write, or with --check say which files differ."""
    stale = []
    for file, text in wanted().items():
        if file.suffix == ".json":
            json.loads(text)
        if not file.exists() or file.read_text() != text:
            stale.append(file)
            if "--check" not in sys.argv:
                file.write_text(text)
    if "--figures" in sys.argv:
        figures()
    for file in stale:
        print(f"{'differs' if '--check' in sys.argv else 'written'}: {file.relative_to(ROOT)}")
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
