"""How often `predict musicnn` is right, on GTZAN's clips of the genres that it has.

python -m benchmarks.tagger GTZAN_FOLDER [paths.models=DIR]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from musicreclass.config.check import train_settings
from musicreclass.evaluation.metrics import score
from musicreclass.evaluation.predictions import Predictions
from musicreclass.tasks.machine import use_machine
from musicreclass.tasks.open_data import open_data
from musicreclass.tasks.tagger import open_tagger


def main(root: str, overrides: list[str]) -> None:
    """Print the accuracy, with an interval over artists, and by confidence."""
    settings = train_settings(["data=gtzan", f"data.root={root}", "data/split=grouped", "data.cache=none", "model=cnn"])
    tracks = open_data(settings, use_machine(settings)[1]).tracks
    classifier = open_tagger("musicnn", overrides=overrides)
    tracks = tracks[tracks.target.isin(classifier.classes)]
    labels = {label.path: label for label in classifier.label([Path(path).absolute() for path in tracks.path])}
    probability = np.array([labels[str(Path(path).absolute())].probabilities for path in tracks.path])
    unknown = sum(label.genre == "unknown" for label in labels.values())
    predictions = Predictions.of(tracks.track_id.tolist(), probability, classifier.classes, tracks)
    scores = score(predictions)
    low, high = scores["accuracy_ci95"]
    genres = ", ".join(sorted(set(tracks.target)))
    print(f"{scores['n']} clips of {tracks.duration.median():.1f} s (median), {scores['ci95_over']}: {genres}")
    print(f"  accuracy {100 * scores['accuracy']:.1f} [{100 * low:.1f}, {100 * high:.1f}], {unknown} unknown")
    confidence, correct = probability.max(1), probability.argmax(1) == predictions.y_true()
    for threshold in (0.3, 0.5, 0.7):
        chosen = confidence >= threshold
        print(
            f"  confidence >= {threshold}: {100 * chosen.mean():3.0f} % of the clips, {100 * correct[chosen].mean():.0f} % right"
        )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
