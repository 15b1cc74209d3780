"""The check that runs before any data is read. It reports every problem at once.

Nothing heavy is imported, unless a key was added under a target.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from musicreclass.config import hydra_adapter
from musicreclass.config.allowed_keys import AllowedKeys
from musicreclass.config.class_maps import located_class_maps
from musicreclass.config.compatibility import Choices, reads
from musicreclass.config.hydra_keys import hydra_problems
from musicreclass.config.joined import join_lists
from musicreclass.config.messages import brief, nearest, one_line, suggestion, yaml_reason
from musicreclass.config.overrides import MAX_JOBS, Overrides, count_values, first_value
from musicreclass.config.parse import parse
from musicreclass.config.plugins import missing_plugin
from musicreclass.config.search_rules import refusals, searches, sweeper_target
from musicreclass.config.settings.data import OF_COMBINATION
from musicreclass.config.settings.tasks import SIGNED, Settings, TrainSettings
from musicreclass.config.tree import Tree, with_choices
from musicreclass.errors import ConfigError, Problem

OVERLAYS = ("experiment", "debug", "search")  # groups with files that only set keys of other groups
CLASHING = ("data", "model", "features", *OVERLAYS)  # groups with options that may exclude each other
NAMED_CLASS = re.compile(r"(logger|callbacks)\.\w+\._target_")
COMPARED = ("seed", "experiment", "model", "features", "data", "data/split", "data.fold", "data.split.fold", "data.split.seed", "data.root", "data.path", "data.subset")  # fmt: skip


def compose(task: str, overrides: list[str], config_dir: str | None = None) -> DictConfig:
    """Compose and check the configuration of one job, as the command line does.

    Args:
        task: names the primary file, `train`.
        overrides: as on the command line, `["model=mlp", "seed=2"]`.
        config_dir: your own configuration folder.

    Returns:
        The configuration without Hydra's node, interpolations unresolved, with the chosen options under `choices`.

    Raises:
        ConfigError: with every problem.
    """
    tree, overrides = Tree(config_dir), [join_lists(text) for text in overrides]
    check = Check(tree, task, overrides, multirun=False)
    problems = check.problems()
    if problems:
        raise ConfigError(problems)
    cfg = check.first
    assert cfg is not None
    return with_choices(cfg, dict(cfg.hydra.runtime.choices), tree.roots)


def settings_of(task: str, cfg: DictConfig) -> Settings:
    """The settings of a composed configuration.

    Raises:
        ConfigError: with every value that breaks its rule.
    """
    return parse(task, dict(OmegaConf.to_container(cfg, resolve=True)))  # type: ignore[arg-type]


def train_settings(overrides: list[str], config_dir: str | None = None) -> TrainSettings:
    """The checked settings of one training run, from overrides as on the command line.

    Raises:
        ConfigError: with every problem.
    """
    settings = settings_of("train", compose("train", overrides, config_dir))
    assert isinstance(settings, TrainSettings)
    return settings


class Check:
    """The check of a command line, before anything is done.

    Args:
        tree: the folders of configuration.
        task: names the primary file.
        arguments: the overrides, as typed.
        multirun: whether comma-separated values and ranges are sweeps.
    """

    def __init__(self, tree: Tree, task: str, arguments: list[str], multirun: bool) -> None:
        self.tree, self.task, self.arguments, self.multirun = tree, task, arguments, multirun
        self.parser = Overrides(tree, task, multirun)
        self.overrides: list[Override] = []
        self.first: DictConfig | None = None  # the configuration of the first job
        self.scores_test = False
        self.collected: list[Problem] = []

    def outputs(self) -> Path:
        """The folder of the first job's runs; available after `problems`."""
        assert self.first is not None
        return Path(OmegaConf.select(self.first, "paths.outputs"))

    def jobs(self) -> int:
        """The number of jobs of a multirun; available after `problems`."""
        assert self.first is not None
        if self.is_search():
            return int(self.first.hydra.sweeper.n_trials)
        in_file = self._swept_by_file(self.first)
        typed = {o.get_key_element(): o for o in self.overrides if not o.is_hydra_override()}
        swept = [o for o in (in_file | typed).values() if o.is_sweep_override()]
        return math.prod(len(list(o.sweep_string_iterator())) for o in swept)

    def per_job(self) -> list[str]:
        """The overrides of a multirun as Hydra must receive them; available after `problems`.

        Hydra composes a multirun once without the swept groups, and would reject a setting that only their options have. Such a
        setting is written as a sweep over a single value, which Hydra leaves to the jobs.
        """
        swept = {
            o.key_or_group.split("/")[0] for o in self.overrides if o.is_sweep_override() and self.parser.is_group(o)
        }
        if self.is_search() or not swept:
            return list(self.arguments)
        return [as_sweep(o) if self._belongs_to(o, swept) else str(o.input_line) for o in self.overrides]

    def _belongs_to(self, override: Override, groups: set[str]) -> bool:
        """Whether an override sets a single value that may depend on the option chosen in one of these groups."""
        is_setting = not (
            self.parser.is_group(override) or override.is_hydra_override() or override.is_sweep_override()
        )
        section = override.key_or_group.split(".")[0]
        return is_setting and "." in override.key_or_group and (section in groups or not groups.isdisjoint(OVERLAYS))

    def is_search(self) -> bool:
        """Whether a sweeper proposes jobs by earlier scores; available after `problems`."""
        assert self.first is not None
        return searches(self.first)

    def problems(self) -> list[Problem]:
        """Every problem; empty if the jobs can start."""
        parsed = [o for text in self.arguments if (o := self.parser.parse(text, self.collected)) is not None]
        self.overrides = [o for o in parsed if self._can_take_part(o)]
        if too_many := self._too_many_jobs():
            return [*self.collected, too_many]
        swept = [o for o in self.overrides if o.is_sweep_override() and self.parser.is_group(o)]
        fixed = [o for o in self.overrides if o not in swept]
        for chosen in combinations(swept):
            self._check_job(chosen, fixed)
        if self.first is not None and searches(self.first):
            self.collected += refusals(self.first, self.overrides, self.multirun, self.scores_test)
        elif self.multirun and self.first is not None:
            if sweeper_target(self.first).endswith(".BasicSweeper"):
                self._refuse_intervals()
            if self.scores_test:
                self._refuse_test_in_search()
        unique = {problem.message: problem for problem in self.collected}.values()
        rejected = self.parser.unreadable | {o.key_or_group for o in parsed if o not in self.overrides}
        return [p for p in unique if not (p.kind == "missing_value" and p.key in rejected)]

    def _can_take_part(self, override: Override) -> bool:
        problems = self.parser.problems(override)
        self.collected += problems
        return not problems

    def _too_many_jobs(self) -> Problem | None:
        """The problem of a grid that no one waits for, before it is written out; None if there is none."""
        swept = [o for o in self.overrides if o.is_sweep_override() and o.is_discrete_sweep()]
        jobs = math.prod(count_values(o) for o in swept)
        if jobs <= MAX_JOBS:
            return None
        line = f"{swept[0].input_line}: the sweep has more than {MAX_JOBS:,} jobs; sweep over fewer values"
        return Problem(line, "too_many_jobs", swept[0].key_or_group)

    def _refuse_intervals(self) -> None:
        """An interval has no values to list, so Hydra's own sweeper cannot use it."""
        for o in self.overrides:
            if o.is_sweep_override() and not o.is_discrete_sweep():
                line = f"{o.input_line}: an interval is for a search: add hydra/sweeper=tpe, or list values"
                self.collected.append(Problem(line, "interval_without_search", o.key_or_group))

    def _refuse_test_in_search(self) -> None:
        """A sweep over settings is a search, which must not score test unless the command requests it."""
        keys = [o.key_or_group for o in self.overrides if o.is_sweep_override()]
        searched = [k for k in keys if k.replace("/", ".").split(".")[0] in SIGNED and k not in COMPARED]
        if searched and not any(o.key_or_group == "evaluate" for o in self.overrides):
            remedy = "add evaluate=[valid] (or evaluate=[valid,test] to score all of them on test)"
            line = f"{searched[0]}: a sweep over it is a search, which would be scored on test; {remedy}"
            self.collected.append(Problem(line, "test_in_search", searched[0]))

    def _check_job(self, chosen: list[str], fixed: list[Override]) -> None:
        """Compose one combination of groups, and compare it with what is allowed for it."""
        choosing = [o for o in fixed if self.parser.is_group(o) or o.is_hydra_override() or adds_class(o)]
        groups = chosen + [str(o.input_line) for o in choosing]
        settings = [o for o in fixed if o not in choosing]
        try:
            composed = self._compose_groups(chosen, fixed)
            if wrong := hydra_problems(composed):
                raise ConfigError(wrong)
            choices = composed.hydra.runtime.choices
            allowed = self._allowed_keys(composed, [str(o.input_line) for o in fixed if adds_class(o)])
            undecided = {group.split("/")[0] for group in self.parser.undecided}
            known_sections = [o for o in settings if o.key_or_group.split(".")[0] not in undecided]
            usable = [o for o in known_sections if self._is_allowed(o, allowed)]
            values = [first_value(o) for o in usable if not o.is_interval_sweep()]
            cfg = self._with_settings(composed, groups, values) if values else composed
            if self.multirun:
                self._check_sweep_of_file(composed, allowed)
            problems = allowed.problems(cfg) + located_class_maps(cfg, self.tree.roots)[1]
        except ConfigError as error:
            self.collected += error.problems
            return
        self.collected += problems
        self.first = self.first or cfg
        self.scores_test |= "test" in (cfg.get("evaluate") or [])
        swept = {o.key_or_group for o in self.overrides if o.is_sweep_override()}
        if not any(reads(problem.key) for problem in problems) and not self.parser.undecided:
            self.collected += Choices(self.tree, self.multirun, swept).problems(cfg, dict(choices))

    def _allowed_keys(self, composed: DictConfig, classes: list[str]) -> AllowedKeys:
        """The keys that may be set, with added classes; an overlay may set only keys of the groups that it chooses."""
        choices = composed.hydra.runtime.choices
        if any(choices.get(overlay) for overlay in OVERLAYS):
            chosen = [f"{g}={o}" for g, o in choices.items() if g in self.tree.groups and g not in OVERLAYS]
            return AllowedKeys(self.task, self._compose([*chosen, *classes]))
        return AllowedKeys(self.task, composed)

    def _compose_groups(self, chosen: list[str], fixed: list[Override]) -> DictConfig:
        """Compose the choices of groups, then Hydra's own keys, of which each that is wrong is named."""
        groups = chosen + [str(o.input_line) for o in fixed if self.parser.is_group(o) or adds_class(o)]
        return self._compose_settings(groups, [str(o.input_line) for o in fixed if is_hydra_key(o, self.parser)])

    def _with_settings(self, composed: DictConfig, groups: list[str], settings: list[str]) -> DictConfig:
        """The composed choices of groups, with settings; raises as `_compose_settings`."""
        try:
            return hydra_adapter.with_settings(self.tree.loader, composed, settings)
        except Exception:  # composing names each setting that is wrong
            return self._compose_settings(groups, settings)

    def _compose_settings(self, groups: list[str], settings: list[str]) -> DictConfig:
        """Compose settings with groups.

        Raises:
            ConfigError: with each setting that cannot be composed, by name.
        """
        try:
            return self._compose([*groups, *settings])
        except ConfigError:
            self._compose(groups)  # is it a group?
            problems = []
            for text in settings:
                try:
                    self._compose([*groups, text])
                except ConfigError as error:
                    problem = error.problems[0]
                    line = problem.message if text in problem.message else f"{text}: {problem.message}"
                    problems.append(replace(problem, message=line, key=text.partition("=")[0].lstrip("+~")))
            if not problems:  # only together
                raise
            raise ConfigError(problems) from None

    def _compose(self, overrides: list[str]) -> DictConfig:
        """Compose a configuration.

        Raises:
            ConfigError: if it cannot be composed.
        """
        try:
            return self.tree.compose(self.task, overrides)
        except ConfigError:
            raise
        except Exception as error:  # on unexpected files Hydra raises errors of any kind
            raise ConfigError([self._cannot_compose(error, overrides)]) from error

    def _cannot_compose(self, error: Exception, groups: list[str]) -> Problem:
        """The problem of groups that Hydra cannot compose."""
        if isinstance(error, (HydraException, OmegaConfBaseException, YAMLError)):
            plugin = re.search(r"'(hydra/(?:launcher|sweeper))/(\w+)'", str(error))
            missing = missing_plugin(*plugin.groups()) if plugin else None
            return (
                missing
                or self._wrong_default(error)
                or self._invalid_yaml(error)
                or Problem(one_line(error), "cannot_compose")
            )
        line = f"{', '.join(groups)}: cannot be composed ({type(error).__name__}: {brief(error)})"
        return Problem(line, "cannot_compose")

    def _wrong_default(self, error: Exception) -> Problem | None:
        """The problem of a `defaults` list with an option that does not exist, or None."""
        missing = re.search(r"In '([^']+)': Could not find '([^']+)'", str(error))
        group, _, option = missing[2].rpartition("/") if missing else ("", "", "")
        if missing is None or group not in self.tree.groups:
            return None
        file = next((f for root in self.tree.roots if (f := root / f"{missing[1]}.yaml").is_file()), missing[1])
        options = self.tree.groups[group]
        message = f"{file}: its defaults choose {group}={option}: no such option; {nearest(option, options)}"
        return Problem(message, "unknown_option", group, option, suggestion(option, options))

    def _invalid_yaml(self, error: Exception) -> Problem | None:
        """The problem of a file that is not YAML, or None."""
        cause = error.__cause__ if isinstance(error.__cause__, MarkedYAMLError) else error
        if not isinstance(cause, MarkedYAMLError):
            return None
        mark = cause.problem_mark or cause.context_mark
        return Problem(yaml_reason(cause), "invalid_yaml", "" if mark is None else str(mark.name))

    def _is_allowed(self, override: Override, allowed: AllowedKeys) -> bool:
        """Whether the key of a setting, and each value of a sweep over it, is allowed; problems are collected."""
        key, text = override.key_or_group, str(override.input_line)
        if not allowed.allows(key) and not NAMED_CLASS.fullmatch(key):
            self.collected.append(allowed.unknown_key(key, override.get_key_element()))
            return False
        if key.startswith("data.parts.") and (name := key.rpartition(".")[2]) in OF_COMBINATION:
            line = f"{text}: {name} is common to combined datasets; set data.{name}"
            self.collected.append(Problem(line, "unknown_key", key, None, f"data.{name}"))
            return False
        if not (allowed.sets(key) or override.is_add() or override.is_force_add()):
            line = f"{text}: {allowed.file_of(key)} does not define {key}; add it with a plus: +{text}"
            self.collected.append(Problem(line, "needs_plus", key, None, f"+{text}"))
            return False
        if override.is_delete():
            self.collected.append(Problem(f"{text}: a key cannot be removed; set another value", "removed_key", key))
            return False
        if override.is_sweep_override() and override.is_discrete_sweep():
            values = [getattr(value, "text", value) for value in override.sweep_iterator()]
            self.collected += [problem for value in values if (problem := allowed.wrong_value(key, value))]
        elif override.is_interval_sweep():
            self.collected += interval_problems(text, key, override.value(), allowed)
        elif allowed.is_section(key) and not isinstance(override.value(), dict):
            group = key.replace(".", "/")
            remedy = f"choose with {group}={override.value()}" if group in self.tree.groups else f"set {key}.NAME=..."
            self.collected.append(Problem(f"{text}: {key} is a group of settings: {remedy}", "value_for_section", key))
            return False
        elif isinstance(override.value(), dict) and (problem := allowed.wrong_value(key, override.value())):
            self.collected.append(problem)  # OmegaConf cannot merge it into a list
            return False
        return True

    def _swept_by_file(self, cfg: DictConfig) -> dict[str, Override]:
        """The sweep overrides in the sweeper's own `params`, by key."""
        params = cfg.hydra.sweeper.get("params") or {}
        parsed = [self.parser.parse(f"{key}={value}", self.collected) for key, value in params.items()]
        return {o.get_key_element(): o for o in parsed if o is not None}

    def _check_sweep_of_file(self, cfg: DictConfig, allowed: AllowedKeys) -> None:
        """Check the sweep in the sweeper's file; the command line takes precedence."""
        typed = {o.get_key_element() for o in self.overrides}
        for key, swept in self._swept_by_file(cfg).items():
            if key not in typed and self._can_take_part(swept) and not self.parser.is_group(swept):
                self._is_allowed(swept, allowed)


