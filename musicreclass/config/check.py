"""The check that runs before any data is read.

It reports every problem at once. What is legal follows from the YAML files themselves: a key that the chosen files hold, or
that the `_target_` beside it takes. Nothing heavy is imported, unless a key was added under a target.
"""

from __future__ import annotations

import itertools
import math
import re
from dataclasses import dataclass, field
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from musicreclass.config.allowed_keys import Legal
from musicreclass.config.compatibility import FIXED, Choices
from musicreclass.config.messages import nearest, one_line
from musicreclass.config.plugins import missing_plugin
from musicreclass.config.science import SCIENCE
from musicreclass.config.search_rules import refusals, searches
from musicreclass.config.tree import Tree, with_choices
from musicreclass.errors import ConfigError, Problem

OVERLAYS = ("experiment", "debug", "search")  # groups whose files set other groups' keys and bring none of their own


def compose(task: str, overrides: list[str], config_dir: str | None = None) -> DictConfig:
    """Compose and check one job's configuration, from code as the command line would.

    Args:
        task: the primary file, `train`.
        overrides: as on the command line, `["model=mlp", "seed=2"]`.
        config_dir: a folder of your own configuration.

    Returns:
        The configuration without Hydra's own node, interpolations in place, the chosen options under `choices`.

    Raises:
        ConfigError: with every problem found.
    """
    tree = Tree(config_dir)
    problems = Check(tree, task, overrides, multirun=False).problems()
    if problems:
        raise ConfigError(problems)
    cfg = tree.compose(task, overrides)
    choices = dict(cfg.hydra.runtime.choices)
    return with_choices(cfg, choices)


COMPARED = ("seed", "experiment", "model", "features", "data", "data/split", "data.fold", "data.root", "data.path", "data.subset")  # fmt: skip


