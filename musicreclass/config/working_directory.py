"""Imports of the user's own modules from the working directory.

The directory is not on `sys.path`: libraries try to import optional packages, and a file of such a name, downloaded into the same
directory, would be executed. Only modules that a `_target_` or `--trust` names are found here, and what these import themselves.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType


class WorkingDirectoryFinder(MetaPathFinder):
    """Finds named top-level modules, and their submodules, in the working directory, if they are found nowhere else.

    Attributes:
        names: the top-level modules that may be found.
        packages: those that were found here.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.packages: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The specification of a module; what it imports may be found from then on."""
        top = fullname.partition(".")[0]
        if top not in self.names:
            return None
        if path is not None:
            spec = PathFinder.find_spec(fullname, path) if top in self.packages else None
        elif any(finder is not self and finder.find_spec(fullname, None) for finder in sys.meta_path):
            return None
        else:
            spec = find_here(fullname)
            self.packages.add(top)
        if spec is not None and spec.origin is not None:
            self.names |= imported_names(Path(spec.origin))
        return spec


def find_here(name: str) -> ModuleSpec | None:
    """The specification of a top-level module in the working directory."""
    return PathFinder.find_spec(name, [str(Path.cwd())])


def imported_names(file: Path) -> set[str]:
    """The top-level modules that a Python file imports, anywhere in it; none if it cannot be parsed."""
    names: set[str] = set()
    with suppress(OSError, SyntaxError, ValueError):
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names


FINDER = WorkingDirectoryFinder()


def allow_import(module: str) -> None:
    """Let a module be imported from the working directory, if it is found nowhere else.

    Args:
        module: its dotted name, or that of an object in it.
    """
    if FINDER not in sys.meta_path:
        sys.meta_path.insert(0, FINDER)  # so that it sees which submodules are imported
    FINDER.names.add(module.partition(".")[0])
