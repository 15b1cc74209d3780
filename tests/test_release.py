"""The files of a release agree with each other and with what is installed."""

from __future__ import annotations

import re
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import musicreclass as mrc
from musicreclass.comparison.citations import PROJECT
from tools.licences import licence_of, listed

ROOT = Path(__file__).parents[1]


def project_lines() -> list[str]:
    return (ROOT / "pyproject.toml").read_text(encoding="utf-8").splitlines()


def test_the_citation_is_valid_and_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version", "date-released", "license", "type"} <= set(
        citation
    )
    assert citation["cff-version"] == "1.2.0"
    assert citation["type"] == "software"
    assert all(set(author) in ({"name"}, {"family-names", "given-names"}) for author in citation["authors"])
    assert citation["version"] == mrc.__version__
    assert f'version = "{mrc.__version__}"' in project_lines()
    assert f"year = {{{str(citation['date-released'])[:4]}}}" in PROJECT
    assert f'license = "{citation["license"]}"' in project_lines()
    assert f"## [{citation['version']}] - {citation['date-released']}" in (ROOT / "CHANGELOG.md").read_text()


def test_the_changelog_has_the_form_of_keep_a_changelog():
    headings = re.findall(r"^(##+) (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    versions = [text for level, text in headings if level == "##"]
    assert versions[0] == "[Unreleased]"
    assert all(re.fullmatch(r"\[\d+\.\d+\.\d+\] - \d{4}-\d\d-\d\d", text) for text in versions[1:])
    kinds = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
    sections: list[list[str]] = []
    for level, text in headings:
        if level == "##":
            sections.append([])
        else:
            sections[-1].append(text)
    for section in sections:
        assert section == [kind for kind in kinds if kind in section]  # known, in order, each once


def test_hooks_run_what_make_lint_runs():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    (hook,) = [hook for repository in hooks for hook in repository["hooks"]]
    assert {repository["repo"] for repository in hooks} == {"local"}
    assert (hook["entry"], hook["language"], hook["pass_filenames"]) == ("make lint", "system", False)
    assert re.search(r"^lint: dev", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_target_of_make_in_the_contributing_page_exists():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = {word for line in re.findall(r"(?:^|`)make ([a-z -]+)", text, re.MULTILINE) for word in line.split()}
    assert named
    assert named <= targets
    linked = re.findall(r"\]\(([\w/.-]+)\)", text)
    paths = re.findall(r"`((?:musicreclass|tests|conf|docs)/[\w/.-]+)`", text)
    assert all((ROOT / path).exists() for path in [*linked, *(path for path in paths if "NAME" not in path)])


def declared(last: str = "\ndev = [") -> list[Requirement]:
    """The dependencies in pyproject.toml up to a line, by default those of the extras that a user installs included."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("\ndependencies = [") : text.index(last)]
    return [Requirement(requirement) for requirement in re.findall(r'"([a-z][\w-]*(?:[<>=!][^"]*)?)"', block)]


@pytest.mark.parametrize("package", sorted({requirement.name for requirement in declared()}))
def test_every_dependency_has_a_licence(package):
    assert package in listed()


def test_the_listed_licences_are_those_of_the_installed_packages():
    assert {"mutagen", "torch"} <= set(listed())
    for package, licence in listed().items():
        assert licence not in ("", "not stated", "not installed here")
        stated = licence_of(package)
        assert stated in (None, licence), package
    copyleft = {package for package, licence in listed().items() if re.search(r"(?<!L)GPL", licence)}
    assert copyleft == {"codespell", "mutagen"}  # never required: docs/dependencies.md


def pins(file: str) -> set[tuple[str, str]]:
    """The packages with their versions in a file of requirements."""
    text = (ROOT / file).read_text(encoding="utf-8")
    return {(name.lower(), version) for name, version in re.findall(r"^([\w.-]+)==([^\s;\\]+)", text, re.MULTILINE)}


def pinned(python: str) -> dict[str, list[str]]:
    """The versions in constraints.txt that apply to a version of Python, by package."""
    versions: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        requirement = Requirement(line) if not line.startswith("#") else None
        if requirement and (not requirement.marker or requirement.marker.evaluate({"python_version": python})):
            versions.setdefault(canonicalize_name(requirement.name), []).append(str(requirement.specifier)[2:])
    return versions


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.13"])
def test_every_dependency_is_pinned_to_an_allowed_version(python):
    versions = pinned(python)
    assert all(len(several) == 1 for several in versions.values())
    requirements = declared(last="\n[project.scripts]")
    assert {"torch", "xgboost", "ipykernel", "ruff"} <= {requirement.name for requirement in requirements}
    for requirement in requirements:
        (version,) = versions.get(requirement.name, ["missing"])
        assert requirement.specifier.contains(version), (requirement.name, version)


def test_what_installed_dependencies_require_is_pinned():
    """But for the libraries of CUDA, whose versions torch and XGBoost pin or leave to the platform."""
    pins = pinned(f"{sys.version_info.major}.{sys.version_info.minor}")
    packages = {(requirement.name, "") for requirement in declared(last="\n[project.scripts]")}
    waiting, unpinned = list(packages), set()
    while waiting:
        name, extra = waiting.pop()
        if not re.match(r"nvidia-(?!ml-py)|cuda-|triton|(musicreclass)$", name) and name not in pins:
            unpinned.add(name)
        try:
            requirements = map(Requirement, distribution(name).requires or [])
        except PackageNotFoundError:
            continue
        for requirement in requirements:
            if not requirement.marker or requirement.marker.evaluate({"extra": extra}):
                name = canonicalize_name(requirement.name)
                following = {(name, ""), *((name, extra) for extra in requirement.extras)} - packages
                packages |= following
                waiting += following
    only_newer_pythons = {
        "audioop-lts",
        "standard-aifc",
        "standard-chunk",
        "standard-sunau",
    }  # constraints.txt is for 3.10, 3.11
    assert unpinned <= only_newer_pythons


def test_the_hashed_versions_are_those_of_the_constraints():
    """But for what only another platform needs, such as the libraries of CUDA; `make hashes` writes the file again."""
    constrained = {name for name, _ in pins("constraints.txt")}
    hashed = {(name, version) for name, version in pins("requirements-hashed.txt") if name in constrained}
    assert hashed <= pins("constraints.txt")
    assert {name for name, _ in hashed} >= set(declared_without_extras())
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements-hashed.txt").read_text().strip())
    assert all("--hash=sha256:" in entry for entry in entries)


def declared_without_extras() -> list[str]:
    """The required dependencies."""
    return [requirement.name for requirement in declared(last="\n[project.optional-dependencies]")]


def test_the_container_installs_by_make_alone():
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    runs = [line for line in lines if line.startswith("RUN ")]
    assert runs[-1].startswith("RUN make install ")
    assert all("pip" not in line for line in lines)
