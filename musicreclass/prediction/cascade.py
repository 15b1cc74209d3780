"""Labels recordings stage by stage with a cascade: a later model reads only those of which the earlier ones are unsure."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from musicreclass.evaluation.cascade import Cascade
from musicreclass.prediction.file_classifier import FileClassifier
from musicreclass.prediction.labels import Decision, Label
from musicreclass.prediction.reading import Reading, read_all

CHUNK = 128  # recordings that all stages have seen before the next ones are read: limits memory and the time to the first labels

Unsure = dict[str, Reading]  # by path: what earlier stages have read of it that a later one needs


@dataclass(frozen=True)
class CascadeClassifier(FileClassifier):
    """A `FileClassifier` with a model for each stage of a cascade.

    A label is that of the stage at which the recording stops, also its reason if the genre is unknown. What several stages read
    is read once.

    Attributes:
        cascade: with a stage for each of the models; `combine` is its method.
    """

    cascade: Cascade | None = None

    @cached_property
    def stages(self) -> list[FileClassifier]:
        """A classifier for each stage, which gives its calibrated probabilities."""
        assert self.cascade is not None
        classes = list(self.cascade.classes)
        return [
            FileClassifier(
                [model],
                lambda stack: stack[0],
                temperature,
                Decision(classes),
                workers=self.workers,
                time_limit=self.time_limit,
            )
            for model, temperature in zip(self.models, self.cascade.temperatures, strict=True)
        ]

    def label(self, paths: Sequence[str | Path]) -> Generator[Label, None, None]:
        """Label recordings, chunk by chunk; a file that cannot be used gets a label with its error.

        Args:
            paths: of different files, which are only read.
        """
        files = [Path(path) for path in paths]
        for start in range(0, len(files), CHUNK):
            unsure = {str(path): Reading(path, {}, None, 0.0) for path in files[start : start + CHUNK]}
            for stage in range(len(self.stages)):
                yield from self.label_stage(stage, unsure)

    def label_stage(self, stage: int, unsure: Unsure) -> Iterator[Label]:
        """Label the recordings that stop at a stage, and remove them from `unsure`."""
        assert self.cascade is not None
        threshold = [*self.cascade.thresholds, 0.0][stage]
        needed = {key for later in self.stages[stage + 1 :] for key in later.readers}
        with closing(self.read_stage(stage, unsure)) as readings:
            for label in self.stages[stage].label_readings(readings):
                if label.error:
                    del unsure[label.path]
                    yield label
                elif max(label.probabilities) >= threshold:
                    del unsure[label.path]
                    yield self.decided(label)
                else:
                    values = {key: value for key, value in unsure[label.path].values.items() if key in needed}
                    unsure[label.path] = Reading(Path(label.path), values, label.duration, label.seconds)

    def read_stage(self, stage: int, unsure: Unsure) -> Generator[Reading, None, None]:
        """What a stage needs of the recordings; only what no earlier stage has read is read now."""
        before = {key for earlier in self.stages[:stage] for key in earlier.readers}
        readers = [reader for key, reader in self.stages[stage].readers.items() if key not in before]
        paths = [reading.path for reading in unsure.values()]
        if not readers:
            yield from list(unsure.values())
        elif paths:
            with closing(read_all(readers, paths, self.workers, self.time_limit, self.min_seconds)) as readings:
                for reading in readings:
                    earlier = unsure[str(reading.path)]
                    reading.seconds += earlier.seconds
                    reading.values |= earlier.values
                    unsure[str(reading.path)] = reading
                    yield reading

    def decided(self, label: Label) -> Label:
        """The label of a recording from that of the stage at which it stops."""
        probability, (unlike,) = self.finished(np.array([label.probabilities]), [label.reason or None])
        return self.decision.label(label.path, probability[0], unlike, label.duration, label.seconds)
