"""Hooks of mkdocs: adds the generated pages, and the files outside of docs/ that pages link to."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from tools.site.command_line import command_line_page
from tools.site.configuration import configuration_page

ROOT = Path(__file__).resolve().parents[2]
LINK = re.compile(r"(?<=\]\()(?P<path>[^)#\s:]+)(?P<anchor>#[^)\s]*)?(?=\))")
OUTSIDE = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "experiments/**/README.md",
    "benchmarks/README.md",
    "examples/**/README.md",
)
GENERATED = {"reference/configuration.md": configuration_page, "reference/command_line.md": command_line_page}


def outside_pages() -> dict[str, str]:
    """The pages of the site that are stored outside of docs/, by their path in the repository."""
    paths = [path.relative_to(ROOT).as_posix() for pattern in OUTSIDE for path in sorted(ROOT.glob(pattern))]
    return {path: "index.md" if path == "README.md" else f"project/{path.lower()}" for path in paths}


def on_files(files: Files, config: Any) -> Files:
    """Add the generated pages, those outside of docs/, and the other files that pages link to."""
    pages = outside_pages()
    for name, write in GENERATED.items():
        files.append(File.generated(config, name, content=write()))
    for source, name in pages.items():
        text = relinked((ROOT / source).read_text(encoding="utf-8"), source, name, pages)
        header = "---\nhide: [navigation]\n---\n\n" if name == "index.md" else ""
        files.append(File.generated(config, name, content=header + text))
    sources = {
        **pages,
        **{f"docs/{file.src_uri}": file.src_uri for file in files.documentation_pages() if not file.generated_by},
    }
    for source in sources:
        for target in linked_files((ROOT / source).read_text(encoding="utf-8"), source, pages):
            name = site_path(target, pages)
            if files.get_file_from_path(name) is None:
                files.append(File.generated(config, name, abs_src_path=str(ROOT / target)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Point the links of a page in docs/ at the pages of the site."""
    if page.file.generated_by:
        return markdown
    return relinked(markdown, f"docs/{page.file.src_uri}", page.file.src_uri, outside_pages())


def linked_files(text: str, source: str, pages: dict[str, str]) -> set[str]:
    """The files, pages excepted, that a page links to, by their path in the repository."""
    targets = {posixpath.normpath(posixpath.join(posixpath.dirname(source), m["path"])) for m in LINK.finditer(text)}
    return {
        target
        for target in targets
        if target not in pages and not target.startswith("docs/") and (ROOT / target).is_file()
    }


def site_path(target: str, pages: dict[str, str]) -> str:
    """The path in the site of a file of the repository."""
    if target in pages:
        return pages[target]
    return target.removeprefix("docs/") if target.startswith("docs/") else f"files/{target}"


def relinked(text: str, source: str, name: str, pages: dict[str, str]) -> str:
    """The text of a page with relative links as they are in the site.

    Args:
        text: Markdown.
        source: the page's path in the repository.
        name: its path in the site.
        pages: the pages outside of docs/, as of `outside_pages`.
    """

    def replace(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match["path"]))
        if (ROOT / target).is_dir():
            target = f"{target}/README.md" if f"{target}/README.md" in pages else target
        if (ROOT / target).is_dir() or not (ROOT / target).exists():
            return (
                match[0]
                if target.startswith("docs/reference/")
                else f"{posixpath.relpath('index.md', posixpath.dirname(name) or '.')}"
            )
        path = posixpath.relpath(site_path(target, pages), posixpath.dirname(name) or ".")
        return path + (match["anchor"] or "")

    return LINK.sub(replace, text)
