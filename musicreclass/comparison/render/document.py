"""A self-contained HTML document: the browser loads nothing from elsewhere and runs no script but the given one."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from pathlib import Path
from string import Template

from musicreclass.comparison.render.markup import Element, to_html
from musicreclass.errors import printable

FOLDER = Path(__file__).parent
STYLE = FOLDER / "page.css"  # of all documents


def html_document(title: str, body: Element, styles: tuple[Path, ...] = (), script: Path | None = None) -> str:
    """The HTML of a document.

    Args:
        title: as text.
        body: its content.
        styles: further style sheets than `STYLE`.
        script: a JavaScript file.
    """
    source, allowed = "", "'none'"
    if script is not None:
        source = f"\n{script.read_text(encoding='utf-8')}"
        allowed = f"'sha256-{base64.b64encode(hashlib.sha256(source.encode()).digest()).decode()}'"
    return Template((FOLDER / "page.html").read_text(encoding="utf-8")).substitute(
        title=escape(printable(title)),
        style="".join(path.read_text(encoding="utf-8") for path in (STYLE, *styles)),
        body=to_html(body),
        scripts=allowed,
        script=f"<script>{source}</script>\n" if source else "",
    )
