"""Class maps: YAML files that name, for each class of one dataset, the class of another. conf/class_map/ has those of this project."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from musicreclass.config.locations import CONF
from musicreclass.config.messages import nearest, suggestion, yaml_reason
from musicreclass.errors import ConfigError, Problem
from musicreclass.storage.regular import read_regular

FOLDER = "class_map"  # in each configuration folder
KEY = "data.class_map"
LIMIT = 1 << 18  # bytes of a file
NULL, TEXT = "tag:yaml.org,2002:null", "tag:yaml.org,2002:str"


def class_map_names(roots: Sequence[Path] = (CONF,)) -> list[str]:
    """The names of the class maps in configuration folders, sorted."""
    return sorted({file.stem for root in roots for file in (root / FOLDER).glob("*.yaml")})


def is_path(name_or_path: str) -> bool:
    """Whether a setting is the path of a class map rather than a name."""
    return "/" in name_or_path or name_or_path.endswith((".yaml", ".yml"))


def find_class_map(name_or_path: str, roots: Sequence[Path] = (CONF,), key: str = KEY) -> Path:
    """The file of a class map.

    Args:
        name_or_path: a name in `class_map/` of a configuration folder, or the path of a file, which contains a slash or ends in
            .yaml or .yml.
        roots: the configuration folders in order of precedence.
        key: of the setting, for messages.

    Raises:
        ConfigError: if there is no such file.
    """
    if is_path(name_or_path):
        if (path := Path(name_or_path).expanduser()).is_file():
            return path
        raise _error(f"{key}={name_or_path}: there is no such file", "file_not_found", key, name_or_path)
    for root in roots:
        if (file := root / FOLDER / f"{name_or_path}.yaml").is_file():
            return file
    names = class_map_names(roots)
    hint = f"{nearest(name_or_path, names)}; a file of your own is named by its path, as in ./{name_or_path}.yaml"
    line = f"{key}={name_or_path}: no such class map; {hint}"
    raise _error(line, "unknown_option", key, name_or_path, suggestion(name_or_path, names))


def read_mapping(path: Path) -> dict[str, str | None]:
    """The classes of a class map, each with its target class, or None if its tracks are left out.

    Raises:
        ConfigError: if the file cannot be read, or is anything but a mapping of text to text or null without repeated classes.
    """
    try:
        text = read_regular(path, LIMIT).decode("utf-8")
        if any(isinstance(token, (yaml.AliasToken, yaml.AnchorToken)) for token in yaml.scan(text)):
            raise _invalid(path, "anchors and aliases are not supported; write every class out")
        node = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        if error.problem_mark is not None:
            error.problem_mark.name = str(path)
        raise _invalid(path, f"not valid YAML: {yaml_reason(error).removeprefix(f'{path}, ')}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise _error(
            f"{path}: cannot be read: {' '.join(str(error).split())[:160]}", "unreadable", str(path)
        ) from error
    if not isinstance(node, yaml.MappingNode) or not node.value:
        raise _invalid(path, "must have lines of the form SOURCE CLASS: TARGET CLASS")
    mapping: dict[str, str | None] = {}
    for key, value in node.value:
        name = _text(path, key)
        if name is None or name in mapping:
            fault = "null is not a class" if name is None else f"the class {name!r} is there twice"
            raise _invalid(path, f"line {key.start_mark.line + 1}: {fault}", name)
        mapping[name] = _text(path, value)
    return mapping


def _text(path: Path, node: Any) -> str | None:
    """A class name, or None for null."""
    if node.tag == NULL:
        return None
    if node.tag != TEXT or not isinstance(node, yaml.ScalarNode) or not node.value.strip():
        value = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        line = f'line {node.start_mark.line + 1}: {value!r:.40} is not the name of a class; quote it ("90s", "no") or write null'
        raise _invalid(path, line, value)
    return str(node.value).strip()


def _error(line: str, kind: str, key: str = KEY, value: Any = None, near: str = "") -> ConfigError:
    return ConfigError([Problem(line, kind, key, value, near)])


def _invalid(path: Path, reason: str, value: Any = None) -> ConfigError:
    return _error(f"{path}: {reason}", "invalid_class_map", str(path), value)


def content_digest(name_or_path: str) -> str | None:
    """A hash of the classes of a class map, which identifies it in a signature; None if it cannot be read."""
    try:
        mapping = read_mapping(find_class_map(name_or_path))
    except ConfigError:
        return None
    return hashlib.sha256(json.dumps(mapping, sort_keys=True).encode()).hexdigest()


def located_class_maps(cfg: DictConfig, roots: Sequence[Path]) -> tuple[dict[str, str], list[Problem]]:
    """The class maps that a configuration names in the user's own folder, and the problems of all that it names.

    Args:
        cfg: composed.
        roots: the configuration folders in order of precedence.

    Returns:
        the absolute path of each class map that is not this project's, by its dotted key; and the problems.
    """
    paths: dict[str, str] = {}
    problems: list[Problem] = []
    for key in class_map_keys(cfg):
        value = OmegaConf.select(cfg, key, throw_on_missing=False, throw_on_resolution_failure=False)
        if not isinstance(value, str) or not value:
            continue  # of another type: reported as an invalid value
        try:
            file = find_class_map(value, roots, key)
            read_mapping(file)
        except ConfigError as error:
            problems += error.problems
            continue
        if file.parent != CONF / FOLDER:
            paths[key] = str(file.absolute())
    return paths, problems


def class_map_keys(cfg: DictConfig) -> list[str]:
    """The dotted keys at which a configuration may name a class map."""
    parts = OmegaConf.select(cfg, "data.parts", throw_on_missing=False) if cfg.get("data") is not None else None
    names = list(parts) if isinstance(parts, DictConfig) else []
    return [KEY, *(f"data.parts.{name}.class_map" for name in names)]
