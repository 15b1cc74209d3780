"""Labels recordings with one or several fitted models; reading, features and inference overlap."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ThreadPoolExecutor, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from musicreclass.config.messages import brief
from musicreclass.config.working_directory import allow_import
from musicreclass.data.audio import decoding
from musicreclass.data.audio.ffmpeg import converted_once
from musicreclass.data.audio.header import REMEDIES, BadAudioError
from musicreclass.errors import DataError, UserError
from musicreclass.evaluation.calibration import apply_temperature
from musicreclass.features.extractors import limit_blas
from musicreclass.prediction.file_model import FileModel
from musicreclass.prediction.labels import Decision, Label, bad_file, most_say
from musicreclass.prediction.readers import FeatureReader, Reader
from musicreclass.storage.versions import FileVersion, raise_if_changed

BATCH = 8  # recordings per call of a model, at most
BATCH_SECONDS = 2.0  # after which a smaller batch is labelled
AHEAD = 2  # recordings per worker that are read ahead of the models
MILLISECONDS = 1000  # per second: the rate at which durations are rounded
FEW = 24  # recordings that are read by threads: processes take seconds to start


@dataclass
class Reading:
    """What was read of a recording.

    Attributes:
        path: of the file.
        values: by the key of the reader; empty after an error.
        duration, seconds, error: as in `Label`.
    """

    path: Path
    values: dict[str, Any]
    duration: float | None
    seconds: float
    error: str = ""


@dataclass(frozen=True)
class FileClassifier:
    """Labels recordings. `musicreclass.FileClassifier` opens one from run folders.

    Attributes:
        models: whose probabilities are combined.
        combine: the probabilities of all models (m, n, C) as (n, C).
        temperature: of the combined probabilities; 1 leaves them as they are.
        decision: from probabilities to a label.
        cautions: what limits the labels, a line each.
        signature: equal for classifiers that give equal labels.
        workers: threads or processes that read.
    """

    models: Sequence[FileModel]
    combine: Callable[[np.ndarray], np.ndarray]
    temperature: float
    decision: Decision
    cautions: tuple[str, ...] = ()
    signature: str = ""
    workers: int = 1

    @property
    def classes(self) -> list[str]:
        """The class names, in the order of the probabilities."""
        return self.decision.classes

    @property
    def readers(self) -> dict[str, Reader]:
        """What all models read, each once, by its key."""
        return {reader.key: reader for model in self.models for reader in model.readers}

    def predict_proba(self, path: str | Path) -> np.ndarray:
        """Class probabilities of one recording, (C,), calibrated if the run could be.

        Raises:
            DataError: if the file cannot be used.
        """
        (label,) = self.label([Path(path)])
        if label.error:
            raise DataError(label.error, "bad_file", path)
        return np.array(label.probabilities)

    def label(self, paths: Sequence[Path]) -> Iterator[Label]:
        """Label recordings, in order of completion; a file that cannot be used gets a label with its error.

        Args:
            paths: of the files, which are only read.
        """
        batch: list[Reading] = []
        began = time.monotonic()
        with closing(self.read(paths)) as readings:
            for reading in readings:
                if reading.error:
                    yield bad_file(str(reading.path), reading.error, reading.seconds)
                    continue
                if not batch:
                    began = time.monotonic()
                batch.append(reading)
                if len(batch) >= BATCH or time.monotonic() - began > BATCH_SECONDS:
                    yield from self.label_batch(batch)
                    batch = []
        if batch:
            yield from self.label_batch(batch)

    def label_batch(self, batch: Sequence[Reading]) -> Iterator[Label]:
        """Label recordings together; if that fails, one by one."""
        started = time.monotonic()
        try:
            probability, unlike = self.compute(batch)
        except UserError:
            raise
        except Exception as error:
            if len(batch) > 1:
                for reading in batch:
                    yield from self.label_batch([reading])
            else:
                message = f"{batch[0].path}: cannot be labelled ({type(error).__name__}: {brief(error)})"
                yield bad_file(str(batch[0].path), message, batch[0].seconds)
            return
        share = (time.monotonic() - started) / len(batch)
        for row, reading in enumerate(batch):
            path, seconds = str(reading.path), reading.seconds + share
            yield self.decision.label(path, probability[row], unlike[row], reading.duration, seconds)

    def compute(self, batch: Sequence[Reading]) -> tuple[np.ndarray, list[str | None]]:
        """Calibrated probabilities (n, C), and why each recording is unlike the training tracks."""
        embedders = {key: embedder for model in self.models for key, embedder in model.embedders.items()}
        read = [
            {key: embedders[key].finish(value) if key in embedders else value for key, value in reading.values.items()}
            for reading in batch
        ]
        stack, reasons = [], []
        for model in self.models:
            inputs = model.inputs(read)
            order = [model.classifier.card.classes.index(name) for name in self.classes]
            stack.append(model.predict_proba(inputs)[:, order])
            reasons.append(model.unlike(inputs))
        probability = apply_temperature(self.combine(np.stack(stack)), self.temperature)
        return probability, [most_say(of_one) for of_one in zip(*reasons, strict=True)]

    def read(self, paths: Sequence[Path]) -> Iterator[Reading]:
        """Read recordings in parallel, in order of completion; at most `AHEAD` per worker wait to be labelled."""
        readers = list(self.readers.values())
        with self.pool(readers, len(paths)) as (pool, call):
            pending: set[Future[Reading]] = set()
            try:
                for path in paths:
                    pending.add(pool.submit(*call, path))
                    if len(pending) >= AHEAD * self.workers:
                        finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                        yield from (future.result() for future in finished)
                while pending:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in finished)
            finally:
                for future in pending:
                    future.cancel()

    @contextmanager
    def pool(self, readers: list[Reader], count: int) -> Iterator[tuple[Executor, tuple[Any, ...]]]:
        """Threads or processes that read, and what they call with a path; extractors use processes if that pays."""
        extractors = [reader.extractor for reader in readers if isinstance(reader, FeatureReader)]
        if not extractors or count <= FEW or self.workers == 1:
            with ThreadPoolExecutor(self.workers, thread_name_prefix="read") as threads:
                yield threads, (read_file, readers)
            return
        from joblib.externals.loky import get_reusable_executor

        modules = tuple({type(extractor).__module__ for extractor in extractors})
        processes = get_reusable_executor(self.workers)
        try:
            yield processes, (read_file_in_process, pickle.dumps(readers), modules)
        finally:
            processes.shutdown(kill_workers=True)


def read_file(readers: Sequence[Reader], path: Path) -> Reading:
    """Read a recording; what is wrong with the file becomes the error of the reading."""
    started, version = time.monotonic(), FileVersion.of(path)
    values: dict[str, Any] = {}
    try:
        with converted_once(path):
            duration = decoding.probe(path, MILLISECONDS) / MILLISECONDS
            for reader in readers:
                values[reader.key] = reader.read(path)
        raise_if_changed(path, version, change_time=False)
    except BadAudioError as error:
        remedy = "" if error.detail else REMEDIES.get(error.reason, "")
        message = f"{error}; {remedy}" if remedy else str(error)
        return Reading(path, {}, None, time.monotonic() - started, message)
    except UserError as error:
        return Reading(path, {}, None, time.monotonic() - started, str(error))
    except Exception as error:
        message = f"{path}: cannot be read ({type(error).__name__}: {brief(error)})"
        return Reading(path, {}, None, time.monotonic() - started, message)
    return Reading(path, values, duration, time.monotonic() - started)


@cache
def unpickled(readers: bytes, modules: tuple[str, ...]) -> list[Reader]:
    """Readers in another process, also those whose extractor is of a module in the working directory."""
    for module in modules:
        allow_import(module.partition(".")[0])
    return pickle.loads(readers)  # type: ignore[no-any-return]


def read_file_in_process(readers: bytes, modules: tuple[str, ...], path: Path) -> Reading:
    """As `read_file`, in a process that does nothing else."""
    limit_blas()
    return read_file(unpickled(readers, modules), path)
