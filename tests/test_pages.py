"""The report pages: what they say, that they add up, that names cannot break them, and in a browser."""

from __future__ import annotations

import contextlib
import io
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from html.parser import HTMLParser
from itertools import permutations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cmarkgfm
import pytest
from browsing import logs, wait
from cmarkgfm.cmark import Options
from markdown_it import MarkdownIt
from msgspec.structs import replace
from sample_run import (
    CONVENTIONS,
    KERNEL,
    assembled,
    everywhere,
    hostile_run,
    sample_run,
    small_history,
    small_run,
    step_run,
    tally_of,
)

from flopledger.counters.tally import Part
from flopledger.reference_model.ledger import Ledger
from flopledger.reports.documents.baseline import snapshot
from flopledger.reports.documents.reading import encode
from flopledger.reports.documents.run import Run
from flopledger.reports.drift import drift
from flopledger.reports.pages import (
    analysis,
    charts,
    drift_words,
    files,
    history_words,
    html,
    markdown,
    numbers,
    pair_words,
    paper,
    tables,
    words,
)
from flopledger.reports.pages.blocks import (
    Block,
    Code,
    Column,
    Fold,
    Heading,
    Link,
    Loud,
    Note,
    Paragraph,
    Point,
    Table,
)  # fmt: skip
from flopledger.reports.pages.files import pages
from flopledger.reports.pages.html import script_json
from flopledger.reports.pages.layers import layers
from flopledger.reports.pages.lines import of_pair
from flopledger.reports.pages.page import of_run
from flopledger.reports.pages.terminal import Format, show

ROOT = Path(__file__).parent.parent
LEFT_OVER, MUCH = (Part("features.0.0", None, amount) for amount in (77, 77_000_000))


@pytest.fixture(scope="module")
def run() -> Run:
    return sample_run()


@pytest.fixture(scope="module")
def hostile() -> Run:
    return hostile_run()


