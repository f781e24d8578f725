"""A GGUF file: its metadata and its table of tensors, read strictly and without the tensors.

The file is untrusted. Every length is held against what is left of the file before anything is read, what is not needed is stepped over,
and nothing that the file says is run. Versions 2 and 3, either byte order.
Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md; ggml/src/gguf.cpp.
"""

import re
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import BinaryIO

from kvcalc.errors import SpecError
from kvcalc.formats import FORMATS
from kvcalc.importers.config import shown
from kvcalc.importers.inventory import Tensor

MAGIC = b"GGUF"
VERSIONS = (2, 3)
ALIGNMENT = 32
MAX_KEYS = 65_536
MAX_TENSORS = 100_000
MAX_NAME = 256
MAX_KEY = 65_535
MAX_TEXT = 65_536
MAX_LISTED = 16_384
MAX_STRINGS = 4_000_000
MAX_KEPT = 16_000_000
MAX_SPLITS = 2_000
MAX_DIMENSIONS = 4
MAX_ELEMENTS = 1 << 50
_STEPPED_OVER = 1 << 20
_LENGTH = 8

NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9

TYPES = {
    0: "fp32", 1: "fp16", 2: "q4_0", 3: "q4_1", 6: "q5_0", 7: "q5_1", 8: "q8_0", 10: "q2_k", 11: "q3_k", 12: "q4_k", 13: "q5_k",
    14: "q6_k", 15: "q8_k", 16: "iq2_xxs", 17: "iq2_xs", 18: "iq3_xxs", 19: "iq1_s", 20: "iq4_nl", 21: "iq3_s", 22: "iq2_s",
    23: "iq4_xs", 24: "int8", 25: "int16", 26: "int32", 27: "int64", 28: "fp64", 29: "iq1_m", 30: "bf16", 34: "tq1_0", 35: "tq2_0",
    39: "mxfp4", 40: "nvfp4", 41: "q1_0", 42: "q2_0",
}  # fmt: skip
"""ggml's types by their number, as formats. Not here: types that ggml removed, and q8_1, which no file stores. Source: ggml.h."""

BLOCKS = {"nvfp4": 64}
"""Elements that a row comes in, where ggml stores several blocks of the format together."""

Value = int | float | bool | str | list[int | float | bool] | None
"""A value of the metadata; None for what is stepped over: lists of text, very long lists and texts."""

_SPLIT = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True)
class GGUF:
    """The metadata and the tensors of a model's file, or of all files into which it is split.

    Args:
        name: the file, for errors.
        metadata: by key.
        tensors: in the order of the file.
    """

    name: str
    metadata: dict[str, Value]
    tensors: tuple[Tensor, ...]


def read_file(path: str | Path) -> GGUF:
    """The file, or all files of a split model, whichever of them is named.

    Raises:
        SpecError: it is not there, is damaged, or is not such a file; one line.
    """
    path = Path(path)
    files = _files(path)
    first = _read(files[0])
    tensors = list(first.tensors)
    for number, file in enumerate(files):
        part = _read(file) if number else first
        if len(files) > 1 and part.metadata.get("split.no") != number:
            raise SpecError(f"{part.name}: split.no is {shown(part.metadata.get('split.no'))}, and the name of the file says {number}")
        tensors += part.tensors if number else ()
        if len(tensors) > MAX_TENSORS:
            raise SpecError(f"{part.name}: more than {MAX_TENSORS:,} tensors in the files up to this one")
    said = first.metadata.get("split.tensors.count")
    if len(files) > 1 and said != len(tensors):
        raise SpecError(f"{first.name}: split.tensors.count is {shown(said)}, and the {len(files)} files hold {len(tensors):,} tensors")
    if len(files) == 1 and first.metadata.get("split.count", 1) not in (0, 1):
        raise SpecError(f"{first.name}: is one of {shown(first.metadata['split.count'])} files, which its name does not say")
    if len({tensor.name for tensor in tensors}) != len(tensors):
        raise SpecError(f"{first.name}: a tensor is in two of the files")
    return GGUF(str(path), first.metadata, tuple(tensors))


