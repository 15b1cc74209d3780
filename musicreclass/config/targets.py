"""The classes and functions that `_target_` keys name: importing them, their parameters, and checks of their arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, get_type_hints

from musicreclass.config.fields import value_problem
from musicreclass.config.messages import one_line, suggestion
from musicreclass.config.working_directory import allow_import
from musicreclass.errors import ConfigError, Problem

SCALARS = (int, float, bool, str)  # annotations that are checked, also with `| None`


def import_target(target: str, key: str = "_target_") -> Any:
    """The class or function at a dotted path, as `module.Class` or `module.Class.method`.

    Args:
        target: the dotted path.
        key: the key that names it, for the message.

    Raises:
        ConfigError: if it does not exist, or if importing its module fails or ends the process.
    """
    first, *names = target.split(".")
    allow_import(first)
    try:
        obj, path = import_module(first), first
        for name in names:
            if isinstance(obj, ModuleType) and not hasattr(obj, name):
                import_submodule(f"{path}.{name}")
            if not hasattr(obj, name):
                near = suggestion(name, public_names(obj))
                message = f"{key}={target}: {path} has no {name}" + (f"; did you mean {near}?" if near else "")
                raise ConfigError([Problem(message, "import_failed", key, target, near)])
            obj, path = getattr(obj, name), f"{path}.{name}"
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        reason = f"its module ends the process ({error.code})" if isinstance(error, SystemExit) else one_line(error)
        message = f"{key}={target}: cannot be imported: {reason}"
        raise ConfigError([Problem(message, "import_failed", key, target)]) from error
    return obj


def invalid_target(key: str, target: str, message: str) -> ConfigError:
    """The error of a `_target_` that is the wrong kind of class."""
    return ConfigError([Problem(f"{key}={target}: {message}", "invalid_target", key, target)])


def import_class(target: str, key: str, is_accepted: Callable[[type], bool], rule: str) -> type:
    """The class at a dotted path. It is accepted for what it is before anything is called.

    Args:
        target: the dotted path.
        key: the key that names it.
        is_accepted: whether a class is of the right kind.
        rule: what the class must be, for the message.

    Raises:
        ConfigError: if it cannot be imported, is not a class, or is not accepted.
    """
    imported = import_target(target, key)
    if not (isinstance(imported, type) and is_accepted(imported)):
        raise invalid_target(key, target, rule)
    return imported


def check_nested_targets(arguments: Any, key: str, is_accepted: Callable[[type], bool], rule: str) -> None:
    """As `import_class`, for every `_target_` inside the arguments of another."""
    items: Iterable[tuple[Any, Any]] = ()
    if isinstance(arguments, dict):
        items = arguments.items()
    elif isinstance(arguments, list):
        items = enumerate(arguments)
    for name, value in items:
        if isinstance(value, dict) and "_target_" in value:
            import_class(str(value["_target_"]), f"{key}.{name}._target_", is_accepted, rule)
        check_nested_targets(value, f"{key}.{name}", is_accepted, rule)


def public_names(obj: Any) -> list[str]:
    """The attributes of a module or class, and the submodules of a package."""
    submodules = [module.name for module in iter_modules(getattr(obj, "__path__", []))]
    return [name for name in [*dir(obj), *submodules] if not name.startswith("_")]


def import_submodule(path: str) -> None:
    """Import a submodule if it exists; its package then has it as an attribute."""
    try:
        import_module(path)
    except ModuleNotFoundError as error:
        if error.name not in (path, path.rpartition(".")[0]):
            raise  # the submodule exists, but needs another module


@cache
def parameters_of(target: str, key: str = "_target_") -> frozenset[str]:
    """The keyword parameters that a dotted target takes; imports it.

    scikit-learn-style estimators are queried by `get_params`, since some (XGBoost's) accept **kwargs.
    """
    accepted = import_target(target, key)
    parameters = inspect.signature(accepted).parameters.values()
    names = {p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if takes_any and isinstance(accepted, type) and hasattr(accepted, "get_params"):
        names |= set(accepted().get_params())
    return frozenset(names)


def check_arguments(accepted: Any, arguments: dict[str, Any], section: str) -> None:
    """Check arguments against the annotations `int`, `float`, `bool` and `str` of a class or function, strictly.

    Args:
        accepted: the class or function; other annotations are ignored.
        arguments: plain values by name.
        section: the key of its settings, as `model`.

    Raises:
        ConfigError: with every argument of another type, such as 3.5 for an `int`.
    """
    function = accepted.__init__ if isinstance(accepted, type) else accepted  # type: ignore[misc]
    try:
        hints, parameters = get_type_hints(function), inspect.signature(function).parameters
    except Exception:  # annotations that cannot be resolved, or a class without a signature
        return
    checked = {hint for scalar in SCALARS for hint in (scalar, scalar | None)}
    problems = [
        problem
        for name, value in arguments.items()
        if name in parameters and hints.get(name) in checked and value is not parameters[name].default
        if (problem := value_problem(f"{section}.{name}", value, hints[name]))
    ]
    if problems:
        raise ConfigError(problems)
