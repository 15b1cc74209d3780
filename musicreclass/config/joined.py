"""Joined sources of features: `features=[fma518,musicnn]` is the option `fma518+musicnn` of the group, made when it is chosen."""

from __future__ import annotations

import re

from hydra.core.config_store import ConfigStore

from musicreclass.config.messages import nearest, suggestion
from musicreclass.errors import Problem

GROUP, BASE, JOIN = "features", "_joined", "+"
LIST = re.compile(r"\[([^\[\]]*)\]")


def join_lists(argument: str) -> str:
    """An override with each list of options of `features` as the name of their join; other overrides unchanged."""
    key, equals, value = argument.partition("=")
    if key.strip() != GROUP or not equals:
        return argument
    return f"{key}={LIST.sub(lambda match: JOIN.join(name.strip() for name in match[1].split(',')), value)}"


def is_join(group: str, option: str) -> bool:
    """Whether an option joins several."""
    return group == GROUP and JOIN in option


def join_problems(option: str, options: list[str]) -> list[Problem]:
    """The problems of a join; if there are none, Hydra can choose it from now on.

    Args:
        option: the names, separated by +.
        options: that exist.
    """
    names, available = option.split(JOIN), [name for name in options if name != "none"]
    problems = []
    for name in dict.fromkeys(names):
        if name not in available:
            message = f"{GROUP}=[{','.join(names)}]: {name!r} is not an option; {nearest(name, available)}"
            problems.append(Problem(message, "unknown_option", GROUP, name, suggestion(name, available)))
    if len(set(names)) < len(names):
        message = f"{GROUP}=[{','.join(names)}]: an option is listed twice"
        problems.append(Problem(message, "repeated_option", GROUP, option))
    if not problems:
        defaults = [BASE, *({f"/{GROUP}@parts.{name}": name} for name in names)]
        ConfigStore.instance().store(name=option, group=GROUP, node={"defaults": defaults}, provider="musicreclass")
    return problems
