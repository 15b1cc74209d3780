"""The seconds per track of the stages of a cascade, measured on recordings."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from musicreclass.data.recordings import AudioData
from musicreclass.errors import DataError, RunError, UserError
from musicreclass.evaluation.cascade import NEVER, Cascade
from musicreclass.hardware.machine import cores
from musicreclass.plurals import counted
from musicreclass.prediction.cascade import CascadeClassifier
from musicreclass.prediction.file_classifier import FileClassifier
from musicreclass.prediction.file_model import FileModel
from musicreclass.prediction.labels import Decision, Label
from musicreclass.prediction.reading import Reading
from musicreclass.runs.folder import Run
from musicreclass.tasks.file_classifier import open_models
from musicreclass.tasks.open_data import create
from musicreclass.tasks.settings_to_score import check_targets, settings_to_score

WARM_UP = 2  # recordings that are not counted
CHUNKS, PER_CHUNK = 5, 8  # recordings that are
LIMIT = 90.0  # seconds after which no further chunk is measured


@dataclass(frozen=True)
class Costs:
    """What the stages of a cascade cost.

    Attributes:
        seconds: per track, that each stage adds after the earlier ones.
        alone: seconds per track of the last run without the others.
        source: where the numbers are from.
    """

    seconds: list[float]
    alone: float
    source: str


def measure(runs: Sequence[Run], recordings: Sequence[Path], trust: tuple[str, ...] = ()) -> Costs:
    """Measure what each stage adds, and the last run alone: wall-clock time with all processors and empty caches.

    Args:
        runs: from the cheapest.
        recordings: of which up to `WARM_UP + CHUNKS * PER_CHUNK`, evenly spaced, are used.
        trust: your own modules that the models need.

    Returns:
        medians over chunks of recordings, between which stages alternate.

    Raises:
        RunError: if a run cannot label recordings.
        DataError: if too few of the recordings can be used.
    """
    rows = np.unique(np.linspace(0, len(recordings) - 1, WARM_UP + CHUNKS * PER_CHUNK).round().astype(int))
    sample = [recordings[row] for row in np.random.default_rng(0).permutation(rows)]
    first, timed = sample[:WARM_UP], sample[WARM_UP:] or sample
    chunks = [timed[start : start + PER_CHUNK] for start in range(0, len(timed), PER_CHUNK)]
    with tempfile.TemporaryDirectory() as folder:
        opened = [open_models(run, trust, [f"paths.cache={folder}/cascade"]) for run in runs]
        cascade = all_stages([models[0] for models in opened])
        last = alone(open_models(runs[-1], trust, [f"paths.cache={folder}/alone"])[0])
        keys = {reader.key for models in opened[:-1] for reader in models[0].readers}
        needs_last = not keys.isdisjoint(last.readers)
        stage_seconds(cascade, first)
        if needs_last:
            seconds_of(last.label(first))
        started, of_stages, of_last = time.monotonic(), [], []
        for chunk in chunks:
            of_stages.append([seconds / len(chunk) for seconds in stage_seconds(cascade, chunk)])
            of_last.append(seconds_of(last.label(chunk)) / len(chunk) if needs_last else of_stages[-1][-1])
            if time.monotonic() - started > LIMIT:
                break
    seconds = [median(values) for values in zip(*of_stages, strict=True)]
    number, processors = sum(map(len, chunks[: len(of_stages)])), cores()[0]
    source = f"measured on {counted(number, 'recording')} with {counted(processors, 'processor')}"
    return Costs(seconds, median(of_last), source)


def all_stages(models: list[FileModel]) -> CascadeClassifier:
    """A cascade in which every recording passes all stages."""
    classes, names = models[0].classifier.card.classes, [model.name for model in models]
    stages = len(models)
    cascade = Cascade(names, classes, [1.0] * stages, [NEVER] * (stages - 1), [0.0] * stages)
    return CascadeClassifier(models, cascade.combine, 1.0, Decision(classes), workers=cores()[0], cascade=cascade)


def alone(model: FileModel) -> FileClassifier:
    """A classifier of one model."""
    return FileClassifier(
        [model], lambda stack: stack[0], 1.0, Decision(model.classifier.card.classes), workers=cores()[0]
    )


def stage_seconds(cascade: CascadeClassifier, paths: Sequence[Path]) -> list[float]:
    """The seconds that each stage takes for some recordings.

    Raises:
        DataError: if none of them can be used.
    """
    unsure = {str(path): Reading(path, {}, None, 0.0) for path in paths}
    seconds = []
    for stage in range(len(cascade.models)):
        if not unsure:
            line = f"{paths[0]}: cannot be used to measure seconds per track, nor others after it; name others with --recordings"
            raise DataError(line, "bad_file", paths[0])
        seconds.append(seconds_of(cascade.label_stage(stage, unsure)))
    return seconds


def seconds_of(labels: Iterable[Label]) -> float:
    """The seconds until recordings are labelled."""
    started = time.monotonic()
    for _ in labels:
        pass
    return time.monotonic() - started


def validation_recordings(run: Run, ids: Iterable[str], trust: tuple[str, ...] = ()) -> list[Path]:
    """The recordings of the validation tracks of a run.

    Raises:
        RunError: if the run was trained on a table, or its recordings are not where they were.
    """
    settings = settings_to_score(run, [], None)
    try:
        check_targets(run.folder, {key: section.target for key, section in settings.data.sources().items()}, trust)
        source = create(settings.data)
        if not isinstance(source, AudioData):
            raise DataError("the data is a table", "no_recordings", run.folder)
        source.needs, source.allow_untrained_classes = (), True
        source.prepare_data()
        source.setup("fit")
    except UserError as error:
        line = (
            f"{run.folder}: the seconds per track cannot be measured on its validation tracks ({error}); name recordings "
            "with --recordings, or the seconds of each run with --seconds"
        )
        raise RunError(line, "no_recordings", run.folder) from error
    tracks = source.tracks.set_index("track_id")
    return [Path(path) for path in tracks.path[tracks.index.isin(list(ids))]]