def interval_problems(text: str, key: str, interval: Any, allowed: AllowedKeys) -> list[Problem]:
    """The problems of an interval to draw from: of its ends, or of the values just inside them."""
    low, high = interval.start, interval.end
    if low is None or high is None or not -math.inf < low < high < math.inf:
        line = f"{text}: must be interval(LOW, HIGH) of two finite numbers, the lower one first"
        return [Problem(line, "invalid_interval", key)]
    step = (high - low) * 1e-9
    ends = [low, high] if isinstance(low, int) and isinstance(high, int) else [low + step, high - step]
    problems = [problem for end in ends if (problem := allowed.wrong_value(key, end))]
    return [replace(problem, message=f"{text}: {problem.message}") for problem in problems[:1]]


def adds_class(override: Override) -> bool:
    """Whether an override adds a logger or a callback by its class, which decides about the keys beside it."""
    is_added = override.is_add() or override.is_force_add()
    return is_added and not override.is_sweep_override() and bool(NAMED_CLASS.fullmatch(override.key_or_group))


def is_hydra_key(override: Override, parser: Overrides) -> bool:
    """Whether an override sets a key of Hydra's node, rather than choosing a group."""
    return bool(override.is_hydra_override()) and not parser.is_group(override)


def as_sweep(override: Override) -> str:
    """An override as a sweep over its single value; unchanged if the value is empty or removed."""
    key, _, value = str(override.input_line).partition("=")
    return f"{key}=choice({value})" if value and not override.is_delete() else str(override.input_line)


def combinations(swept: list[Override]) -> list[list[str]]:
    """The choices of groups to compose: every combination of groups that may exclude each other, and each other option once."""
    options = {o.get_key_element(): list(o.sweep_string_iterator()) for o in swept}
    clashing = [key for key in options if key.split("/")[0] in CLASHING]
    first = {key: values[0] for key, values in options.items()}
    chosen = [
        {**first, **dict(zip(clashing, values, strict=True))}
        for values in itertools.product(*(options[key] for key in clashing))
    ]
    chosen += [{**first, key: value} for key in options if key not in clashing for value in options[key][1:]]
    return [[f"{key}={value}" for key, value in choice.items()] for choice in chosen]
