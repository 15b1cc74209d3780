"""Checks of combinations of data, features, model, training and hardware."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import DictConfig, ListConfig

from musicreclass.config.overrides import FIXED
from musicreclass.config.plugins import missing_logger, missing_peft, missing_plugin
from musicreclass.config.settings.models import ESTIMATORS
from musicreclass.config.tree import Tree
from musicreclass.errors import Problem

SEVERAL = "hardware.devices, hardware.nodes"
ALONE = Problem(
    f"{SEVERAL}: several processes cannot train one network in a multirun; run musicreclass train once for each job, without -m",
    "processes_in_multirun",
    "hardware.devices",
)
READ = (  # keys that this module reads; if one of them is invalid, choices are not compared
    "data.provides", "data.sampler", "model.input", "model._target_", "hardware.devices", "hardware.nodes",
    "hardware.precision", "trainer.precision", "trainer.gradient_clip_norm", "optimizer.fused", "early_stopping.patience",
)  # fmt: skip
WHOLE_RUN_SCHEDULES = ("OneCycleLR", "CosineAnnealingLR")


@dataclass(frozen=True)
class Choices:
    """Rules between the parts of a composed configuration.

    Args:
        tree: the folders of configuration, for alternatives to suggest.
        multirun: whether comma-separated values and ranges are sweeps.
        swept: the keys that the command line sweeps over.
    """

    tree: Tree
    multirun: bool
    swept: set[str]

    def problems(self, cfg: DictConfig, choices: dict[str, str]) -> list[Problem]:
        """Choices that cannot be combined."""
        problems = self._processes(cfg, choices) or self._targets(cfg, choices) + named_classes(cfg)
        if problems or cfg.get("data") is None:
            return problems
        provides = cfg.data.get("provides")
        if provides is None or cfg.data.get("split") is None:
            return incomplete_data(cfg.data, choices["data"])
        if not (isinstance(provides, ListConfig) and len(provides)):
            return []  # reported as an invalid value
        features = choices.get("features") if cfg.get("features", {}).get("_target_") else None
        problems = self._features(cfg, choices, features, list(provides))
        if problems or cfg.get("model") is None:
            return problems
        return untrainable(cfg, choices) or self._input(cfg, choices, ["table"] if features else list(provides))

    def _processes(self, cfg: DictConfig, choices: dict[str, str]) -> list[Problem]:
        """Multiruns, several processes, Hydra's mode."""
        if self.multirun and cfg.get("run_dir") is not None:
            return [
                Problem(
                    "run_dir: one folder cannot hold the runs of a multirun; omit it with -m",
                    "run_dir_in_multirun",
                    "run_dir",
                )
            ]
        several = cfg.get("hardware") is not None and (cfg.hardware.devices, cfg.hardware.nodes) != (1, 1)
        if self.multirun and (several or self.swept & {"hardware.devices", "hardware.nodes"}):
            return [ALONE]
        if several and is_estimator(cfg):
            line = f"{SEVERAL}: model={choices.get('model')} trains in one process; set both to 1"
            return [Problem(line, "processes_for_estimator", "hardware.devices")]
        search = f"search={choices['search']}" if choices.get("search") else ""
        missing = missing_plugin("hydra/sweeper", str(choices.get("hydra/sweeper")), search) if self.multirun else None
        if missing is not None:
            return [missing]
        if cfg.hydra.mode is not None:
            line = f"hydra.mode={cfg.hydra.mode}: cannot be set in a file; {FIXED['hydra.mode']}"
            return [Problem(line, "fixed_key", "hydra.mode")]
        return []

    def _targets(self, cfg: DictConfig, choices: dict[str, str]) -> list[Problem]:
        """Sections without a class."""
        for section in ("data", "model"):
            node = cfg.get(section)
            if node is not None and not (isinstance(node, DictConfig) and isinstance(node.get("_target_"), str)):
                line = f"{section}={choices.get(section)}: its file must name a class: _target_: module.Class"
                return [Problem(line, "missing_target", section)]
        return []

    def _features(
        self, cfg: DictConfig, choices: dict[str, str], features: str | None, provides: list[str]
    ) -> list[Problem]:
        """Features that the data does not allow."""
        if "parts" in cfg.data and cfg.data._target_.startswith("musicreclass.data.combined.") and not cfg.data.parts:
            line = f"data={choices['data']}: combines nothing; its file must list datasets: see docs/datasets.md"
            return [Problem(line, "missing_value", "data.parts")]
        if features and "parts" in cfg.features and not cfg.features.parts:
            line = f"features={features}: joins nothing; its file must list sources of features: see docs/features.md"
            return [Problem(line, "missing_value", "features.parts")]
        if features and "waveform" not in provides:
            sources = few(self.tree.options_with("data", "provides", "waveform"))
            line = f"features={features} reads recordings, and data={choices['data']} is a table; use features=none, or data={sources}"
            return [Problem(line, "features_of_table", "features", features, "features=none")]
        if features and cfg.data.get("sampler", "none") != "none":
            line = f"data.sampler={cfg.data.sampler} draws clips, and features={features} provides a table; use class_weight=balanced"
            return [Problem(line, "sampler_of_table", "data.sampler", cfg.data.sampler, "class_weight=balanced")]
        return []

    def _input(self, cfg: DictConfig, choices: dict[str, str], provides: list[str]) -> list[Problem]:
        """A model that cannot read what the data or the features provide."""
        data, model, needs = choices["data"], choices["model"], cfg.model.get("input")
        features, augmentation = choices.get("features", "none"), choices.get("augmentation", "none")
        if needs not in ("table", "waveform"):
            line = f"model={model}: its file must set what it reads: input: table, or input: waveform"
            return [Problem(line, "missing_input", "model.input", needs)]
        if needs in provides and needs == "table" and augmentation != "none":
            line = f"augmentation={augmentation} augments audio, and model={model} reads a table; use augmentation=none"
            return [Problem(line, "augmentation_of_table", "augmentation", augmentation, "augmentation=none")]
        if needs in provides:
            return []
        models = few(self.tree.options_with("model", "input", provides[0] if provides else "table"))
        if features != "none":
            line = f"features={features} provides a table, and model={model} reads a {needs}; use model={models}, or features=none"
            return [Problem(line, "input_mismatch", "model", model, "features=none")]
        encoders = few([option for option in self.tree.groups["features"] if option != "none"])
        ways = [f"model={models}"] + ([f"features={encoders}"] if needs == "table" else [])
        sources = few(self.tree.options_with("data", "provides", needs))
        line = f"data={data} provides a {' and a '.join(provides)}, and model={model} reads a {needs}; use {', '.join(ways)}, or data={sources}"
        return [Problem(line, "input_mismatch", "model", model, ways[0])]


