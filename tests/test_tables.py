"""Tables that paste: the same numbers in every format, heads that tell columns apart, columns, order and ratios as asked."""

import csv
import io
import json
import re
import shlex
from dataclasses import replace
from fractions import Fraction
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from unittest import mock

import pytest
from typer.testing import CliRunner

from kvcalc.cli import commands
from kvcalc.cli.options import app
from kvcalc.errors import ScenarioError
from kvcalc.report.shaped import Relative, shaped
from kvcalc.report.table import (
    MARKS,
    Column,
    Document,
    Facts,
    Table,
    count_column,
    folded,
    gib_column,
    laid_out,
    measured,
    text_column,
)
from kvcalc.report.terminal import show
from kvcalc.report.writers import TEXT_WIDTH, WRITERS, _tex
from kvcalc.units import GIB

ROOT = Path(__file__).parent.parent
EXAMPLES = re.findall(r"```console\n\$ kvcalc ([^\n]+)\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
README = [command for command, _ in EXAMPLES if not command.startswith("import ")]
COMMANDS = [
    "estimate gemma-4-e2b -c 128K --on rtx-4090",
    "estimate deepseek-v4-flash -c 1M -b 8 --by row",
    "compare gemma-4-e2b laguna-xs.2 zaya1-8b llama-3.1-8b -c 4K,128K --on rtx-4090,8xh100-sxm",
    "compare gemma-4-e2b laguna-xs.2 llama-3.1-8b -c 4K,128K --on rtx-4090 --relative-to gemma-4-e2b --sort -state",
    "compare gemma-4-e2b llama-3.1-8b --columns model,parameters,state,phase --sort -parameters",
    "fit llama-3.1-70b --on 2xh100-sxm -c 128K",
    "fit --on rtx-3060-12gb -c 32K --weight-format q4_k",
    "whatif gemma-4-e2b --ladder -c 128K",
    "whatif deepseek-v4-flash --ladder -c 1M --on 8xh200-sxm",
    "whatif gemma-4-e2b --without kv-sharing -c 128K",
    "throughput llama-3.1-8b --on rtx-4090 -c 32K",
    "energy llama-3.1-70b --on 4xh100-sxm -c 8K",
    "fleet llama-3.1-70b --on 4xh100-sxm --users 10M",
    "verify deepseek-v3",
    "explain deepseek-v4-flash",
    "explain mla",
    "explain h100-sxm",
    "explain whatif",
    "explain vllm",
    "check specs/gemma-4-e2b.yaml",
    "list models --sort -params",
    "list hardware --class consumer-gpu --sort bandwidth",
    "list hardware --vendor apple --sort -memory_bytes --columns id,memory,link,name",
    "list formats",
    "list allocators",
    "list figures",
    "list efficiency",
    "list attention",
    "list residual",
]
Answer = Document | Table


@cache
def answer(command: str) -> Answer:
    """What a command is about to write."""
    commands.load()
    seen: list[Answer] = []
    with mock.patch.dict(WRITERS, {"tsv": lambda given: seen.append(given) or ""}):
        result = CliRunner().invoke(app, [*shlex.split(command), "--format", "tsv"], catch_exceptions=False)
    assert result.exit_code in (0, 1), result.output
    (only,) = seen
    return only


def tables(given: Answer) -> list[Table]:
    return [given] if isinstance(given, Table) else given.tables


each = pytest.mark.parametrize("command", COMMANDS)


# -- the same numbers in every format -----------------------------------------------------------------------------------------------


class _Cells(HTMLParser):
    """The cells of every row, and where links lead."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.links: list[str] = []
        self.open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self.open = True
        elif tag == "a":
            self.links.append(str(dict(attrs)["href"]))

    def handle_endtag(self, tag: str) -> None:
        self.open = self.open and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self.open:
            self.rows[-1][-1] += data


def of_markdown(page: str) -> list[list[str]]:
    lines = [line for line in page.splitlines() if line.startswith("| ") and not set(line) <= set("|-: ")]
    rows = [re.split(r" (?<!\\)\| ", f" {line[1:-1].strip()} ") for line in lines]
    return [[re.sub(r"^\*\*(.*)\*\*$", r"\1", re.sub(r"\\([|<\[])", r"\1", cell.strip())) for cell in row] for row in rows]


PLAIN = {r"\&": "&", r"\%": "%", r"\_": "_", r"\#": "#", r"\$": "$", r"\{": "{", r"\}": "}", r"\^{}": "^", r"-{}": "-"} | {
    rf"\text{name}{{}}": character
    for name, character in {
        "backslash": "\\",
        "asciitilde": "~",
        "less": "<",
        "greater": ">",
        "bar": "|",
        "asciigrave": "`",
    }.items()
}
MATHS = {r"$\cdot$": "·", r"$\times$": "×", r"$\mu$": "µ", r"$\leq$": "≤", r"$\geq$": "≥", r"\allowbreak{}": ""}
COMMAND = re.compile("|".join(re.escape(made) for made in sorted(PLAIN | MATHS, key=len, reverse=True)))


def of_latex(page: str) -> list[list[str]]:
    rows = []
    for body in re.findall(r"\\toprule\n(.*?)\\bottomrule", page, re.S):
        for line in body.splitlines():
            if line != r"\midrule":
                assert line.endswith(r" \\") and not line.startswith(("[", "*"))
                cells = re.split(r" & |(?<= )& ", line.removesuffix(r" \\").removeprefix("{}"))
                rows.append([COMMAND.sub(lambda made: (PLAIN | MATHS)[made[0]], cell) for cell in cells])
    return rows


def expected(given: Answer) -> list[list[str]]:
    return [row for table in tables(given) for row in (table.heads, *table.body, *table.foot)]


@each
def test_every_format_has_the_same_cells(command: str) -> None:
    given = answer(command)
    rows = expected(given)
    first = tables(given)[0]
    assert list(csv.reader(io.StringIO(WRITERS["tsv"](given)), delimiter="\t")) == [first.names, *first.body, *first.foot]
    assert _Cells(WRITERS["html"](given)).rows == rows
    marked = of_markdown(WRITERS["md"](given))
    assert [[re.sub(r"(\[\^[^\]]+\])+$", "", cell) for cell in row] for row in marked] == rows
    assert [[cell.strip() for cell in row] for row in of_latex(WRITERS["latex"](given))] == rows


@each
def test_text_has_every_number_in_its_row(command: str) -> None:
    """Words may fold; a number stands whole, in the order of the columns."""
    given = answer(command)
    for table in tables(given):
        if table.stacked:
            continue
        lines = WRITERS["text"](replace(table, title="", notes=())).split("\n")
        for row in (*table.body, *table.foot):
            numbers = [cell for cell, column in zip(row, table.columns, strict=True) if column.numeric and cell]
            in_order = re.compile(r"(^|\s)" + r"\s(.*\s)?".join(map(re.escape, numbers)) + r"(\s|$)")
            assert any(in_order.search(line) for line in lines), row


@each
def test_programs_get_the_same_raw_values(command: str) -> None:
    given = answer(command)
    table = tables(given)[0]
    records = [json.loads(line) for line in WRITERS["jsonl"](given).splitlines()]
    whole = json.loads(WRITERS["json"](given))
    listed = whole["rows"] if isinstance(given, Table) else next(part["rows"] for part in whole["parts"] if "rows" in part)
    assert records == listed and len(records) == len(table.rows)
    head, *lines = csv.reader(io.StringIO(WRITERS["csv"](given)))
    assert head == table.keys and len(lines) == len(records)
    for line, record in zip(lines, records, strict=True):
        for text, value in zip(line, record.values(), strict=True):
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert float(text) == value and "," not in text
            else:
                assert text == ("" if value is None else str(value))


@each
def test_raw_values_are_those_of_the_text(command: str) -> None:
    """A number of the CSV, written as its column writes numbers, is the cell of the TSV."""
    table = tables(answer(command))[0]
    rows = csv.DictReader(io.StringIO(WRITERS["csv"](table)))
    for row, cells in zip(rows, table.body, strict=True):
        for column, cell in zip(table.columns, cells, strict=True):
            raw = row[column.key] if not column.raw else ""
            if column.numeric and re.fullmatch(r"-?[0-9.]+(e-?[0-9]+)?", raw):
                value = int(raw) if raw.lstrip("-").isdecimal() else float(raw)
                assert column.text(value) == cell, column.key


@each
def test_heads_tell_the_columns_apart(command: str) -> None:
    for table in tables(answer(command)):
        for names in (table.names, table.keys):
            assert len(set(names)) == len(names) and all(name and not name.startswith("[") for name in names)


def test_heads_that_say_nothing_take_the_key() -> None:
    columns = (
        Column("a", "x"),
        Column("b", "x"),
        Column("bandwidth", "[TB/s]"),
        Column("saved", "+/- [GiB]"),
        Column("more", "+/- [GiB]"),
        text_column("mark", ""),
        Column("n", "n [1]"),
    )
    names = Table(columns, ()).names
    assert names == ["a", "b", "bandwidth [TB/s]", "saved [GiB]", "more [GiB]", "mark", "n [1]"]


def test_machines_read_devices_as_numbers() -> None:
    """312 TFLOP/s and 80 GB cards, without prefixes and separators."""
    table = answer("list hardware --vendor nvidia")
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(WRITERS["csv"](table)))}
    card = rows["a100-sxm-80gb"]
    assert (card["bf16"], card["bandwidth"], card["watts"], card["fp8"]) == ("312000000000000", "2039000000000", "400", "")
    assert all(row["bf16"] == "" or float(row["bf16"]) > 1e12 for row in rows.values())


def test_comparisons_say_under_which_scenario() -> None:
    given = answer("compare gemma-4-e2b qwen3-8b -b 4 --kv-format fp8 --weight-format int8")
    (row, _) = csv.DictReader(io.StringIO(WRITERS["csv"](given)))
    assert (row["phase"], row["batch"], row["kv_format"], row["weight_format"]) == ("decode", "4", "fp8", "int8")
    result = CliRunner().invoke(app, ["compare", "gemma-4-e2b", "-b", "4", "--kv-format", "fp8"])
    assert "batch 4 · state fp8" in result.stderr and result.stdout.startswith("model\tctx\t")


def test_a_separated_format_says_that_it_has_one_table_of_several() -> None:
    result = CliRunner().invoke(app, ["fit", "llama-3.1-8b", "--on", "rtx-3060-12gb", "-c", "32K"])
    assert "the first of 2 tables" in result.stderr and result.stdout.startswith("context\t")


# -- digits -------------------------------------------------------------------------------------------------------------------------


def digits(cell: str) -> int:
    return len(cell.replace(".", "").lstrip("0"))


def test_numbers_of_a_column_have_the_same_digits() -> None:
    column = gib_column("bytes", "state")
    sizes = [Fraction(x) * GIB for x in (Fraction("0.0293"), Fraction("0.215"), Fraction("5.062"), Fraction("62.31"), 145)]
    assert [column.text(size) for size in sizes] == ["0.0293", "0.215", "5.06", "62.3", "145"]
    assert [measured(x) for x in (0, Fraction(1, 10**4), Fraction(1, 1000), Fraction(72, 10000), 9.996)] == [
        "0",
        "<0.001",
        "0.00100",
        "0.00720",
        "10.0",
    ]


@pytest.mark.parametrize("key", ["weight_bytes", "state_bytes", "traffic_bytes", "flops"])
def test_a_comparison_has_three_digits_in_every_row(key: str) -> None:
    given = tables(answer(COMMANDS[2]))[0]
    place = [column.key for column in given.columns].index(key)
    cells = [row[place] for row in given.body]
    assert {digits(cell) for cell in cells} == {3}, cells


def test_counts_stay_exact() -> None:
    assert count_column("n", "n").text(131_072) == "131,072"


# -- Markdown, HTML, LaTeX ----------------------------------------------------------------------------------------------------------

HARD = "50 % of _a_ & b|c {d} #1 ~x^2 $3 <tag> `q` C:\\d --flag"
TABLE = Table(
    (text_column("name", "na_me"), Column("value", "value [%]")),
    ({"name": HARD, "value": 1}, {"name": "[x]", "value": None}),
    ({"name": "total", "value": 1},),
    title="A & B, 100 %",
    notes=("see https://example.org/a_b?c=1&d=2, or (https://example.org/x).", "[x]: note_2"),
)


def test_latex_escapes() -> None:
    assert _tex(HARD) == (
        r"50 \% of \_a\_ \& b\textbar{}c \{d\} \#1 \textasciitilde{}x\^{}2 \$3 \textless{}tag\textgreater{} "
        r"\textasciigrave{}q\textasciigrave{} C:\textbackslash{}d -{}-flag"
    )
    assert _tex("1 · 2 × 3 µs") == r"1 $\cdot$ 2 $\times$ 3 $\mu$s"


def balanced(page: str) -> None:
    """No TeX is needed to see that braces and environments close, and that nothing but the first line is a comment."""
    bare = re.sub(r"\\[\\{}%&_#$^]", "", page)
    depth = 0
    for character in bare:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    opened: list[str] = []
    for what, name in re.findall(r"\\(begin|end)\{(\w+)\}", page):
        assert what == "begin" or opened.pop() == name
        opened += [name] if what == "begin" else []
    assert opened == []
    assert not re.search("(?m)^.+%|^%(?! needs )", bare)
    assert not re.search(r"\\\\\s*\n\s*[\[*]", page)


@each
def test_latex_closes_what_it_opens_and_comments_nothing_away(command: str) -> None:
    given = answer(command)
    page = WRITERS["latex"](given)
    balanced(page)
    for table in tables(given):
        columns = re.findall(r"\\begin\{tabular\}\{((?:[lr]|p\{[0-9.]+\\linewidth\})*)\}", page)
        assert len(table.columns) in [len(re.findall(r"[lr](?!i)|p\{", spec)) for spec in columns]
    for note in given.notes:
        assert _tex(note) in page
    assert _tex(given.title) in page


def test_a_latex_table_has_its_caption_and_notes_in_the_environment() -> None:
    page = WRITERS["latex"](TABLE)
    inside = page[page.index(r"\begin{table}") : page.index(r"\end{table}")]
    assert page.startswith("% needs \\usepackage{booktabs}\n") and r"\caption{A \& B, 100 \%}" in inside
    assert inside.index(r"\end{tabular}") < inside.index(r"\footnotesize") < inside.index(r"note\_2")
    assert r"{}[x] & - \\" in inside and r"{}[x]: note\_2" in inside
    balanced(page)


def test_a_document_in_latex_has_title_facts_and_notes() -> None:
    facts = Facts((("[a]", "1 & 2"),), "decode")
    page = WRITERS["latex"](Document("T_1", (facts, replace(TABLE, title="")), ("last",)))
    assert r"\subsection*{T\_1}" in page and r"\item[{[a]}] 1 \& 2" in page and r"\caption{T\_1, decode}" in page
    assert page.index("last\\par") < page.index(r"\end{table}")
    alone = WRITERS["latex"](Document("T", ("words",), ("last_1",)))
    assert r"last\_1\par" in alone and r"\begin{table}" not in alone
    balanced(page)
    balanced(alone)


def test_html_notes_are_a_list_with_links_that_work() -> None:
    page = WRITERS["html"](TABLE)
    assert _Cells(page).links == ["https://example.org/a_b?c=1&d=2", "https://example.org/x"]
    assert page.count("<li>") == 2 and '<a href="https://example.org/a_b?c=1&amp;d=2">' in page and "</a>)." in page
    assert "<caption>A &amp; B, 100 %</caption>" in page and "<tag>" not in page


def test_markdown_notes_are_footnotes_that_the_page_refers_to() -> None:
    for given in (TABLE, replace(TABLE, title=""), Document("T", (TABLE,), ("one", "two"))):
        page = WRITERS["md"](given)
        told = re.findall(r"(?m)^\[\^([^\]]+)\]: ", page)
        assert len(told) == 2 and re.findall(r"\[\^([^\]]+)\](?!:)", page) == told
    assert set(re.findall(r"\[\^[^\]]+\]", WRITERS["md"](TABLE))).isdisjoint(
        re.findall(r"\[\^[^\]]+\]", WRITERS["md"](replace(TABLE, title="Other")))
    )


# -- within a width -----------------------------------------------------------------------------------------------------------------


def terminal(given: Answer, monkeypatch: pytest.MonkeyPatch, width: int = 80) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.StringIO()
    show(given, out)
    return out.getvalue().split("\n")


@pytest.mark.parametrize("command", README)
def test_examples_of_the_readme_are_80_columns_wide(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = terminal(answer(command), monkeypatch)
    assert [line for line in lines if len(line) > 80] == []


def test_what_stands_in_the_readme_is_80_columns_wide() -> None:
    assert [line for _, shown in EXAMPLES for line in shown.splitlines() if len(line) > 80] == []


def test_a_table_a_little_too_wide_narrows_its_gaps_and_no_number() -> None:
    columns = (text_column("name", "name"), *(Column(f"n{place}", f"n{place}") for place in range(5)))
    table = Table(columns, ({"name": "a" * 10} | {f"n{place}": "12345" for place in range(5)},))
    for most, width in ((45, 45), (44, 44), (42, 42), (40, 40), (30, 40)):
        sheet = laid_out(table, most)
        assert sheet.width == width
        assert "".join(sheet.rows[0][0]).split() == ["a" * 10, *["12345"] * 5]
    assert "".join(laid_out(table, 44).rows[0][0]) == "a" * 10 + " 12345" + "  12345" * 4


def test_a_short_text_stays_on_its_line() -> None:
    """`does not fit` beside eight numbers."""
    numbers = tuple(Column(f"n{place}", f"n{place}") for place in range(8))
    row: dict[str, object] = {f"n{place}": "1234567" for place in range(8)} | {"mark": "does not fit"}
    sheet = laid_out(Table((*numbers, text_column("mark", "")), (row,)), 80)  # type: ignore[arg-type]
    assert len(sheet.rows[0]) == 1 and sheet.width <= 80


def test_long_words_break_after_marks() -> None:
    address = "https://github.com/ml-energy/leaderboard/blob/master/public/data/models/deepseek-ai__DeepSeek-R1-0528__gpqa.json"
    for width in (30, 45, 60, 76):
        lines = folded(f"see {address}, page 2", width)
        assert all(len(line) <= width for line in lines)
        assert address in "".join(line if line.endswith(tuple("".join(MARKS))) else line + " " for line in lines)
    assert folded(address, 76)[0] == "https://github.com/ml-energy/leaderboard/blob/master/public/data/models/"
    assert folded("  [1] one two three", 12) == ["  [1] one", "  two three"]
    assert folded("a\n\nb", 10) == ["a", "", "b"] and "".join(folded("x" * 25, 10)) == "x" * 25


def test_no_address_of_the_terminal_breaks_within_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = terminal(answer("verify deepseek-v3"), monkeypatch)
    starts = [place for place, line in enumerate(lines) if "https://" in line]
    assert len(starts) > 20
    for place in starts:
        if lines[place + 1].startswith("    ") and "https" not in lines[place + 1] and not lines[place].endswith(".md"):
            assert lines[place].endswith(tuple("".join(MARKS))), lines[place]


@each
def test_text_in_a_pipe_draws_no_rule_beyond_its_table(command: str) -> None:
    lines = WRITERS["text"](answer(command)).split("\n")
    for rule in (line for line in lines if line and not line.strip("-")):
        assert len(rule) <= TEXT_WIDTH or any(len(line) == len(rule) for line in lines if line != rule)
    for table in tables(answer(command)):
        if table.stacked:
            assert max(map(len, WRITERS["text"](replace(table, title="", notes=())).split("\n"))) <= TEXT_WIDTH


# -- columns, order, ratios ---------------------------------------------------------------------------------------------------------

MIXED = Table(
    (
        text_column("id", "id"),
        Column("size", "size [GiB]", str),
        Column("speed", "dev [tok/s]", str),
        Column("a_x", "x"),
        Column("b_x", "x"),
    ),
    (
        {"id": "b", "size": 10, "speed": 2.5, "name": "nine", "a_x": 1, "b_x": 2},
        {"id": "A", "size": 9, "speed": "no", "name": "ten", "a_x": 1, "b_x": 2},
        {"id": "c", "size": None, "speed": Fraction(10), "name": None, "a_x": 1, "b_x": 2},
        {"id": "d", "size": 100, "speed": None, "name": "one", "a_x": 1, "b_x": 2},
    ),
    ({"id": "all", "size": 119},),
    notes=("size: bytes; dev: at most", "always"),
    more=("name",),
)


def ids(table: Table) -> str:
    return "".join(str(row["id"]) for row in table.rows)


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("size", "Abdc"),
        ("-size", "dbAc"),
        ("size [GiB]", "Abdc"),
        ("SIZE", "Abdc"),
        ("speed", "bcAd"),
        ("-speed", "cbAd"),
        ("dev", "bcAd"),
        ("id", "Abcd"),
        ("-id", "dcbA"),
        ("name", "bdAc"),
        ("-name", "Adbc"),
        ("a_x", "bAcd"),
        ("-a_x,size", "Abdc"),
    ],
)
def test_order(sort: str, order: str) -> None:
    """Numbers as numbers (9 before 10), words after them, what is not known last, the largest first or not."""
    made = shaped(MIXED, sort=sort)
    assert ids(made) == order and made.footer == MIXED.footer and made.columns == MIXED.columns


def test_columns_by_key_head_and_words() -> None:
    made = shaped(MIXED, columns="dev, ID,size [GiB],name,size")
    assert [column.key for column in made.columns] == ["speed", "id", "size", "name"]
    assert made.body[0] == ["2.5", "b", "10", "nine"] and made.foot == [["-", "all", "119", "-"]]
    assert list(made.records()[0]) == ["speed", "id", "size", "name"]
    assert WRITERS["csv"](made).splitlines()[0] == "speed,id,size,name"


def test_an_unknown_column_is_answered_with_the_list() -> None:
    for given in ({"columns": "id,frob"}, {"sort": "-frob"}, {"columns": "id,"}):
        with pytest.raises(ScenarioError, match="no column") as refused:
            shaped(MIXED, **given)
        assert refused.value.hint == "columns: id, size, speed, a_x, b_x, name"
    with pytest.raises(ScenarioError, match="several columns are headed 'x'") as refused:
        shaped(MIXED, columns="x")
    assert refused.value.hint is not None and refused.value.hint.endswith("a_x, b_x")


def test_glosses_go_with_their_columns() -> None:
    assert shaped(MIXED).notes == MIXED.notes
    assert shaped(MIXED, columns="id,size").notes == ("size: bytes", "always")
    assert shaped(MIXED, columns="id").notes == ("always",)


def test_ratios_by_hand() -> None:
    columns = (text_column("m", "m"), Column("t", "t"), Column("n", "n [B]"), Column("best", "rel."), Column("s", "s [1/s]"))
    rows = (
        {"m": "a", "t": 1, "n": 6, "best": 1, "s": 2.0},
        {"m": "b", "t": 1, "n": 4, "best": 1, "s": "no"},
        {"m": "a", "t": 2, "n": 0, "best": 1, "s": None},
        {"m": "b", "t": 2, "n": 5, "best": 1, "s": 8.0},
    )
    to = Relative("m", "a", within=("t",), instead=("best",), note="over a")
    made = shaped(Table(columns, rows, notes=("rel.: over the best",)), relative_to=to)
    assert made.heads == ["m", "t", "n [x]", "s [x]"] and made.notes == ("over a",)
    assert made.body == [["a", "1", "1.00", "1.00"], ["b", "1", "0.667", "no"], ["a", "2", "-", "-"], ["b", "2", "-", "-"]]
    assert made.rows[1]["n_relative"] == Fraction(2, 3) and made.records()[1]["n"] == 4
    both = shaped(Table(columns, rows), columns="m,n,n_relative", sort="-n", relative_to=to)
    both = shaped(Table(columns, rows), columns="m,n,n_relative", sort="-n", relative_to=to)
    assert both.heads == ["m", "n [B]", "n [x]"] and [row["n"] for row in both.rows] == [6, 5, 4, 0]
    with pytest.raises(ScenarioError, match="no row of z"):
        shaped(Table(columns, rows), relative_to=Relative("m", "z"))


def test_a_comparison_relative_to_a_model() -> None:
    """At 128K Gemma 4 E2B keeps 811,597,824 bytes, Llama 3.1 8B 32 x 2 x 8 x 128 x 2 bytes for each of 131,072 tokens: 16 GiB."""
    command = "compare gemma-4-e2b llama-3.1-8b -c 128K --on h100-sxm --relative-to llama-3.1-8b"
    given, plain = answer(command), answer(command.partition(" --rel")[0])
    assert isinstance(given, Table) and isinstance(plain, Table)
    gemma, llama = given.rows
    assert gemma["state_bytes_relative"] == Fraction(811_597_824, 16 * GIB)
    cells = dict(zip(given.heads, given.body[0], strict=True))
    assert cells["state [x]"] == "0.0472" and dict(zip(given.heads, given.body[1], strict=True))["state [x]"] == "1.00"
    assert given.heads == [
        "model",
        "ctx",
        *(f"{name} [x]" for name in ("weights", "state", "B/token", "traffic", "work", "h100-sxm-80gb")),
    ]
    assert set(given.body[1][2:]) == {"1.00"}
    ours, theirs = plain.rows
    for key in ("weight_bytes", "state_bytes_per_token", "traffic_bytes", "flops", "h100-sxm-80gb"):
        assert float(gemma[f"{key}_relative"] or 0) == pytest.approx(float(ours[key] or 0) / float(theirs[key] or 0))  # type: ignore[arg-type]
        assert llama[f"{key}_relative"] == 1
    assert any("over llama-3.1-8b" in note for note in given.notes) and not any("rel.:" in note for note in given.notes)


def test_lists_and_comparisons_take_columns_and_order() -> None:
    models = answer("list models --sort -params --columns id,params")
    assert isinstance(models, Table)
    sizes = [row["parameters"] for row in models.rows]
    known = [size for size in sizes if isinstance(size, int)]
    assert known == sorted(known, reverse=True) and models.heads == ["id", "params"]
    assert sizes[len(known) :] == [None] * (len(sizes) - len(known))  # what is not known stands last
    devices = answer("list hardware --sort bandwidth --columns id,bandwidth")
    assert isinstance(devices, Table) and devices.heads == ["id", "bandwidth [TB/s]"]
    rates = [row["bandwidth"] for row in devices.rows]
    known = [rate for rate in rates if rate is not None]
    assert known == sorted(known, reverse=True) and rates[: len(known)] == known  # type: ignore[type-var]
    prices = answer("list hardware --sort price")
    assert isinstance(prices, Table)
    asked = [float(row["usd_per_hour"]) for row in prices.rows if row["usd_per_hour"] is not None]
    assert asked == sorted(asked) and prices.rows[-1]["usd_per_hour"] is None
    both = answer("compare gemma-4-e2b zaya1-8b llama-3.1-8b -c 4K,128K --sort context,-state")
    assert isinstance(both, Table)
    assert [(row["context"], row["model"]) for row in both.rows][:2] == [(4096, "llama-3.1-8b"), (4096, "zaya1-8b")]


@pytest.mark.parametrize(
    ("arguments", "says", "hint"),
    [
        ("compare gemma-4-e2b --columns frob", "no column 'frob'", "columns: model, context, weight_bytes"),
        ("compare gemma-4-e2b --sort -frob", "no column 'frob'", "state_bytes"),
        ("compare gemma-4-e2b qwen3-8b --relative-to llama-3.1-8b", "llama-3.1-8b is not among the models", "add it"),
        ("list hardware --sort frob", "no column 'frob'", "memory_bytes"),
        ("list attention --columns kind,frob", "no column 'frob'", "columns: kind, about"),
        ("list efficiency --sort frob", "no column 'frob'", "median"),
    ],
)
def test_refusals(arguments: str, says: str, hint: str) -> None:
    commands.load()
    with pytest.raises(ScenarioError, match=re.escape(says)) as refused:
        CliRunner().invoke(app, shlex.split(arguments), catch_exceptions=False)
    assert hint in str(refused.value.hint)
