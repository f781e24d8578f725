"""Files that are wrong: one line with file, line and column; never a traceback, never a wrong number."""

import random
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvcalc.catalog import check_file, data_folder, load_device, load_devices, load_model, read_yaml
from kvcalc.errors import KvcalcError, SpecError, UnknownName
from kvcalc.ledger import ledger
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec
from kvcalc.verify import verify

GOOD = (data_folder("specs") / "gemma-4-e2b.yaml").read_text()
DEVICE = (data_folder("hardware") / "rtx-4090.yaml").read_text()


def refusal(folder: Path, text: str | bytes, name: str = "spec.yaml") -> str:
    file = folder / name
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(KvcalcError) as refused:
        check_file(str(file))
    return refused.value.message + (f" | {refused.value.hint}" if refused.value.hint else "")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("max_context: 131072", "max_context: 131072\nmax_contxt: 1", "no such field | did you mean 'max_context'?"),
        (
            "num_key_value_heads: 1, head_dim: 256",
            "num_kv_heads: 1, head_dim: 256",
            "attention.local.num_kv_heads: no such field",
        ),
        ("head_dim: 256, window", "head_dim: 256, head_dim: 512, window", "duplicate key 'head_dim', first on line"),
        (
            "kind: gqa, num_attention_heads: 8, num_key_value_heads: 1, head_dim: 256",
            "kind: gqaa, num_attention_heads: 8",
            "unknown kind 'gqaa' | did you mean 'gqa'?",
        ),
        ("head_dim: 256, window", "head_dim: 0, window", "0 must be more than 0"),
        ("head_dim: 256, window", "head_dim: -256, window", "must be more than 0"),
        ("head_dim: 256, window", "head_dim: 99999999, window", "must be at most"),
        ("head_dim: 256, window", "head_dim: 25.6, window", "25.6 is not a whole number"),
        ("head_dim: 256, window", "head_dim: '256', window", "is not a whole number"),
        ("head_dim: 256, window", "head_dim: 4:16, window", "'4:16' is not a whole number"),
        ("head_dim: 256, window", "head_dim: 0256, window", "'0256' is not a whole number"),
        ("head_dim: 256, window", "head_dim: true, window", "True is not a whole number"),
        ("head_dim: 256, window", f"head_dim: {'9' * 500}, window", "500 digits is absurd"),
        ("tied: true", "tied: yes", "'yes' is not true or false"),
        ("num_hidden_layers: 35", "num_hidden_layers: 36", "the groups add up to 35 layers, num_hidden_layers says 36"),
        ("repeat: 3", "repeat: 30", "add up to 170 layers"),
        (
            "of: [4 local, global], feedforward: mlp",
            "of: [4 locl, global], feedforward: mlp",
            "no attention is named 'locl'; did you mean 'local'?",
        ),
        ("of: [4 local, global], feedforward: mlp", "of: [four local], feedforward: mlp", "cannot read 'four local'"),
        ("feedforward: wide, reuse", "feedforward: wid, reuse", "no feedforward is named 'wid'"),
        ("reuse: {local: 13, global: 14}", "reuse: {local: 14, global: 14}", "owns no key rows of the same kind"),
        ("reuse: {local: 13, global: 14}", "reuse: {local: 17, global: 14}", "does not stand before it"),
        ("reuse: {local: 13, global: 14}", "reuse: {local: 34, global: 14}", "does not stand before it"),
        ("reuse: {local: 13, global: 14}", "reuse: {loc: 13}", "reuse names 'loc'"),
        ("num_key_value_heads: 1, head_dim: 512", "num_key_value_heads: 3, head_dim: 512", "is not a multiple of"),
        ("released: 2026-04-02", "released: 2026-13-02", "month"),
        ("hidden_size: 1536\n", "", "hidden_size: missing"),
        ("id: gemma-4-e2b", "id: Gemma 4", "id:"),
        ("id: gemma-4-e2b", "id: &a gemma-4-e2b", "anchors"),
        ("id: gemma-4-e2b", "id: !!python/object:os.system x", "tags"),
        ("id: gemma-4-e2b", "id: gemma-4-e2b\n---\nid: b", "second document"),
        ("id: gemma-4-e2b", "? [a]\n: b\nid: gemma-4-e2b", "a key must be a word"),
        ("sources:", "sources: {}\nsourcez:", "no such field"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in GOOD
    message = refusal(tmp_path, GOOD.replace(old, new, 1))
    assert says in message
    assert message.startswith(str(tmp_path / "spec.yaml:"))
    line, column = message.removeprefix(str(tmp_path / "spec.yaml:")).split(":")[:2]
    assert line.isdigit() and column.isdigit()


def test_the_place_is_the_right_one(tmp_path: Path) -> None:
    lines = GOOD.splitlines()
    where = next(number for number, line in enumerate(lines, 1) if "num_key_value_heads: 1, head_dim: 512" in line)
    message = refusal(tmp_path, GOOD.replace("num_key_value_heads: 1, head_dim: 512", "num_key_value_heads: 1, hed_dim: 512"))
    assert f"spec.yaml:{where}:{lines[where - 1].index('head_dim: 512') + 1}: attention.global.hed_dim" in message


def test_a_mistake_across_fields_is_placed_at_the_field_it_names(tmp_path: Path) -> None:
    line = next(number for number, text in enumerate(GOOD.splitlines(), 1) if text.startswith("layers:"))
    assert f"spec.yaml:{line}:1: layers: the groups add up" in refusal(tmp_path, GOOD.replace("repeat: 3", "repeat: 4"))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "empty"),
        ("# only words\n", "empty"),
        ("42", "mapping"),
        ("- a\n- b", "mapping"),
        ("a: [1", "not valid YAML"),
        ("\t: x", "not valid YAML"),
        (b"\xff\xfe\x00\x01", "not text"),
        (b"\x00" * 100, "not valid YAML"),
        ("[" * 100, "nested deeper"),
        ("[" * 5000, "nest"),  # the parser's own limit may come first
        ("a: &x [1]\nb: *x", "anchors"),
        ("b: *x", "aliases"),
        ("x" * 50_000_000, "more than the 1,000,000"),
        ("a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]", "anchors"),
        ("{}", "missing"),
        ("a: b: c", "not valid YAML"),
        ("id: " + "a" * 5000, "id"),
    ],
    ids=lambda value: repr(value)[:20],
)
def test_a_file_that_is_no_spec_is_refused(tmp_path: Path, content: str | bytes, says: str) -> None:
    assert says in refusal(tmp_path, content)


