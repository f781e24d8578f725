"""What a person may point `import` at, and what it says to what it cannot read: one line, a hint where one helps, never a traceback."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvcalc.catalog import load_model
from kvcalc.errors import SpecError
from kvcalc.importers import hub
from kvcalc.importers.sources import import_source

CONFIGS = Path(__file__).parent / "configs"
QWEN = CONFIGS / "Qwen--Qwen3-8B.json"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(QWEN, tmp_path / "mine.json")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kvcalc(*arguments: str, given: str | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-m", "kvcalc", *arguments], capture_output=True, text=True, input=given)


@pytest.mark.parametrize("name", ["model.JSON", "a b.json", "größe 模型.json", "no ending", "config.json"])
def test_a_config_of_any_name(folder: Path, name: str) -> None:
    Path("mine.json").rename(name)
    found = import_source(name)
    assert found.model.num_hidden_layers == 36 and found.model.sources["config"] == name
    assert yaml.safe_load(found.text)["name"] == found.model.name == (folder.name if name == "config.json" else Path(name).stem)


@pytest.mark.parametrize(
    ("source", "says", "hint"),
    [
        ("", "no file is named", "config.json"),
        ("mine.jsn", "mine.jsn: no such file or folder", "did you mean 'mine.json'?"),
        ("Qwen/Qwen3-8B", "Qwen/Qwen3-8B: no such file or folder", "write hf:Qwen/Qwen3-8B"),
        ("nowhere/config.json", "no such file or folder", None),
        ("https://huggingface.co/Qwen/Qwen3-8B/blob/main/config.json", "is an address", "write hf:Qwen/Qwen3-8B"),
        ("a" * 5000, "cannot be read: File name too long", None),
        ("empty.json", "empty.json: is empty", None),
        ("/dev/null", "/dev/null: is empty", None),
        ("/dev/zero", "/dev/zero: more than the 8,000,000 bytes", None),
        ("spec.yaml", "is a spec by its name", "kvcalc estimate spec.yaml"),
        ("bare", "bare: the folder holds no config.json", "give a config.json"),
    ],
)
def test_what_cannot_be_read(folder: Path, source: str, says: str, hint: str | None) -> None:
    Path("empty.json").touch()
    Path("bare").mkdir()
    Path("spec.yaml").write_text("id: a\n")
    with pytest.raises(SpecError) as refused:
        import_source(source)
    assert says in refused.value.message and len(refused.value.message) < 200
    assert hint is None or hint in (refused.value.hint or "")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_must_not_be_read(folder: Path) -> None:
    Path("closed").mkdir(mode=0)
    with pytest.raises(SpecError, match="closed: cannot be read: Permission denied"):
        import_source("closed")


def test_weights_alone_say_what_they_are(folder: Path) -> None:
    header = json.dumps({"a": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}}).encode()
    Path("weights").mkdir()
    Path("weights/model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(12))
    for source in ("weights", "weights/model.safetensors"):
        with pytest.raises(SpecError, match=r"1 tensors, 6 elements in 12 bytes, and no config.json beside them"):
            import_source(source)


def test_a_field_to_ignore_is_there(folder: Path) -> None:
    fields = json.loads(QWEN.read_text())
    Path("more.json").write_text(json.dumps(fields | {"kv_lora_rank": 4}))
    with pytest.raises(SpecError, match="kv_lora_rank: 4 is not understood"):
        import_source("more.json")
    assert import_source("more.json", ignore=["kv_lora_rank"]).model.num_hidden_layers == 36
    with pytest.raises(SpecError, match="kv_lora_rnk: is not in the config") as refused:
        import_source("more.json", ignore=["kv_lora_rank", "kv_lora_rnk"])
    assert refused.value.hint == "did you mean 'kv_lora_rank'?"


# -- as one types it ----------------------------------------------------------------------------------------------------------------


def test_a_config_from_a_pipe(folder: Path) -> None:
    done = kvcalc("import", "/dev/stdin", given=QWEN.read_text())
    assert done.returncode == 0 and "num_hidden_layers: 36" in done.stdout
    shell = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -m kvcalc import <(cat mine.json) -o - | head -1'], capture_output=True, text=True
    )
    assert shell.stdout == "id: model\n" and not shell.stderr
    assert "/dev/stdin: is empty" in kvcalc("import", "/dev/stdin", given="").stderr


@pytest.mark.parametrize(
    ("name", "id"), [("mine.yaml", "mine"), ("My Model (1).yaml", "my-model-1"), ("größe.yml", "gr-e"), ("模.yaml", "model")]
)
def test_the_name_of_the_spec_becomes_its_id(folder: Path, name: str, id: str) -> None:
    done = kvcalc("import", "mine.json", "-o", name)
    assert done.returncode == 0 and f"wrote {name}: kvcalc estimate" in done.stderr
    assert load_model(f"./{name}").id == id


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("mine.json", "-o", "mine.json"), "a spec's name ends in .yaml"),
        (("mine.json", "-o", ""), "a spec's name ends in .yaml"),
        (("mine.json", "-o", "no/such.yaml"), "cannot be written: No such file or directory"),
        (("qwen3-8b",), "needs no import: kvcalc estimate qwen3-8b"),
    ],
)
def test_what_import_refuses(folder: Path, arguments: tuple[str, ...], says: str) -> None:
    done = kvcalc("import", *arguments)
    assert done.returncode == 2 and says in done.stderr and "Traceback" not in done.stderr and not done.stdout


def test_caveats_are_said_where_the_spec_is_not_shown(folder: Path) -> None:
    source = str(CONFIGS / "Qwen--Qwen3-VL-8B-Instruct.json")
    assert "Only the text model is counted" in kvcalc("import", source, "-o", "vl.yaml").stderr
    shown = kvcalc("import", source)
    assert not shown.stderr and "Only the text model" in shown.stdout


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.json")), ids=lambda file: file.stem)
def test_a_written_spec_keeps_within_80_columns(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(CONFIGS)
    found = import_source(file.name)
    assert max(map(len, found.text.splitlines())) <= 80 or file.name in max(found.text.splitlines(), key=len)
    assert yaml.safe_load(found.text)["layers"] == json.loads(json.dumps(found.data["layers"]))


# -- from the hub -------------------------------------------------------------------------------------------------------------------


class RepositoryNotFoundError(OSError):
    """As huggingface_hub calls them."""


class GatedRepoError(RepositoryNotFoundError):
    pass




class Other(Exception):
    pass


class EntryNotFoundError(Exception):
    pass


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (RepositoryNotFoundError("404"), "no such model, or it is private"),
        (GatedRepoError("403"), "gated: its page asks to accept its terms, then `hf auth login`"),
        (EntryNotFoundError("404"), "it has no config.json"),
        (Other("of a network\nand more"), "of a network"),
        (Other(), "Other"),
    ],
)
def test_why_the_hub_gave_nothing(error: Exception, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(*asked: object, **more: object) -> str:
        raise error

    module: Any = type(sys)("huggingface_hub")
    module.hf_hub_download = download
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    with pytest.raises(SpecError) as refused:
        hub.fetch("hf:Qwen/Qwen3-8B")
    assert refused.value.message == f"hf:Qwen/Qwen3-8B: cannot be fetched: {says}"
