"""The contract of a kind: its file says what it keeps, its worked number is true, a model uses it."""

import ast
import operator
import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, Literal

import pytest
from conftest import ALL_MODELS

from kvcalc.catalog import load_model
from kvcalc.kind import Part, documentation
from kvcalc.ledger import ledger, state_bytes, state_terms, total
from kvcalc.report.receipts import KINDS
from kvcalc.scenario import Scenario
from kvcalc.slots import Fixed, Given
from kvcalc.spec import ModelSpec

HEADINGS = ["Keeps", "Formula", "Worked", "Omits", "Assumes", "Used by", "Source"]
ALL = [(family, name, cls) for family, kinds in KINDS.items() for name, cls in kinds.items()]
OPERATIONS: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
WORKED = re.compile(
    r"^Worked +(?P<model>[a-z0-9.-]+), (?P<what>[a-z0-9_]+), (?P<quantity>growth|fixed|parameters): "
    r"(?P<sum>.+) = (?P<value>[\d,]+) (bytes|parameters)$",
    re.M,
)


def calculate(text: str) -> Fraction:
    """Sums and products of whole numbers, written with x."""

    def walk(node: ast.AST) -> Fraction:
        if isinstance(node, ast.BinOp):
            return Fraction(OPERATIONS[type(node.op)](walk(node.left), walk(node.right)))
        assert isinstance(node, ast.Constant) and isinstance(node.value, int)
        return Fraction(node.value)

    return walk(ast.parse(text.replace(" x ", " * "), mode="eval").body)


def quantity(model: ModelSpec, what: str, name: str, kind: str) -> Fraction:
    if name == "parameters":
        return Fraction(total(ledger(model, Scenario(context=1)).by("piece")[what]).parameters)
    terms = state_terms(model, what, lambda block, row: block.kind == kind)
    if name == "fixed":
        return Fraction(sum(term.bytes_per_slot * term.law.count(1) for term in terms if isinstance(term.law, Fixed | Given)))
    return Fraction(state_bytes(terms, 2**21) - state_bytes(terms, 2**20), 2**20)


@pytest.mark.parametrize(("family", "name", "cls"), ALL, ids=[f"{family}-{name}" for family, name, _ in ALL])
class TestEveryKind:
    def test_its_file_has_the_headings_in_order(self, family: str, name: str, cls: type[Part]) -> None:
        lines = documentation(cls).split("\n")
        found = [heading for line in lines for heading in HEADINGS if re.match(rf"{heading} {{2,}}|{heading}  ", line)]
        assert found == HEADINGS

    def test_its_worked_number_is_true(self, family: str, name: str, cls: type[Part]) -> None:
        worked = WORKED.search(documentation(cls))
        assert worked, "Worked: MODEL, FORMAT or PIECE, growth|fixed|parameters: SUM = NUMBER bytes|parameters"
        value = Fraction(worked["value"].replace(",", ""))
        assert calculate(worked["sum"]) == value
        assert quantity(load_model(worked["model"]), worked["what"], worked["quantity"], name) == value

    def test_a_model_uses_it(self, family: str, name: str, cls: type[Part]) -> None:
        specs = [load_model(model) for model in ALL_MODELS]
        parts: list[Part] = [
            p for s in specs for p in (*s.attention.values(), *s.feedforward.values(), s.residual, *s.embedding.tables.values())
        ]
        parts += [part for whole in parts for part in getattr(whole, "parts", {}).values()]
        parts += [router for part in parts if (router := getattr(part, "router", None)) is not None]
        assert any(type(part) is cls for part in parts)

    def test_each_field_says_what_it_is(self, family: str, name: str, cls: type[Part]) -> None:
        assert cls.model_fields["kind"].annotation == Literal[name]  # type: ignore[valid-type]
        assert all(field.description for key, field in cls.model_fields.items() if key != "kind")
