"""The article: its numbers are those of `estimate`, its page asks for nothing and sorts, and two runs give the same bytes."""

import csv
import json
import re
import shutil
import subprocess
import sys
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from kvcalc import catalog
from kvcalc.errors import ScenarioError
from kvcalc.ledger import ledger
from kvcalc.report.article import Asked, article, folder, write
from kvcalc.report.article.blocks import Article, Sheet
from kvcalc.report.article.page import cited, marked
from kvcalc.report.article.techniques import MODELS, TECHNIQUES
from kvcalc.report.article.words import times
from kvcalc.report.figures import Rig
from kvcalc.report.tables import estimate_json
from kvcalc.roofline import answer
from kvcalc.scenario import Scenario
from kvcalc.units import parse_contexts
from kvcalc.verify import verify
from kvcalc.whatif import MEANINGS, without

ARGUMENTS = ("-c", "4K,128K,1M", "--on", "h100-sxm,rtx-4090")
COMMAND = "import kvcalc.cli.commands.article; from kvcalc.cli import main; main()"
BROWSER = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
EMPTY = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", COMMAND, "article", *arguments], capture_output=True, text=True, timeout=600)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the command writes."""
    out = tmp_path_factory.mktemp("article") / "deep" / "out"
    done = command(str(out), *ARGUMENTS)
    assert done.returncode == 0 and done.stdout == "", done.stderr
    assert {line.removeprefix("wrote ") for line in done.stderr.splitlines()} <= {str(file) for file in out.rglob("*")}
    return out


@pytest.fixture(scope="module")
def composed() -> Article:
    """The same article, made in this process."""
    rigs = tuple(Rig(catalog.load_device(name)) for name in ARGUMENTS[3].split(","))
    return article(Asked(parse_contexts(ARGUMENTS[1]), rigs))


@pytest.fixture(scope="module")
def page(made: Path) -> str:
    return (made / "article.html").read_text(encoding="utf-8")