def test_folders_and_missing_files(tmp_path: Path) -> None:
    for path, says in ((tmp_path, "folder"), (tmp_path / "no.yaml", "no such file"), (Path("/dev/null"), "regular file")):
        with pytest.raises(SpecError, match=says):
            check_file(str(path))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("1008 GB/s", "1008", "bandwidth.value: 1008 has no unit"),
        ("1008 GB/s", "'1008'", "bandwidth: cannot read '1008'"),
        ("1008 GB/s", "1008 GB", "unknown unit 'GB'"),
        ("24564 MiB", "34564 MiB", "usable_memory is more than memory"),
        ("evidence: official", "evidence: rumour", "evidence"),
        ("  bf16:", "  bf17:", "bf17"),
        (
            "bandwidth: {value: 1008 GB/s, evidence: official, source",
            "bandwidth: {value: 1008 GB/s, evidence: official, sorce",
            "sorce",
        ),
    ],
)
def test_device_files_are_as_strict(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in DEVICE
    assert says in refusal(tmp_path, DEVICE.replace(old, new, 1))


def test_yaml_1_2_scalars(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("a: yes\nb: 4:1\nc: 010\nd: 1e3\ne: 'x'\nf: null\ng: 0.50\nh: 2026-04-02\ni: 0x10\nj: 1_000")
    data = read_yaml(file).data
    assert {key: str(value) for key, value in data.items()} == {
        "a": "yes",
        "b": "4:1",
        "c": "010",
        "d": "1E+3",
        "e": "x",
        "f": "None",
        "g": "0.50",
        "h": "2026-04-02",
        "i": "0x10",
        "j": "1_000",
    }


WORDS = [
    "0",
    "-1",
    "null",
    "[]",
    "{}",
    "true",
    "1e400",
    "99999999999999999999",
    "{kind: gqa}",
    "gqa",
    "'",
    '"',
    "&a",
    "*a",
    "\u0000",
    "😀",
    "!!int 3",
    "window",
    ": ",
    "? ",
    "|",
    "\t",
]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**9), device=st.booleans())
def test_files_damaged_at_random_are_read_or_refused_in_words(tmp_path: Path, seed: int, device: bool) -> None:
    dice = random.Random(seed)
    text = DEVICE if device else GOOD
    for _ in range(dice.randint(1, 4)):
        start = dice.randrange(len(text))
        end = min(len(text), start + dice.choice([0, 1, 3, 10, 60]))
        text = text[:start] + dice.choice([*WORDS, "", text[start:end] * 2, "\n", " "]) + text[end:]
    file = tmp_path / f"{seed}{device}.yaml"
    file.write_text(text)
    try:
        part = check_file(str(file))
        if isinstance(part, ModelSpec):
            assert ledger(part, Scenario(context=1000, batch=3)).totals.flops > 0
            verify(part, load_model)
    except KvcalcError as error:
        assert error.message and "\n" not in error.message.replace(text, "")
    finally:
        file.unlink()


