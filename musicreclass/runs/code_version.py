"""Hashes of the code that computes results, so that a run of a different code version can be detected.

They cover the syntax, without docstrings and comments, of every module that the computation imports, directly or indirectly,
and the CSV files that those modules name. The layout of the code and the version of Python do not change them. Modules of this
package are hashed together (`code_version`), the user's modules one by one (`user_code`). Of installed libraries, those that a
`_target_` names count by their version (`library_versions`); provenance.json has the versions of others. An interrupted run also
starts over with other versions of `CHECKPOINT_LIBRARIES`.
"""

from __future__ import annotations

import hashlib
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from musicreclass.config.locations import PACKAGE
from musicreclass.config.working_directory import find_here
from musicreclass.runs.syntax import Module, code_digest, hash_table, package_of, read_module

NAME = PACKAGE.name
COMPUTING = tuple(  # the stages of a run that compute; they import the rest
    f"{NAME}.{module}" for module in ("tasks.open_data", "tasks.plan", "tasks.fit", "tasks.score", "evaluation.metrics")
)
SUPPORTING = (  # what they import to check, find, store and report, or to use the machine without changing a result
    "config", "errors", "report", "runs", "storage", "version", "tasks.machine", "hardware.launch", "hardware.machine",
    "hardware.monitor", "hardware.resolution", "hardware.sensors",
)  # fmt: skip
INSTALLED = ("site-packages", "dist-packages")
CHECKPOINT_LIBRARIES = {  # that train a model, by whether it is an estimator
    False: ("torch", "pytorch_lightning"),
    True: ("xgboost", "sklearn"),
}
DISTRIBUTIONS = {
    "sklearn": ("scikit-learn",),
    "xgboost": ("xgboost-cpu",),
}  # whose names differ from those of their modules


def code_version(config: dict[str, Any]) -> str:
    """A hash of the code that the results of a configuration depend on: 12 hexadecimal digits.

    Args:
        config: resolved; the modules of its `_target_`s count as well as those that every run imports.
    """
    return version_of(PACKAGE, frozenset(find_targets(config)))


def user_code(config: dict[str, Any]) -> dict[str, str]:
    """The user's modules that a configuration names, and what these import.

    Args:
        config: resolved; its `_target_`s must be importable.

    Returns:
        12 hexadecimal digits for each file, by its path below the folder that it is imported from. A module of this package that
        only the user's code imports is among them. Modules that are not found are left out.
    """
    targets = frozenset(find_targets(config))
    counted = counted_files(PACKAGE, targets)
    modules: dict[Path, Module] = {}
    files: dict[str, str] = {}
    queue = [target.rpartition(".")[0] for target in targets]
    while queue:
        name = queue.pop()
        path = user_module_file(name) or (None if is_supporting(name) else module_file(PACKAGE, name))
        if path is not None and path not in modules and path not in counted:
            module = modules[path] = read_module(path, name)
            queue += [*module.imports, *parent_packages(name)]
            package = Path(*package_of(path, name.split(".")))
            files |= {(package / file.name).as_posix(): code_digest(file) for file in (path, *module.tables)}
    return dict(sorted(files.items()))


def library_versions(config: dict[str, Any]) -> dict[str, str]:
    """The versions of the installed libraries that a configuration names, by top-level module.

    Builds of a version for different devices, as 2.8.0+cpu and 2.8.0+cu126, are the same version.

    Args:
        config: resolved.
    """
    return versions_of(sorted({target.partition(".")[0] for target in find_targets(config)} - {NAME}))


def versions_of(modules: Iterable[str]) -> dict[str, str]:
    """The versions of those libraries that are installed, by top-level module."""
    versions = {name: library_version(name) for name in modules}
    return {name: version for name, version in versions.items() if version is not None}


@cache
def library_version(name: str) -> str | None:
    """The version of the distribution that a top-level module belongs to; None for the user's modules and the standard library."""
    if user_module_file(name) is not None or name in sys.stdlib_module_names:
        return None
    candidates = [name, *DISTRIBUTIONS.get(name, ())]
    for distribution in (*candidates, None):
        with suppress(metadata.PackageNotFoundError, KeyError):
            # a search through all distributions is slow
            return metadata.version(distribution or metadata.packages_distributions()[name][0]).partition("+")[0]
    return None