def rows(made: Path, name: str) -> list[dict[str, str]]:
    with (made / "data" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


# -- numbers ------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda each: each.key)
def test_tables_over_contexts_are_the_json_of_estimate(made: Path, technique) -> None:  # type: ignore[no-untyped-def]
    found = rows(made, f"{technique.key}-contexts")
    assert {row["model"] for row in found} == set(technique.models)
    for row in found:
        model, scenario = catalog.load_model(row["model"]), Scenario(context=int(row["context"]))
        totals = estimate_json(ledger(model, scenario))["totals"]
        for key in ("state_bytes", "state_bytes_per_token", "read_bytes", "written_bytes", "flops", "weight_bytes"):
            assert int(row[key]) == totals[key], (row["model"], key)
        assert int(row["traffic_bytes"]) == totals["read_bytes"] + totals["written_bytes"]
        bare = estimate_json(ledger(without(model, technique.trick), scenario))["totals"]
        assert int(row["state_bytes_without"]) == bare["state_bytes"] and int(row["flops_without"]) == bare["flops"]


def test_a_number_is_that_of_the_command(made: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kvcalc", "estimate", "gemma-4-e2b", "-c", "128K", "--on", "rtx-4090", "--format", "json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = json.loads(done.stdout)
    (state,) = [row for row in rows(made, "kv-sharing-contexts") if (row["model"], row["context"]) == ("gemma-4-e2b", "131072")]
    (speed,) = [row for row in rows(made, "kv-sharing-devices") if (row["model"], row["device"]) == ("gemma-4-e2b", "rtx-4090")]
    assert int(state["state_bytes"]) == said["totals"]["state_bytes"]
    assert float(speed["tokens_per_second"]) == said["device"]["tokens_per_second"]
    assert float(speed["joules_per_token"]) == said["device"]["joules_per_token"]
    assert float(speed["usd_per_million_tokens"]) == said["device"]["usd_per_million_tokens"]


@pytest.mark.parametrize("technique", TECHNIQUES, ids=lambda each: each.key)
def test_answers_of_devices_are_those_of_the_roofline(made: Path, technique) -> None:  # type: ignore[no-untyped-def]
    for row in rows(made, f"{technique.key}-devices"):
        model, device = catalog.load_model(row["model"]), catalog.load_device(row["device"])
        book = ledger(model, Scenario(context=int(row["context"])))
        one, many = answer(book, device), answer(book, device, int(row["devices"]))
        assert row["fits"] == ("yes" if one.fits else "no") and many.fits
        assert (row["devices"] == "1") == one.fits
        assert float(row["tokens_per_second"]) == many.tokens_per_second and int(row["needed_bytes"]) == many.needed_bytes


def test_every_claim_of_the_specs_stands_once_with_its_verdict(composed: Article) -> None:
    shown = Counter(
        (str(row["model"]), str(row["published"]), str(row["verdict"]), str(row["source"]))
        for block in composed.blocks
        if isinstance(block, Sheet) and block.name.endswith("claims")
        for row in block.table.rows
    )
    wanted = Counter(
        (
            name,
            f"{verdict.check.equals} {verdict.check.unit}".strip(),
            "agrees" if verdict.agrees else "differs",
            verdict.check.source,
        )
        for name in MODELS
        for verdict in verify(catalog.load_model(name), catalog.load_model)
    )
    assert shown == wanted


def test_techniques_name_what_exists() -> None:
    for technique in TECHNIQUES:
        assert technique.trick in MEANINGS
        for misreading in technique.misreadings:
            assert misreading.seen and misreading.sources


def test_hyper_connections_are_named_and_cost_traffic_rather_than_save_state(made: Path) -> None:
    text = (made / "article.md").read_text(encoding="utf-8")
    section = text[text.index('<a id="mhc">') : text.index('<a id="csa-hca">')]
    assert "manifold-constrained hyper-connections" in section and "multi-head compression" in section
    for row in rows(made, "mhc-contexts"):
        assert row["state_bytes"] == row["state_bytes_without"]
        assert int(row["traffic_bytes"]) > int(row["traffic_bytes_without"]) and int(row["flops"]) > int(row["flops_without"])


def test_a_small_cost_is_not_called_none() -> None:
    from fractions import Fraction

    assert times(Fraction(1)) == "1" and times(Fraction(10004, 10000)) == "1.0004" and times(Fraction(3, 7)) == "0.429"


# -- files --------------------------------------------------------------------------------------------------------------------------


def test_two_runs_give_the_same_bytes(made: Path, composed: Article, tmp_path: Path) -> None:
    """In two processes, as hashes differ from one to the next; and over what the command itself made before."""
    write(composed, tmp_path)
    write(composed, tmp_path)
    one, other = (
        {file.relative_to(at): file.read_bytes() for file in at.rglob("*") if file.is_file()} for at in (made, tmp_path)
    )
    assert list(one) and one.keys() == other.keys()
    assert [name for name in one if one[name] != other[name]] == []


def test_it_does_not_write_among_files_of_others(composed: Article, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine")
    with pytest.raises(ScenarioError, match="did not make"):
        write(composed, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]
    with pytest.raises(ScenarioError, match="not a folder"):
        write(composed, tmp_path / "letter.txt")
    folder._refuse(tmp_path, force=True)


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "article.md").write_text("somebody's own")
    done = command(str(tmp_path), *ARGUMENTS)
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 2 and "--force" in done.stderr


def test_markdown_links_to_what_is_there(made: Path) -> None:
    text = (made / "article.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(((?:figures|data)/[^)]+)\)", text)
    assert len(links) > 20 and all((made / link).is_file() for link in links)
    anchors = set(re.findall(r'<a id="([^"]+)">', text))
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) == anchors
    drawings = sorted((made / "figures").glob("*.svg"))
    assert drawings and all(file.with_suffix(".caption.md").is_file() for file in drawings)
    for line in text.splitlines():
        assert "{" not in line or line.startswith("|"), line


# -- the page -----------------------------------------------------------------------------------------------------------------------


class Reader(HTMLParser):
    """Checks that tags balance; gathers ids, and what the page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.fetched: list[str] = []
        self.used: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in EMPTY:
            self.open.append(tag)
        self._note(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(tag, attrs)

    def _note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            if name in ("src", "href", "xlink:href", "srcset", "data", "action") and tag != "a":
                self.fetched.append(value or "")
            if name in ("href", "aria-labelledby"):
                self.used += [value.removeprefix("#")] if value and (value.startswith("#") or name != "href") else []
            self.used += re.findall(r"url\(#([^)]+)\)", value or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, f"</{tag}> at {self.getpos()}"


def test_the_page_is_whole_and_fetches_nothing(page: str) -> None:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    assert [name for name, count in Counter(reader.ids).items() if count > 1] == []
    assert set(reader.used) <= set(reader.ids)
    assert [address for address in reader.fetched if not address.startswith(("#", "data:"))] == []
    style = "".join(re.findall(r"<style>(.*?)</style>", page, flags=re.S))
    assert "@import" not in style and "url(" not in style and "http" not in style
    assert "prefers-color-scheme:dark" in style and "@media print" in style


def test_cells_carry_raw_values(made: Path, page: str) -> None:
    table = page[page.index('id="table-kv-sharing-contexts"') :].partition("</table>")[0]
    for row in rows(made, "kv-sharing-contexts"):
        assert f'data-sort="{row["state_bytes"]}"' in table and f'data-sort="{row["flops"]}"' in table


def test_text_of_the_page_is_escaped() -> None:
    assert marked("a < b & `c<d>` **e&f** [g](https://h.example/?i=1&j=2)") == (
        'a &lt; b &amp; <code>c&lt;d&gt;</code> <strong>e&amp;f</strong> <a href="https://h.example/?i=1&amp;j=2">g</a>'
    )
    assert cited("A paper, https://h.example/i") == '<a href="https://h.example/i">A paper</a>'
    assert 'href="https://arxiv.org/abs/2510.04476"' in cited("CCA paper, arXiv:2510.04476, and a card")


PROBE = """
<script>
const table = document.querySelector("#table-techniques table");
const head = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent.startsWith("state"));
const values = () => [...table.tBodies[0].rows].map(row => Number(row.cells[head].dataset.sort));
const before = values();
const button = table.tHead.rows[0].cells[head].querySelector("button");
button.click();
const up = values();
const arrow = table.tHead.rows[0].cells[head].getAttribute("aria-sort");
button.click();
const down = values();
const measured = document.querySelector("#table-csa-hca-devices table");
measured.tHead.rows[0].cells[8].querySelector("button").click();
const last = [...measured.tBodies[0].rows].map(row => row.cells[8].textContent).at(-1);
const shown = [...document.querySelectorAll("figure svg")].filter(svg => svg.getBoundingClientRect().width > 0).length;
const room = document.documentElement;
const found = {before, up, down, arrow, last, shown, figures: document.querySelectorAll("figure").length,
  fetched: performance.getEntriesByType("resource").map(entry => entry.name).filter(name => !name.startsWith("data:")),
  over: room.scrollWidth - room.clientWidth};
