"""Whether choices fit each other: data, features, model, training and hardware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from musicreclass.config.plugins import missing_plugin
from musicreclass.config.science import is_estimator
from musicreclass.config.tree import Tree
from musicreclass.errors import Problem

FIXED = {
    "hydra.mode": "-m makes a multirun",
    "hydra.sweep.dir": "a multirun's list goes to sweeps/ in paths.outputs",
    "hydra.sweep.subdir": "every run has a folder of its own",
}
ALONE = (
    "hardware.devices, hardware.nodes: several processes train one network by one command, which a multirun's jobs do not have:"
    " say musicreclass train ... once for each job, without -m"
)


@dataclass(frozen=True)
class Choices:
    """What must hold between the parts of a composed configuration.

    Args:
        tree: the folders of configuration, for what would fit instead.
        multirun: whether comma lists and ranges are sweeps.
        swept: the keys that the command line sweeps over.
    """

    tree: Tree
    multirun: bool
    swept: set[str]

    def misfits(self, cfg: DictConfig, choices: dict[str, str]) -> Sequence[str | Problem]:
        """Choices that do not fit each other."""
        if self.multirun and cfg.get("run_dir") is not None:
            return ["run_dir: one folder cannot hold the runs of a multirun; leave it out with -m"]
        several = cfg.get("hardware") is not None and (cfg.hardware.devices, cfg.hardware.nodes) != (1, 1)
        if self.multirun and (several or self.swept & {"hardware.devices", "hardware.nodes"}):
            return [ALONE]
        if several and is_estimator({"model": cfg.get("model") or {}}):
            return [
                f"hardware.devices, hardware.nodes: model={choices.get('model')} trains in one process: set both to 1"
            ]
        search = f"search={choices['search']}" if choices.get("search") else ""
        missing = missing_plugin("hydra/sweeper", str(choices.get("hydra/sweeper")), search) if self.multirun else None
        if missing:
            return [missing]
        if cfg.hydra.mode is not None:
            return [f"hydra.mode={cfg.hydra.mode}: cannot be set in a file; {FIXED['hydra.mode']}"]
        for section in ("data", "model"):
            node = cfg.get(section)
            if node is not None and not (isinstance(node, DictConfig) and isinstance(node.get("_target_"), str)):
                return [f"{section}={choices.get(section)}: its file must name a class: _target_: module.Class"]
        if cfg.get("data") is None:
            return []
        gives = list(cfg.data.get("provides", []))
        features = choices.get("features") if cfg.get("features", {}).get("_target_") else None
        if features and "waveform" not in gives:
            sources = "|".join(self.tree.options_reading("data", "provides", "waveform"))
            return [f"features={features}: turns recordings into a table, and data={choices['data']} is a table already: "
                    f"features=none, or data={sources}"]  # fmt: skip
        if features and cfg.data.get("sampler", "none") != "none":
            told = f"draws clips, and features={features} makes a table of them"
            return [f"data.sampler={cfg.data.sampler}: {told}: class_weight=balanced weighs classes alike"]
        if cfg.get("model") is None:
            return []
        return self._untrainable(cfg, choices) or self._unreadable(cfg, choices, ["table"] if features else gives)

    def _untrainable(self, cfg: DictConfig, choices: dict[str, str]) -> list[str]:
        """Training settings that exclude each other."""
        planned = str(cfg.scheduler.get("_target_")).endswith(("OneCycleLR", "CosineAnnealingLR"))
        stopping = choices.get("early_stopping")
        stops = cfg.early_stopping.get("patience") is not None and stopping != "none"
        if planned and stops and not is_estimator({"model": cfg.model}):
            told = f"scheduler={choices.get('scheduler')} plans the whole run"
            return [f"early_stopping={stopping}: {told}; choose scheduler=plateau|none, or early_stopping=none"]
        clips = cfg.trainer.gradient_clip_norm is not None and cfg.trainer.precision == "16-mixed"
        if clips and not cfg.optimizer.get("fused"):
            return [
                "trainer.gradient_clip_norm: with trainer.precision=16-mixed it needs a fused optimizer, or choose bf16-mixed"
            ]
        return []

    def _unreadable(self, cfg: DictConfig, choices: dict[str, str], gives: list[str]) -> list[str]:
        """A model that cannot read what the data, or its features, give."""
        data, model, needs = choices["data"], choices["model"], cfg.model.get("input")
        features, augmentation = choices.get("features", "none"), choices.get("augmentation", "none")
        if needs not in ("table", "waveform"):
            return [f"model={model}: its file must say what it reads: input: table, or input: waveform"]
        if needs in gives and needs == "table" and augmentation != "none":
            return [f"augmentation={augmentation}: augments audio, and model={model} reads a table: augmentation=none"]
        if needs in gives:
            return []
        models = "|".join(self.tree.options_reading("model", "input", gives[0] if gives else "table"))
        if features != "none":
            return [
                f"features={features} gives a table, model={model} reads a {needs}: choose model={models}, or features=none"
            ]
        encoders = "|".join(option for option in self.tree.groups["features"] if option != "none")
        ways = [f"model={models}"] + ([f"features={encoders}"] if needs == "table" else [])
        sources = "|".join(self.tree.options_reading("data", "provides", needs))
        return [f"data={data} gives a {' and a '.join(gives)}, model={model} reads a {needs}: "
                f"choose {', '.join(ways)}, or data={sources}"]  # fmt: skip