def named_classes(cfg: DictConfig) -> list[Problem]:
    """Loggers and callbacks without a class, and loggers and adapters that are not installed."""
    problems = []
    for group in ("logger", "callbacks"):
        for name, node in (cfg.get(group) or {}).items():
            target = node.get("_target_") if isinstance(node, DictConfig) else None
            if isinstance(node, DictConfig) and target is None:
                line = f"{group}.{name}: must name a class: _target_: module.Class"
                problems.append(Problem(line, "missing_target", f"{group}.{name}"))
            elif target is not None and (missing := missing_logger(str(name), str(target))):
                problems.append(missing)
    model = cfg.get("model")
    if isinstance(model, DictConfig) and (missing := missing_peft(str(model.get("trainable")))):
        problems.append(missing)
    return problems


def few(options: list[str]) -> str:
    """Alternatives for a message, the first six of them."""
    return "|".join([*options[:6], "..."] if len(options) > 6 else options)


def reads(key: str) -> bool:
    """Whether `Choices` reads a key, or a key below it."""
    return any(f"{name}.".startswith(f"{key}.") for name in READ)


def incomplete_data(data: DictConfig, choice: str) -> list[Problem]:
    """What the file of a dataset must contain and lacks."""
    required = {
        "provides": "must list what it provides: provides: [table], or provides: [waveform]",
        "split": "must choose a split: defaults: [{split: auto}]",
    }
    return [
        Problem(f"data={choice}: its file {rule}", "missing_value", f"data.{key}")
        for key, rule in required.items()
        if data.get(key) is None
    ]


def is_estimator(cfg: DictConfig) -> bool:
    """Whether a configuration's model is known to read no training settings."""
    return str((cfg.get("model") or {}).get("_target_")).startswith(ESTIMATORS)


def untrainable(cfg: DictConfig, choices: dict[str, str]) -> list[Problem]:
    """Training settings that exclude each other."""
    scheduler, stopping = choices.get("scheduler"), choices.get("early_stopping")
    plans_ahead = str(cfg.scheduler.get("_target_")).endswith(WHOLE_RUN_SCHEDULES)
    stops = cfg.early_stopping.get("patience") is not None and stopping != "none"
    if plans_ahead and stops and not is_estimator(cfg):
        line = f"early_stopping={stopping}: scheduler={scheduler} plans the whole run; use scheduler=plateau|none, or early_stopping=none"
        return [Problem(line, "schedule_with_early_stopping", "early_stopping", stopping, "early_stopping=none")]
    chosen = "hardware" if cfg.trainer.precision == "auto" else "trainer"
    if (
        cfg[chosen].precision == "16-mixed"
        and cfg.trainer.gradient_clip_norm is not None
        and not cfg.optimizer.get("fused")
    ):
        line = f"trainer.gradient_clip_norm: with {chosen}.precision=16-mixed it needs a fused optimizer, or choose bf16-mixed"
        return [Problem(line, "clipping_in_16_mixed", "trainer.gradient_clip_norm")]
    return []