const out = document.createElement("pre");
out.id = "found";
out.textContent = JSON.stringify(found);
document.body.append(out);
</script>
</body>
"""


@pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome to open the page with")
@pytest.mark.parametrize("width", [1280, 500])
def test_a_browser_without_network_opens_and_sorts_it(page: str, tmp_path: Path, width: int) -> None:
    file = tmp_path / "page.html"
    file.write_text(page.replace("</body>", PROBE), encoding="utf-8")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--enable-logging=stderr"]
    flags += [f"--window-size={width},900", "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([str(BROWSER), *flags, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout)
    assert text is not None, done.stderr[-2000:]
    found = json.loads(text[1])
    assert found["up"] == sorted(found["before"]) and found["down"] == found["up"][::-1] and found["arrow"] == "ascending"
    assert found["before"] != found["up"] and found["last"] == "-"
    assert found["shown"] == found["figures"] > 5
    assert found["fetched"] == [] and found["over"] <= 0


@pytest.mark.skipif(BROWSER is None, reason="no chromium, chromium-browser or google-chrome to open the page with")
def test_the_browser_test_can_fail(tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text('<!DOCTYPE html><meta charset="utf-8"><title>x</title><script>console.error("wrong")</script>')
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run([str(BROWSER), *flags, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=120)
    assert any("CONSOLE" in line for line in done.stderr.splitlines())
