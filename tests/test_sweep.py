"""A grid as rows: those of `estimate`, in order, from one process or several, in flat memory; nonsense is refused before the first."""

import csv
import io
import json
import os
import pty
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from itertools import product
from typing import Any

import pytest
from conftest import DEVICES, MODELS

from kvcalc import KvcalcError, changed, estimate, load_device, load_model, sweep
from kvcalc.grid import chunks, read_settings, read_values
from kvcalc.spec import ModelSpec

KVCALC = [sys.executable, "-m", "kvcalc"]
SUMS = ("weight_bytes", "state_bytes", "state_bytes_per_token", "read_bytes", "written_bytes", "flops", "attention_flops")
SPEEDS = ("fits", "needed_bytes", "usable_bytes", "seconds_lower", "seconds_upper", "tokens_per_second", "bound_by")
MONEY = ("joules_per_token", "usd_per_million_tokens")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*KVCALC, "sweep", *arguments], capture_output=True, text=True, timeout=300)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# -- the numbers --------------------------------------------------------------------------------------------------------------------


def agrees(row: dict[str, Any], **keywords: Any) -> None:
    """A row is what `estimate` says of its point."""
    asked = {name: row[name] for name in ("phase", "context", "batch", "kv_format", "weight_format", "math")}
    if "device" in row:
        asked |= {"device": row["device"], "count": row["count"]}
    try:
        wanted = estimate(keywords.pop("model", row["model"]), **asked, **keywords).to_dict()
    except KvcalcError as error:
        assert row["error"] == error.message
        return
    assert row["error"] is None
    assert (row["parameters"], row["active_parameters"]) == (wanted["parameters"]["total"], wanted["parameters"]["active"])
    assert {name: row[name] for name in SUMS} == {name: wanted["totals"][name] for name in SUMS}
    if "device" in row:
        names = (*SPEEDS, *MONEY)
        assert {name: row[name] for name in names} == {name: wanted["device"][name] for name in names}


def test_every_model_in_both_phases_and_several_formats(model: ModelSpec) -> None:
    """Batches of 3 and contexts that are no round number: where blocks close, and where sums are rounded."""
    grid = sweep(
        model,
        [1, 127, 128, 4099, 131072],
        [1, 3, 64],
        phases="decode,prefill",
        kv_formats="native,fp8",
        weight_formats="native,q4_k",
    )
    rows = grid.records()
    for row in random.Random(model.id).sample(rows, 16):
        agrees(row)


@pytest.mark.parametrize("seed", range(8))
def test_rows_on_devices_are_those_of_estimate(seed: int) -> None:
    chance = random.Random(seed)
    names, models = chance.sample(DEVICES, 3), chance.sample(MODELS, 2)
    grid = sweep(
        models,
        "4K,100000",
        "1,32",
        [names[0], names[1], f"2x{names[2]}"],
        phases="decode,prefill",
        kv_formats="native,fp8",
        weight_formats="native,mxfp4,q8_0",
        maths="native,bf16",
    )
    for row in chance.sample(grid.records(), 20):
        agrees(row)


def test_rows_of_changed_models_are_those_of_the_changed_model() -> None:
    rows = sweep("laguna-xs.2", "128K", settings={"attention.local.window": "512,1K,null", "hidden_size": [2048, 4096]}).records()
    assert [(row["attention.local.window"], row["hidden_size"]) for row in rows] == list(product([512, 1024, None], [2048, 4096]))
    for row in rows:
        fields = {name: row[name] for name in ("attention.local.window", "hidden_size")}
        agrees(row, model=changed(load_model("laguna-xs.2"), fields))


