"""Specs from GGUF and safetensors files: against what the public writers of both formats write, and against files that mean harm.

tests/truth/gguf.json has the tables of files that llama.cpp's own converter made of small models of transformers, with the parameters
that transformers counts: here they are written again, byte for byte as large, and read.
"""

import json
import random
import struct
import time
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFEndian, GGUFReader, GGUFValueType, GGUFWriter
from safetensors.numpy import save_file

from kvcalc.catalog import load_model
from kvcalc.errors import KvcalcError, SpecError
from kvcalc.formats import FORMATS, shares
from kvcalc.importers.gguf import read_gguf
from kvcalc.importers.gguf_config import architectures
from kvcalc.importers.gguf_file import TYPES, read_file
from kvcalc.importers.model import Imported, import_config
from kvcalc.importers.safetensors import INDEX, read_safetensors
from kvcalc.importers.sources import import_source
from kvcalc.ledger import ledger
from kvcalc.parallel import Plan, shard
from kvcalc.scenario import Scenario
from kvcalc.spec import ModelSpec

TRUTH = json.loads((Path(__file__).parent / "truth" / "gguf.json").read_text())
CASES = {name: case for name, case in TRUTH.items() if not name.startswith("_")}
PARTS = ("hidden_size", "num_hidden_layers", "embedding", "attention", "feedforward", "residual", "layers")

Table = dict[str, tuple[str, list[int]]]


def table(case: dict[str, Any]) -> Table:
    """Every tensor of a case: type and shape."""
    found: Table = {}
    for name, entries in case["tensors"].items():
        for kind, shape, *layers in entries:
            for layer in layers[0] if layers else [None]:
                found[name if layer is None else name.replace("*", str(layer))] = (kind, shape)
    return found


