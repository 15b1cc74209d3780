"""The classes and functions that `_target_` keys name: importing them, their parameters, and checks of their arguments."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Collection, Iterable
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, get_type_hints

from musicreclass.config.fields import value_problem
from musicreclass.config.messages import nearest, one_line, suggestion
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
        if isinstance(error, ModuleNotFoundError) and error.name == first:
            remedy = f"your own modules are searched in the working directory, {Path.cwd()}"
            reason += f"; {remedy if names else 'write module.Class'}"
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


def check_arguments(
    accepted: Callable[..., Any],
    arguments: dict[str, Any],
    section: str,
    supplied: Collection[str] = (),
    keys: Collection[str] = (),
) -> None:
    """Check arguments against the signature of a class or function, before it is called.

    Values are checked against the annotations `int`, `float`, `bool` and `str`, strictly; other annotations are ignored.

    Args:
        accepted: the class or function.
        arguments: plain values by name.
        section: the key of its settings, as `model`.
        supplied: names of the arguments that are passed in addition, and cannot be set.
        keys: other keys of the section, to suggest.

    Raises:
        ConfigError: with every argument that does not exist, is missing, or has another type, such as 3.5 for an `int`.
    """
    try:
        parameters = inspect.signature(accepted).parameters
    except (TypeError, ValueError):  # a class without a signature
        return
    source = "from the data" if section == "model" else "automatically"
    fixed = [f"{section}.{name}" for name in arguments if name in supplied]
    problems = [Problem(f"{key}: is set {source}", "fixed_key", key) for key in fixed]
    names = named_parameters(accepted)
    required = {p.name for p in parameters.values() if p.name in names and p.default is p.empty}
    missing = set() if "_args_" in arguments else required - {*arguments, *supplied}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    unknown = [name for name in arguments if not (name.startswith("_") or name in names or name in supplied)]
    # what passes **options on may accept any name, but not one that resembles a required argument that is missing
    unknown = [name for name in unknown if not takes_any or suggestion(name, missing)]
    problems += [unknown_argument(accepted, name, section, {*(names - {*supplied}), *keys}) for name in unknown]
    missing -= {problem.suggestion.rpartition(".")[2] for problem in problems}
    problems += [_missing_argument(accepted, name, section) for name in parameters if name in missing]
    problems += _wrong_types(accepted, arguments, section, parameters)
    if problems:
        raise ConfigError(problems)


def named_parameters(accepted: Callable[..., Any]) -> set[str]:
    """The parameters that a class or function names, and those of the base classes to which it may pass **options on."""
    owner = accepted if isinstance(accepted, type) else getattr(accepted, "__self__", None)  # of a classmethod
    kinds = owner.__mro__[:-1] if isinstance(owner, type) else ()
    functions = [accepted, *(vars(k)["__init__"] for k in kinds if k is not accepted and "__init__" in vars(k))]
    names: set[str] = set()
    for function in functions:
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # of a built-in class
            break
        names |= {p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return names - {"self"}


def rejected_call(error: Exception, accepted: Any, section: str, supplied: Collection[str] = ()) -> ConfigError:
    """The error of a class or function that rejects its arguments: names the argument if a base class does not know it."""
    unexpected = re.search(r"unexpected keyword argument '(\w+)'", str(error)) if isinstance(error, TypeError) else None
    if unexpected:
        return ConfigError(
            [unknown_argument(accepted, unexpected[1], section, named_parameters(accepted) - {*supplied})]
        )
    return ConfigError([Problem(f"{section}: {one_line(error)}", "invalid_arguments", section, dotted_name(accepted))])


def unknown_argument(accepted: Any, name: str, section: str, names: Collection[str]) -> Problem:
    """The problem of an argument that a class or function does not have, with the nearest one."""
    near = suggestion(name, names)
    hint = f"; {nearest(name, names)}" if names else ""
    message = f"{section}.{name}: {dotted_name(accepted)} has no such argument{hint}"
    return Problem(message, "unknown_key", f"{section}.{name}", None, f"{section}.{near}" if near else "")


def _missing_argument(accepted: Any, name: str, section: str) -> Problem:
    override = f"+{section}.{name}=VALUE"
    message = f"{section}.{name}: {dotted_name(accepted)} needs it; set it in the YAML file, or with {override}"
    return Problem(message, "missing_value", f"{section}.{name}", None, override)


def _wrong_types(accepted: Any, arguments: dict[str, Any], section: str, parameters: Any) -> list[Problem]:
    """The problems of values that are unlike their annotations."""
    try:
        hints = get_type_hints(accepted.__init__ if isinstance(accepted, type) else accepted)  # type: ignore[misc]
    except Exception:  # annotations that cannot be resolved
        return []
    checked = {hint for scalar in SCALARS for hint in (scalar, scalar | None)}
    return [
        problem
        for name, value in arguments.items()
        if name in parameters and hints.get(name) in checked and value is not parameters[name].default
        if (problem := value_problem(f"{section}.{name}", value, hints[name]))
    ]


def dotted_name(accepted: Any) -> str:
    """The dotted path of a class or function, without private modules."""
    parts = f"{accepted.__module__}.{accepted.__qualname__}".split(".")
    return ".".join(part for part in parts if not part.startswith("_") or part == "__main__")
