"""Synthetic finished run folders, written without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from musicreclass.config.parse import parse
from musicreclass.config.settings.tasks import TrainSettings
from musicreclass.evaluation.predictions import PREFIX, Predictions
from musicreclass.runs.code_version import code_version
from musicreclass.runs.signature import signature

CLASSES = ("blues", "jazz", "rock")


def make_run(
    outputs: Path,
    name: str,
    *,
    model: str = "mlp",
    seed: int = 0,
    settings: dict[str, Any] | None = None,
    right: float = 0.7,
    n: int = 120,
    groups: int = 0,
    tracks: str = "t",
    splits: tuple[str, ...] = ("valid", "test"),
    split: str = "grouped",
    leaky: str = "no",
    fold: int | None = None,
    lr: float | None = None,
    classes: tuple[str, ...] = CLASSES,
    data: str = "table",
    fingerprint: str = "f",
    provenance: dict[str, Any] | None = None,
    order: int = 1,
    features: str | None = None,
    split_seed: int = 0,
    draw: int | None = None,
    data_settings: dict[str, Any] | None = None,
) -> Path:
    """Write a run with a given accuracy; model, seed and fold determine which tracks are predicted correctly.

    Args:
        outputs: the parent folder.
        name: the name of the run folder.
        model: the chosen model; mlp and cnn are networks.
        settings: of the model.
        right: the accuracy on each split.
        n: the number of tracks per split.
        groups: the number of groups per split; 0 if unknown.
        tracks: a prefix of the track ids.
        fold: the fold; folds share no tracks.
        features: the features that turn recordings into a table.
        split_seed: the seed of the split; each has other tracks.
        draw: of the predictions, instead of the seed; None: the seed.
        data_settings: of the data.
        order: -1 writes the predictions in reverse order.
    """
    folder = outputs / name
    (folder / "predictions").mkdir(parents=True)
    network = model in ("mlp", "cnn")
    target = f"torch.{model}" if network else f"sklearn.{model}"
    config: dict[str, Any] = {
        "data": {
            "_target_": "Table",
            "split": {"protocol": split, "folds": 5, "seed": split_seed},
            **({} if fold is None else {"fold": fold}),
            **(data_settings or {}),
        },
        "model": {
            "_target_": target,
            "input": "table",
            **(settings or {}),
            **({} if network else {"random_state": seed}),
        },
        "optimizer": {"_target_": "AdamW", "lr": lr or 0.002},
        "scheduler": {"_target_": "OneCycleLR", "max_lr": lr or 0.002},
        "seed": seed,
        "paths": {"outputs": "outputs", "cache": "cache", "data": None, "models": "models"},
        "class_weight": "none",
        "choices": {"data": data, "model": model, "optimizer": "adamw", "scheduler": "onecycle"},
    }
    if features:
        config["features"] = {"_target_": f"features.{features}", "checkpoint": "random"}
        config["choices"]["features"] = features
    fingerprint = f"{fingerprint}-{fold}-{split_seed}"
    tracks += str(split_seed) if split_seed else ""
    rng = np.random.default_rng([seed if draw is None else draw, fold or 0, *f"{model}{settings}{lr}".encode()])
    metrics: dict[str, Any] = {"protocol": {"split": split, "leaky": leaky, "why": []}, "classes": list(classes)}
    for part in splits:
        y_true = np.arange(n) % len(classes)
        hit = rng.permutation(n) < round(right * n)
        y_pred = np.where(hit, y_true, (y_true + 1 + rng.integers(0, len(classes) - 1, n)) % len(classes))
        table = pd.DataFrame({
            "track_id": [f"{tracks}{fold}-{part}-{i:05d}" for i in range(n)],
            "target": [classes[k] for k in y_true],
            "group": [f"g{i * groups // n}" if groups else None for i in range(n)],
            **{PREFIX + name: np.where(y_pred == k, 0.8, 0.2 / (len(classes) - 1)) for k, name in enumerate(classes)},
        })  # fmt: skip
        Predictions(table[::order]).save(folder / "predictions" / f"{part}.parquet")
        accuracy, interval = (
            float(hit.mean()),
            {"accuracy_ci95": [0.0, 1.0], "macro_f1_ci95": [0.0, 1.0], "ci95_over": ""},
        )
        metrics[part] = {"accuracy": accuracy, "macro_f1": accuracy, "n": n, "per_class": {}, **interval}
    checked = parse("train", config)
    assert isinstance(checked, TrainSettings)
    identity = {"signature": signature(checked, fingerprint), "fingerprint": fingerprint, "code": code_version(config)}
    default_provenance = {
        "seconds": {"fit": 2.0},
        "peak_memory_mib": 700,
        "model": {"parameters": 1234} if network else {},
        "hardware": {"gpu": None},
    }
    for file, content in (
        ("metrics", metrics),
        ("identity", {**identity, "choices": config["choices"], "source": ""}),
        ("provenance", default_provenance if provenance is None else provenance),
        ("status", {"state": "done"}),
    ):
        (folder / f"{file}.json").write_text(json.dumps(content))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder
