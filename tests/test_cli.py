"""The command line as users meet it: answers on stdout, the rest on stderr, exit codes 0, 1 and 2, one line per error."""

import csv
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

KVCALC = [sys.executable, "-m", "kvcalc"]


def run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KVCALC, *arguments], capture_output=True, text=True, timeout=120, cwd=cwd)


def on_a_terminal(*arguments: str) -> str:
    """What an 80-column terminal without colour shows."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"TERM": "dumb", "COLUMNS": "80", "LINES": "50"}
    with subprocess.Popen(
        [*KVCALC, *arguments], stdout=theirs, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment
    ) as process:
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
        process.communicate()
    os.close(ours)
    return b"".join(chunks).decode().replace("\r\n", "\n")


def test_the_json_contract() -> None:
    result = run("estimate", "gemma-4-e2b", "-c", "128K", "--on", "rtx-4090", "--format", "json")
    data = json.loads(result.stdout)
    assert result.returncode == 0
    assert list(data) == [
        "schema_version",
        "kvcalc_version",
        "model",
        "scenario",
        "parameters",
        "totals",
        "pieces",
        "state",
        "device",
    ]
    assert data["model"] == {"id": "gemma-4-e2b", "name": "Gemma 4 E2B"}
    assert data["scenario"] == {
        "phase": "decode",
        "context": 131072,
        "batch": 1,
        "kv_format": "native",
        "weight_format": "native",
        "allocator": "ideal",
    }
    assert data["parameters"] == {"total": 4628569344, "active": 2279768064}
    assert list(data["totals"]) == [
        "weight_bytes",
        "state_bytes",
        "state_bytes_per_sequence",
        "state_bytes_per_token",
        "read_bytes",
        "written_bytes",
        "flops",
        "attention_flops",
    ]
    assert data["totals"]["state_bytes"] == 811597824 and data["totals"]["state_bytes_per_token"] == 6144
    for key in ("weight_bytes", "state_bytes", "read_bytes", "written_bytes", "flops"):
        assert sum(piece[key] for piece in data["pieces"]) == data["totals"][key]
    assert sum(piece["parameters"] for piece in data["pieces"]) == data["parameters"]["total"]
    layers = {piece["piece"]: piece["layers"] for piece in data["pieces"]}
    assert layers == {"attention": 35, "norms": 35, "dense_mlp": 35, "embeddings": 1, "ple_table": 1, "ple_projections": 35}
    assert sum(row["bytes"] for row in data["state"]) == data["totals"]["state_bytes"]
    assert all(row["bytes"] == row["layers"] * row["elements"] * row["slots"] * 2 for row in data["state"])
    assert data["device"]["fits"] is True
    assert list(data["device"]) == [
        "id",
        "count",
        "fits",
        "memory_bytes",
        "usable_bytes",
        "needed_bytes",
        "headroom_bytes",
        "seconds_lower",
        "seconds_upper",
        "tokens_per_second",
        "bound_by",
        "intensity_flops_per_byte",
        "joules_per_token",
        "usd_per_million_tokens",
    ]


def test_layers_of_a_split_model_are_all_counted() -> None:
    """DeepSeek-V4.1: 20 encoder and 20 decoder layers, both with experts and hyper-connections."""
    data = json.loads(run("estimate", "deepseek-v4.1-flash", "--format", "json").stdout)
    layers = {piece["piece"]: piece["layers"] for piece in data["pieces"]}
    assert {layers[name] for name in ("attention", "routed_experts", "router", "shared_experts", "mhc")} == {40}
    assert layers["compressor"] == 4 and layers["indexer"] == 8


def test_without_a_device_there_is_none() -> None:
    assert json.loads(run("estimate", "qwen3-8b", "--format", "json").stdout)["device"] is None


def test_a_pipe_gets_tsv_and_the_rest_goes_to_stderr() -> None:
    result = run("estimate", "gemma-4-e2b", "--on", "rtx-4090")
    rows = list(csv.reader(io.StringIO(result.stdout), delimiter="\t"))
    assert rows[0][0] == "piece" and rows[-1][0] == "total" and len({len(row) for row in rows}) == 1
    assert "fits" in result.stderr and "fits" not in result.stdout


@pytest.mark.parametrize("form", ["text", "md", "csv", "tsv", "json", "jsonl", "html", "latex"])
@pytest.mark.parametrize(
    "command",
    [
        ["estimate", "laguna-xs.2", "--on", "h100-sxm"],
        ["compare", "gemma-4-e2b", "zaya1-8b", "-c", "4K,128K"],
        ["explain", "deepseek-v4-flash"],
        ["list", "attention"],
        ["check", "specs/gemma-4-e2b.yaml"],
    ],
    ids=lambda command: command[0],
)
def test_every_table_comes_in_every_format(command: list[str], form: str) -> None:
    result = run(*command, "--format", form, cwd=Path(__file__).parent.parent)
    assert result.returncode == 0 and result.stdout.strip()
    assert "Traceback" not in result.stderr
    if form == "json":
        json.loads(result.stdout)
    elif form == "jsonl":
        assert all(json.loads(line) for line in result.stdout.splitlines())


@pytest.mark.parametrize(
    "command",
    [["estimate", "deepseek-v4-flash", "-c", "1M", "--on", "8xh100-sxm"], ["compare", "gemma-4-e2b", "qwen3-next-80b-a3b"]],
)
def test_a_terminal_of_80_columns_cuts_nothing(command: list[str]) -> None:
    shown = on_a_terminal(*command)
    assert max(len(line.rstrip()) for line in shown.splitlines()) <= 80
    assert "…" not in shown and "..." not in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["estimate", "nosuch"], 2, "unknown model"),
        (["estimate", "gemma-4-e2c"], 2, "did you mean 'gemma-4-e2b'?"),
        (["estimate", "gemma-4"], 2, "fits several: gemma-4-26b-a4b, gemma-4-31b, gemma-4-e2b, gemma-4-e4b"),
        (["estimate", "qwen3-8b", "-c", "128KB"], 2, "128KB"),
        (["estimate", "qwen3-8b", "-c", "0"], 2, "at least 1"),
        (["estimate", "qwen3-8b", "-c", "-5"], 2, "error"),
        (["estimate", "qwen3-8b", "-c", "9999999M"], 2, "2^40"),
        (["estimate", "qwen3-8b", "-b", "0"], 2, "batch"),
        (["estimate", "qwen3-8b", "-b", "x"], 2, "batch"),
        (["estimate", "qwen3-8b", "--kv-format", "fp9"], 2, "unknown format"),
        (["estimate", "qwen3-8b", "--on", "h101"], 2, "unknown device"),
        (["estimate", "qwen3-8b", "--on", "0xh100-sxm"], 2, "at least 1"),
        (["estimate", "qwen3-8b", "--phase", "train"], 2, "train"),
        (["estimate", "qwen3-8b", "--include", "draft"], 2, "no piece 'draft'"),
        (["estimate", "x" * 5000], 2, "unknown model"),
        (["estimate", "qwen3-8b", "-c", "9" * 5000], 2, "cannot read"),
        (["estimate", "qwen3-8b", "--kv-format", "int64"], 2, "integer tables"),
        (["estimate", "."], 2, "folder"),
        (["estimate", ""], 2, "unknown model"),
        (["estimate", "missing.yaml"], 2, "no such file"),
        (["estimate", "config.json"], 2, "config.json"),
        (["estimate", "a\nb"], 2, "unknown model"),
        (["estimate"], 2, "MODEL"),
        (["frob"], 2, "frob"),
        (["estimate", "qwen3-8b", "--frob"], 2, "--frob"),
        (["explain", "gqaa"], 2, "did you mean 'gqa'?"),
        (["check", "missing.yaml"], 2, "no such file"),
        (["schema", "car"], 2, "car"),
        (["compare", "qwen3-8b", "-c", "4K,,8K"], 2, "context"),
        (["estimate", "llama-3.1-405b", "--on", "rtx-4090"], 1, "no: "),
        (["estimate", "qwen3-8b", "--on", "h100-sxm"], 0, "yes: "),
    ],
)
def test_exit_codes_and_one_line_errors(arguments: list[str], code: int, says: str) -> None:
    result = run(*arguments)
    assert result.returncode == code
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    if code == 2:
        assert result.stdout == ""
        assert len(result.stderr.strip().splitlines()) <= 2


def test_an_unknown_fit_is_said_and_compute_is_unknown() -> None:
    result = run("estimate", "gemma-4-e2b", "--on", "snapdragon-8-elite-gen-5", "--format", "json")
    device = json.loads(result.stdout)["device"]
    assert device["fits"] is None and device["headroom_bytes"] is None and device["seconds_upper"] is None
    assert device["seconds_lower"] > 0 and "as far as is known" in device["bound_by"]
    assert "unknown" in run("estimate", "gemma-4-e2b", "--on", "snapdragon-8-elite-gen-5").stderr


def test_a_missing_format_is_computed_in_the_next_and_said() -> None:
    assert "no fp8 arithmetic" in run("estimate", "deepseek-v3", "--on", "16xa100-sxm-80gb").stderr


def test_help_of_every_command_has_an_example() -> None:
    for command in ("estimate", "compare", "explain", "list", "check", "schema"):
        shown = run(command, "--help").stdout
        assert f"kvcalc {command} " in shown


def test_a_closed_pipe_is_silent() -> None:
    done = subprocess.run(
        f"{sys.executable} -m kvcalc explain deepseek-v4.1-flash | head -1",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""


@pytest.mark.parametrize("command", [["--help"], ["estimate", "gemma-4-e2b", "--format", "text"]])
def test_the_text_commands_never_import_the_heavy_libraries(command: list[str]) -> None:
    run_it = "try:\n    from kvcalc.cli import main; main()\nexcept SystemExit: pass"
    code = f"import sys; sys.argv = ['kvcalc', *{command!r}]\n{run_it}\nprint(sorted(sys.modules))"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60).stdout.splitlines()[-1]
    for name in ("numpy", "matplotlib", "pandas", "jsonschema"):
        assert f"'{name}'" not in modules
    if command == ["--help"]:
        assert "'yaml'" not in modules and "'kvcalc.spec'" not in modules
