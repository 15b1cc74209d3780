"""The HTML page of compare, as text and in a browser."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from tests.browser import browser, needs_browser
from tests.run_factory import make_run

MARKUP = "</script><script>document.title='hacked'</script><img src=x onerror=\"document.title='hacked'\">&amp;"
CONTROL = "'\"><b>bold</b>\x1b[31m\u202eevil"

TAGS = {
    "html", "head", "meta", "link", "title", "style", "script", "body", "main", "section", "h1", "h2", "h3", "h4", "p", "b", "i",
    "u", "br", "small", "span", "div", "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "a",
    "figure", "figcaption", "svg", "path",
}  # fmt: skip
ATTRIBUTES = {
    "lang", "charset", "name", "content", "http-equiv", "rel", "href", "class", "style", "title", "role", "tabindex", "scope",
    "colspan", "id", "open", "aria-label", "data-v", "data-down", "d", "viewbox", "preserveaspectratio",
}  # fmt: skip


class Elements(HTMLParser):
    """The elements and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs


@pytest.fixture
def page(run, here):
    """A page with five ranked rows, a leaky one and one with a random encoder; names and classes contain malicious text."""
    outputs, classes = here / "outputs", (MARKUP[:60], "jazz", CONTROL)
    for seed in range(3):
        make_run(outputs, f"mlp{seed}", seed=seed, right=0.8 + 0.02 * seed, groups=30, classes=classes)
        make_run(outputs, f"wide{seed}", seed=seed, settings={"hidden": 512}, right=0.74, groups=30, classes=classes)
    make_run(
        outputs, MARKUP.replace("/", "_"), model="svm", right=0.6, groups=30, classes=classes, settings={"C": MARKUP}
    )
    make_run(
        outputs,
        f"x{CONTROL}",
        model="svm",
        right=0.5,
        groups=30,
        classes=classes,
        settings={"C": "</style>{{7*7}}$style"},
    )
    make_run(outputs, "forest", model="forest", right=0.9, groups=30, classes=classes, splits=("valid",))
    make_run(outputs, "leak", model="leak", right=0.99, groups=30, classes=classes, leaky="yes")
    make_run(outputs, "drawn", model="cnn", settings={"checkpoint": "random"}, right=0.97, groups=30, classes=classes)
    result = run("compare", "outputs", "--output", "page.html")
    assert (result.code, result.err) == (0, "")
    assert "\x1b" not in result.out
    assert "\u202e" not in result.out
    return here / "page.html"


def test_the_page_is_self_contained_and_names_are_escaped(page):
    text = page.read_text(encoding="utf-8")
    parser = Elements()
    parser.feed(text)
    assert set(parser.tags) <= TAGS
    assert parser.tags.count("script") == parser.tags.count("style") == 1
    assert {name for name, _ in parser.attributes} <= ATTRIBUTES
    assert [value for name, value in parser.attributes if name == "href"] == ["data:,"]
    styles = {value for name, value in parser.attributes if name == "style"}
    assert all(re.fullmatch(r"--v:\d+|left:[\d.]+%(;width:[\d.]+%)?", value) for value in styles)
    assert not re.search(r"@import|url\(|https?://", text)
    assert not set(text) & set("\x1b\u202e")


