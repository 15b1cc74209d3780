"""The pages of the documentation, their links and their commands."""

from __future__ import annotations

import glob
import re
import shlex
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = [
    README,
    *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md", "experiments/README.md", "benchmarks/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
GENERATED = {ROOT / "docs" / "reference" / name for name in ("configuration.md", "command_line.md")}  # by tools/site
LINK = re.compile(r"\]\((?!https?:|mailto:)(?P<path>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")
BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"^\|[^|\n]*\| `(musicreclass [^`]*)` \|", re.MULTILINE)


def name(page: Path) -> str:
    """The path of a page in the repository."""
    return page.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings."""
    text = BLOCK.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {re.sub(r"[ -]+", "-", heading).strip("-") for heading in plain}


def lines(page: Path) -> list[str]:
    """The commands of a page in order: lines of code blocks, continued lines joined, and the second column of tables."""
    text = page.read_text(encoding="utf-8")
    blocks = "".join(match[1] for match in BLOCK.finditer(text)).replace("\\\n", " ")
    commands = [line for line in blocks.splitlines() if line.startswith("musicreclass ")]
    return [*commands, *(match[1] for match in CELL.finditer(text))]


def arguments(command: str) -> list[str]:
    """The arguments of a command, as a shell passes them: without comments, patterns replaced by files."""
    parts = shlex.split(command, comments=True)[1:]
    return [path for word in parts for path in (sorted(glob.glob(word)) if "*" in word else []) or [word]]
