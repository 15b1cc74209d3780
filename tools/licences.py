"""Writes docs/licences.md: the licence of every package in constraints.txt that is installed, from its metadata.

    python -m tools.licences

Packages that are not installed keep the line that they have.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "licences.md"
HEAD = """# Licences of dependencies

musicreclass has the MIT licence. These are the packages that constraints.txt pins: the dependencies, those of all extras, and the tools of development,
with the packages that they require. Each licence is what the package's metadata states, without a legal assessment. Written by
`python -m tools.licences`; a test compares it with the installed packages.

Only mutagen (extra `tags`, GPL-2.0-or-later) and codespell (a tool of development, GPL-2.0-only) have a licence that would apply to a program which is
distributed together with them; hence they are never required. Wheels may contain libraries of other licences, such as libsndfile (LGPL-2.1) in soundfile, and CUDA's in torch.

| package | licence |
| --- | --- |
"""
LONGEST = 110  # characters of a licence's name; longer ones are the text of the licence


def pinned_packages() -> list[str]:
    """The names in constraints.txt, sorted."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return sorted({match[1].lower() for line in lines if (match := re.match(r"([\w.-]+)==", line))})


def licence_of(package: str) -> str | None:
    """The licence that the metadata of an installed package states, or the title of its licence file; None if it is not installed."""
    try:
        installed = distribution(package)
    except PackageNotFoundError:
        return None
    information = installed.metadata
    names = [text.rpartition(" :: ")[2] for text in information.get_all("Classifier") or [] if "License ::" in text]
    stated = [
        information["License-Expression"],
        information["License"],
        ", ".join(n for n in names if n != "OSI Approved"),
    ]
    for text in stated:
        line = " ".join(str(text or "").split())
        if line and len(line) <= LONGEST and line.lower() not in ("unknown", "none"):
            return line.replace("|", "/")
    for file in installed.files or []:
        if file.name.upper().startswith("LICEN"):
            return file.read_text().strip().splitlines()[0].strip()
    return "not stated"


def listed() -> dict[str, str]:
    """The lines of the page: package -> licence."""
    if not PAGE.exists():
        return {}
    return dict(
        re.findall(r"^\| ([\w.-]+) \| (.+) \|$", PAGE.read_text(encoding="utf-8").split("| --- |")[1], re.MULTILINE)
    )


def main() -> None:
    """Write the page."""
    before = listed()
    licences = {
        package: licence_of(package) or before.get(package, "not installed here") for package in pinned_packages()
    }
    PAGE.write_text(HEAD + "".join(f"| {package} | {text} |\n" for package, text in licences.items()), encoding="utf-8")


if __name__ == "__main__":
    main()
