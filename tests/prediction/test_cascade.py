"""A cascade over recordings reads for a later stage only those of which the earlier ones are unsure, each thing once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from musicreclass.classifiers.model_folder import ModelCard
from musicreclass.data.class_map import ClassMap
from musicreclass.evaluation.cascade import NEVER, Cascade
from musicreclass.features.extractors import Extractor
from musicreclass.prediction import cascade as module
from musicreclass.prediction.cascade import CascadeClassifier
from musicreclass.prediction.file_model import FileModel
from musicreclass.prediction.labels import Decision
from musicreclass.prediction.readers import FeatureReader
from musicreclass.storage.store import Store
from tests.sounds import music, write

CLASSES = ["a", "b", "c"]
RATE = 8000


class Counting(Extractor):
    """The number in the name of the recording; counts its calls in files, since processes read."""

    def __init__(self, name: str, folder: Path) -> None:
        self.columns, self.settings, self.name, self.folder = ["x"], {"version": 1}, name, folder

    def extract(self, path: Path) -> np.ndarray:
        with (self.folder / self.name).open("a") as file:
            file.write(f"{path.stem}\n")
        if path.stem == f"bad{self.name}":
            raise RuntimeError("bad")
        return np.array([float(path.stem.strip("badwxyz") or 0)])


class Numbered:
    """A model whose probabilities follow from the number."""

    def __init__(self, number: int) -> None:
        self.card, self.number = ModelCard("estimator", "", {}, "table", CLASSES, ["x"]), number

    def predict_proba(self, x: np.ndarray) -> np.ndarray:
        top = 0.34 + 0.6 * np.mod(x[:, 0] * (0.37 + self.number * 0.11), 1)
        rest = np.stack([(1 - top) * 0.6, (1 - top) * 0.4], axis=1)
        return np.roll(np.concatenate([top[:, None], rest], axis=1), self.number, axis=1)

    def unlike(self, x: np.ndarray) -> list[str | None]:
        return [f"unlike {self.number}" if value == 5 else None for value in x[:, 0]]


def classifier(folder: Path, features: str, thresholds: list[float], **options) -> CascadeClassifier:
    """A cascade with a stage per letter of `features`; equal letters read the same."""
    store = Store(folder / "store")
    readers = {name: FeatureReader(name, Counting(name, folder), store) for name in features}
    models = [FileModel(f"{k}", Numbered(k), [readers[name]]) for k, name in enumerate(features)]
    stages = len(features)
    cascade = Cascade([str(k) for k in range(stages)], CLASSES, [1.3] * stages, thresholds, [1.0] * stages)
    options = {"temperature": 1.0, "decision": Decision(CLASSES), "workers": 2} | options
    return CascadeClassifier(models=models, combine=cascade.combine, cascade=cascade, **options)


@pytest.fixture
def songs(tmp_path: Path) -> list[Path]:
    for i in range(20):
        write(tmp_path / f"{i}.wav", music(1.1, RATE, seed=len(list(tmp_path.glob("*.wav")))), RATE)
    return [tmp_path / f"{i}.wav" for i in range(20)]


def calls(folder: Path, name: str) -> Counter[str]:
    file = folder / name
    return Counter(file.read_text().split() if file.exists() else [])


def expected(cascade: CascadeClassifier, songs: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities of all stages combined at once, and the stage of each recording."""
    x = np.array([[float(path.stem)] for path in songs])
    stack = np.stack([model.classifier.predict_proba(x) for model in cascade.models])
    return cascade.cascade.combine(stack), cascade.cascade.stages(stack)


@pytest.mark.parametrize(
    ("features", "chunk"),
    [
        *((features, 11) for features in ("wx", "ww", "wxy", "wxw")),
        ("wxy", 128),
        *(pytest.param(features, 128, marks=pytest.mark.slow) for features in ("wx", "ww", "wxw")),
    ],
)
def test_labels_equal_those_of_all_stages_combined(tmp_path, songs, monkeypatch, features, chunk):
    monkeypatch.setattr(module, "CHUNK", chunk)
    cascade = classifier(tmp_path, features, [0.6, 0.7][: len(features) - 1])
    labels = {Path(label.path): label for label in cascade.label(songs)}
    probability, stages = expected(cascade, songs)
    assert set(stages) == set(range(len(features)))
    np.testing.assert_allclose([labels[path].probabilities for path in songs], probability, rtol=1e-5)
    assert len(labels) == len(songs)
    for k, name in enumerate(features):
        if features.index(name) == k:  # a later stage does not read it again
            assert calls(tmp_path, name) == Counter(p.stem for p, s in zip(songs, stages, strict=True) if s >= k)
    unlike = labels[songs[5]]
    assert (unlike.genre, unlike.reason) == ("unknown", f"unlike {stages[5]}")
    assert all(label.duration == pytest.approx(1.1, abs=0.01) and label.seconds > 0 for label in labels.values())


def test_sure_recordings_are_labelled_before_others_are_read_again(tmp_path, songs):
    cascade = classifier(tmp_path, "wx", [0.6])
    labels = cascade.label(songs)
    next(labels)
    assert not calls(tmp_path, "x")
    assert len(list(labels)) == len(songs) - 1


@pytest.mark.parametrize(("threshold", "second"), [(0.0, 0), (NEVER, 20)])
def test_all_or_none_stop_at_the_first_stage(tmp_path, songs, threshold, second):
    list(classifier(tmp_path, "wx", [threshold]).label(songs))
    assert calls(tmp_path, "x").total() == second


def test_a_file_that_fails_at_any_stage_is_an_error_of_that_file(tmp_path, songs):
    for name in ("badw", "badx"):
        write(tmp_path / f"{name}.wav", music(1.1, RATE, seed=len(list(tmp_path.glob("*.wav")))), RATE)
        songs.insert(4, tmp_path / f"{name}.wav")
    songs.append(tmp_path / "missing.wav")
    labels = {Path(label.path).stem: label for label in classifier(tmp_path, "wx", [NEVER]).label(songs)}
    assert len(labels) == len(songs)
    assert {name for name, label in labels.items() if label.error} == {"badw", "badx", "missing"}
    assert all(not labels[name].probabilities for name in ("badw", "badx"))


def test_temperature_and_class_map_are_those_of_the_whole_cascade(tmp_path, songs):
    class_map = ClassMap("test", {"a": "ab", "b": "ab", "c": "c"})
    cascade = classifier(tmp_path, "wx", [0.6], temperature=2.0, class_map=class_map, decision=Decision(["ab", "c"]))
    labels = {label.path: label for label in cascade.label(songs)}
    probability, _ = expected(cascade, songs)
    np.testing.assert_allclose(
        [labels[str(path)].probabilities for path in songs],
        cascade.finished(probability, [None] * len(songs))[0],
        rtol=1e-5,
    )
