"""Lists of options: `features=[fma518,musicnn]` joins features, `data=[gtzan,fma_audio]` combines datasets, `logger=[tensorboard,csv]`
and `callbacks=[...]` use all of them. The list is an option of the group, `fma518+musicnn`, that is made when it is chosen."""

from __future__ import annotations

import re
from typing import Any

from hydra.core.config_store import ConfigStore

from musicreclass.config.messages import nearest, suggestion
from musicreclass.config.settings.data import OF_COMBINATION
from musicreclass.config.tree import Tree
from musicreclass.errors import Problem

JOIN = "+"
GROUPS = ("features", "data", "logger", "callbacks")
BASES = {"waveform": "_combined_audio", "table": "_combined_table"}  # of combined datasets, by what these provide
LIST = re.compile(r"\[([^\[\]]*)\]")


def join_lists(argument: str) -> str:
    """An override with each list of options of a group in `GROUPS` as the name of their join; other overrides unchanged."""
    key, equals, value = argument.partition("=")
    if key.strip() not in GROUPS or not equals:
        return argument
    return f"{key}={LIST.sub(lambda match: JOIN.join(name.strip() for name in match[1].split(',')), value)}"


def is_join(group: str, option: str) -> bool:
    """Whether an option joins several."""
    return group in GROUPS and JOIN in option


def join_problems(group: str, option: str, tree: Tree) -> list[Problem]:
    """The problems of a join; if there are none, Hydra can choose it from now on.

    Args:
        group: one of `GROUPS`.
        option: the names, separated by +.
        tree: the folders of configuration.
    """
    names, available = option.split(JOIN), [name for name in tree.groups[group] if name != "none"]
    typed = f"{group}=[{','.join(names)}]"
    problems = []
    for name in dict.fromkeys(names):
        if name not in available:
            message = f"{typed}: {name!r} is not an option; {nearest(name, available)}"
            problems.append(Problem(message, "unknown_option", group, name, suggestion(name, available)))
    if len(set(names)) < len(names):
        problems.append(Problem(f"{typed}: an option is listed twice", "repeated_option", group, option))
    if not problems and group == "data":
        provided = {name: provides(tree, name) for name in names}
        if len(set(provided.values())) > 1 or None in provided.values():
            kinds = ", ".join(f"{name} provides a {kind or 'mixture'}" for name, kind in provided.items())
            message = f"{typed}: {kinds}; combine recordings with recordings, or tables with tables"
            problems.append(Problem(message, "input_mismatch", group, option))
    if not problems:
        node: dict[str, Any] = {"defaults": names}
        if group == "features":
            node = joined_features(names)
        elif group == "data":
            node = combined_data(tree, names)
        ConfigStore.instance().store(name=option, group=group, node=node, provider="musicreclass")
    return problems


def joined_features(names: list[str]) -> dict[str, Any]:
    """The option that joins sources of features."""
    return {"defaults": ["_joined", *({f"/features@parts.{name}": name} for name in names)]}


def combined_data(tree: Tree, names: list[str]) -> dict[str, Any]:
    """The option that combines datasets. What holds for the combination is set once, and shown in each part."""
    base = BASES[str(provides(tree, names[0]))]
    parts = {}
    for name in names:
        keys = tree.read_with_bases("data", name)
        parts[name] = {key: f"${{data.{key}}}" for key in OF_COMBINATION if key in keys}
    return {"defaults": [base, *({f"/data@parts.{name}": name} for name in names), "_self_"], "parts": parts}


def provides(tree: Tree, name: str) -> str | None:
    """What a dataset provides, `waveform` or `table`, as its file says; None if it says nothing or both."""
    values = tree.read_with_bases("data", name).get("provides")
    return values[0] if isinstance(values, list) and len(values) == 1 and values[0] in BASES else None