@dataclass
class Check:
    """One look at what was asked for, before anything is done.

    Args:
        tree: the folders of configuration.
        task: the primary file.
        arguments: the overrides, as they were typed.
        multirun: whether comma lists and ranges are sweeps.
    """

    tree: Tree
    task: str
    arguments: list[str]
    multirun: bool
    found: list[str | Problem] = field(default_factory=list)
    unread: set[str] = field(default_factory=set)
    first: DictConfig | None = None
    scores_test: bool = False
    overrides: list[Override] = field(default_factory=list)

    def outputs(self) -> Path:
        """Where the first job's runs go; known once `problems` was asked."""
        assert self.first is not None
        return Path(OmegaConf.select(self.first, "paths.outputs"))

    def jobs(self) -> int:
        """How many jobs a multirun has; known once `problems` was asked."""
        assert self.first is not None
        if self.is_search():
            return int(self.first.hydra.sweeper.n_trials)
        given = {o.get_key_element(): o for o in self.overrides if not o.is_hydra_override()}
        settings = self.first.hydra.sweeper.get("params") or {}
        given = {o.get_key_element(): o for k, v in settings.items() if (o := self._parse(f"{k}={v}"))} | given
        return math.prod(len(list(o.sweep_string_iterator())) for o in given.values() if o.is_sweep_override())

    def is_search(self) -> bool:
        """Whether a sweeper proposes the jobs by what those before have scored; known once `problems` was asked."""
        assert self.first is not None
        return searches(self.first)

    def problems(self) -> list[str | Problem]:
        """Every problem, one line each; empty if the jobs can start."""
        parsed = [o for text in self.arguments if (o := self._parse(text)) is not None]
        self.overrides = overrides = [o for o in parsed if self._is_usable(o)]
        swept = [o for o in overrides if o.is_sweep_override() and self._is_group(o)]
        fixed = [o for o in overrides if o not in swept]
        for chosen in self._combinations(swept):
            self._check_job(chosen, fixed)
        if self.first is not None and searches(self.first):
            self.found += refusals(self.first, overrides, self.multirun, self.scores_test)
        elif self.multirun and self.scores_test:
            self._refuse_search(overrides)
        follow = tuple(f"{key}: a value is needed" for key in self.unread)
        return [line for line in dict.fromkeys(self.found) if not (follow and str(line).startswith(follow))]

    def _refuse_search(self, overrides: list[Override]) -> None:
        """A sweep over settings is a search, and a search must not see the test split, unless it was asked for in words."""
        keys = [o.key_or_group for o in overrides if o.is_sweep_override()]
        searched = [k for k in keys if k.replace("/", ".").split(".")[0] in SCIENCE and k not in COMPARED]
        if searched and not any(o.key_or_group == "evaluate" for o in overrides):
            self.found.append(
                f"{searched[0]}: a sweep over it is a search, and its runs would be scored on test: add evaluate=[valid]"
                " (or evaluate=[valid,test], if every one of them is to be)"
            )

    def _check_space(self, cfg: DictConfig, legal: Legal) -> None:
        """What the sweeper's own file sweeps over; what the command line says of a key goes before it."""
        given = {o.get_key_element() for o in self.overrides}
        for key, value in (cfg.hydra.sweeper.get("params") or {}).items():
            swept = self._parse(f"{key}={value}") if key not in given else None
            if swept is not None and self._is_usable(swept) and not self._is_group(swept):
                self._is_known(swept, legal)

    def _combinations(self, swept: list[Override]) -> list[list[str]]:
        """The choices of groups to compose: all that may clash with each other, and each other option once."""
        options = {o.get_key_element(): list(o.sweep_string_iterator()) for o in swept}
        clashing = [key for key in options if key.split("/")[0] in ("data", "model", "features", *OVERLAYS)]
        first = {key: values[0] for key, values in options.items()}
        found = [
            {**first, **dict(zip(clashing, v, strict=True))} for v in itertools.product(*(options[k] for k in clashing))
        ]
        found += [{**first, key: value} for key in options if key not in clashing for value in options[key][1:]]
        return [[f"{key}={value}" for key, value in choice.items()] for choice in found]

    def _parse(self, text: str) -> Override | None:
        try:
            (override,) = OverridesParser.create(self.tree.loader).parse_overrides([text])
        except HydraException:
            key, sign, value = text.partition("=")
            self.unread.add(key.lstrip("+"))
            if not sign or not key:
                self.found.append(f"{text}: an override is KEY=VALUE, as in seed=1")
            else:
                escaped = value.replace("\\", "\\\\").replace('"', '\\"')
                self.found.append(f"{text}: cannot be read; quote the value: '{key}=\"{escaped}\"'")
            return None
        return override

    def _is_group(self, override: Override) -> bool:
        return override.key_or_group in self.tree.groups

    def _is_usable(self, override: Override) -> bool:
        """Whether an override can take part in composing; what is wrong with it alone is noted."""
        text = override.input_line
        if not override.key_or_group:
            self.found.append(f"{text}: an override is KEY=VALUE, as in seed=1")
            return False
        if override.is_sweep_override() and not self.multirun:
            listed = "" if "=" not in str(text) else "[" + str(text).partition("=")[2] + "]"
            self.found.append(f"{text}: several values are a sweep, which needs -m (or a list: {listed})")
            return False
        if override.is_discrete_sweep() and not list(override.sweep_string_iterator()):
            self.found.append(f"{text}: stands for no value at all")
            return False
        if override.is_hydra_override():
            if override.key_or_group in FIXED:
                self.found.append(f"{text}: cannot be set; {FIXED[override.key_or_group]}")
            return override.key_or_group not in FIXED
        if not self._is_group(override):
            if "/" in override.key_or_group:
                self.found.append(f"{text}: no such group; {nearest(override.key_or_group, set(self.tree.groups))}")
                return False
            return True
        group, options = override.key_or_group, self.tree.groups[override.key_or_group]
        taken = self.tree.groups_of(self.task)
        if group.split("/")[0] not in taken and not override.is_add():
            own = ", ".join(sorted(name for name in taken if name in self.tree.groups))
            self.found.append(f"{text}: {self.task} takes no {group}; its groups are {own}")
            return False
        if override.is_delete():
            self.found.append(f"{text}: a group cannot be taken away; leave it out, or choose one of its options")
            return False
        values = list(override.sweep_string_iterator()) if override.is_sweep_override() else [override.value()]
        wrong = ["null" if v is None else str(v) for v in values if str(v) not in options]
        self.found += [f"{group}={v}: no such option; {nearest(v, options)}" for v in wrong]
        return not wrong

    def _check_job(self, chosen: list[str], fixed: list[Override]) -> None:
        """Compose one combination of groups and compare it with what is legal for it."""
        groups = chosen + [str(o.input_line) for o in fixed if self._is_group(o) or o.is_hydra_override()]
        try:
            composed = self.tree.compose(self.task, groups)
            choices = composed.hydra.runtime.choices
            if any(choices.get(overlay) for overlay in OVERLAYS):
                own = [f"{g}={o}" for g, o in choices.items() if g in self.tree.groups and g not in OVERLAYS]
                legal = Legal(self.tree.compose(self.task, own))
            else:
                legal = Legal(composed)
            settings = [o for o in fixed if not self._is_group(o) and not o.is_hydra_override()]
            kept = [first_value(o) for o in settings if self._is_known(o, legal) and not o.is_interval_sweep()]
            cfg = self.tree.compose(self.task, groups + kept)
        except ConfigError as error:
            self.found += map(str, error.problems)
            return
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            unfound = re.search(r"'(hydra/(?:launcher|sweeper))/(\w+)'", str(error))
            self.found.append((missing_plugin(*unfound.groups()) if unfound else None) or one_line(error))
            return
        except Exception as error:  # Hydra meets files that it does not expect with errors of any kind
            named = ", ".join([*chosen, *(str(o.input_line) for o in fixed if self._is_group(o))])
            self.found.append(f"{named}: cannot be composed ({type(error).__name__}: {one_line(error)[:160]})")
            return
        if self.multirun:
            self._check_space(composed, legal)
        self.first = self.first or cfg
        self.scores_test |= "test" in (cfg.get("evaluate") or [])
        self.found += legal.problems(cfg)
        swept = {o.key_or_group for o in self.overrides if o.is_sweep_override()}
        self.found += Choices(self.tree, self.multirun, swept).misfits(cfg, dict(choices))

    def _is_known(self, override: Override, legal: Legal) -> bool:
        """Whether a setting's key is legal, and each value of a sweep over it; what is not is noted."""
        key = override.key_or_group
        if not legal.has(key):
            self.found.append(f"{override.get_key_element()}: no such key; {nearest(key, legal.names(key))}")
            return False
        if not (legal.holds(key) or override.is_add() or override.is_force_add()):
            self.found.append(
                f"{override.input_line}: the file does not set {key}; add it with a plus: +{override.input_line}"
            )
            return False
        if override.is_delete():
            self.found.append(f"{override.input_line}: a key cannot be taken away; give it another value")
            return False
        if override.is_sweep_override() and override.is_discrete_sweep():
            for value in override.sweep_iterator():
                problem = legal.mismatch(key, getattr(value, "text", value))
                self.found += [problem] if problem else []
        elif legal.is_group_of_settings(key) and not isinstance(override.value(), dict):
            group = key.replace(".", "/")
            way = f"choose with {group}={override.value()}" if group in self.tree.groups else f"set {key}.NAME=..."
            self.found.append(f"{override.input_line}: {key} is a group of settings: {way}")
            return False
        return True


def first_value(override: Override) -> str:
    """An override as one job has it: of a sweep, the first value."""
    if not override.is_sweep_override():
        return str(override.input_line)
    return f"{override.get_key_element()}={next(override.sweep_string_iterator())}"