def rows_under(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading of the Markdown, without its two head rows."""
    lines = page.split(f"## {heading}\n", 1)[1].splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("|"))
    table: list[list[str]] = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip(" *") for cell in line.strip("|").split("|")])
    return table[2:]


def integer(cell: str) -> int:
    return int(cell.replace("−", "-").replace(",", ""))


# --- words


def test_neither_names_relu6_and_the_residual_adds(run: Run) -> None:
    """Issue 2 asks that a reader is told, in words, why ReLU6 and the adds play no part."""
    said = pair_words.neither(run.between("thop", "torchsummaryX"), run)
    assert "activation (ReLU6; 21,058,752 elements at 35 sites)" in said
    assert "residual or element-wise add (746,304 elements at 10 sites)" in said
    assert "because neither counter charges for them" in said


def test_sentences_carry_sign_formulas_and_reasons(run: Run) -> None:
    """A line without its formulas and reasons is a number that the reader must take on trust."""
    said = pair_words.sentences(run.between("thop", "torchsummaryX"))
    assert said[0] == (
        "+92,113,632 from batch norm at 52 sites (verified at each): thop charges 4·outputs = 92,130,688 "
        "(subtract, divide, scale and shift each element); torchsummaryX charges weights = 17,056 "
        "(one per weight, whatever the size of the map)."
    )
    assert len(said) == 2


def test_nothing_left_over_is_said_with_the_number_of_sites(run: Run) -> None:
    """The residual is printed always, also when it is zero."""
    said = pair_words.leftover(run.between("thop", "torchsummaryX"))
    assert said.startswith("Nothing is left over: residual 0, the formulas hold at 151 of 151 sites")


def test_a_residual_comes_first_and_loud_on_both_pages() -> None:
    """A report that explains all but a part must not let the reader miss that part."""
    run = sample_run(extra={"thop": (MUCH,)})
    found = pair_words.leftover(run.between("thop", "torchsummaryX"))
    assert found.startswith("LEFT OVER: residual +77,000,000") and "features.0.0" in found
    files = pages(run)
    first = files["report.md"].split("\n\n")[1]
    assert first.startswith("**NOT EVERYTHING IS EXPLAINED") and "+77" in first
    lead = files["report.html"].split('<p class="lead">', 1)[1].split("</p>", 1)[0]
    assert "NOT EVERYTHING IS EXPLAINED" in lead and "+77" in lead


def test_a_small_residual_comes_first_and_is_no_alarm() -> None:
    """4,608 in 7 G raised the alarm of 40 %, so that nobody looked when it was 40 %; its share and cause are said."""
    small, much = (sample_run(extra={"thop": (left,)}) for left in (LEFT_OVER, MUCH))
    said = words.left(small)
    assert {str} == set(map(type, said)) and {Loud} == set(map(type, words.left(much)))
    assert "A SMALL RESIDUAL: 3 pairs of 6" in said[0] and "+77 between" in said[0]
    assert "less than 0.1 % of the larger total" in said[0] and "(+77, less than 0.1 % of its total)" in said[1]
    assert "(+77,000,000, 6.3 % of its total)" in words.anything_left(much)
    assert pages(small)["report.md"].split("\n\n")[1].startswith("A SMALL RESIDUAL")
    lead = pages(small)["report.html"].split('<p class="lead">', 1)[1].split("</p>", 1)[0]
    assert lead.startswith("A SMALL RESIDUAL") and "alarm" not in lead


def test_a_residual_is_given_with_what_the_counter_said_of_it() -> None:
    """The sentence that explains a residual was a warning at line 227 of the page, and in `explain` nowhere."""
    run = small_run()
    for text in (words.anything_left(run), pair_words.leftover(run.between("thop", "narrow"), run)):
        assert "it says: a warning" in text
    long = replace(run, tallies=[replace(tally, warnings=["x" * 1500]) for tally in run.tallies])
    assert "x … (" in words.anything_left(long).replace("xx", "x") and len(words.anything_left(long)) < 1500


def test_only_what_is_wrong_is_loud() -> None:
    """One sentence on an operation without a price made the whole first paragraph bold, the good news too."""
    run = sample_run()
    entries = [*run.ledger.entries, KERNEL]
    ledger = Ledger(model="m", inputs=["1x3x8x8"], params=1, entries=entries)
    said = words.left(assembled(ledger, [(tally_of(CONVENTIONS[0], ledger), CONVENTIONS[0])]))
    assert [Loud] == list(map(type, said)) and "UNPRICED" in said[0].text  # type: ignore[union-attr]
    both = words.left(assembled(ledger, [(tally_of(each, ledger), each) for each in CONVENTIONS[:2]]))
    assert [Loud, str] == list(map(type, both)) and "Of what the counters do count" in both[1]  # type: ignore[operator]


def test_errors_that_cancel_are_still_said() -> None:
    """Two wrong formulas can leave a residual of 0; that is not the same as being right."""
    run = sample_run(extra={"thop": (LEFT_OVER,), "torchsummaryX": (LEFT_OVER,)})
    found = run.between("thop", "torchsummaryX")
    assert found.residual == 0
    assert "cancel" in pair_words.leftover(found) and "features.0.0" in pair_words.leftover(found)
    assert "The stated formulas fail" in pages(run)["report.md"].split("\n\n")[1]


def test_the_waterfall_has_a_bar_for_the_residual() -> None:
    """A chart that silently swallows what is unexplained would say that all is explained."""
    found = sample_run(extra={"thop": (LEFT_OVER,)}).between("thop", "torchsummaryX")
    assert [step["amount"] for step in charts.waterfall_steps(found) if step["kind"] == "residual"] == [77]


def test_the_waterfall_leads_from_one_total_to_the_other(run: Run) -> None:
    """Its steps are the table's lines, signs and all: they must take the right total to the left one exactly."""
    for found in run.pairs():
        left, right = run.tally(found.left).total, run.tally(found.right).total
        assert left is not None and right is not None
        assert right + sum(step["amount"] for step in charts.waterfall_steps(found)) == left
        shown = {step["amount"] for step in charts.waterfall_steps(found)}
        assert shown <= {line.difference for line in found.lines} | {found.residual}


def test_many_lines_share_the_last_step(run: Run) -> None:
    """A waterfall of fifty bars says nothing, but its tail must not be lost either."""
    found = run.between("thop", "torchsummaryX")
    line = found.lines[0]
    many = type(found)(left="a", right="b", difference=30 * line.difference, residual=0, lines=[line] * 30)
    steps = charts.waterfall_steps(many)
    assert len(steps) == charts.STEPS
    assert sum(step["amount"] for step in steps) == many.difference


def test_paper_sentence_says_what_the_number_is(run: Run) -> None:
    """A number without unit, shape, batch, counter and version cannot be compared with another."""
    said = paper.paper_sentence(run, run.tally("thop"))
    for fact in ("1.127 GMACs", "1,126,577,920", "1×3×416×416", "batch size 1", "thop 1.2.3", "4·outputs"):
        assert fact in said


def test_latex_row_is_escaped(run: Run, hostile: Run) -> None:
    """An unescaped underscore or percent sign in a model's name breaks the reader's document."""
    row = paper.paper_latex(run, None)
    assert row.startswith(r"mobilenet\_v2 & $1\times3\times416\times416$ & 1 & ") and row.endswith(r" \\")
    for tally in (None, *hostile.counted()):
        bare = re.sub(r"\\[{}&%$#_\\]", "", paper.paper_latex(hostile, tally))
        assert len(re.findall("&", bare)) == paper.LATEX_COLUMNS.count("&")
        assert not re.search(r"[#%~^<>\n]", bare)


def test_recommended_prefers_pure_macs(run: Run) -> None:
    """The one number that all counters share is what a paper should print."""
    said = paper.recommended(run)
    assert said is not None
    assert "1,034,229,632 MACs" in said and "torch_flop_counter reports exactly twice it" in said


def test_a_step_is_called_a_step_and_its_phases_are_told_apart() -> None:
    """A backward costs twice a forward: who reads `one forward pass` above the sum of both is misled threefold."""
    run = step_run()
    files = pages(run)
    assert "one forward pass" not in files["report.md"] + re.sub(r"<(script|style).*?</\1>", "", files["report.html"])
    assert "small at 1×3×64×64 (one training step, forward and backward)" in words.headline(run)
    assert "for one training step, forward and backward on an input" in paper.paper_sentence(run, None)
    table = of_pair(run.between("torch_flop_counter", "only"))
    assert {"convolution (backward)", "linear layer (backward)", "one MAC is two FLOPs", "residual", "sum"} <= {
        row[0] for row in table.rows
    }
    assert "convolution (backward)" in " ".join(pair_words.sentences(run.between("torch_flop_counter", "only")))
    pinned = next(tally for tally in snapshot(run).tallies if tally.name == "torch_flop_counter")
    assert {"forward", "backward"} == {line.phase for line in pinned.lines}


def test_an_input_that_nobody_gave_is_in_the_first_paragraph() -> None:
    """resnet50 at 416 by 416 was a number that nobody had asked for, and nobody saw."""
    run = step_run()
    said = "No input was given, so it is the model's own: 1x3x64x64 (as it says)."
    assert words.by_default(run) == said
    for text in (pages(run)["report.md"].split("\n\n")[1], Elements(pages(run)["report.html"]).text):
        assert said in text.replace("\\", "")


def test_totals_that_agree_against_their_formulas_are_no_agreement() -> None:
    """A difference of 0 beside a residual of −524,288 looked like a sum that does not add up; each side has its own."""
    run = step_run()
    pair = next(pair for pair in analysis.pairs(run) if {pair.left, pair.right} == {"thop", "only"})
    assert (0, True) == (pair.difference, pair.residual != 0)
    assert pair.explained + pair.residual == pair.difference and (0, -pair.residual) == pair.off
    row = next(row for row in rows_under(pages(run)["report.md"], "Is anything left over?") if row[0] == "thop − only")
    amounts = [pair.difference, pair.in_macs, pair.explained, *pair.off, pair.residual]
    assert amounts == [integer(cell.lstrip("+")) for cell in row[1:]]
    said = pair_words.leftover(run.between("thop", "only"))
    assert f"the totals differ by 0, by their formulas it would be {numbers.signed(pair.explained)}" in said
    assert "residual" in words.anything_left(run)


def test_a_known_deviation_is_named_wherever_its_failure_is() -> None:
    """What is known still fails: the residual stays, and a reader sees that it is no new fault."""
    run = step_run()
    assert "dice at 1 of 4 sites (+5, less than 0.1 % of its total; known: it throws dice)" in words.anything_left(run)
    said = pair_words.leftover(run.between("thop", "dice"))
    assert "(known: it throws dice)" in said and "LEFT OVER" in said
    for page in pages(run).values():
        assert page.startswith("<svg") or page.count("it throws dice") > 1
    assert "it throws dice" in encode(run).decode()


# --- Markdown


def test_the_difference_table_adds_up(run: Run) -> None:
    """A golden page with a wrong total would pass a text comparison; this reads the numbers back."""
    *lines, total = rows_under(pages(run)["report.md"], "Which lines make up the difference?")
    assert len(lines) >= 3
    assert ["residual", "sum"] == [lines[-1][0], total[0]]
    for column in (3, 4, 5):
        assert sum(integer(line[column]) for line in lines) == integer(total[column])
    assert all(integer(row[3]) - integer(row[4]) == integer(row[5]) for row in (*lines, total))


def test_the_layer_table_adds_up_to_every_total(run: Run) -> None:
    """Each counter's column in the per-layer table is its tally: nothing lost, nothing twice."""
    rows = rows_under(pages(run)["report.md"], "Layer by layer")
    sums = [sum(integer(row[column]) for row in rows) for column in range(2, 2 + 1 + 4)]
    assert sums == [analysis.macs(run), *(tally.total for tally in run.counted())]


def test_counters_without_a_number_are_listed_with_their_reason(run: Run) -> None:
    """Absence from the table would read as if the counter had not been asked."""
    page = pages(run)["report.md"]
    said = {row[0]: row[2] for row in rows_under(page, "What does each counter say?")}
    assert ("unavailable", "failed") == (said["fvcore"], said["ptflops"])
    assert "- fvcore, unavailable: not installed: pip install fvcore\n" in page
    assert "- ptflops, failed: RuntimeError: it crashed\n" in page


def test_hostile_names_keep_every_markdown_table_whole(hostile: Run) -> None:
    """A pipe or a newline in a site's name must not become a column or a row (issue 2, item 7)."""
    page = pages(hostile)["report.md"]
    width = 0
    for before, line in zip(["", *page.splitlines()], page.splitlines(), strict=False):
        if line.startswith("|"):
            assert line.endswith("|")
            width = line.count("|") if not before.startswith("|") else width
            assert line.count("|") == width
    outside = re.sub(r"^(`{3,})latex\n.*?^\1$", "", page, flags=re.M | re.S)
    assert set(re.findall(r"<[^>]*>?", outside)) <= {
        "<details>",
        "</details>",
        "<summary>",
        "</summary>",
        "<br>",
    }
    assert not re.search(r"[\x00-\x09\x0b-\x1f\u2028\u2029]", page)


# Text that is something to Markdown, to GitHub's dialect of it, or to the pages that show it.
MARKED = """\
http://a.example/x https://a.example HTTPS://A.EXAMPLE ftp://a.example (www.a.example) *www.a.example* WWW.A.EXAMPLE
user@host.example mailto:user@host.example xmpp:user@host.example/x http&#58;//a.example user&#64;host.example
<http://a.example> <user@host.example> [x](http://a.example) [x][1] [x] [^1] [^1]:x ![x](http://a.example/p.png) ! ![x]
a|b a||b |a| | `code` ``two`` ` ~~gone~~ ~x~ **bold** *em* __bold__ _em_ a_b_c a__b **x
<b> <!-- --> </details> <script> <br> <img/src=x> <?x?> <![CDATA[ &amp; &lt;b&gt; & \\ \\| \\` \\[x](y) $x$ $$ $`x`$
:smile: :+1: @mention @org/team #123 !123 GH-1 owner/repo#1 - {{7*7}} http://a|www.b.example`x@y.example http://a`
""".splitlines()
MARKED += """
# ## #heading 1. 1) 1.x - + * > >x = === --- *** ___ ~~~ ``` -- :---: |---| [1]:http://a.example <!--
</details> <script> http://a.example` \u202e \x1b[31m
""".split()
MARKED += ["# heading", "  # heading", "heading ##", "1. one", "- one", "* * *", "    indented", "\tindented",
           "[ ] task", "a\nb", "a\n\n# b", "\r\n\r\n- b", "a\n===", "\x0bhttp://a.example", "| a |\n|---|"]  # fmt: skip


def github(page: str) -> str:
    """What GitHub's own Markdown makes of a page; raw HTML stays, so that it is seen."""
    return str(cmarkgfm.github_flavored_markdown_to_html(page, Options.CMARK_OPT_UNSAFE))


def markdown_it(page: str) -> str:
    """The same by the parser of Jupyter and of editors, addresses made links as code-hosting pages do."""
    parser = MarkdownIt("gfm-like", {"html": True, "linkify": True})
    assert parser.linkify is not None
    parser.linkify.set({"fuzzy_link": False})
    return str(parser.render(page))


class Elements(HTMLParser):
    """Collects the tags of a page, its text outside of code, and the attributes that could run or fetch something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.risky: list[tuple[str, str | None]] = []
        self.text, self.plain, self.code = "", "", 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.code += tag == "code"
        self.risky += [(k, v) for k, v in attrs if k.startswith("on") or (k in ("src", "href", "srcset"))]

    def handle_endtag(self, tag: str) -> None:
        self.code -= tag == "code"

    def handle_data(self, data: str) -> None:
        self.text += data
        self.plain += "" if self.code else data

    def handle_comment(self, data: str) -> None:
        self.tags.append("comment")


@cache
def told(text: str) -> dict[str, str]:
    """Every Markdown that is made of documents in which all strings have `text` at both ends."""
    found = everywhere(small_history(), text)
    cheaper = replace(CONVENTIONS[0], rules=CONVENTIONS[0].rules[1:])
    old, new = (everywhere(snapshot(run), text) for run in (small_run(), small_run(cheaper)))
    blocks = {"history": history_words.blocks(found), "drift": drift_words.blocks(drift(old, new))}
    printed = {name: "".join(as_markdown(block) for block in said) for name, said in blocks.items()}
    return {
        "report.md": files.text(everywhere(small_run(), text)),
        "releases.md": files.text(found),
        **printed,
    }


def as_markdown(block: Block) -> str:
    """What `--format markdown` prints of it."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        show([block], Format.markdown)
    return out.getvalue()


def structure(found: Elements) -> list[str]:
    return [tag for tag in found.tags if tag != "code"]


@pytest.mark.parametrize("parse", [github, markdown_it], ids=lambda parse: parse.__name__)
def test_no_text_of_a_document_is_markdown(parse: Callable[[str], str]) -> None:
    """A name, a reason, a date that becomes a link, a picture or a heading speaks in the report's own voice."""
    plain = {name: structure(Elements(parse(page))) for name, page in told("plain").items()}
    for text in MARKED:
        for name, page in told(text).items():
            found = Elements(parse(page))
            assert plain[name] == structure(found), (text, name)
            assert " ".join(numbers.visible(text).split()) in " ".join(found.text.split()), (text, name)


def test_no_text_of_a_document_is_made_a_link_after_markdown() -> None:
    """GitHub and GitLab turn what is left as text into links, mentions and pictures, whatever escaped it."""
    looked_for = r"://|www\.|@\w|\w@|#\d|GH-\d|:(?:smile|\+1):"
    for text in MARKED:
        for name, page in told(text).items():
            assert not re.search(looked_for, Elements(github(page)).plain, re.IGNORECASE), (text, name)


@pytest.mark.parametrize(
    "text",
    [
        "macs / batch",
        "4·outputs",
        "thop/vision/basic_hooks.py:24 count_convNd",
        "-5",
        "1.2.3",
        "features.0.0",
        "torch 2.14.0+cpu",
        "a_b",
        "file.py:make",
        "100 %",
        "x @ y",
        "v1.0",
    ],
)
def test_ordinary_text_is_as_it_was(text: str) -> None:
    """A source or a formula that is full of backslashes is no longer read."""
    assert text.replace("@", "&#64;") == markdown.escape(text)


def test_pictures_are_xml_whatever_a_document_says() -> None:
    """A viewer shows nothing at all of an SVG with one character too many; the date of an upload was enough."""
    text = "]]> <b x='\"'> &amp; & \x00\x0b\x1b\ufffe\uffff\u202e <!-- <?x ?>"
    run, found = everywhere(small_run(), text), everywhere(small_history(), text)
    pair = analysis.most_different(run)
    assert pair
    for spec in (charts.totals_spec(run), charts.waterfall_spec(pair, 7), charts.history_spec(found)):
        drawn = ElementTree.fromstring(charts.to_svg(spec))
        tags = {element.tag.rpartition("}")[2] for element in drawn.iter()}
        assert tags <= {"svg", "g", "path", "text", "defs", "clipPath", "rect", "line", "tspan"}
        assert text.split()[1] in " ".join(drawn.itertext()) or spec["height"] == 320


def test_a_code_block_cannot_be_closed_from_inside() -> None:
    """A model's name may hold more backticks than a fence usually has."""
    assert markdown.fenced("a ```` b", "latex").startswith("`````latex\n")


# --- HTML without a browser


def test_hostile_names_add_no_element_to_the_html(hostile: Run) -> None:
    """Whatever a site is called, the page's elements are the template's (issue 2, item 7)."""
    found = Elements(pages(hostile)["report.html"])
    assert found.tags.count("script") == 2
    assert "img" not in found.tags
    assert all(key == "href" and value and value.startswith(("#", "data:")) for key, value in found.risky)


def test_no_text_of_a_document_is_html_or_turns_it_round() -> None:
    """Templates escape and make printable by themselves: a date, a status, a version that nobody thought of."""
    found: dict[str, list[Elements]] = {}
    for text in ("plain", "<b onclick=x>\x1b[31m\u202e\x7f\u200b</main>"):
        for name, page in (
            ("run", html.render(everywhere(small_run(), text))),
            ("history", html.history(everywhere(small_history(), text))),
        ):
            shown = re.sub(r"<(script|style|svg).*?</\1>", "", page, flags=re.S)
            data = re.search(r'id="data">(.*?)</script>', page, flags=re.S)
            assert data and all(line.isprintable() for line in (*shown.split("\n"), data[1]))
            found.setdefault(name, []).append(Elements(shown))
    for plain, hostile in found.values():
        assert plain.tags == hostile.tags and plain.risky == hostile.risky


def test_script_json_cannot_leave_its_element() -> None:
    """The data block is the one place where names stand outside HTML's own escaping."""
    text = script_json(["</script>", "<!--", "&amp;", "\u2028"])
    assert not set(text) & set("<>&\u2028\u2029")


def test_the_page_reads_without_scripts(run: Run) -> None:
    """Mail clients and previews show no script; totals, lines and sentences must still be there."""
    page = re.sub(r"<script.*?</script>", "", pages(run)["report.html"], flags=re.S)
    for text in (
        "1,126,577,920",
        "−1,034,212,576",
        "Neither counts: activation (ReLU6",
        "\\times416",
        'class="bar"',
        "drawn by the page's script, which has not run. Its rows are in <code>run.json</code>",
    ):
        assert text in page


@pytest.mark.parametrize("counters", [0, 1])
def test_pages_with_too_few_counters(counters: int) -> None:
    """With nothing to compare there is still a report that says so."""
    files = pages(sample_run(counters=counters))
    assert "nothing to compare" in files["report.md"] and "nothing to compare" in files["report.html"]
    assert ("totals.svg" in files) == bool(counters) and "waterfall.svg" not in files


def test_a_model_with_thousands_of_sites_says_what_it_leaves_out() -> None:
    """The Markdown lists the largest layers only, and must not hide that."""
    run = sample_run(repeat=20)
    assert len(layers(run)) == 20 * 151
    assert f"The {tables.LAYERS} largest of 3,020 rows" in files.text(run)


def test_integers_beyond_javascript_stay_exact() -> None:
    """JSON numbers above 2^53 are rounded by every browser."""
    from flopledger.reports.pages.numbers import integer as crossing

    assert (crossing(2**53 - 1), crossing(2**53 + 1)) == (9007199254740991, "9007199254740993")


def test_the_html_draws_every_block_of_the_page_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new section is one function that adds blocks; a renderer that knows only today's sections would lose it."""
    section: list[Block] = [
        Heading("A new section", 2, "new"), "a sentence <b>", Paragraph(["quiet", Loud("loud")]), Point("a point"),
        Link("a source", "https://example.invalid/x"), Note("a note"),
        Table([Column("name"), Column("amount", True)], [["row", "1,234"]]), Code("first\nsecond", "python"),
        Fold("folded", ["inside", Heading("small", 3), "under it"]), Heading("also small", 3), Point("the last"),
    ]  # fmt: skip
    monkeypatch.setattr(html, "of_run", lambda run: [*of_run(run), *section])
    page = html.render(small_run())
    text = Elements(page).text
    for said in ("A new section", "a sentence <b>", "quiet", "loud", "a point", "a source", "a note", "amount", "1,234",
                 "first\nsecond", "folded", "inside", "small", "under it", "also small", "the last"):  # fmt: skip
        assert said in text, said
    assert '<section id="new"' in page and 'href="#new"' in page and "https://example.invalid/x" in page


def texts(blocks: Sequence[Block]) -> Iterator[str]:
    """All that a page model says, but for what the HTML page draws by itself."""
    for block in blocks:
        if isinstance(block, str):
            yield block
        elif isinstance(block, Paragraph):
            yield from (said.text if isinstance(said, Loud) else said for said in block.sentences)
        elif isinstance(block, Table):
            yield from (cell for row in [[c.heading for c in block.columns], *block.rows] for cell in row)
        elif isinstance(block, Fold):
            yield from (block.summary, *texts(block.blocks))
        elif isinstance(block, Heading | Point | Note):
            yield block.text


@pytest.mark.parametrize("which", ["plain", "hostile", "step"])
def test_the_html_says_what_the_page_model_says(run: Run, hostile: Run, which: str) -> None:
    """One page model, four renderers: nothing that Markdown says is missing here."""
    chosen = {"plain": run, "hostile": hostile, "step": step_run()}[which]
    text = " ".join(Elements(html.render(chosen)).text.split())
    for said in texts(of_run(chosen)):
        assert " ".join(numbers.visible(said).split()) in text, said


# --- the same bytes


def test_rendering_is_byte_identical_and_needs_no_torch(run: Run, tmp_path: Path) -> None:
    """`render` must reproduce a page elsewhere, later, without torch (issue 2, item 4)."""
    (tmp_path / "run.json").write_bytes(encode(run))
    code = (
        "from pathlib import Path; from flopledger.reports.pages.files import pages\n"
        "from flopledger.reports.documents.run import read\n"
        "run = read(Path('run.json')); pages(run)\n"
        "for name, text in pages(run).items(): Path(name).write_text(text, encoding='utf-8')\n"
        "sys.exit('torch is loaded' if 'torch' in sys.modules else 0)"
    )
    path = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    subprocess.run([sys.executable, "-c", path + code], cwd=tmp_path, check=True, timeout=120)
    here = pages(run)
    assert here == pages(run)
    for name, text in here.items():
        assert (tmp_path / name).read_bytes() == text.encode()


# --- in a browser


def opened(browser: Any, run: Run, folder: Path) -> Any:
    """The page of a run in the browser, drawn."""
    for name, text in pages(run).items():
        (folder / name).write_text(text, encoding="utf-8")
    browser.get((folder / "report.html").as_uri())
    wait(browser, "return !document.getElementById('filters').hidden")
    if len(run.counted()) > 1:
        wait(browser, "return !document.getElementById('pick').hidden")
    return browser


def choose(browser: Any, select: str, label: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(browser.find_element("id", select)).select_by_visible_text(label)


def shown(browser: Any, selector: str) -> str:
    return str(browser.execute_script("return document.querySelector(arguments[0]).textContent", selector))


def test_choosing_a_pair_changes_waterfall_and_table(browser: Any, run: Run, tmp_path: Path) -> None:
    """Any pair, not only the default one, must be explained on the page (issue 2, item 8)."""
    page = opened(browser, run, tmp_path)
    assert "+92,331,232" in shown(page, "#pair-lines")
    choose(page, "first", "torchsummaryX")
    choose(page, "second", "torch_flop_counter")
    wait(page, "return document.getElementById('pair-lines').textContent.includes('−1,034,212,576')")
    choose(page, "first", "thop")
    choose(page, "second", "torchsummaryX")
    wait(page, "return document.getElementById('waterfall').textContent.includes('+92,113,632')")
    assert "+92,331,232" in shown(page, "#pair-lines")
    chart = shown(page, "#waterfall")
    assert "1,126,577,920" in chart and "1,034,246,688" in chart
    assert page.find_element("id", "floor").is_displayed()
    assert "ReLU6" in shown(page, "#pair-reasons")


def test_exchanging_the_pair_turns_every_sign(browser: Any, run: Run, tmp_path: Path) -> None:
    """Both directions are offered, and choosing one counter twice gives a pair again."""
    page = opened(browser, run, tmp_path)
    page.find_element("id", "swap").click()
    wait(page, "return document.getElementById('pair-lines').textContent.includes('−92,331,232')")
    choose(page, "second", "torchsummaryX")
    wait(page, "return document.getElementById('pair-lines').textContent.includes('+92,331,232')")


UNEXPLAINED = {"thop": (LEFT_OVER,), "torchinfo": (Part("features.18.0", None, 5), Part("nowhere", None, 7))}


@pytest.mark.parametrize("which", ["plain", "hostile", "unexplained", "step"])
def test_the_page_says_of_every_pair_what_the_terminal_says(
    browser: Any, run: Run, hostile: Run, tmp_path: Path, which: str
) -> None:
    """The page computes its pairs itself; two reconcilers that drift apart would be worse than none."""
    chosen = {"plain": run, "hostile": hostile, "unexplained": sample_run(extra=UNEXPLAINED), "step": step_run()}[which]
    page = opened(browser, chosen, tmp_path)
    counted = chosen.counted()
    script = """
        document.getElementById('first').value = arguments[0];
        document.getElementById('second').value = arguments[1];
        document.getElementById('first').dispatchEvent(new Event('change'));
        const texts = (selector) => [...document.querySelectorAll(selector)].map((found) => found.textContent);
        return [texts('#pair-reasons p, #pair-reasons li'), texts('#pair-lines th, #pair-lines td'),
                texts('#waterfall .name'), texts('#waterfall .value')];
    """
    for (i, left), (j, right) in permutations(enumerate(counted), 2):
        said, cells, names, values = page.execute_script(script, str(i), str(j))
        found = chosen.between(left.name, right.name)
        table = of_pair(found)
        assert [column.heading for column in table.columns] + [c for row in table.rows for c in row] == cells
        reasons = pair_words.sentences(found) or ["No line contributes: the two totals are made of the same amounts."]
        assert [pair_words.leftover(found, chosen), pair_words.neither(found, chosen), *reasons] == said
        bars = charts.waterfall_rows(found, right.total or 0)
        assert [(row["label"], row["text"]) for row in bars] == list(zip(names, values, strict=True))


def column(browser: Any, heading: str) -> list[str]:
    """The cells of the table of layers under a heading."""
    script = """
        const table = document.querySelector('#layer-table table');
        const at = [...table.tHead.rows[0].cells].findIndex(cell => cell.textContent.startsWith(arguments[0]));
        return [...table.tBodies[0].rows].map(row => row.cells[at].textContent);
    """
    return [str(cell) for cell in browser.execute_script(script, heading)]


def test_the_layer_table_sorts_and_filters(browser: Any, run: Run, tmp_path: Path) -> None:
    """Finding the layer that differs is what the table is for (issue 2, item 8)."""
    page = opened(browser, run, tmp_path)
    page.find_element("id", "view-list").click()
    before = column(page, "site")
    page.find_element("xpath", "//button[@class='sort'][text()='thop']").click()
    assert page.execute_script("return document.querySelector('[aria-sort=descending]').textContent") == "thop"
    amounts = [integer(cell) for cell in column(page, "thop")]
    assert amounts == sorted(amounts, reverse=True) and column(page, "site") != before
    page.find_element("id", "site-filter").send_keys("features.18")
    wait(page, "return document.getElementById('shown').textContent === '3 of 151 rows'")
    assert set(column(page, "site")) == {"features.18.0", "features.18.1", "features.18.2"}
    choose(page, "op-filter", "batch norm")
    wait(page, "return document.getElementById('shown').textContent === '1 of 151 rows'")
    assert column(page, "site") == ["features.18.1"]
    page.find_element("id", "site-filter").clear()
    choose(page, "op-filter", "activation")
    page.find_element("id", "differ-filter").click()
    wait(page, "return document.getElementById('shown').textContent === '0 of 151 rows'")


def test_the_paper_sentence_follows_the_chosen_counter(browser: Any, run: Run, tmp_path: Path) -> None:
    """The reader picks whose number to print and copies one sentence, not a list."""
    page = opened(browser, run, tmp_path)
    choose(page, "paper-of", "thop")
    visible = [box.text for box in page.find_elements("css selector", ".paper") if box.is_displayed()]
    assert len(visible) == 1 and "as counted by thop 1.2.3" in visible[0]


def test_the_theme_can_be_changed(browser: Any, run: Run, tmp_path: Path) -> None:
    """Light and dark are both designed; the reader may overrule the system."""
    page = opened(browser, run, tmp_path)
    script = "return getComputedStyle(document.documentElement).backgroundColor"
    light = page.execute_script(script)
    page.find_element("id", "theme").click()
    assert page.execute_script(script) != light


@pytest.mark.parametrize("which", ["plain", "hostile", "one", "none"])
def test_no_error_and_no_request(browser: Any, run: Run, hostile: Run, tmp_path: Path, which: str) -> None:
    """The file works offline: nothing is fetched, nothing fails, no name runs (issue 2, items 7 and 8)."""
    chosen = {"plain": run, "hostile": hostile, "one": sample_run(counters=1), "none": sample_run(counters=0)}
    logs(browser)
    page = opened(browser, chosen[which], tmp_path)
    if which in ("plain", "hostile"):
        page.find_element("id", "swap").click()
        page.find_element("id", "differ-filter").click()
    assert page.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert page.execute_script("return window.broken === undefined")
    assert page.execute_script("return document.querySelectorAll('img, main script, b b').length") == 0
    errors, asked = logs(page)
    assert errors == []
    assert asked == [(tmp_path / "report.html").as_uri()]