def _files(path: Path) -> list[Path]:
    """All files of the model that a file belongs to."""
    match = _SPLIT.fullmatch(path.name)
    if match is None:
        return [path]
    count = int(match["count"])
    if not 0 < count <= MAX_SPLITS:
        raise SpecError(f"{path}: {count:,} files are not between 1 and {MAX_SPLITS:,}")
    files = [path.with_name(f"{match['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]
    missing = [file.name for file in files if not file.is_file()]
    if missing and path.is_file():
        raise SpecError(f"{path}: {len(missing)} of the {count} files of the model are not there, first {missing[0]}")
    return files if not missing else [path]


def _read(path: Path) -> GGUF:
    try:
        if path.is_dir():
            raise SpecError(f"{path}: is a folder, not a file")
        if not path.is_file():
            raise SpecError(f"{path}: no such file")
        with path.open("rb") as stream:
            return _Reader(str(path), stream, path.stat().st_size).read()
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:  # a path that no file can have
        raise SpecError(f"{shown(str(path))}: no such file") from None


class _Reader:
    """Steps through a file from its beginning; `left` is what has not been read."""

    def __init__(self, name: str, stream: BinaryIO, size: int) -> None:
        self.name, self.stream, self.size, self.left = name, stream, size, size
        self.order = "<"
        self.strings = 0
        self.kept = 0

    def refuse(self, why: str) -> SpecError:
        return SpecError(f"{self.name}: {why}")

    def read(self) -> GGUF:
        if self.left < len(MAGIC) or self.take(len(MAGIC)) != MAGIC:
            raise self.refuse("is not a GGUF file (it does not begin with 'GGUF')")
        version = self.number("I")
        if version & 0xFFFF == 0 and version:  # written in the other byte order
            self.order, version = ">", int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in VERSIONS:
            raise self.refuse(f"GGUF version {version:,} is not read (versions {VERSIONS[0]} and {VERSIONS[1]} are)")
        tensors, keys = self.number("Q"), self.number("Q")
        if keys > MAX_KEYS or tensors > MAX_TENSORS:
            raise self.refuse(f"says that it holds {tensors:,} tensors and {keys:,} keys: no model has so many")
        metadata: dict[str, Value] = {}
        for _ in range(keys):
            key = self.text(MAX_KEY, "a key")
            if not key or key in metadata:
                raise self.refuse(f"key {shown(key)} is {'there twice' if key else 'empty'}")
            self.keep(key, len(key))
            metadata[key] = self.value(key, self.number("I"))
        infos = [self.tensor() for _ in range(tensors)]
        self.check(infos, metadata.get("general.alignment", ALIGNMENT))
        return GGUF(self.name, metadata, tuple(tensor for tensor, _ in infos))

    # -- bytes -------------------------------------------------------------------------------------------------------------------------

    def take(self, count: int) -> bytes:
        """The next bytes. Refuses what goes beyond the end."""
        if count > self.left:
            raise self.refuse(f"ends too early: {count:,} bytes should follow at byte {self.size - self.left:,}, {self.left:,} do")
        data = self.stream.read(count)
        if len(data) != count:
            raise self.refuse("became shorter while it was read")
        self.left -= count
        return data

    def skip(self, count: int) -> None:
        """Steps over the next bytes."""
        if count <= _STEPPED_OVER or count > self.left:
            self.take(count)
        else:
            self.stream.seek(count, 1)
            self.left -= count

    def number(self, code: str) -> int:
        """The next number."""
        return self.numbers(code, 1)[0]

    def numbers(self, code: str, count: int) -> list[int]:
        """The next numbers, all of one type."""
        data = self.take(count * struct.calcsize("=" + code))
        if code == "?" and (odd := data.strip(b"\0\1")):
            raise self.refuse(f"a flag is {odd[0]}, neither 0 nor 1")
        return list(struct.unpack(f"{self.order}{count}{code}", data))

    def keep(self, key: str, count: int) -> None:
        """Refuses metadata that would fill the memory: `count` more bytes of the file are kept."""
        self.kept += count
        if self.kept > MAX_KEPT:
            raise self.refuse(f"metadata up to {shown(key)} is longer than {MAX_KEPT:,} bytes: no model has so much")

    def text(self, most: int, what: str) -> str:
        """A text: its length, then UTF-8."""
        length = self.number("Q")
        if length > most:
            raise self.refuse(f"{what} of {length:,} bytes is longer than {most:,}")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise self.refuse(f"{what} is not UTF-8") from None

    # -- metadata ----------------------------------------------------------------------------------------------------------------------

    def value(self, key: str, kind: int) -> Value:
        """The value of a key."""
        if kind in NUMBERS:
            return self.number(NUMBERS[kind])
        if kind == STRING:
            return self.long_text(key)
        if kind != ARRAY:
            raise self.refuse(f"{shown(key)} is of type {kind:,}, which no value has")
        kind, count = self.number("I"), self.number("Q")
        if kind == STRING:
            self.step_over_texts(key, count)
            return None
        if kind not in NUMBERS:
            raise self.refuse(f"{shown(key)} is a list of type {kind:,}, which is not read")
        code = NUMBERS[kind]
        if count > MAX_LISTED:
            self.skip(count * struct.calcsize("=" + code))
            return None
        self.keep(key, count * _LENGTH)
        return [*self.numbers(code, count)]

    def long_text(self, key: str) -> str | None:
        length = self.number("Q")
        if length > MAX_TEXT:
            self.skip(length)
            return None
        self.keep(key, length)
        try:
            return self.take(length).decode()
        except UnicodeDecodeError:
            raise self.refuse(f"{shown(key)} is not UTF-8") from None

    def step_over_texts(self, key: str, count: int) -> None:
        self.strings += count
        if self.strings > MAX_STRINGS:
            raise self.refuse(f"{shown(key)} is a list of {count:,} texts: no model has so many")
        unpack, read, left = struct.Struct(self.order + "Q").unpack, self.stream.read, self.left
        for _ in range(count):  # written out: a vocabulary has some hundred thousand
            length = unpack(read(_LENGTH))[0] if left >= _LENGTH else 0
            left -= _LENGTH
            if not 0 <= length <= left:
                raise self.refuse(f"ends too early, within {shown(key)}")
            left -= length
            if length > _STEPPED_OVER:
                self.stream.seek(length, 1)
            else:
                read(length)
        self.left = left

    # -- tensors -----------------------------------------------------------------------------------------------------------------------

    def tensor(self) -> tuple[Tensor, int]:
        """A line of the table: the tensor, and where its bytes begin in the data."""
        name = self.text(MAX_NAME, "the name of a tensor")
        dimensions = self.number("I")
        if dimensions > MAX_DIMENSIONS:
            raise self.refuse(f"tensor {shown(name)} has {dimensions:,} dimensions, more than {MAX_DIMENSIONS}")
        shape = tuple(self.number("Q") for _ in range(dimensions))[::-1]  # the file names the dimension that runs through memory first
        kind, offset = self.number("I"), self.number("Q")
        if kind not in TYPES:
            raise self.refuse(f"tensor {shown(name)} is of ggml type {kind:,}, which is not known")
        form = FORMATS[TYPES[kind]]
        elements = prod(shape)
        if not 0 < elements <= MAX_ELEMENTS or not shape:
            raise self.refuse(f"tensor {shown(name)} has the shape {shown(list(shape))}: no tensor of a model has")
        block = BLOCKS.get(form.name, form.block[1] if form.block else 1)
        if shape[-1] % block:
            raise self.refuse(f"tensor {shown(name)}: rows of {shape[-1]:,} elements are not whole {form.name} blocks of {block}")
        return Tensor(name, form.name, shape, form.bytes(elements // shape[-1], shape[-1])), offset

    def check(self, infos: list[tuple[Tensor, int]], alignment: Value) -> None:
        """Every tensor has a name and bytes of its own, in the file."""
        if isinstance(alignment, bool) or not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self.refuse(f"general.alignment is {shown(alignment)}, no power of two")
        read = self.size - self.left
        available = self.size - -(-read // alignment) * alignment
        end, seen = 0, set[str]()
        for tensor, offset in sorted(infos, key=lambda info: info[1]):
            if tensor.name in seen:
                raise self.refuse(f"tensor {shown(tensor.name)} is there twice")
            seen.add(tensor.name)
            if offset % alignment:
                raise self.refuse(f"tensor {shown(tensor.name)} begins at byte {offset:,} of the data, no multiple of {alignment:,}")
            if offset < end:
                raise self.refuse(f"tensor {shown(tensor.name)} begins within another")
            end = offset + tensor.bytes
            if end > available:
                raise self.refuse(f"ends too early: tensor {shown(tensor.name)} should end at byte {end:,} of the {available:,} of data")