def libraries_have_changed(recorded: dict[str, str], config: dict[str, Any]) -> bool:
    """Whether the libraries of a configuration have other versions than was recorded; False for one that is not installed."""
    current = library_versions(config)
    return any(current.get(name, version) != version for name, version in recorded.items())


def has_changed(recorded: dict[str, str], config: dict[str, Any]) -> bool:
    """Whether the user's code of a configuration differs from what was recorded; False if it is not found here."""
    current = user_code(config)
    return bool(current) and current != recorded


def parent_packages(name: str) -> list[str]:
    """The packages that are imported before a module of them: `a.b` and `a` of `a.b.c`."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(1, len(parts)) if parts[0] != NAME]


@cache
def version_of(package: Path, targets: frozenset[str]) -> str:
    """A hash of the modules that compute results with these targets."""
    modules = computing_modules(package, targets)
    tables = {table for module in modules.values() for table in module.tables}
    digests = {path: module.digest for path, module in modules.items()}
    digests |= {table: hash_table(table) for table in tables}
    total = hashlib.sha256()
    for path in sorted(digests):
        total.update(path.relative_to(package).as_posix().encode() + b"\0" + digests[path])
    return total.hexdigest()[:12]


def find_targets(node: Any) -> Iterator[str]:
    """Every `_target_` in a configuration, except those of loggers, which change no result."""
    if isinstance(node, dict):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = [value for name, value in node.items() if name != "logger"]
    if isinstance(node, list):
        for value in node:
            yield from find_targets(value)


def computing_modules(package: Path, targets: frozenset[str]) -> dict[Path, Module]:
    """The modules that compute results, by file: those that targets name and what they and `COMPUTING` import."""
    modules: dict[Path, Module] = {}
    queue = [*COMPUTING, *(target.rpartition(".")[0] for target in targets)]
    while queue:
        name = queue.pop()
        path = None if is_supporting(name) else module_file(package, name)
        if path is not None and path not in modules:
            modules[path] = read_module(path, name)
            queue += modules[path].imports
    return modules


@cache
def counted_files(package: Path, targets: frozenset[str]) -> frozenset[Path]:
    """The files of the modules that `version_of` covers."""
    return frozenset(computing_modules(package, targets))


def is_supporting(name: str) -> bool:
    """Whether a module belongs to those that compute nothing."""
    return name.startswith(tuple(f"{NAME}.{prefix}." for prefix in SUPPORTING)) or name in (
        NAME,
        *(f"{NAME}.{prefix}" for prefix in SUPPORTING),
    )


def module_file(package: Path, name: str) -> Path | None:
    """The file of a module of this package, or of the module that a class in it belongs to; None for any other name."""
    parts = name.split(".")
    if parts[0] != NAME:
        return None
    for length in range(len(parts), 1, -1):
        path = package.joinpath(*parts[1:length])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    return None


def user_module_file(name: str) -> Path | None:
    """The file of a user's module, or of the module that a class in it belongs to; None for libraries and this package."""
    first, *rest = name.split(".")
    if first in (NAME, ""):
        return None
    try:
        spec = find_spec(first) or find_here(first)  # of a top-level name: imports nothing
    except (ValueError, ImportError):  # a module without a specification, such as __main__
        return None
    if spec is None:
        return None
    folders = spec.submodule_search_locations
    if folders is None:
        return user_file(spec.origin)
    for folder in folders:
        for length in range(len(rest), -1, -1):
            path = Path(folder).joinpath(*rest[:length])
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if (length or file.name == "__init__.py") and file.is_file():
                    return user_file(str(file))
    return None


def user_file(origin: str | None) -> Path | None:
    """The absolute path of a Python file; None for built-in modules, the standard library and installed packages."""
    path = Path(origin or "").absolute()
    if path.suffix != ".py" or not path.is_file() or not {*path.parts}.isdisjoint(INSTALLED):
        return None
    return None if path.is_relative_to(sysconfig.get_path("stdlib")) else path