@needs_browser
def test_in_a_browser(page, tmp_path):
    with browser(tmp_path) as window:
        window.emulate(1250)
        window.open(page)
        assert window.run("return document.title") == "Comparison of runs"
        assert (
            window.run("return document.querySelectorAll('img, script[src], link:not([href=\"data:,\"])').length") == 0
        )
        rows = "[...document.querySelectorAll('table.sortable')[0].tBodies].map(b => [...b.rows].map(r => r.cells[1]?.innerText.split('\\n')[0] ?? ''))"
        ranked, unranked = window.run(f"return {rows}")
        assert [name.split()[0] for name in ranked] == ["forest", "mlp", "mlp", "svm", "svm"]
        assert [name.split()[0] for name in unranked[1:]] == ["cnn", "leak"]  # the first row contains the reason
        text = window.run("return document.body.innerText")
        assert "</script><script>document.title='hacked'" in text
        assert "{{7*7}}$style" in text
        assert window.run("return document.querySelectorAll('.plot u').length") == 2 * (7 + 6)
        assert window.run("return document.querySelectorAll('.matrices table').length") == 7 + 6
        assert (
            len(
                window.run(
                    "return [...document.querySelectorAll('.heat td')].map(c => getComputedStyle(c).backgroundColor).filter((c, i, all) => all.indexOf(c) === i)"
                )
            )
            > 10
        )

        head = "[...document.querySelectorAll('table.sortable')[0].tHead.rows[0].cells]"
        column = window.run(
            f"return {head}.findIndex(h => h.innerText.includes('test') && h.innerText.includes('macro-F1'))"
        )
        window.run(f"{head}[{column}].querySelector('button').click()")
        values = (
            f"[...document.querySelectorAll('table.sortable')[0].tBodies[0].rows].map(r => r.cells[{column}].dataset.v)"
        )
        descending = window.run(f"return {values}")
        assert descending[-1] is None  # scored on validation only: last in both directions
        numbers = [float(value) for value in descending[:-1]]
        assert numbers == sorted(numbers, reverse=True)
        assert window.run(f"return {head}[{column}].getAttribute('aria-sort')") == "descending"
        assert [name.split()[0] for name in window.run(f"return {rows}")[1][1:]] == [
            "leak",
            "cnn",
        ]  # sorted within their block
        window.run(f"{head}[{column}].querySelector('button').click()")
        ascending = window.run(f"return {values}")
        assert (ascending[:-1], ascending[-1]) == (descending[-2::-1], None)

        light = window.run("return getComputedStyle(document.body).backgroundColor")
        window.emulate(1250, dark=True)
        window.open(page)
        assert window.run("return getComputedStyle(document.body).backgroundColor") != light
        window.emulate(390)
        window.open(page)
        assert window.run("return document.documentElement.scrollWidth") <= 390
        assert window.messages() == []

        window.emulate(1250, javascript=False)
        window.open(page)
        script = "[document.querySelectorAll('thead button').length, document.querySelector('table').getBoundingClientRect().height]"
        result = window.devtools("Runtime.evaluate", expression=script, returnByValue=True)["result"]["value"]
        assert result[0] == 0
        assert result[1] > 200


def test_learning_curves_are_drawn_for_runs_with_a_history(run, here):
    rows = [{"epoch": k, "train/loss": 2 / (k + 1), "valid/loss": 3 / (k + 1)} for k in range(400)]
    for seed in (0, 1):
        folder = make_run(here / "o", f"mlp{seed}", seed=seed, provenance={"model": {"best_epoch": 99}})
        pd.DataFrame(rows).to_csv(folder / "history.csv", index=False)
    damaged = make_run(here / "o", "cnn", model="cnn")
    (damaged / "history.csv").write_text("epoch,valid/loss\nx,\n")
    assert run("compare", "o", "--output", "page.html").code == 0
    parser = Elements()
    parser.feed((here / "page.html").read_text(encoding="utf-8"))
    assert parser.tags.count("svg") == 1
    paths = [value for name, value in parser.attributes if name == "d"]
    assert len(paths) == 2 * 3  # training, validation and the best epoch of each seed
    assert {len(re.findall("[ML]", path)) for path in paths} == {1, 150}


def test_settings_are_columns_if_they_fit_and_otherwise_below_the_name(run, here):
    def texts(**settings: str) -> tuple[str, str]:
        outputs = here / "-".join(settings)
        for number in range(2):
            values = {name: f"{value}{number}" for name, value in settings.items()}
            make_run(outputs, f"a{number}", model="svm", settings=values)
        assert run("compare", str(outputs), "--output", "page.html").code == 0
        table = (here / "page.html").read_text(encoding="utf-8").split("<table")[1].split("</table")[0]
        return re.sub("<[^>]+>", " ", table), table

    text, table = texts(C="x")
    assert table.count('class="setting"') == 3
    assert "C=x0" not in text
    text, table = texts(**{f"long{i}": "value" * 8 for i in range(4)})
    assert 'class="setting"' not in table
    assert text.count("long0=") == 2


@pytest.mark.slow
@needs_browser
def test_a_usual_sweep_fits_the_page(run, here, tmp_path):
    for number in range(12):
        settings = {"hidden": 64 * number, "dropout": 0.1 + number}
        make_run(here / "o", f"mlp{number}", lr=0.001 * (number + 1), settings=settings, right=0.5 + 0.03 * number)
    make_run(here / "o", "other", data="gtzan", tracks="u")
    assert run("compare", "o", "--output", "page.html").code == 0
    with browser(tmp_path) as window:
        window.emulate(1280)
        window.open(here / "page.html")
        overflow = "[...document.querySelectorAll('.scroll')].map(box => box.scrollWidth - box.clientWidth)"
        assert max(window.run(f"return {overflow}")) == 0
        links = window.run(
            "return [...document.querySelectorAll('#overview a')].map(a => !!document.querySelector(a.hash))"
        )
        assert links == [True, True]
        assert window.run("return document.querySelectorAll('section td.setting').length") == 3 * 12