def test_plans_are_an_axis_and_what_does_not_divide_is_an_error() -> None:
    rows = sweep("deepseek-v3", "8K", 64, "h200-sxm,16xh200-sxm", tp="4,7", dp=[1, 4], ep="1,16").records()
    assert len(rows) == 16
    for row in rows:
        plan = {name: row[name] for name in ("tp", "ep", "dp")}
        agrees(row, plan=plan) if row["error"] is None else None
    good = [row for row in rows if row["error"] is None]
    assert {(row["device"], row["count"], row["tp"], row["dp"], row["ep"]) for row in good} == {
        ("h200-sxm-141gb", 4, 4, 1, 1),
        ("h200-sxm-141gb", 16, 4, 4, 1),
        ("h200-sxm-141gb", 16, 4, 4, 16),
    }
    assert all(row["fits"] is None and row["error"] for row in rows if row not in good)


def test_a_point_that_cannot_be_keeps_what_is_known_of_it() -> None:
    rows = sweep("llama-3.1-8b", "4K", devices="a100-sxm-80gb,h100-sxm", weight_formats="fp8").records()
    assert "no fp8 arithmetic" in rows[0]["error"] and rows[0]["weight_bytes"] == rows[1]["weight_bytes"]
    assert rows[0]["fits"] is None and rows[1]["error"] is None and rows[1]["fits"] is True
    rows = sweep("gemma-2-2b,zaya1-8b,deepseek-v3", "4K", kv_formats="q6_k,native").records()
    assert [row["error"] is None for row in rows[1::2]] == [True] * 3
    assert any("whole number of q6_k blocks" in str(row["error"]) and row["state_bytes"] is None for row in rows[::2])


def test_a_field_that_only_some_models_have() -> None:
    rows = sweep("gemma-4-e2b,llama-3.1-8b", "4K", settings={"attention.local.window": [512, 1024]}).records()
    assert [row["error"] is None for row in rows] == [True, True, False, False]
    assert "no field 'attention.local.window'" in rows[2]["error"]


def test_values_that_hold_only_together_are_points() -> None:
    heads = {"attention.full.num_attention_heads": "32,48", "attention.full.num_key_value_heads": "8,48"}
    rows = sweep("llama-3.1-8b", "4K", settings=heads).records()
    assert [row["error"] is None for row in rows] == [True, False, True, True]


# -- order, processes, formats ------------------------------------------------------------------------------------------------------


def test_rows_come_in_the_order_of_the_columns_the_last_fastest() -> None:
    grid = sweep(
        "gemma-4-e2b,qwen3-8b",
        "8K,4K",
        "1,8",
        "rtx-4090,2xh100-sxm",
        phases="decode,prefill",
        kv_formats="fp8,bf16",
        maths="bf16",
    )
    names = ("model", "phase", "context", "batch", "kv_format", "device")
    axes = (
        ["gemma-4-e2b", "qwen3-8b"],
        ["decode", "prefill"],
        [4096, 8192],
        [1, 8],
        ["fp8", "bf16"],
        ["rtx-4090", "h100-sxm-80gb"],
    )
    rows = list(grid)
    assert [tuple(row[name] for name in names) for row in rows] == list(product(*axes))
    assert all(tuple(row) == grid.columns for row in rows) and len(rows) == len(grid) == 64
    assert rows == list(grid) == grid.records()


def test_lists_keep_their_order_and_each_value_once() -> None:
    assert sweep("qwen3-8b", [8192, "4K", 8192]).contexts == (8192, 4096)
    assert sweep("qwen3-8b", batches="8,1,8").batches == (8, 1)
    assert sweep("qwen3-8b", kv_formats="f16,fp16,bf16").kv_formats == ("fp16", "bf16")
    assert [model.id for model in sweep("qwen3-8b,qwen3-8b,qwen3-4b").models] == ["qwen3-8b", "qwen3-4b"]


def test_without_a_context_it_is_that_of_estimate() -> None:
    rows = sweep("gemma-2-2b,gemma-4-e2b").records()
    assert [row["context"] for row in rows] == [8192, 131072]
    assert [row["state_bytes"] for row in rows] == [estimate(row["model"]).state_bytes for row in rows]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("512,1024,2K", (512, 1024, 2048)),
        ("512..4K*2", (512, 1024, 2048, 4096)),
        ("512, 1K..3K+1K, null", (512, 1024, 2048, 3072, None)),
        ("0,true,false", (0, True, False)),
        ("[4 local, global],[local, global]", (["4 local", "global"], ["local", "global"])),
        ('"a,b",c', ("a,b", "c")),
        ("gqa,mla", ("gqa", "mla")),
        ([512, "1K", None], (512, 1024, None)),
        (512, (512,)),
        (range(1, 4), (1, 2, 3)),
    ],
)
def test_values_of_a_field(text: Any, values: tuple[Any, ...]) -> None:
    assert read_values("x.y", text) == values


