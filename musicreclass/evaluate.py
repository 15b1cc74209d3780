"""Scoring: from a fitted classifier to predictions, metrics and a figure in its run folder."""

from __future__ import annotations

from matplotlib.figure import Figure

from musicreclass.classifiers.base import Classifier
from musicreclass.data.tracks import TrackData
from musicreclass.report.figures import confusion_figure, save_figure
from musicreclass.report.metrics import score
from musicreclass.run import Run


def score_split(run: Run, classifier: Classifier, data: TrackData, split: str) -> Figure:
    """Predict one split, write its table, its metrics and its confusion matrix.

    Args:
        run: takes the files.
        classifier: fitted.
        data: gives the tracks.
        split: `train`, `valid` or `test`.

    Returns:
        The confusion matrix.
    """
    predictions = classifier.predict(data, split)
    (run.folder / "predictions").mkdir(exist_ok=True)
    predictions.save(run.folder / "predictions" / f"{split}.parquet")
    found = {
        **run.metrics,
        split: score(predictions),
        "classes": predictions.classes,
        "protocol": data.protocol.as_dict(),
    }
    run.write("metrics.json", found)
    figure = confusion_figure(predictions, f"{run.folder.name}: {split}, n = {len(predictions)}")
    save_figure(figure, run.folder / "figures" / f"confusion_matrix_{split}.png")
    return figure
