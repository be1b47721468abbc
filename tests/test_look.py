"""How the pages look and work: measured in a browser at three widths, in both themes, on paper and by keyboard."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import logs, wait
from msgspec.structs import replace
from sample_run import hostile_run, members, sample_run, small_history, small_run, step_run

from flopledger.counters.tally import Part
from flopledger.reports.documents.run import Run
from flopledger.reports.pages import html

AXE = (Path(__file__).parent / "vendor" / "axe.min.js").read_text(encoding="utf-8")
SEVEN = ["thop", "torchsummaryX", "ptflops-pytorch", "ptflops-aten", "fvcore", "torchinfo", "torch"]


def enlarged(run: Run, times: int = 1, names: list[str] = SEVEN) -> Run:
    """The same model so many times side by side, and its counters again under these names."""

    def copies(site: str) -> list[str]:
        return [f"copy{n}.{site}" if n else site for n in range(times)]

    entries = [replace(entry, site=site) for entry in run.ledger.entries for site in copies(entry.site)]
    totals = {quantity: total * times for quantity, total in run.ledger.totals.items()}
    ledger = replace(run.ledger, entries=entries, totals=totals, members=members(entries, run.model.params * times))
    tallies = []
    for name, tally in zip(names, [*run.counted()] * len(names), strict=False):
        parts = [replace(part, site=site) for part in tally.parts for site in copies(part.site)]
        rows = [row for row in tally.rows for _ in range(times)]
        where = replace(tally.verified, sites=tally.verified.sites * times, agree=tally.verified.agree * times)
        total = (tally.total or 0) * times
        tallies.append(replace(tally, counter=name, total=total, parts=parts, rows=rows, verified=where))
    return replace(run, ledger=ledger, tallies=tallies)


RUNS: dict[str, Callable[[], Run]] = {
    "seven counters": lambda: enlarged(sample_run()),
    "a residual": lambda: sample_run(extra={"thop": (Part("features.0.0", None, 77),)}),
    "unpriced, a step": step_run,
    "hostile": hostile_run,
    "small": small_run,
    "nobody": lambda: sample_run(counters=0),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All pages, written once."""
    place = tmp_path_factory.mktemp("pages")
    for name, run in RUNS.items():
        (place / f"{name}.html").write_text(html.render(run()), encoding="utf-8")
    (place / "history.html").write_text(html.history(small_history()), encoding="utf-8")
    return place


@pytest.fixture
def screen(browser: Any) -> Iterator[Callable[..., None]]:
    """Sets the width, the theme of the system and the medium; all is as before afterwards."""

    def set_to(width: int, theme: str = "light", medium: str = "") -> None:
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": theme}]
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": medium, "features": features})

    yield set_to
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def get(browser: Any, folder: Path, name: str, pair: str = "") -> None:
    browser.get("about:blank")
    browser.get((folder / f"{name}.html").as_uri() + pair)