def test_prefixes_and_counts() -> None:
    assert load_device("h100-sxm").id == "h100-sxm-80gb"
    assert load_devices("8xh100-sxm")[0] == 8
    with pytest.raises(UnknownName, match="fits several"):
        load_model("llama-3.1-")
    assert load_model("deepseek-v4-flash").id == "deepseek-v4-flash"  # an exact id wins over being a prefix


def test_own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.yaml").write_text(GOOD.replace("id: gemma-4-e2b", "id: mine"))
    monkeypatch.setenv("KVCALC_PATH", str(tmp_path))
    assert load_model("mine").id == "mine"
    assert load_model(str(tmp_path / "mine.yaml")).id == "mine"


LLAMA = (data_folder("specs") / "llama-3.1-8b.yaml").read_text().partition("checks:")[0]


@pytest.mark.parametrize(
    "check",
    [
        "what: state_bytes, equals: 1, set: {hidden_size: -1}",
        "what: state_bytes, equals: 1, set: {attention.full.num_key_value_heads: 7}",
        "what: state_bytes, equals: 1, set: {attention.nothing.head_dim: 7}",
        "what: state_bytes, equals: 1, versus: {model: llama-3.1-8b, rows: []}",
        "what: state_bytes, equals: 1, versus: {model: nosuch}",
        "what: state_bytes, equals: 1, times: 0, versus: {value: 3, inverse: true}",
        "what: fp8_equivalent_flops, equals: 1, weight_format: int64",
        "what: state_bytes, equals: 1e99999999",
    ],
)
def test_a_published_figure_that_makes_no_sense_is_refused_in_words(tmp_path: Path, check: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(f"{LLAMA}checks:\n  - {{{check}, convention: c, source: s}}\n")
    with pytest.raises(KvcalcError):
        part = check_file(str(file))
        assert isinstance(part, ModelSpec)
        verify(part, load_model)


@pytest.mark.parametrize(
    ("draft", "says"),
    [
        ("{layers: [{of: [99999 full], repeat: 10000, feedforward: mlp}]}", "draft: more than"),
        ("{layers: [{of: [full], feedforward: mlp, reuse: {full: previous}}]}", "none stands before it"),
        ("{layers: [{of: [full], feedforward: mlp, reuse: {full: 5}}]}", "does not stand before it"),
    ],
)
def test_draft_stages_are_checked_like_layers(tmp_path: Path, draft: str, says: str) -> None:
    assert says in refusal(tmp_path, f"{LLAMA}draft: {draft}\n")


@pytest.mark.parametrize("value", ["1" + "0" * 29 + " GB/s", "0." + "0" * 20 + "1 GB/s", "9" * 5000 + " GB/s"])
def test_absurd_hardware_is_refused(tmp_path: Path, value: str) -> None:
    assert "bandwidth" in refusal(tmp_path, DEVICE.replace("1008 GB/s", value, 1))
