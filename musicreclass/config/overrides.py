"""The overrides of a command line, parsed one by one so that every error is reported."""

from __future__ import annotations

from itertools import islice

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from musicreclass.config.joined import is_join, join_problems
from musicreclass.config.messages import nearest, suggestion
from musicreclass.config.tree import Tree
from musicreclass.errors import Problem
from musicreclass.plurals import counted

FIXED = {  # keys of Hydra that the tasks depend on
    "hydra.mode": "-m makes a multirun",
    "hydra.sweep.dir": "the list of a multirun is written to sweeps/ in paths.outputs",
    "hydra.sweep.subdir": "every run has its own folder",
}


MAX_JOBS = 10_000  # of a sweep; a grid is written out before its first job starts
MAX_LENGTH = 8192  # characters; Hydra parses a longer list for seconds


class Overrides:
    """Checks of single overrides that need no composed configuration.

    Args:
        tree: the folders of configuration.
        task: names the primary file.
        multirun: whether comma-separated values and ranges are sweeps.

    Attributes:
        unreadable: keys whose values could not be parsed.
        undecided: groups for which no option could be chosen, so that their settings are not known.
    """

    def __init__(self, tree: Tree, task: str, multirun: bool) -> None:
        self.tree, self.task, self.multirun = tree, task, multirun
        self.unreadable: set[str] = set()
        self.undecided: set[str] = set()

    def parse(self, text: str, problems: list[Problem]) -> Override | None:
        """One override; None if it is too long or cannot be parsed, which is added to the problems."""
        if len(text) > MAX_LENGTH:
            key = text[:MAX_LENGTH].partition("=")[0].lstrip("+~")
            self.unreadable.add(key)
            line = f"{key:.80}: the override has {counted(len(text), 'character')}, more than {MAX_LENGTH:,}; set it in a YAML file (--config-dir)"
            problems.append(Problem(line, "too_long", key, len(text)))
            return None
        try:
            (override,) = OverridesParser.create(self.tree.loader).parse_overrides([text])
        except (HydraException, ValueError, RecursionError):  # ValueError: of a number with thousands of digits
            key, equals, value = text.partition("=")
            key = key.lstrip("+")
            self.unreadable.add(key)
            if not equals or not key:
                problems.append(not_an_override(text))
            else:
                escaped = value.replace("\\", "\\\\").replace('"', '\\"')
                quoted = f"'{key}=\"{escaped}\"'"
                problems.append(
                    Problem(
                        f"{text}: cannot be parsed; quote the value: {quoted}", "unparsable_value", key, value, quoted
                    )
                )
            return None
        return override

    def is_group(self, override: Override) -> bool:
        """Whether an override chooses an option of a group."""
        return override.key_or_group in self.tree.groups

    def problems(self, override: Override) -> list[Problem]:
        """Reasons to exclude an override from the composition; empty if there are none."""
        problems = self._reasons_to_exclude(override)
        if problems and self.is_group(override):
            self.undecided.add(override.key_or_group)
        return problems

    def _reasons_to_exclude(self, override: Override) -> list[Problem]:
        text, key = str(override.input_line), override.key_or_group
        if not key:
            return [not_an_override(text)]
        if override.is_sweep_override() and not self.multirun:
            value = text.partition("=")[2]
            quoted = (
                f"""; a value that contains a comma needs quotes: '{key}="{value}"'"""
                if "," in value and '"' not in value
                else ""
            )
            as_list = f" (or a list: [{value}]{quoted})" if "=" in text else ""
            return [
                Problem(f"{text}: several values are a sweep, which needs -m{as_list}", "sweep_without_multirun", key)
            ]
        if override.is_discrete_sweep() and not count_values(override):
            return [Problem(f"{text}: the sweep has no values", "empty_sweep", key)]
        if override.is_hydra_override():
            reason = FIXED.get(key)
            return [Problem(f"{text}: cannot be set; {reason}", "fixed_key", key)] if reason else []
        if self.is_group(override):
            return self._group_problems(override)
        if "/" in key:
            near = nearest(key, self.tree.groups)
            return [
                Problem(f"{text}: no such group; {near}", "unknown_group", key, None, suggestion(key, self.tree.groups))
            ]
        return []

    def _group_problems(self, override: Override) -> list[Problem]:
        """Problems with the choice of an option."""
        text, group = str(override.input_line), override.key_or_group
        options, task_groups = self.tree.groups[group], self.tree.groups_of(self.task)
        if group.split("/")[0] not in task_groups and not override.is_add():
            groups = ", ".join(sorted(name for name in task_groups if name in self.tree.groups))
            return [
                Problem(f"{text}: {self.task} has no group {group}; its groups are {groups}", "unknown_group", group)
            ]
        if override.is_delete():
            return [Problem(f"{text}: a group cannot be removed; choose one of its options", "removed_group", group)]
        value: object = override.value()
        if isinstance(value, list):
            several = ",".join(map(str, value))
            message = f"{text}: a group has one option per run; {group}={several} with -m is a sweep over several"
            return [Problem(message, "several_options", group)]
        swept = override.is_sweep_override()
        values = list(islice(override.sweep_string_iterator(), MAX_JOBS)) if swept else [override.value()]
        names = ["null" if value is None else str(value) for value in values]
        problems = [
            problem for name in names if is_join(group, name) for problem in join_problems(group, name, self.tree)
        ]
        unknown = [name for name in names if name not in options and not is_join(group, name)]
        return problems + [self._unknown_option(group, name) for name in unknown]

    def _unknown_option(self, group: str, name: str) -> Problem:
        """The problem of an option that does not exist, with the nearest one, or a file of the wrong ending."""
        options = self.tree.groups[group]
        misnamed = next((file for root in self.tree.roots if (file := root / group / f"{name}.yml").is_file()), None)
        if misnamed is not None:
            message = f"{group}={name}: no such option; rename {misnamed} to {name}.yaml"
            return Problem(message, "unknown_option", group, name, f"{name}.yaml")
        message = f"{group}={name}: no such option; {nearest(name, options)}"
        return Problem(message, "unknown_option", group, name, suggestion(name, options))


def not_an_override(text: str) -> Problem:
    """The problem of an argument without a key or a value."""
    return Problem(f"{text}: an override has the form KEY=VALUE, as in seed=1", "not_an_override", text)


def first_value(override: Override) -> str:
    """An override for one job: of a sweep, the first value."""
    if not override.is_sweep_override():
        return str(override.input_line)
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"


def count_values(override: Override) -> int:
    """The number of values of a sweep, counted up to one more than a sweep may have jobs."""
    return sum(1 for _ in islice(override.sweep_string_iterator(), MAX_JOBS + 1))
