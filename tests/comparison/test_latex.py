r"""`compare --output table.tex`: the LaTeX is well formed and has the scores of the tables. test_typesetting.py compiles it."""

from __future__ import annotations

import re

import pytest

from musicreclass.comparison.entries import read_runs
from musicreclass.comparison.render.latex import as_latex, breakable, escape_latex
from musicreclass.comparison.tables import build_tables
from musicreclass.comparison.wording import score_text
from musicreclass.runs.find import find_runs
from tests.run_factory import make_run

COMMANDS = {
    "begin", "end", "centering", "caption", "label", "ref", "toprule", "midrule", "cmidrule", "bottomrule", "multicolumn", "par",
    "smallskip", "footnotesize", "small", "raggedright", "setlength", "tabcolsep", "linewidth", "addlinespace", "allowbreak", "pm",
    "expandafter", "providecommand", "csname", "endcsname", "detokenize", "textasciigrave", "textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar",
    "ldots",
}  # fmt: skip


def check_latex(text: str) -> None:
    """Assert what LaTeX with booktabs requires of the text: known commands, balance, escapes, and cells for every column."""
    text = re.sub(r"(?<!\\)%.*", "", text)  # comments
    assert set(re.findall(r"\\([a-zA-Z]+)", text)) <= COMMANDS
    plain = re.sub(r"\\[^a-zA-Z]", "", text)  # escaped characters and line ends
    depth = 0
    for character in plain:
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    assert plain.count("$") % 2 == 0
    assert not re.search(r'[#_^~"<>|]', re.sub(r"~?\\(?:label|ref)\{[^}]*\}", "", plain))
    opened: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    text = re.sub(r"p\{0\.\d+\\linewidth\}", "p", text)
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", text, re.DOTALL):
        rows = re.sub(r"\\(?:top|mid|bottom)rule|\\addlinespace|\\cmidrule\(lr\)\{\d+-\d+\}", "", body).split(r"\\")
        assert not rows.pop().strip()
        for row in rows:
            cells = re.split(r"(?<!\\)&", row)
            spans = [re.match(r"\s*\\multicolumn\{(\d+)\}", cell) for cell in cells]
            assert sum(int(span[1]) if span else 1 for span in spans) == len(columns)
            assert not row.strip().startswith("[")  # would be taken for the argument of \\
        for first, last in re.findall(r"cmidrule\(lr\)\{(\d+)-(\d+)\}", body):
            assert 1 <= int(first) <= int(last) <= len(columns)
    assert "&" not in re.sub(r"\\begin\{tabular\}.*?\\end\{tabular\}", "", plain, flags=re.DOTALL)


@pytest.mark.parametrize(
    "text", [r"a_b & 50 % of #1 \ {x} $ ~ ^ <i> | \"q\" ± …", "\\input{secret}", "Björk", "line\nbreak"]
)
def test_names_are_escaped(text):
    escaped = escape_latex(text)
    check_latex(escaped.replace(r"\&", "and"))
    assert "\n" not in escaped
    assert r"\input" not in escaped


def test_accents_are_composed_and_ligatures_are_prevented():
    assert escape_latex("Cafe\u0301") == "Café"
    assert "--" not in escape_latex("a--b---c")
    assert escape_latex("\ufffd") == "?"


def test_long_words_can_be_broken_and_lose_nothing():
    text = "note=Cafe\u0301--averyveryverylongword_with/punctuation.yaml 50%"
    broken = breakable(text, 12)
    check_latex(broken)
    assert broken.replace(r"\allowbreak{}", "").replace("-{}-", "--") == escape_latex(text).replace("-{}-", "--")
    assert all(len(part) <= 14 for word in broken.split(" ") for part in word.split(r"\allowbreak{}"))
    assert breakable("short words", 12) == "short words"


def test_characters_that_pdflatex_lacks_are_defined_once(run, here):
    make_run(here / "outputs", "mlp", data="華語 Björk", groups=5, n=30)
    assert run("compare", "outputs", "--output", "t.tex").code == 0
    text = (here / "t.tex").read_text(encoding="utf-8")
    check_latex(text)
    assert re.findall(r"u8:\\detokenize\{(.)\}\\endcsname\{\[U\+(\w+)\]\}", text) == [("華", "83EF"), ("語", "8A9E")]


def test_a_file_has_the_scores_and_tests_of_each_table(run, here):
    for seed in (0, 1, 2):
        make_run(here / "outputs", f"mlp{seed}", seed=seed, groups=5, n=30, right=0.8, settings={"note": r"50%_&\x{"})
    make_run(here / "outputs", "logreg", model="logreg", groups=5, n=30, classes=("a_b", "c&d", "e%"), leaky="yes")
    make_run(here / "outputs", "svm", model="svm", groups=5, n=30)
    make_run(here / "outputs", "other", tracks="u", splits=("valid",))
    result = run("compare", "outputs", "--output", "t.tex")
    assert result.code == 0, result.err
    text = (here / "t.tex").read_text()
    tables = build_tables(read_runs(find_runs(here / "outputs"))[0])
    assert text == as_latex(tables)
    check_latex(text)
    assert text.count(r"\begin{table}") == len(tables) + sum(bool(table.pairs) for table in tables)
    labels = re.findall(r"\\label\{([^}]*)\}", text)
    assert len(set(labels)) == len(labels)
    assert set(re.findall(r"\\ref\{([^}]*)\}", text)) <= set(labels)
    for table in tables:
        for row in table.rows:
            for split in row.predictions:
                for metric in row.metrics:
                    score, _, interval = score_text(row, split, metric).partition(" [")
                    assert escape_latex(score) in text
                    assert f"[{interval}" in text


def test_a_broken_table_is_noticed():
    for broken in (
        r"\begin{table}",
        "50 _",
        r"\begin{tabular}{ll} a & b & c \\ \end{tabular}",
        "{",
        r"\includegraphics",
    ):
        with pytest.raises(AssertionError):
            check_latex(broken)