def write(
    path: Path, architecture: str, metadata: dict[str, Any], tensors: Table, *, vocabulary: int = 0, **options: Any
) -> None:
    """A GGUF file, written by the public library."""
    writer = GGUFWriter(path, architecture, **options)
    for key, value in metadata.items():
        kind = {bool: GGUFValueType.BOOL, int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32, str: GGUFValueType.STRING}
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_key_value(key, value, kind[type(value)])
    if vocabulary:
        writer.add_token_list([f"token {number}" for number in range(vocabulary)])
        writer.add_token_scores([0.5] * vocabulary)
        writer.add_chat_template("{{ messages }}" * 20_000)
    for name, (kind, shape) in tensors.items():
        size, size_bytes = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
        data = np.zeros((*shape[:-1], shape[-1] // size * size_bytes), dtype=np.uint8)
        writer.add_tensor(name, data, raw_dtype=GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def payload(path: Path) -> int:
    """Bytes of all tensors, as the public library reads them; without tables of RoPE and scales."""
    aside = ("rope_freqs", "layer_output_scale")
    return sum(int(t.n_bytes) for t in GGUFReader(path).tensors if not any(word in t.name for word in aside))


def totals(model: ModelSpec, **scenario: Any) -> Any:
    return ledger(model, Scenario(**({"context": 64} | scenario))).totals


# -- what the converter writes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_a_converted_model_has_the_parameters_bytes_and_layers_of_its_config(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    path = tmp_path / f"{name}.gguf"
    write(path, case["architecture"], case["metadata"], table(case))
    found = read_gguf(path)
    expected = import_config("config.json", case["config"], id=name)
    assert totals(found.model).parameters == case["parameters"] == totals(expected.model).parameters
    assert totals(found.model).weight_bytes == payload(path)
    assert totals(found.model).state_bytes == totals(expected.model).state_bytes
    for part in PARTS:
        assert getattr(found.model, part) == getattr(expected.model, part), part


def test_every_architecture_has_a_reader_and_most_have_a_case() -> None:
    covered = {case["architecture"] for case in CASES.values()}
    missing = set(architectures()) - covered
    assert missing <= {"bailingmoe2", "deepseek", "exaone", "internlm2", "qwen2vl", "qwen3vl", "qwen3vlmoe", "nemotron_h_moe"}


def test_all_types_of_ggml_have_the_bytes_that_the_public_library_says() -> None:
    known = {kind.value: (size, size_bytes) for kind, (size, size_bytes) in GGML_QUANT_SIZES.items()}
    never_stored = GGMLQuantizationType.Q8_1
    assert set(known) - set(TYPES) == {never_stored.value}
    for number, (size, size_bytes) in known.items():
        if number in TYPES:
            assert FORMATS[TYPES[number]].bytes(3, 2 * size) == 6 * size_bytes, TYPES[number]


# -- mixed formats ------------------------------------------------------------------------------------------------------------------


def mixed(path: Path, **options: Any) -> Table:
    """A llama of six layers as Q4_K_M stores it: v and down in q6_k in some layers, the head too."""
    d, kv, width, rows = 512, 256, 1024, 320
    tensors: Table = {"token_embd.weight": ("Q4_K", [rows, d]), "output.weight": ("Q6_K", [rows, d]), "output_norm.weight": ("F32", [d])}
    for layer in range(6):
        more = "Q6_K" if layer in (0, 3, 5) else "Q4_K"
        for name, kind, shape in (
            ("attn_norm", "F32", [d]), ("ffn_norm", "F32", [d]), ("attn_q", "Q4_K", [d, d]), ("attn_k", "Q4_K", [kv, d]),
            ("attn_v", more, [kv, d]), ("attn_output", "Q4_K", [d, d]), ("ffn_gate", "Q4_K", [width, d]),
            ("ffn_up", "Q5_K" if layer == 1 else "Q4_K", [width, d]), ("ffn_down", more, [d, width]),
        ):  # fmt: skip
            tensors[f"blk.{layer}.{name}.weight"] = (kind, shape)
    keys = {"block_count": 6, "embedding_length": d, "attention.head_count": 8, "attention.head_count_kv": 4, "context_length": 4096}
    keys |= {"feed_forward_length": width}
    write(path, "llama", {f"llama.{key}": value for key, value in keys.items()}, tensors, vocabulary=rows, **options)
    return tensors


def by(model: ModelSpec, key: str) -> dict[str, int]:
    groups = ledger(model, Scenario(context=64)).by(key)
    sizes = {name: sum(entry.weight_bytes for entry in entries) for name, entries in groups.items()}
    return {name: size for name, size in sizes.items() if size}


def test_mixed_formats_are_exact_by_format_and_piece(tmp_path: Path) -> None:
    path = tmp_path / "mixed.gguf"
    mixed(path)
    model = read_gguf(path).model
    held: dict[str, int] = {}
    for tensor in GGUFReader(path).tensors:
        held[tensor.tensor_type.name.lower()] = held.get(tensor.tensor_type.name.lower(), 0) + int(tensor.n_bytes)
    assert by(model, "format") == {"fp32" if name == "f32" else name: size for name, size in held.items()}
    assert by(model, "piece")["lm_head"] == 320 * 512 // 256 * 210
    assert totals(model).weight_bytes == payload(path)
    assert model.storage.weights["attention.v_proj"] == ["q6_k", "2 q4_k", "q6_k", "q4_k", "q6_k"]
    assert model.storage.weights["dense_mlp.up_proj"] == ["q4_k", "q4_k/q5_k", "4 q4_k"]
    assert model.storage.weights["attention"] == "q4_k"


def test_a_spec_written_from_a_file_loads_to_the_same_model(tmp_path: Path) -> None:
    mixed(tmp_path / "mixed.gguf")
    found = read_gguf(tmp_path / "mixed.gguf")
    (tmp_path / "spec.yaml").write_text(found.text)
    assert load_model(str(tmp_path / "spec.yaml")) == found.model


def test_stages_of_a_pipeline_hold_what_their_layers_store(tmp_path: Path) -> None:
    tensors = mixed(tmp_path / "mixed.gguf")
    model = read_gguf(tmp_path / "mixed.gguf").model
    stages = shard(model, Scenario(context=64), Plan(pp=2))
    assert sum(stage.ledger.totals.weight_bytes for stage in stages) == totals(model).weight_bytes
    first = stages[0]
    inside = {name for name in tensors if name.startswith(tuple(f"blk.{layer}." for layer in first.layers))} | {"token_embd.weight"}
    sizes = {t.name: int(t.n_bytes) for t in GGUFReader(tmp_path / "mixed.gguf").tensors}
    assert first.ledger.totals.weight_bytes == sum(sizes[name] for name in inside)


def test_another_weight_format_takes_the_place_of_a_mixed_one(tmp_path: Path) -> None:
    mixed(tmp_path / "mixed.gguf")
    model = read_gguf(tmp_path / "mixed.gguf").model
    assert set(by(model, "format")) > {"q4_k", "q6_k"}
    entries = ledger(model, Scenario(context=64, weight_format="q8_0")).entries
    assert {entry.format for entry in entries if entry.weight_bytes} == {"q8_0", "fp32"}


def test_one_matrix_in_two_tensors_of_two_formats(tmp_path: Path) -> None:
    """MLA's kv_b_proj is two tensors in a file, of which one has rows too short for a block of 256."""
    case = CASES["deepseek3"]
    tensors = table(case)
    for name, (_, shape) in list(tensors.items()):
        if "attn_k_b" in name:
            tensors[name] = ("Q5_0", [shape[0], 32, shape[1] * shape[2] // 32])
            assert shape[2] * shape[1] % 32 == 0
    path = tmp_path / "mla.gguf"
    for name in [name for name in tensors if "attn_k_b" in name]:
        tensors[name] = ("Q5_0", [4, 16, 32])
    write(path, case["architecture"], case["metadata"], tensors)
    model = read_gguf(path).model
    assert model.storage.weights["attention.kv_b_proj"] == ["4 fp16*3/q5_0*2"]
    assert totals(model).weight_bytes == payload(path)
    assert totals(model).parameters == case["parameters"]


def test_what_a_mix_says() -> None:
    said = {stored.name: share for stored, share in shares("q8_0*3/q4_k*4")}
    assert said["q8_0"] * 7 == 3 and said["q4_k"] * 7 == 4
    assert len(shares("q4_k")) == 1
    for wrong in ("", "q4_k/", "q4_k*0", "q4_k*-1", "nothing", "q4_k q6_k"):
        with pytest.raises(ValueError, match=r"cannot read|unknown format"):
            shares(wrong)


@pytest.mark.parametrize(
    ("weights", "why"),
    [
        ({"attention.q_proj": ["31 q4_k"]}, "31 formats for the 32 layers"),
        ({"attention.q_proj": []}, "0 formats for the 32 layers"),
        ({"attention": ["32 q4_k"]}, "those of a tensor"),
        ({"attention.q_proj": ["32  q4_k"]}, "cannot read"),
        ({"attention.q_proj": ["99999 q4_k"]}, "more than"),
        ({"attention.q_proj": ["32 q4"]}, "unknown format"),
    ],
)
def test_lists_of_formats_that_do_not_fit_are_refused(weights: dict[str, Any], why: str) -> None:
    data = load_model("llama-3.1-8b").model_dump() | {"storage": {"weights": weights}}
    with pytest.raises(ValueError, match=why):
        ModelSpec.model_validate(data)


# -- shapes of files ----------------------------------------------------------------------------------------------------------------


def test_a_split_model_is_read_whole_from_any_of_its_files(tmp_path: Path) -> None:
    mixed(tmp_path / "big.gguf", split_max_tensors=20)
    files = sorted(tmp_path.glob("big-*-of-*.gguf"))
    assert len(files) == 3
    whole = mixed(tmp_path / "one.gguf")
    sizes = {totals(import_source(str(file)).model).weight_bytes for file in files}
    assert sizes == {totals(read_gguf(tmp_path / "one.gguf").model).weight_bytes}
    assert len(read_file(files[1]).tensors) == len(whole)
    (tmp_path / "one.gguf").unlink()
    assert totals(import_source(str(tmp_path)).model).weight_bytes in sizes
    files[2].unlink()
    with pytest.raises(SpecError, match="1 of the 3 files of the model are not there"):
        read_gguf(files[0])


def test_either_byte_order_and_both_versions(tmp_path: Path) -> None:
    mixed(tmp_path / "big-endian.gguf", endianess=GGUFEndian.BIG)
    mixed(tmp_path / "little.gguf")
    old = bytearray((tmp_path / "little.gguf").read_bytes())
    old[4] = 2
    (tmp_path / "old.gguf").write_bytes(old)
    sizes = [totals(read_gguf(tmp_path / f"{name}.gguf").model) for name in ("big-endian", "little", "old")]
    assert sizes[0] == sizes[1] == sizes[2]


def test_layers_that_draft_are_named_and_not_counted(tmp_path: Path) -> None:
    case = CASES["glm4moe"]
    metadata = dict(case["metadata"]) | {"glm4moe.block_count": 5, "glm4moe.nextn_predict_layers": 1}
    tensors = table(case) | {"blk.4.nextn.eh_proj.weight": ("F16", [64, 128]), "blk.4.attn_q.weight": ("F16", [128, 64])}
    write(tmp_path / "draft.gguf", "glm4moe", metadata, tensors)
    found = read_gguf(tmp_path / "draft.gguf")
    assert totals(found.model).parameters == case["parameters"]
    assert any("layers that draft: 32,768 bytes" in caveat for caveat in found.model.caveats)


def test_a_tensor_that_no_weight_explains_is_said(tmp_path: Path) -> None:
    case = CASES["llama"]
    tensors = table(case) | {"blk.1.attn_gate.weight": ("F16", [64, 64])}
    write(tmp_path / "more.gguf", "llama", case["metadata"], tensors)
    found = read_gguf(tmp_path / "more.gguf")
    assert any("blk.1.attn_gate.weight (8,192 bytes)" in caveat for caveat in found.model.caveats)
    assert "caveats:" in found.text


def test_a_key_that_nobody_read_is_said(tmp_path: Path) -> None:
    case = CASES["llama"]
    write(tmp_path / "more.gguf", "llama", case["metadata"] | {"llama.attention.sliding_window": 512}, table(case))
    assert any("llama.attention.sliding_window" in caveat for caveat in read_gguf(tmp_path / "more.gguf").model.caveats)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"llama.block_count": 4}, "the file lacks"),
        ({"llama.block_count": 0}, "llama.block_count: leaves no layer"),
        ({"llama.block_count": 4_000_000_000}, "llama.block_count: must be a whole number up to 2,000"),
        ({"llama.embedding_length": 128}, "metadata and tensors differ"),
        ({"llama.embedding_length": None}, "llama.embedding_length: is not in the file"),
        ({"llama.attention.head_count": 8}, "metadata and tensors differ"),
        ({"llama.attention.head_count_kv": 0}, "llama.attention.head_count_kv: 0 is not between"),
        ({"llama.attention.head_count": "4"}, "must be a whole number"),
        ({"llama.attention.head_count_kv": [2, 2, 1]}, "must be a whole number"),
        ({"llama.attention.value_length": 32}, "value_length: differs"),
        ({"llama.expert_count": 8}, "expert_used_count: is not in the file"),
    ],
)
def test_metadata_that_is_not_that_of_the_tensors_is_refused(change: dict[str, Any], why: str, tmp_path: Path) -> None:
    case = CASES["llama"]
    metadata = {key: value for key, value in (case["metadata"] | change).items() if value is not None}
    write(tmp_path / "wrong.gguf", "llama", metadata, table(case))
    with pytest.raises(SpecError, match=why) as refused:
        read_gguf(tmp_path / "wrong.gguf")
    assert "\n" not in refused.value.message


def test_a_width_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    case = next(case for case in CASES.values() if case["architecture"] == "granitehybrid")
    write(tmp_path / "odd.gguf", "granitehybrid", case["metadata"] | {"granitehybrid.embedding_length": 0}, table(case))
    with pytest.raises(SpecError, match=r"ssm\.inner_size: [0-9,]+ is no multiple of embedding_length 0"):
        read_gguf(tmp_path / "odd.gguf")


def test_other_architectures_are_refused_with_those_that_are_known(tmp_path: Path) -> None:
    case = CASES["llama"]
    for name in ("clip", "made-up"):
        write(tmp_path / "other.gguf", name, {}, table(case))
        with pytest.raises(SpecError, match=rf"general.architecture: '{name}' is not known") as refused:
            read_gguf(tmp_path / "other.gguf")
        assert "gpt-oss" in str(refused.value.hint) or "did you mean" in str(refused.value.hint)


# -- files that mean harm -----------------------------------------------------------------------------------------------------------


def refused_or_whole(read: Any, path: Path) -> str:
    """Reads a damaged file: the refusal, in one line, or nothing where it still makes a model."""
    try:
        found = read(str(path))
    except KvcalcError as error:
        assert error.message and "\n" not in error.message and len(error.message) < 2_000
        assert error.message.isprintable()
        return error.message
    assert isinstance(found, Imported)
    assert totals(found.model).parameters > 0
    return ""


def small(path: Path) -> bytes:
    case = CASES["llama"]
    write(path, "llama", case["metadata"], table(case), vocabulary=100)
    return path.read_bytes()


def test_a_file_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    data = small(tmp_path / "whole.gguf")
    for eighth in range(8):
        (tmp_path / "cut.gguf").write_bytes(data[: len(data) * eighth // 8])
        assert refused_or_whole(read_gguf, tmp_path / "cut.gguf")
    for length in [*range(0, 64), len(data) - 1, len(data) - 33]:
        (tmp_path / "cut.gguf").write_bytes(data[:length])
        assert refused_or_whole(read_gguf, tmp_path / "cut.gguf"), length


def test_flipped_bytes_are_refused_or_make_a_model(tmp_path: Path) -> None:
    case = CASES["llama"]
    write(tmp_path / "whole.gguf", "llama", case["metadata"], table(case))
    data = (tmp_path / "whole.gguf").read_bytes()
    header = data.index(b"output_norm.weight") + 2_500
    outcomes = set()
    for seed in range(250):
        generator = random.Random(seed)
        changed = bytearray(data)
        for _ in range(generator.choice((1, 1, 2, 8))):
            changed[generator.randrange(4, header)] = generator.choice((0, 1, 0x7F, 0x80, 0xFF, generator.randrange(256)))
        (tmp_path / "flipped.gguf").write_bytes(changed)
        outcomes.add(refused_or_whole(read_gguf, tmp_path / "flipped.gguf")[-40:])
    assert len(outcomes) > 20


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def key(name: str, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def info(name: str, shape: list[int], kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file_of(keys: list[bytes], infos: list[bytes], *, counts: tuple[int, int] | None = None, data: int = 4096) -> bytes:
    tensors, pairs = counts or (len(infos), len(keys))
    head = b"GGUF" + struct.pack("<IQQ", 3, tensors, pairs) + b"".join(keys) + b"".join(infos)
    return head + b"\0" * (-len(head) % 32) + b"\0" * data


ARCH = key("general.architecture", 8, text("llama"))
HUGE = (1 << 64) - 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "does not begin with 'GGUF'"),
        (b"GGML" + b"\0" * 100, "does not begin with 'GGUF'"),
        (b"GGUF" + struct.pack("<I", 1) + b"\0" * 64, "GGUF version 1 is not read"),
        (b"GGUF" + struct.pack("<I", 0) + b"\0" * 64, "GGUF version 0 is not read"),
        (file_of([], [], counts=(HUGE, 0)), "no model has so many"),
        (file_of([], [], counts=(0, HUGE)), "no model has so many"),
        (file_of([], [], counts=(0, 60_000)), "key"),
        (file_of([struct.pack("<Q", HUGE)], []), "longer than"),
        (file_of([ARCH, ARCH], []), "is there twice"),
        (file_of([key("x", 8, struct.pack("<Q", 1 << 40))], []), "ends too early"),
        (file_of([key("x", 9, struct.pack("<IQ", 4, HUGE))], []), "ends too early"),
        (file_of([key("x", 9, struct.pack("<IQ", 8, HUGE))], []), "no model has so many"),
        (file_of([key("x", 9, struct.pack("<IQ", 8, 100_000))], []), "ends too early, within 'x'"),
        (file_of([key("x", 9, struct.pack("<IQ", 9, 1) * 2_000)], []), "list of type 9"),
        (file_of([key("x", 99, b"")], []), "of type 99"),
        (file_of([key("x", 7, b"\x02")], []), "neither 0 nor 1"),
        (file_of([text("\udcff".encode("utf-8", "surrogatepass").decode("latin-1"))], []), "key|type|ends"),
        (file_of([struct.pack("<Q", 2) + b"\xff\xfe"], []), "not UTF-8"),
        (file_of([ARCH], [info("a", [32] * 5)]), "5 dimensions"),
        (file_of([ARCH], [info("a", [])]), "no tensor of a model has"),
        (file_of([ARCH], [info("a", [0, 32])]), "no tensor of a model has"),
        (file_of([ARCH], [info("a", [1 << 63, 2])]), "no tensor of a model has"),
        (file_of([ARCH], [info("a", [32], kind=4)]), "ggml type 4"),
        (file_of([ARCH], [info("a", [32], kind=9)]), "ggml type 9"),
        (file_of([ARCH], [info("a", [100], kind=12)]), "not whole q4_k blocks"),
        (file_of([ARCH], [info("a", [32]), info("a", [32], offset=128)]), "is there twice"),
        (file_of([ARCH], [info("a", [64]), info("b", [32], offset=128)]), "begins within another"),
        (file_of([ARCH], [info("a", [32], offset=1)]), "no multiple of 32"),
        (file_of([ARCH], [info("a", [32], offset=HUGE - 31)]), "ends too early"),
        (file_of([ARCH], [info("a", [1 << 20])]), "ends too early"),
        (file_of([ARCH, key("general.alignment", 4, struct.pack("<I", 0))], [info("a", [32])]), "no power of two"),
        (file_of([ARCH, key("general.alignment", 4, struct.pack("<I", 24))], [info("a", [32])]), "no power of two"),
        (file_of([], [info("a", [32])]), "general.architecture: is not in the file"),
        (file_of([key("general.architecture", 4, b"\0\0\0\0")], []), "general.architecture: is not in the file"),
        (file_of([ARCH], []), "llama.block_count: is not in the file"),
        (file_of([ARCH, key("split.count", 2, struct.pack("<H", 3))], []), "one of 3 files"),
        (file_of([key("general.architecture", 8, text("\x1b[31mred\n"))], []), "is not known"),
        (file_of([key(f"k{place}", 8, text("x" * 65_000)) for place in range(260)], []), "is longer than 16,000,000 bytes"),
        (file_of([key(f"k{place}", 9, struct.pack("<IQ", 0, 16_384) + bytes(16_384)) for place in range(260)], []), "is longer than 16"),
    ],
)
def test_crafted_files_are_refused_at_once_and_in_little_memory(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "crafted.gguf"
    path.write_bytes(data)
    tracemalloc.start()
    start = time.monotonic()
    with pytest.raises(SpecError, match=why) as refused:
        read_gguf(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.monotonic() - start < 5
    assert peak < 60_000_000
    assert "\n" not in refused.value.message and refused.value.message.isprintable()


def test_names_that_are_no_files_are_refused(tmp_path: Path) -> None:
    for name in ("missing.gguf", "a\0b.gguf", "x-00001-of-00000.gguf", "x-00001-of-99999.gguf", "m.safetensors", "a\0b.safetensors"):
        with pytest.raises(SpecError) as refused:
            import_source(str(tmp_path / name))
        assert "\n" not in refused.value.message
    (tmp_path / "folder.gguf").mkdir()
    with pytest.raises(SpecError, match="folder"):
        import_source(str(tmp_path / "folder.gguf"))
    with pytest.raises(SpecError, match=r"holds no config\.json"):
        import_source(str(tmp_path))


# -- safetensors --------------------------------------------------------------------------------------------------------------------

LLAMA = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 50, "max_position_embeddings": 128, "tie_word_embeddings": False, "dtype": "float16",
}  # fmt: skip


def llama_weights() -> dict[str, Any]:
    """The weights of that config, under the names of transformers."""

    def half(*shape: int) -> Any:
        return np.zeros(shape, dtype=np.float16)

    found = {"model.embed_tokens.weight": half(50, 64), "lm_head.weight": half(50, 64), "model.norm.weight": half(64)}
    for layer in range(2):
        at = f"model.layers.{layer}"
        found |= {f"{at}.self_attn.{name}_proj.weight": half(rows, 64) for name, rows in (("q", 64), ("k", 32), ("v", 32), ("o", 64))}
        found |= {f"{at}.mlp.{name}_proj.weight": half(96, 64) for name in ("gate", "up")} | {f"{at}.mlp.down_proj.weight": half(64, 96)}
        found |= {f"{at}.{name}_layernorm.weight": half(64) for name in ("input", "post_attention")}
    return found


def folder_of(path: Path, weights: dict[str, Any] | None, config: dict[str, Any] = LLAMA) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    if weights is not None:
        save_file(weights, path / "model.safetensors", metadata={"format": "pt"})
    return path


def sharded(path: Path, weights: dict[str, Any], files: int = 3) -> Path:
    folder_of(path, None)
    where = {}
    for number in range(files):
        name = f"model-{number + 1:05}-of-{files:05}.safetensors"
        part = dict(list(weights.items())[number::files])
        save_file(part, path / name)
        where |= dict.fromkeys(part, name)
    size = sum(int(value.nbytes) for value in weights.values())
    (path / INDEX).write_text(json.dumps({"metadata": {"total_size": size}, "weight_map": where}))
    return path


def test_safetensors_give_exact_parameters_bytes_and_formats(tmp_path: Path) -> None:
    weights = llama_weights()
    weights["model.layers.1.self_attn.q_proj.weight"] = weights["model.layers.1.self_attn.q_proj.weight"].astype(np.float32)
    weights |= {name: value.astype(np.float32) for name, value in weights.items() if "norm" in name}
    size = sum(int(value.nbytes) for value in weights.values())
    for source in (folder_of(tmp_path / "one", weights), tmp_path / "one" / "model.safetensors", sharded(tmp_path / "three", weights)):
        found = import_source(str(source))
        assert not found.model.caveats
        assert totals(found.model).weight_bytes == size
        assert totals(found.model).parameters == sum(int(value.size) for value in weights.values())
        assert found.model.storage.weights["attention.q_proj"] == ["fp16", "fp32"]
        assert by(found.model, "format") == {
            "fp32": sum(v.nbytes for v in weights.values() if v.dtype == np.float32),
            "fp16": sum(v.nbytes for v in weights.values() if v.dtype == np.float16),
        }
        assert "as the spec says" in found.notes[-1]
    part = tmp_path / "three" / "model-00002-of-00003.safetensors"
    assert totals(import_source(str(part)).model).weight_bytes == size


def test_what_differs_between_config_and_files_is_shown(tmp_path: Path) -> None:
    weights = llama_weights()
    config = LLAMA | {"num_key_value_heads": 4}
    (caveat,) = import_source(str(folder_of(tmp_path / "a", weights, config))).model.caveats
    assert "k_proj" in caveat and "of 4,096" in caveat
    del weights["model.layers.1.mlp.up_proj.weight"]
    weights["model.layers.0.self_attn.q_proj.bias"] = np.zeros(64, dtype=np.float16)
    (caveat,) = import_source(str(folder_of(tmp_path / "b", weights))).model.caveats
    assert "dense_mlp.up_proj" in caveat and "q_proj.bias" in caveat
    weights = {name: value for name, value in llama_weights().items() if "layers.1" not in name}
    assert "the file lacks" in import_source(str(folder_of(tmp_path / "c", weights))).model.caveats[0]
    weights = llama_weights() | {"vision_tower.patch.weight": np.zeros((8, 8), dtype=np.float16)}
    assert "parts beside the text model: 128 bytes" in import_source(str(folder_of(tmp_path / "d", weights))).model.caveats[0]
    tied = LLAMA | {"tie_word_embeddings": True}
    assert "a copy of the embedding: 6,400 bytes" in import_source(str(folder_of(tmp_path / "e", llama_weights(), tied))).model.caveats[0]


def test_packed_weights_are_compared_by_bytes(tmp_path: Path) -> None:
    weights = llama_weights()
    for name, value in list(weights.items()):
        if "_proj" in name:
            weights[name] = value.astype(np.int8)
            weights[name.replace("weight", "weight_scale")] = np.zeros((value.shape[0], 1), dtype=np.float16)
    found = import_source(str(folder_of(tmp_path / "packed", weights)))
    assert any("attention" in caveat and "bytes of the files" in caveat for caveat in found.model.caveats)
    assert "packed" in found.notes[-1]


def test_a_folder_whose_weights_were_not_loaded_is_read_by_its_config(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "part", llama_weights())
    for file in folder.glob("*.safetensors"):
        file.unlink()
    assert "are not there: nothing was compared" in import_source(str(folder)).notes[-1]


def test_weights_without_a_config_are_refused_with_what_they_hold(tmp_path: Path) -> None:
    save_file(llama_weights(), tmp_path / "model.safetensors")
    with pytest.raises(SpecError, match=r"21 tensors, 68,160 elements in 136,320 bytes, and no config.json"):
        import_source(str(tmp_path / "model.safetensors"))


def header(entries: dict[str, Any] | bytes, data: int = 0, length: int | None = None) -> bytes:
    body = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(body) if length is None else length) + body + b"\0" * data


def one(dtype: Any = "F16", shape: Any = (2, 2), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "ends too early"),
        (b"\1\0\0", "ends too early"),
        (header({}, length=HUGE), "longer than 64,000,000"),
        (header({"norm" * 100_000 + "\n": one()}, 8), "its name is longer than 256"),
        (header({}, length=5_000), "ends too early"),
        (header(b"[" * 50_000), "JSON"),
        (header(b"{}" + b" " * 10, 3), "goes on after its last tensor"),
        (header(b"[1]"), "an object"),
        (header(b"\xff\xfe"), "not UTF-8"),
        (header(b'{"a": 1, "a": 2}'), "there twice"),
        (header(b'{"a": ' + b"9" * 5_000 + b"}"), "number too long|JSON"),
        (header(b"{" + b",".join(b'"%d":0' % n for n in range(310_000)) + b"}"), "so many|must have"),
        (header(b"[" + b"," * 4_000_000 + b"]"), "no model has so many"),
        (header({"a": 1}), "must have dtype"),
        (header({"a": one() | {"more": 1}}, 8), "must have dtype"),
        (header({"a": one(dtype="F5")}, 8), "dtype 'F5' is not known"),
        (header({"a": one(dtype=["F16"])}, 8), "is not known"),
        (header({"a": one(shape=(2, 3))}, 8), "does not take 8 bytes"),
        (header({"a": one(shape=(2, -2))}, 8), "is none"),
        (header({"a": one(shape=(True, 4))}, 8), "is none"),
        (header({"a": one(shape=[1] * 40)}, 8), "is none"),
        (header({"a": one(shape="44")}, 8), "is none"),
        (header({"a": one(shape=(1 << 61, 1 << 61))}, 8), "does not take"),
        (header({"a": one(offsets=(8, 0))}, 8), "does not take"),
        (header({"a": one(offsets=(0, 8, 9))}, 8), "are none"),
        (header({"a": one(offsets=(0.0, 8))}, 8), "are none"),
        (header({"a": one(offsets=(-8, 0))}, 8), "are none"),
        (header({"a": one(), "b": one(offsets=(4, 12))}, 12), "begins within another"),
        (header({"a": one(), "b": one(offsets=(12, 20))}, 20), "leaves a gap"),
        (header({"a": one()}, 7), "ends too early"),
        (header({"__metadata__": [1]}), "__metadata__"),
    ],
)
def test_crafted_headers_are_refused_at_once_and_in_little_memory(data: bytes, why: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(data)
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    tracemalloc.start()
    with pytest.raises(SpecError, match=why) as refused:
        import_source(str(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 200_000_000
    assert "\n" not in refused.value.message and refused.value.message.isprintable()


def test_many_tensors_that_nothing_explains_take_no_long_time(tmp_path: Path) -> None:
    more = {f"model.layers.0.self_attn.more.{number}.weight": number for number in range(30_000)}
    more |= {"model.layers.000000000" + "9" * 200: 1, "model.layers.²": 2}
    folder = folder_of(tmp_path / "many", None)
    entries = {name: one(shape=(1,), offsets=(2 * at, 2 * at + 2)) for at, name in enumerate(more)}
    (folder / "model.safetensors").write_bytes(header(entries, 2 * len(more)))
    start = time.monotonic()
    assert "of 30,000 elements, where the spec has" in import_source(str(folder)).model.caveats[0]
    assert time.monotonic() - start < 10


def test_damaged_safetensors_are_refused_or_make_a_model(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "whole", llama_weights())
    data = (folder / "model.safetensors").read_bytes()
    for eighth in range(8):
        (folder / "model.safetensors").write_bytes(data[: len(data) * eighth // 8])
        assert refused_or_whole(import_source, folder / "model.safetensors")
    length = int.from_bytes(data[:8], "little")
    for seed in range(200):
        generator = random.Random(seed)
        changed = bytearray(data)
        for _ in range(generator.choice((1, 1, 2, 8))):
            changed[generator.randrange(0, 8 + length)] = generator.choice((0, 0x22, 0x2C, 0x7B, 0xFF, generator.randrange(256)))
        (folder / "model.safetensors").write_bytes(changed)
        refused_or_whole(import_source, folder / "model.safetensors")


@pytest.mark.parametrize(
    ("index", "why"),
    [
        ({}, "weight_map"),
        ({"weight_map": []}, "weight_map"),
        ({"weight_map": {"a": "../../etc/passwd.safetensors"}}, "no file of this folder"),
        ({"weight_map": {"a": "/etc/passwd"}}, "no file of this folder"),
        ({"weight_map": {"a": "..\\x.safetensors"}}, "no file of this folder"),
        ({"weight_map": {"a": 5}}, "no file of this folder"),
        ({"weight_map": {"a": "\x1b[31m.safetensors"}}, "no file of this folder"),
        ({"weight_map": {"a": "missing.safetensors"}}, "no such file"),
        ({"weight_map": {str(n): f"{n}.safetensors" for n in range(5_000)}}, "5,000 files"),
        ({"weight_map": {"nothing": "model.safetensors"}}, "'nothing' is in model.safetensors, and it is not"),
    ],
)
def test_an_index_names_files_of_its_folder(index: dict[str, Any], why: str, tmp_path: Path) -> None:
    folder_of(tmp_path, llama_weights())
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(SpecError, match=why):
        read_safetensors(tmp_path)


def test_an_index_that_counts_otherwise_is_said(tmp_path: Path) -> None:
    folder = sharded(tmp_path / "three", llama_weights())
    index = json.loads((folder / INDEX).read_text())
    index["metadata"]["total_size"] += 1
    dropped = next(iter(index["weight_map"]))
    del index["weight_map"][dropped]
    (folder / INDEX).write_text(json.dumps(index))
    notes = read_safetensors(folder).notes
    assert any("total_size" in note for note in notes) and any("not counted" in note for note in notes)
