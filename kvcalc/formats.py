"""How an element is stored: exact bytes for a row or a matrix in each storage format.

A format is (bits per element, block, scale bytes per block). The block is (rows, columns): (1, 32) is one scale for 32 neighbours
of a row, (128, 128) one for a tile of a matrix. A packed format stores whole blocks only; the others round the number of scales up.
`math` is the arithmetic that a product with such an operand runs in where the device has it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Annotated

from pydantic import AfterValidator

from kvcalc.errors import KvcalcError, ScenarioError, UnknownName, did_you_mean

BITS_PER_BYTE = 8


@dataclass(frozen=True, slots=True)
class Format:
    """One storage format.

    Args:
        bits: bits of one element, scales not included.
        block: (rows, columns) that share one scale; None if there is no scale.
        scale_bytes: bytes of scale (and padding) per block.
        packed: whole blocks only, as ggml stores them.
        math: bf16, tf32, fp8, fp4, int8 or none (integer tables).
        about: one line for `kvcalc list formats`.
        source: where the layout is defined.
    """

    name: str
    bits: int
    block: tuple[int, int] | None
    scale_bytes: int
    math: str
    about: str
    source: str = ""
    packed: bool = False

    def bytes(self, rows: int, columns: int, what: str = "row") -> int:
        """Exact bytes of a (rows, columns) array. Raises ScenarioError if a packed row is not a whole number of blocks."""
        bits = rows * columns * self.bits
        if self.block is None:
            scales = 0
        else:
            block_rows, block_columns = self.block
            if self.packed and columns % block_columns:
                raise ScenarioError(
                    f"{what}: a row of {columns:,} elements is not a whole number of {self.name} blocks of {block_columns}"
                )
            scales = -(-rows // block_rows) * -(-columns // block_columns)
        if bits % BITS_PER_BYTE:
            raise ScenarioError(f"{what}: {rows * columns:,} elements of {self.bits} bits are not whole bytes in {self.name}")
        return bits // BITS_PER_BYTE + scales * self.scale_bytes

    def fits(self, columns: int) -> bool:
        """Whether a row of that many columns can be stored."""
        return not (self.packed and self.block and columns % self.block[1])

    @property
    def bits_per_element(self) -> str:
        """Bits per element, scales included, as a plain number: 8.5 for q8_0."""
        if self.block is None:
            return str(self.bits)
        return f"{self.bits + self.scale_bytes * BITS_PER_BYTE / (self.block[0] * self.block[1]):.6g}"


_GGML = "https://github.com/ggml-org/llama.cpp/blob/master/ggml/src/ggml-common.h"
_OCP = "https://www.opencompute.org/documents/ocp-microscaling-formats-mx-v1-0-spec-final-pdf"
_DEEPSEEK = "https://arxiv.org/abs/2412.19437 section 3.3"

_ROW = 1 << 40
"""A block that holds any row whole."""
_GPTQ = "https://github.com/ModelCloud/GPTQModel; https://github.com/casper-hansen/AutoAWQ"
_COMPRESSED = "https://github.com/vllm-project/compressed-tensors"
_MLX = "https://github.com/ml-explore/mlx mlx.core.quantize"
_BITSANDBYTES = "https://github.com/bitsandbytes-foundation/bitsandbytes"


def _grouped() -> Iterator[Format]:
    """Integers with a scale for each group of a row, as GPTQ, AWQ, compressed-tensors and MLX store them; products run in 16 bits."""
    for bits, rows in ((2, 4), (3, 8), (4, 2), (5, 8), (6, 4), (8, 1)):
        for group in (16, 32, 64, 128, 256):
            name, about = f"int{bits}-g{group}", f"{bits}-bit integer, a 16-bit scale per {group} elements of a row"
            yield Format(name, bits, (1, group), 2, "bf16", about, _COMPRESSED)
            zeros = rows * bits // BITS_PER_BYTE
            yield Format(f"{name}-zp", bits, (rows, group), 2 * rows + zeros, "bf16", f"{about} and a zero point as wide", _GPTQ)
            yield Format(f"{name}-affine", bits, (1, group), 4, "bf16", f"{about} and a 16-bit offset", _MLX)
    for name, bits, math in (("int4", 4, "bf16"), ("int8", 8, "int8"), ("fp8", 8, "fp8")):
        kind = f"{bits}-bit {'float' if name == 'fp8' else 'integer'}"
        yield Format(f"{name}-channel", bits, (1, _ROW), 2, math, f"{kind}, a 16-bit scale per row", _COMPRESSED)
        yield Format(f"{name}-channel-fp32", bits, (1, _ROW), 4, math, f"{kind}, an fp32 scale per row", _BITSANDBYTES)


FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        *_grouped(),
        Format("nf4", 4, (1, 64), 4, "bf16", "4-bit normal float, an fp32 scale per 64 elements", _BITSANDBYTES),
        Format("nf4-dq", 4, (1, 64), 1, "bf16", "the same, its scales in 8 bits (their own scales not counted)", _BITSANDBYTES),
        Format("fp32", 32, None, 0, "tf32", "IEEE single precision"),
        Format("bf16", 16, None, 0, "bf16", "bfloat16"),
        Format("fp16", 16, None, 0, "fp16", "IEEE half precision (f16 in llama.cpp)"),
        Format("fp8", 8, None, 0, "fp8", "8-bit float, one scale per tensor (not counted)"),
        Format("int8", 8, None, 0, "int8", "8-bit integer, scales not counted"),
        Format("int4", 4, None, 0, "bf16", "4-bit integer, scales not counted; products run in 16 bits"),
        Format("fp64", 64, None, 0, "tf32", "IEEE double precision (f64 in llama.cpp); products counted as of fp32"),
        Format("int16", 16, None, 0, "none", "integer tables"),
        Format("int32", 32, None, 0, "none", "integer tables"),
        Format("int2", 2, None, 0, "bf16", "2-bit integer (four ternary weights to a byte), scales not counted; products run in 16 bits"),
        Format("int64", 64, None, 0, "none", "integer tables"),
        Format("fp8-1x128", 8, (1, 128), 4, "fp8", "fp8, one fp32 scale per 128 elements of a row", _DEEPSEEK),
        Format("fp8-128x128", 8, (128, 128), 4, "fp8", "fp8, one fp32 scale per 128 x 128 tile", _DEEPSEEK),
        Format("fp8-128x128-ue8m0", 8, (128, 128), 1, "fp8", "fp8, one 8-bit exponent per 128 x 128 tile", _DEEPSEEK),
        Format("fp8-32x32-ue8m0", 8, (32, 32), 1, "fp8", "fp8, one 8-bit exponent per 32 x 32 tile"),
        Format("mxfp8", 8, (1, 32), 1, "fp8", "fp8, one 8-bit exponent per 32 elements of a row", _OCP),
        Format("mxfp4", 4, (1, 32), 1, "fp4", "fp4 e2m1, one 8-bit exponent per 32 elements of a row", _OCP),
        Format(
            "nvfp4",
            4,
            (1, 16),
            1,
            "fp4",
            "fp4 e2m1, one e4m3 scale per 16 elements of a row (the tensor's own fp32 scale is not counted)",
        ),
        Format(
            "fp8-448+bf16-64",
            8,
            (1, 512),
            72,
            "fp8",
            "584 bytes for 512 elements: 448 in fp8, 64 (RoPE) in bf16, 7 one-byte scales, 1 byte of padding",
            "https://github.com/vllm-project/vllm fp8_ds_mla for DeepSeek-V4; https://arxiv.org/abs/2606.19348",
            packed=True,
        ),
        Format("q8_0", 8, (1, 32), 2, "int8", "ggml: 34 bytes per 32", _GGML, packed=True),
        Format("q6_k", 6, (1, 256), 18, "int8", "ggml: 210 bytes per 256", _GGML, packed=True),
        Format("q5_k", 5, (1, 256), 16, "int8", "ggml: 176 bytes per 256", _GGML, packed=True),
        Format("q5_1", 5, (1, 32), 4, "int8", "ggml: 24 bytes per 32", _GGML, packed=True),
        Format("q5_0", 5, (1, 32), 2, "int8", "ggml: 22 bytes per 32", _GGML, packed=True),
        Format("q4_k", 4, (1, 256), 16, "int8", "ggml: 144 bytes per 256", _GGML, packed=True),
        Format("q4_1", 4, (1, 32), 4, "int8", "ggml: 20 bytes per 32", _GGML, packed=True),
        Format("q4_0", 4, (1, 32), 2, "int8", "ggml: 18 bytes per 32", _GGML, packed=True),
        Format("iq4_nl", 4, (1, 32), 2, "int8", "ggml: 18 bytes per 32", _GGML, packed=True),
        Format("q3_k", 3, (1, 256), 14, "int8", "ggml: 110 bytes per 256", _GGML, packed=True),
        Format("q2_k", 2, (1, 256), 20, "int8", "ggml: 84 bytes per 256", _GGML, packed=True),
        Format("q8_k", 8, (1, 256), 36, "int8", "ggml: 292 bytes per 256", _GGML, packed=True),
        Format("iq4_xs", 4, (1, 256), 8, "int8", "ggml: 136 bytes per 256", _GGML, packed=True),
        Format("iq3_s", 3, (1, 256), 14, "int8", "ggml: 110 bytes per 256", _GGML, packed=True),
        Format("iq3_xxs", 3, (1, 256), 2, "int8", "ggml: 98 bytes per 256", _GGML, packed=True),
        Format("iq2_s", 2, (1, 256), 18, "int8", "ggml: 82 bytes per 256", _GGML, packed=True),
        Format("iq2_xs", 2, (1, 256), 10, "int8", "ggml: 74 bytes per 256", _GGML, packed=True),
        Format("iq2_xxs", 2, (1, 256), 2, "int8", "ggml: 66 bytes per 256", _GGML, packed=True),
        Format("iq1_m", 1, (1, 256), 24, "int8", "ggml: 56 bytes per 256", _GGML, packed=True),
        Format("iq1_s", 1, (1, 256), 18, "int8", "ggml: 50 bytes per 256", _GGML, packed=True),
        Format("tq2_0", 2, (1, 256), 2, "int8", "ggml: ternary, 66 bytes per 256", _GGML, packed=True),
        Format("tq1_0", 1, (1, 256), 22, "int8", "ggml: ternary, 54 bytes per 256", _GGML, packed=True),
        Format("q2_0", 2, (1, 64), 2, "int8", "ggml: 18 bytes per 64", _GGML, packed=True),
        Format("q1_0", 1, (1, 128), 2, "int8", "ggml: 18 bytes per 128", _GGML, packed=True),
    )
}

INSTEAD = {
    "q6_k": "q8_0",
    "q5_k": "q5_1",
    "q4_k": "q5_0",
    **dict.fromkeys(("q3_k", "q2_k", "iq4_xs", "iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_m", "iq1_s"), "iq4_nl"),
    **dict.fromkeys(("tq2_0", "tq1_0"), "q4_0"),
}
"""What llama.cpp takes where a row is no whole number of blocks of 256 (llama_tensor_get_type in its llama-quant.cpp)."""

ALIASES = {"f64": "fp64", "f32": "fp32", "f16": "fp16", "fp8_e4m3": "fp8", "fp8_e5m2": "fp8"}


def fitting(chosen: Format, columns: int) -> Format | None:
    """A format in which a row of so many elements can be stored: the chosen one, else what llama.cpp takes instead; None if neither."""
    stored = chosen if chosen.fits(columns) else FORMATS.get(INSTEAD.get(chosen.name, ""))
    return stored if stored is not None and stored.fits(columns) else None


def get_format(name: str) -> Format:
    """The format of that name (or of a usual other spelling). Raises UnknownName."""
    key = ALIASES.get(name.lower(), name.lower())
    if key not in FORMATS:
        raise UnknownName(f"unknown format {name!r}", did_you_mean(key, FORMATS) or "see `kvcalc list formats`")
    return FORMATS[key]


def _known_format(name: str) -> str:
    try:
        return get_format(name).name
    except KvcalcError as error:
        raise ValueError(error.message + (f"; {error.hint}" if error.hint else "")) from None


FormatName = Annotated[str, AfterValidator(_known_format)]
"""A format's name in a spec."""

Shares = tuple[tuple[Format, Fraction], ...]
"""What part of something each format stores; the parts add up to one."""

_PART = re.compile(r"(?P<name>[^*/ ]+)(?:\*(?P<parts>[1-9][0-9]{0,8}))?")


def shares(text: str) -> Shares:
    """What a mix of formats says: 'q4_k' all, 'q4_k/q6_k' half and half, 'q8_0*3/q4_k*4' three sevenths and four. Raises ValueError."""
    found: dict[str, int] = {}
    for part in text.split("/"):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"cannot read {text!r}: write a format, or several like 'q4_k/q6_k' or 'q8_0*3/q4_k*4'")
        name = _known_format(match["name"])
        found[name] = found.get(name, 0) + int(match["parts"] or 1)
    whole = sum(found.values())
    return tuple((FORMATS[name], Fraction(parts, whole)) for name, parts in found.items())