ARGUMENTS = [
    "gemma-4-e2b",
    "llama-3.1-8b",
    "-c",
    "4K..32K+4K",
    "-b",
    "1,8",
    "--kv-format",
    "native,q6_k",
    "--on",
    "rtx-4090,8xh100-sxm",
]


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl"])
def test_several_processes_write_the_same_bytes(form: str) -> None:
    arguments = [*ARGUMENTS, "--format", form]
    one, two = run(*arguments), run(*arguments, "--jobs", "2")
    assert one.returncode == two.returncode == 0
    assert one.stdout == two.stdout and len(one.stdout.splitlines()) == 128 + (form != "jsonl")


def test_the_command_writes_the_rows_of_the_grid() -> None:
    grid = sweep("gemma-4-e2b,llama-3.1-8b", "4K..32K+4K", "1,8", "rtx-4090,8xh100-sxm", kv_formats="native,q6_k")
    lines = run(*ARGUMENTS, "--format", "jsonl").stdout.splitlines()
    assert [json.loads(line) for line in lines] == grid.records()
    result = run(*ARGUMENTS)
    assert result.stdout.splitlines()[0] == ",".join(grid.columns)
    read = rows_of(result.stdout)
    assert len(read) == len(lines)
    for text, row in zip(read, grid, strict=True):
        assert text == {name: "" if value is None else str(value).lower() for name, value in row.items() if name != "error"} | {
            "error": row["error"] or ""
        }
    assert result.stderr == ""


def test_a_row_of_the_command_is_the_json_of_estimate() -> None:
    row = rows_of(run("deepseek-v4-flash", "-c", "1M", "-b", "8", "--on", "8xh200-sxm", "--kv-format", "bf16").stdout)[0]
    command = [
        "estimate",
        "deepseek-v4-flash",
        "-c",
        "1M",
        "-b",
        "8",
        "--on",
        "8xh200-sxm",
        "--kv-format",
        "bf16",
        "--format",
        "json",
    ]
    data = json.loads(
        subprocess.run([sys.executable, "-m", "kvcalc", *command], capture_output=True, text=True, timeout=60).stdout
    )
    assert {name: int(row[name]) for name in SUMS} == {name: data["totals"][name] for name in SUMS}
    for name in (*SPEEDS, *MONEY):
        wanted = data["device"][name]
        assert row[name] == ("" if wanted is None else str(wanted).lower())


def test_lists_of_a_field_in_a_cell() -> None:
    result = run("gemma-2-2b", "-c", "4K,8K", "--set", "layers.0.of=[local, full],[full, local]")
    cells = [json.loads(row["layers.0.of"]) for row in rows_of(result.stdout)]
    assert cells == [["local", "full"]] * 2 + [["full", "local"]] * 2


def test_a_limit_takes_the_first_rows() -> None:
    every = run(*ARGUMENTS).stdout.splitlines()
    assert run(*ARGUMENTS, "--limit", "5").stdout.splitlines() == every[:6]
    assert len(sweep("qwen3-8b", "4K", limit=5)) == 1
    assert len(sweep(MODELS, "1K..9M+1K", "1..9000+1", limit=3).records()) == 3


# -- memory and speed ---------------------------------------------------------------------------------------------------------------


def test_memory_is_flat() -> None:
    grid = sweep("llama-3.1-8b", "1K..1000K+1K", "1..20+1")
    assert len(grid) == 20_000
    parts = chunks(grid, "csv")
    for _ in range(20):
        next(parts)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        rows = sum(part.rows for part in parts)
        after, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert rows == 20_000 - 20 * 64
    assert most - before < 3_000_000 and after - before < 1_000_000


