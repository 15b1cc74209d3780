"""Ensembles of runs on GTZAN's fault-filtered lists against the best of their members, by nested cross-validation over artists.

`MUSICRECLASS_TEST_DATA=DIR MUSICRECLASS_MODELS=DIR python benchmarks/ensemble.py [RUN ...]`; without runs it trains logistic regression on the
518 features and, with musicnn's weights, on its embeddings, and XGBoost on the 518 features. With CNN=1 a CNN over log-mels takes the place of
logistic regression on the 518 features; its training takes 10 to 20 minutes on two cores.
"""

from __future__ import annotations

import os
import sys
import tempfile
from itertools import combinations
from pathlib import Path

import musicreclass as mrc
from musicreclass.evaluation.combining import METHODS

CNN = [
    "model=cnn",
    "augmentation=spectrogram",
    "data.clip_seconds=2",
    "trainer.max_epochs=40",
    "trainer.batch_size=32",
]


def train_members(outputs: str) -> list[mrc.Run]:
    """The runs to combine; empty without GTZAN's excerpts."""
    folder = Path(os.environ.get("MUSICRECLASS_TEST_DATA", "")) / "GTZAN_excerpts"
    if not folder.is_dir():
        return []
    options = [
        CNN if os.environ.get("CNN") else ["features=fma518", "model=logreg"],
        ["features=fma518", "model=xgboost"],
    ]
    models = os.environ.get("MUSICRECLASS_MODELS")
    if models and (Path(models) / "musicnn").is_dir():
        options.append(["features=musicnn", "model=logreg"])
    common = ["data=gtzan", f"data.root={folder}", "evaluate=[valid]", f"paths.outputs={outputs}", "logger=none"]
    return [mrc.train([*common, *overrides]) for overrides in options]


def scores(values: dict[str, float | list[float]]) -> str:
    """Accuracy and macro-F1 in percent, with 95 % intervals."""
    texts = []
    for metric in ("accuracy", "macro_f1"):
        low, high = values[f"{metric}_ci95"]
        texts.append(f"{100 * values[metric]:5.1f} [{100 * low:4.1f}, {100 * high:4.1f}]")
    return "  ".join(texts)


def report(runs: list[mrc.Run], outputs: str) -> None:
    """Print the ensembles of some runs by every method."""
    built = {
        method: mrc.ensemble(runs, method, Path(outputs) / f"{method}-{len(runs)}-{id(runs)}") for method in METHODS
    }
    first = built["mean"].metrics["ensemble"]
    n = built["mean"].metrics["valid"]["n"]
    print(f"n = {n} validation tracks, {first['over']}, {first['folds']} folds; percent: accuracy, macro-F1")
    for member in first["members"]:
        print(f"  {member['model']:<32} {scores(member)}")
    print(f"  {'best member, chosen in each fold':<32} {scores(first['best_member'])}")
    for method, run in built.items():
        record = run.metrics["ensemble"]
        weights = " ".join(f"{member['weight']:.2f}" for member in record["members"])
        print(f"  {method:<32} {scores(run.metrics['valid'])}   weights {weights}")
        for metric, d in record["difference"].items():
            interval = f"[{100 * d['low']:+.1f}, {100 * d['high']:+.1f}]"
            print(
                f"    {metric:<9} - best member {100 * d['difference']:+5.1f} {interval:<15} p = {d['p']:.3f} ({d['test']})"
            )


def main() -> None:
    """Print the ensemble of all runs, and those of every two."""
    with tempfile.TemporaryDirectory() as outputs:
        runs = [mrc.load(folder) for folder in sys.argv[1:]] or train_members(outputs)
        if not runs:
            print("ensembles: not run: GTZAN's excerpts are not in MUSICRECLASS_TEST_DATA")
            return
        subsets = [runs, *(list(pair) for pair in combinations(runs, 2))] if len(runs) > 2 else [runs]
        for subset in subsets:
            report(subset, outputs)


if __name__ == "__main__":
    main()