# Every text as it is seen: clipped by the boxes that scroll. What is cut elsewhere, lies over another text or breaks a
# number in two is a fault. A heading that stays while its table scrolls may lie over rows that are out of sight.
MEASURE = r"""
const faults = [], seen = [];
const wide = document.documentElement.scrollWidth;
if (wide > innerWidth) faults.push(`the page is ${wide} wide`);
for (const details of document.querySelectorAll('details')) details.open = true;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const range = document.createRange();
for (let node; (node = walker.nextNode());) {
  const box = node.parentElement;
  if (!node.data.trim() || box.closest('script, select, option, [popover]') || !box.checkVisibility()) continue;
  const stays = box.closest('.tall thead, .tall tfoot');
  for (const match of node.data.matchAll(/[−+]?\d{1,3}(?:,\d{3})+/g)) {
    range.setStart(node, match.index);
    range.setEnd(node, match.index + match[0].length);
    if (new Set([...range.getClientRects()].map((rect) => rect.top)).size > 1) faults.push(`broken: ${match[0]}`);
  }
  range.selectNodeContents(node);
  for (const rect of range.getClientRects()) {
    let { left, right, top, bottom } = rect;
    for (let outer = box; outer; outer = outer.parentElement) {
      const { overflowX, overflowY } = getComputedStyle(outer);
      if (overflowX === 'visible' || outer === document.documentElement || outer === document.body) continue;
      const clip = outer.getBoundingClientRect();
      if (overflowX === 'hidden' && right > clip.right + 1) faults.push(`cut: ${node.data.trim()}`);
      [left, right] = [Math.max(left, clip.left), Math.min(right, clip.left + outer.clientWidth)];
      [top, bottom] = [Math.max(top, clip.top), Math.min(bottom, clip.top + outer.clientHeight)];
    }
    if (left < -1 || right > innerWidth + 1) faults.push(`off the page: ${node.data.trim()}`);
    if (right - left > 1 && bottom - top > 1 && !stays) seen.push({ left, right, top, bottom, node });
  }
}
seen.sort((a, b) => a.top - b.top);
seen.forEach((a, i) => {
  for (let j = i + 1; j < seen.length && seen[j].top < a.bottom - 4; j++) {
    const b = seen[j];
    if (a.node !== b.node && Math.min(a.right, b.right) - Math.max(a.left, b.left) > 2) {
      faults.push(`overlap: ${a.node.data.trim()} | ${b.node.data.trim()}`);
    }
  }
});
return [seen.length, [...new Set(faults)].slice(0, 9)];
"""


@pytest.mark.parametrize("name", [*RUNS, "history"])
def test_no_text_is_cut_broken_or_lies_over_another(browser: Any, folder: Path, screen: Any, name: str) -> None:
    """At 400 px totals were cut at a comma, and printed tables lost their columns."""
    for width, medium in ((1400, ""), (800, ""), (400, ""), (703, "print")):
        screen(width, medium=medium)
        get(browser, folder, name)
        if medium == "print":  # what goes on broad paper is in the PDF of another test
            browser.execute_script("for (const id of ['layers', 'conventions']) document.getElementById(id)?.remove()")
        seen, faults = browser.execute_script(MEASURE)
        assert seen > 20 and [] == faults, (width, medium)


@pytest.mark.parametrize("name", ["small", "unpriced, a step", "nobody", "history"])
def test_an_accessibility_checker_finds_no_serious_fault(browser: Any, folder: Path, screen: Any, name: str) -> None:
    """Contrast, names, landmarks, order of headings: axe-core knows more of these than we do."""
    script = """
        const [rules, done] = arguments;
        document.querySelectorAll('details').forEach(found => { found.open = true; });
        axe.run({ resultTypes: ['violations'], preload: false, ...rules }).then(found => done([
            found.passes.length, found.violations
            .filter(fault => ['serious', 'critical'].includes(fault.impact) || /heading|landmark|region/.test(fault.id))
            .map(fault => [fault.id, fault.nodes.slice(0, 3).map(node => node.html + node.failureSummary)])]));
    """
    contrast = {"runOnly": ["color-contrast"]}  # nothing else depends on the theme
    for theme, rules, at_least in (("light", {}, 15), ("dark", contrast, 1)):
        screen(1400, theme)
        get(browser, folder, name)
        browser.execute_script(AXE)
        passed, faults = browser.execute_async_script(script, rules)
        assert passed >= at_least and [] == faults, theme


def test_every_control_is_reached_and_used_by_keyboard(browser: Any, folder: Path, screen: Any) -> None:
    """Sort headers could be clicked and not reached; who has no mouse could not read the table."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def press(*keys: str) -> None:
        ActionChains(browser).send_keys(*keys).perform()

    def focus(selector: str) -> Any:
        return browser.execute_script("const f = document.querySelector(arguments[0]); f.focus(); return f;", selector)

    screen(1400)
    get(browser, folder, "a residual")
    # Each control in turn, as Tab goes; the outline shows where one is.
    controls = browser.execute_script("""
        return [...document.querySelectorAll('a[href], button, select, input, summary, .scroll')]
            .filter(found => found.checkVisibility()).map((found, i) => found.dataset.control = `${i}`);
    """)
    reached = set()
    for _ in range(len(controls) + 3):
        press(Keys.TAB)
        at, outline = browser.execute_script(
            "const at = document.activeElement; return [at.dataset.control, getComputedStyle(at).outlineStyle];"
        )
        if at is not None:
            reached.add(at)
            assert outline != "none", at
    assert set(controls) == reached

    focus("[data-row='0']")
    press(Keys.ARROW_LEFT)
    assert browser.execute_script("return document.querySelectorAll('.layers tbody tr').length") == 1
    press(Keys.ENTER)
    assert browser.execute_script("return document.activeElement.ariaExpanded") == "true"
    press(Keys.ARROW_DOWN)
    assert browser.execute_script("return document.activeElement.textContent") == "features"
    focus("#view-list")
    press(Keys.SPACE)
    focus(".sort")
    press(Keys.ENTER)
    assert browser.execute_script("return document.activeElement.parentElement.ariaSort") == "ascending"
    focus("#first")
    press(Keys.END, Keys.HOME)  # one of the two changes it
    assert browser.execute_script("return location.hash").startswith("#")
    term = focus("#pair-lines .term")
    press(Keys.ENTER)
    meaning = browser.execute_script("return document.querySelector(':popover-open').textContent")
    assert term.text.rstrip("s") in meaning
    press(Keys.ESCAPE)
    focus("#say summary")
    press(Keys.ENTER)
    assert browser.execute_script("return document.querySelector('#say details').open")


def test_the_pair_is_in_the_address(browser: Any, folder: Path) -> None:
    """Whoever finds a difference sends it to somebody else; the link has to show it."""
    get(browser, folder, "seven counters", "#thop-ptflops-aten")
    chosen = "return [...document.querySelectorAll('#first, #second')].map(f => f.selectedOptions[0].text)"
    assert ["thop", "ptflops-aten"] == browser.execute_script(chosen)
    assert "thop − ptflops-aten" in browser.find_element("id", "pair-lines").text
    browser.find_element("id", "swap").click()
    assert browser.execute_script("return location.hash") == "#ptflops-aten-thop"
    browser.execute_script("location.hash = '#torchinfo-torch'")
    wait(browser, "return document.getElementById('pair-lines').textContent.includes('torchinfo − torch')")
    get(browser, folder, "seven counters", "#nobody-thop")
    assert browser.execute_script(chosen)[0] != "nobody"
    assert [] == logs(browser)[0]


def test_the_tree_of_modules_adds_up_on_the_page(browser: Any, folder: Path) -> None:
    """What a reader adds up are the numbers that stand there, folded or not."""
    get(browser, folder, "seven counters")
    script = """
        const select = document.getElementById('depth');
        select.value = arguments[0];
        select.dispatchEvent(new Event('change', { bubbles: true }));
        return [...document.querySelectorAll('.layers tbody tr')].map(row => [
            Number(row.cells[0].style.getPropertyValue('--depth')), row.cells[0].textContent,
            ...[...row.cells].slice(3).map(cell => cell.textContent)]);
    """
    for depth in ("1", "2", "3"):
        rows = browser.execute_script(script, depth)
        numbers = [[int(cell.replace(",", "")) for cell in (row[2], row[3], *row[5:])] for row in rows]
        assert 1_034_229_632 == numbers[0][1] and len(numbers[0]) == 2 + len(SEVEN)
        for i, (level, *_) in enumerate(rows):
            until = next((j for j in range(i + 1, len(rows)) if rows[j][0] <= level), len(rows))
            inner = [numbers[j] for j in range(i + 1, until) if rows[j][0] == level + 1]
            if inner:  # the sample's parameters are all the root's own
                assert numbers[i][1:] == [sum(column) for column in zip(*inner, strict=True)][1:], rows[i]
    browser.find_element("id", "site-filter").send_keys("features.18.1")
    wait(browser, "return document.getElementById('shown').textContent === '4 of 214 rows'")
    found = browser.execute_script("return [...document.querySelectorAll('.layers tbody th')].map(f => f.textContent)")
    assert ["mobilenet_v2", "features", "18", "1"] == found


@pytest.mark.parametrize("name", ["seven counters", "twenty counters"])
def test_on_paper_no_column_is_cut_and_all_is_light(browser: Any, folder: Path, screen: Any, name: str) -> None:
    """Printed, the table of layers had 15 rows without numbers, and the dark theme was grey paper."""
    import pypdf

    if name not in RUNS:
        run = enlarged(sample_run(), names=[f"counter-{n}" for n in range(20)])
        (folder / f"{name}.html").write_text(html.render(run), encoding="utf-8")
    screen(1400, "dark")
    get(browser, folder, name)
    browser.find_element("id", "theme").click()
    browser.find_element("id", "theme").click()  # chosen by hand now, and dark
    expected = browser.execute_script(
        "return [...document.querySelectorAll('.layers tbody td.n')].map(f => f.textContent)"
    )
    paper = browser.execute_cdp_cmd("Page.printToPDF", {"preferCSSPageSize": True, "printBackground": True})
    pages = pypdf.PdfReader(io.BytesIO(base64.b64decode(paper["data"]))).pages
    printed: list[str] = []
    for page in pages:
        width, height = float(page.mediabox.width), float(page.mediabox.height)
        assert {round(width), round(height)} == {595, 842}

        def note(text: str, cm: list[float], tm: list[float], *_: Any, width: float = width) -> None:
            printed.append(text)
            if text.strip():
                x = tm[4] * cm[0] + cm[4]
                assert 20 < x < width - 20, text

        page.extract_text(visitor_text=note)
    words = " ".join("".join(printed).split())
    assert len(expected) > 100
    for number in {text for text in expected if "," in text}:
        assert number in words, number
    screen(703, "dark", "print")
    colours = "const s = getComputedStyle(document.documentElement); return [s.backgroundColor, s.color]"
    assert ["rgb(255, 255, 255)", "rgb(29, 33, 39)"] == browser.execute_script(colours)


@pytest.mark.alone
def test_a_page_of_twenty_thousand_sites_opens_in_three_seconds(browser: Any, folder: Path) -> None:
    """A large model is where one needs the page most; 12 MB still go into a mail."""
    run = enlarged(sample_run(), 133)
    assert len({entry.site for entry in run.ledger.entries}) > 20_000
    page = html.render(run)
    assert len(page.encode()) <= 12_000_000
    (folder / "large.html").write_text(page, encoding="utf-8")
    opening = []
    for _ in range(2):
        browser.get("about:blank")
        start = time.perf_counter()
        browser.get((folder / "large.html").as_uri())
        wait(browser, "return !document.getElementById('filters').hidden")
        opening.append(time.perf_counter() - start)
    assert min(opening) < 3, opening
    browser.find_element("id", "view-list").click()
    browser.find_element("id", "more").click()
    assert browser.execute_script("return document.querySelectorAll('.layers tbody tr').length") == 1200


def test_the_page_of_mobilenet_v2_is_small(folder: Path) -> None:
    """It was 1.5 MB, most of it other people's scripts."""
    assert (folder / "seven counters.html").stat().st_size < 400_000
    data = re.search(r'id="data">(.*?)</script>', (folder / "seven counters.html").read_text(encoding="utf-8"), re.S)
    assert data and len(json.loads(data[1])["layers"]["counters"]) == 7