def test_memory_is_flat_over_changed_models_that_cannot_be() -> None:
    grid = sweep("llama-3.1-8b", "4K", "1..64+1", settings={"attention.full.num_key_value_heads": "8,7..27+4"})
    tracemalloc.start()
    try:
        for _ in grid:
            pass
        assert tracemalloc.get_traced_memory()[1] < 6_000_000
    finally:
        tracemalloc.stop()


def test_points_share_what_they_can() -> None:
    """A thousand points of one model cost less than five estimates of each would."""
    start = time.process_time()
    for context in range(1024, 1044):
        estimate("deepseek-v4.1-flash", context=context)
    each = (time.process_time() - start) / 20
    grid = sweep("deepseek-v4.1-flash", "1K..10K+1K", "1..100+1")
    start = time.process_time()
    assert sum(1 for _ in grid) == 1000
    assert time.process_time() - start < 1000 * each / 2


# -- what is refused, and how it ends -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["nosuch"], "unknown model"),
        (["qwen3-8b", "nosuch"], "unknown model"),
        (["qwen3-8b", "-c", "4K..2K"], "goes nowhere"),
        (["qwen3-8b", "-c", "4KB"], "4KB"),
        (["qwen3-8b", "-c", "4K,,8K"], "context"),
        (["qwen3-8b", "-c", "1..1M+1"], "10,000 values"),
        (["qwen3-8b", "-b", "0"], "batch"),
        (["qwen3-8b", "-b", "1,x"], "batch"),
        (["qwen3-8b", "-b", "99999999"], "batch"),
        (["qwen3-8b", "--kv-format", "bf16,fp9"], "unknown format"),
        (["qwen3-8b", "--kv-format", ""], "unknown format"),
        (["qwen3-8b", "--weight-format", "int64"], "integer tables"),
        (["qwen3-8b", "--phase", "decode,train"], "train"),
        (["qwen3-8b", "--math", "fp7"], "unknown arithmetic"),
        (["qwen3-8b", "--on", "rtx-4090,h101"], "unknown device"),
        (["qwen3-8b", "--on", "0xrtx-4090"], "at least 1"),
        (["qwen3-8b", "--tp", "2"], "need a device"),
        (["qwen3-8b", "--on", "h100-sxm", "--tp", "0"], "at least 1"),
        (["qwen3-8b", "--on", "h100-sxm", "--tp", "1,99999999"], "65,536"),
        (["qwen3-8b", "--usable", "8GiB"], "needs a device"),
        (["qwen3-8b", "--on", "h100-sxm", "--usable", "8"], "no unit|cannot read"),
        (["qwen3-8b", "--set", "attention.full.windw=512,1K"], "no field 'attention.full.windw'"),
        (["qwen3-8b", "--set", "attention.full.window=512,abc"], "'abc'"),
        (["qwen3-8b", "--set", "attention.full.window"], "path=values"),
        (["qwen3-8b", "--set", "attention.full.window="], "path=values"),
        (["qwen3-8b", "--set", "hidden_size=1K", "--set", "hidden_size=2K"], "set twice"),
        (["qwen3-8b", "-c", "1K..9M+1K", "-b", "1..9000+1", "--weight-format", "native,fp8"], "165,888,000 points"),
        (["qwen3-8b", "--limit", "0"], "limit"),
        (["qwen3-8b", "--jobs", "0"], "jobs"),
        (["qwen3-8b", "--jobs", "9999"], "jobs"),
        (["qwen3-8b", "--format", "json"], "json"),
        ([], "MODEL"),
    ],
)
def test_nonsense_is_refused_before_the_first_row(arguments: list[str], says: str) -> None:
    result = run(*arguments)
    assert result.returncode == 2 and result.stdout == "" and "Traceback" not in result.stderr
    assert any(part in result.stderr for part in says.split("|")), result.stderr
    assert len(result.stderr.strip().splitlines()) <= 2


