r"""Tables and references are typeset by pdfLaTeX and BibTeX without errors and within the margins."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from musicreclass.comparison.citations import REFERENCES
from tests.run_factory import make_run

NOTES = [
    r"50%_&\x{#$}~^<>|`a`--b",
    "Cafe\u0301 華語 Björk",
    "several words that do not fit into a line of the table",
    "/a/path/with_a_very_long_name_without_any_blank.yaml",
]
DOCUMENT = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{booktabs}
\begin{document}
%s
\end{document}
"""
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("pdflatex") and shutil.which("bibtex")),
        reason="requires pdflatex and bibtex: apt-get install texlive-latex-base texlive-latex-recommended",
    ),
]


def typeset(folder: Path, content: str) -> str:
    """The log of pdfLaTeX."""
    (folder / "document.tex").write_text(DOCUMENT % content, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "document.tex"]
    for _ in range(2):  # for references to tables
        done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stdout.decode("utf-8", "replace")[-2000:]
    assert (folder / "document.pdf").read_bytes().startswith(b"%PDF")
    return (folder / "document.log").read_text(encoding="utf-8", errors="replace")


def test_tables_compile_and_fit(run, here):
    data = r"Café_華語 & 100 % #1 $x$ {~} ^ \y Đ"
    for seed in (0, 1, 2):
        make_run(here / "outputs", f"mlp{seed}", seed=seed, groups=30, right=0.8, data=data)
    for number, note in enumerate(NOTES):
        settings = {"hidden": "[256,128,64]", "note": note}
        make_run(here / "outputs", f"note{number}", groups=30, right=0.7 - 0.02 * number, settings=settings, data=data)
    make_run(here / "outputs", "leaky", model="svm", groups=30, leaky="yes", data=data)
    make_run(here / "outputs", "other", tracks="u", splits=("valid",))
    result = run("compare", "outputs", "--output", "t.tex")
    assert result.code == 0, result.err
    log = typeset(here, r"\input{t}")
    assert not re.search(r"Overfull|undefined|multiply defined|Missing character", log)


def test_references_compile(run, here):
    make_run(here / "outputs", "mlp", data="me@home{x, @article", groups=30)
    assert run("cite", "outputs", "--output", "runs.bib").code == 0
    entries = yaml.safe_load(REFERENCES.read_text(encoding="utf-8"))["entries"]
    assert "(at)home" in (here / "runs.bib").read_text(encoding="utf-8")
    (here / "all.bib").write_text("\n".join(entries.values()), encoding="utf-8")
    for name in ("runs", "all"):
        content = rf"Cited:\nocite{{*}}\bibliographystyle{{plain}}\bibliography{{{name}}}"
        typeset(here, content)
        done = subprocess.run(["bibtex", "document"], cwd=here, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
        assert "Warning" not in done.stdout
        log = typeset(here, content)
        assert not re.search(r"Citation.*undefined|Missing character", log)
        assert len(re.findall(r"\\bibitem", (here / "document.bbl").read_text())) >= (
            1 if name == "runs" else len(entries)
        )