@pytest.mark.parametrize(
    "keywords",
    [
        {"models": []},
        {"models": "qwen3-8b", "contexts": []},
        {"models": "qwen3-8b", "contexts": [1.5]},
        {"models": "qwen3-8b", "contexts": [0]},
        {"models": "qwen3-8b", "batches": [True]},
        {"models": "qwen3-8b", "kv_formats": [8]},
        {"models": "qwen3-8b", "devices": [8]},
        {"models": "qwen3-8b", "devices": [(0, load_device("rtx-4090"))]},
        {"models": "qwen3-8b", "settings": {"attention.full.window": []}},
        {"models": "qwen3-8b", "settings": {"batch": [1]}},
        {"models": ["qwen3-8b", 3]},
    ],
)
def test_nonsense_from_python_is_a_kvcalc_error(keywords: dict[str, Any]) -> None:
    with pytest.raises(KvcalcError):
        sweep(**keywords)


def test_no_field_of_a_spec_is_called_like_a_column() -> None:
    assert not ModelSpec.model_fields.keys() & set(sweep("qwen3-8b", devices="rtx-4090").columns)


def test_settings_are_read_as_a_whole() -> None:
    assert read_settings(["a.b=1,2", "c=[x, y]"]) == {"a.b": (1, 2), "c": (["x", "y"],)}


def test_errors_are_counted_and_no_point_at_all_is_a_no() -> None:
    some = run("llama-3.1-8b", "-c", "4K", "--on", "h100-sxm", "--tp", "6,8")
    assert some.returncode == 0 and "1 of 2 points cannot be" in some.stderr
    none = run("llama-3.1-8b", "-c", "4K", "--on", "h100-sxm", "--tp", "6,7")
    assert none.returncode == 1 and "2 of 2 points cannot be" in none.stderr
    assert len(rows_of(none.stdout)) == 2


def test_contexts_beyond_a_model_are_said() -> None:
    assert "gemma-2-2b: contexts beyond its maximum of 8,192" in run("gemma-2-2b", "-c", "4K,16K").stderr


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_a_closed_pipe_is_silent(jobs: str) -> None:
    command = [*KVCALC, "sweep", "llama-3.1-8b", "-c", "1K..9000K+1K", "-b", "1..64+1", "--jobs", jobs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupt_ends_it_with_130_and_whole_rows(jobs: str) -> None:
    command = [*KVCALC, "sweep", "llama-3.1-8b", "-c", "1K..9000K+1K", "-b", "1..64+1", "--jobs", jobs]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.readline()
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of its processes
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130
        assert b"Traceback" not in err and out.endswith(b"\n")


def test_rows_are_written_as_they_are_worked_out() -> None:
    command = [*KVCALC, "sweep", "llama-3.1-8b", "-c", "1K..9000K+1K", "-b", "1..64+1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        for _ in range(200):
            assert process.stdout.readline().endswith(b"\n")
        assert process.poll() is None
        process.terminate()


def on_a_terminal(*arguments: str, rows_too: bool) -> str:
    """What a terminal shows of stderr; of stdout, too, if that goes there."""
    ours, theirs = pty.openpty()
    out = theirs if rows_too else subprocess.DEVNULL
    with subprocess.Popen([*KVCALC, "sweep", *arguments], stdout=out, stderr=theirs, stdin=subprocess.DEVNULL):
        os.close(theirs)
        shown = []
        while True:
            try:
                shown.append(os.read(ours, 65536))
            except OSError:
                break
            if not shown[-1]:
                break
    os.close(ours)
    return b"".join(shown).decode()


def test_how_far_it_is_stands_on_a_terminal_alone() -> None:
    arguments = ["llama-3.1-8b", "-c", "4K..128K+4K", "-b", "1,8,64,256"]
    shown = on_a_terminal(*arguments, rows_too=False)
    assert "128 of 128 points, 100 %" in shown and shown.endswith("\r")
    assert "points" not in on_a_terminal(*arguments, rows_too=True)
    assert "points" not in run(*arguments).stderr
