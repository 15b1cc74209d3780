"""Several labels a track, from a table or a list of recordings to a run that is scored, compared, combined and labels music."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import musicreclass as mrc
from musicreclass.errors import ConfigError, DataError, UserError
from musicreclass.evaluation.ranking import Rankings
from musicreclass.runs.folder import Run
from tests.conftest import sum_again
from tests.library import TONES, write_tone

TAGS = ("guitar", "piano", "rock", "slow")
SEPARATED = [
    "data=table",
    "data.path=tags.csv",
    "data.group_column=artist",
    "data.label_separator='|'",
    "data/split=grouped",
]


MODELS = {
    "mlp": ["model=mlp", "trainer.max_epochs=3", "class_weight=balanced"],
    "logreg": ["model=logreg", "class_weight=balanced"],
    "xgboost": ["model=xgboost", "model.n_estimators=15"],
}


def tag_frame(n: int = 240, seed: int = 0) -> pd.DataFrame:
    """Four tags, each of which follows from one of six features; a label is never blank."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    has = x[:, :4] + 0.4 * rng.normal(size=(n, 4)) > [0, 0.8, -0.3, 0.6]
    frame = pd.DataFrame(x, columns=[f"f{i}" for i in range(6)])
    frame.insert(0, "track_id", [f"t{i:03d}" for i in range(n)])
    frame["artist"] = [f"artist {i % 40}" for i in range(n)]
    frame["label"] = ["|".join(np.array(TAGS)[row]) for row in has]
    return frame[frame.label != ""].reset_index(drop=True)


@pytest.fixture(scope="module")
def outputs(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of a network and of two kinds of estimators on the same tags."""
    folder = tmp_path_factory.mktemp("tags")
    tag_frame().to_csv(folder / "tags.csv", index=False)
    data = [*SEPARATED[:1], f"data.path={folder / 'tags.csv'}", *SEPARATED[2:]]
    for name, overrides in MODELS.items():
        paths = [f"run_dir={folder / 'outputs' / name}", f"paths.outputs={folder / 'outputs'}"]
        mrc.train([*data, *overrides, *paths, "evaluate=[valid,test]", "logger=none", "hardware=cpu"])
    return folder / "outputs"


@pytest.fixture
def runs(outputs: Path, here: Path) -> dict[str, Path]:
    """Copies of the runs, and of their table."""
    shutil.copytree(outputs, here / "outputs")
    shutil.copy(outputs.parent / "tags.csv", here / "tags.csv")
    return {name: here / "outputs" / name for name in ("mlp", "logreg", "xgboost")}


@pytest.mark.parametrize("name", ["mlp", "logreg", "xgboost"])
def test_models_learn_tags_and_load_as_they_were(runs, name):
    run = Run.open(runs[name])
    scores = run.metrics["test"]
    assert scores["roc_auc"] > 0.8
    assert scores["roc_auc_ci95"][0] > 0.6
    assert scores["f1_thresholds"] == "the validation split"
    assert set(scores["per_tag"]) == set(TAGS)
    assert set(run.metrics["thresholds"]) == set(TAGS)
    assert (run.folder / "figures" / "tags_test.png").is_file()
    table = run.predictions("test").table.set_index("track_id")
    x = tag_frame().set_index("track_id").loc[table.index, [f"f{i}" for i in range(6)]].to_numpy(np.float32)
    probability = mrc.load(run.folder).predict_proba(x)
    assert np.allclose(probability, table[[f"p/{tag}" for tag in TAGS]], atol=1e-6)
    assert not np.allclose(probability.sum(axis=1), 1)


def test_several_columns_are_the_same_data_as_one(run, here):
    frame = tag_frame()
    frame.to_csv("tags.csv", index=False)
    columns = frame.assign(**{tag: frame.label.str.split("|").map(lambda tags, t=tag: int(t in tags)) for tag in TAGS})
    columns.drop(columns="label").to_csv("columns.csv", index=False)
    model = ["model=logreg", "hardware=cpu", "logger=none"]
    of_columns = f"data.label_columns=[{','.join(TAGS)}]"
    first = mrc.train([*SEPARATED, *model, "run_dir=first", "task=multi"])
    second = mrc.train(
        ["data=table", "data.path=columns.csv", of_columns, *SEPARATED[2:3], *SEPARATED[4:], *model, "run_dir=second"]
    )
    assert Run.open(Path("first")).identity.fingerprint == Run.open(Path("second")).identity.fingerprint
    assert first.metrics["valid"] == second.metrics["valid"]
    result = run("train", "data=table", "data.path=columns.csv", of_columns, "data.label_separator=','", *model)
    assert result.problems[0].kind == "conflicting_settings"


def test_a_column_of_a_tag_has_only_0_and_1(run, here):
    tag_frame().drop(columns=["label", "artist"]).assign(rock=2).to_csv("tags.csv", index=False)
    result = run("train", "data=table", "data.path=tags.csv", "data.label_columns=[rock]")
    assert result.code == 2
    assert result.problems[0].kind == "invalid_indicator"
    assert result.problems[0].value == "rock"


def test_runs_are_compared_by_their_areas(run, runs):
    result = run("compare", "outputs", "--output", "table.csv", "--output", "page.html")
    assert result.code == 0
    table = pd.read_csv("table.csv")
    assert {"ROC-AUC", "ROC-AUC low", "PR-AUC", "PR-AUC high"} <= set(table)
    assert "accuracy" not in table
    valid = table[table["scored on"] == "valid"]
    assert valid["PR-AUC"].is_monotonic_decreasing
    assert len(valid) == 3
    page = Path("page.html").read_text()
    assert "PR-AUC by tag" in page
    assert "piano" in page
    shown = run("compare", "outputs").out
    assert "ROC-AUC" in shown
    assert "accuracy" not in shown


@pytest.mark.parametrize("method", ["greedy", "mean", pytest.param("weighted", marks=pytest.mark.slow)])
def test_ensembles_average_the_probabilities_of_tags(run, runs, method):
    result = run("ensemble", *runs.values(), "--method", method, "--output", "e", "--split", "test")
    assert result.code == 0
    ensemble = Run.open(Path("e"))
    members = [member.predictions("test") for member in ensemble.members]
    expected = np.tensordot(ensemble.combination.weights, [m.probabilities() for m in members], 1)
    predictions = ensemble.predictions("test")
    order = predictions.table.track_id.map(members[0].table.track_id.tolist().index)
    assert np.allclose(predictions.probabilities(), expected[order])
    areas = Rankings(predictions.y_true(), predictions.probabilities()).macro(np.ones((1, len(predictions))))
    assert ensemble.metrics["test"]["pr_auc"] == pytest.approx(float(areas["pr_auc"][0]))
    assert set(ensemble.metrics["ensemble"]["difference"]) == {"roc_auc", "pr_auc"}


@pytest.mark.parametrize("method", ["stacking", "cascade"])
def test_methods_for_one_label_are_rejected(runs, method):
    from musicreclass.tasks.ensemble import ensemble

    with pytest.raises(UserError) as caught:
        ensemble(list(runs.values()), method)
    assert caught.value.kind == "unsupported_method"


def test_other_data_is_scored_with_thresholds_of_validation(run, runs):
    tag_frame(seed=1).to_csv("other.csv", index=False)
    other = ["data.path=other.csv" if text.startswith("data.path") else text for text in SEPARATED]
    assert run("evaluate", runs["mlp"], "--split", "all", *other).code == 0
    (name,) = Run.open(runs["mlp"]).metrics["elsewhere"]
    assert Run.open(runs["mlp"]).metrics["elsewhere"][name]["roc_auc"] > 0.8
    one_label = [text for text in other if "separator" not in text]
    assert run("evaluate", runs["mlp"], "--split", "all", *one_label).problems[0].kind == "other_task"


def test_unlabelled_and_rare_tags_are_counted(here):
    frame = tag_frame()
    frame.loc[:4, "label"] = ""
    frame.loc[5:6, "label"] += "|theremin"
    frame.to_csv("tags.csv", index=False)
    trained = mrc.train([*SEPARATED, "model=logreg", "data.min_class_tracks=3", "hardware=cpu", "logger=none"])
    assert trained.metrics["classes"] == sorted(TAGS)
    provenance = Run.open(trained.folder).provenance
    assert provenance["dropped"]["without a label"] == 5
    assert any("theremin" in note for note in provenance["notes"])


def test_a_tag_without_training_tracks_must_be_allowed(here):
    frame = tag_frame(120).assign(split="train")
    frame.loc[::4, "split"] = "valid"
    frame.loc[1::4, "split"] = "test"
    frame.loc[0, "label"] += "|theremin"
    frame.loc[1, "label"] += "|kazoo"
    frame.to_csv("tags.csv", index=False)
    overrides = [*SEPARATED[:4], "data.split_column=split", "hardware=cpu", "logger=none", "evaluate=[valid,test]"]
    with pytest.raises(DataError) as caught:
        mrc.train([*overrides, "model=logreg"])
    assert caught.value.kind == "untrained_classes"
    assert caught.value.problems[0].value == 2
    for model in ("logreg", "mlp", "xgboost"):
        small = {"mlp": ["trainer.max_epochs=1"], "xgboost": ["model.n_estimators=2"]}.get(model, [])
        trained = mrc.train([*overrides, f"model={model}", *small, "allow_untrained_classes=true"])
        metrics = trained.metrics
        assert metrics["classes"] == [*sorted(TAGS), "theremin", "kazoo"]
        assert metrics["valid"]["unscored_tags"] == ["kazoo"]
        assert metrics["test"]["unscored_tags"] == ["theremin"]
        assert (trained.predictions("test")["p/kazoo"] == 0).all()


def test_one_tag_is_enough(here):
    frame = tag_frame()
    frame["label"] = (frame.f0 > 0).map({True: "rock", False: ""})
    frame = frame.rename(columns={"label": "rock"}).assign(rock=(frame.f0 > 0).astype(int))
    frame.to_csv("tags.csv", index=False)
    for model in (["model=logreg"], ["model=xgboost", "model.n_estimators=15"]):
        overrides = [
            "data=table",
            "data.path=tags.csv",
            "data.label_columns=[rock]",
            *model,
            "hardware=cpu",
            "logger=none",
        ]
        assert mrc.train([*overrides, "data.ignore_columns=[artist]"]).metrics["valid"]["roc_auc"] > 0.9


def test_classes_and_tags_have_metrics_of_their_own(here):
    tag_frame().to_csv("tags.csv", index=False)
    with pytest.raises(ConfigError) as caught:
        mrc.train([*SEPARATED, "model=mlp", "trainer.monitor=valid/accuracy", "hardware=cpu"])
    assert caught.value.problems[0].suggestion == "trainer.monitor=valid/pr_auc"
    with pytest.raises(ConfigError) as caught:
        mrc.train(["data=demo", "model=logreg", "task=multi", "hardware=cpu"])
    assert caught.value.problems[0].kind == "other_task"
    with pytest.raises(ConfigError) as caught:
        mrc.train([*SEPARATED, "model=logreg", "task=single", "hardware=cpu"])
    assert caught.value.problems[0].kind == "other_task"


def test_a_class_map_renames_and_merges_tags(here):
    frame = tag_frame()
    frame["label"] = frame.label.str.replace("guitar", "Guitars").str.replace("slow", "sad")
    frame.to_csv("tags.csv", index=False)
    Path("map.yaml").write_text("Guitars: strings\npiano: strings\nrock: rock\nsad: null\n")
    trained = mrc.train([*SEPARATED, "model=logreg", "data.class_map=map.yaml", "hardware=cpu", "logger=none"])
    assert trained.metrics["classes"] == ["rock", "strings"]
    strings = frame.label.str.contains("Guitars|piano")
    predictions = trained.predictions("valid").set_index("track_id")
    assert (predictions["y/strings"] == strings.set_axis(frame.track_id)[predictions.index]).all()


@pytest.fixture
def tones(here: Path) -> Path:
    """Recordings of chords of up to three tones, listed with their tags."""
    names = list(TONES)[:3]
    rng = np.random.default_rng(0)
    rows = []
    for i in range(48):
        chosen = [name for name in names if rng.random() < 0.5] or [names[i % 3]]
        path = here / "music" / f"{i:02d}.wav"
        write_chord(path, chosen, i)
        rows.append({"path": f"music/{i:02d}.wav", "artist": f"a{i % 12}", "label": "|".join(chosen)})
    pd.DataFrame(rows).to_csv(here / "list.csv", index=False)
    return here / "list.csv"


def write_chord(path: Path, names: list[str], seed: int) -> None:
    """The mean of tones, as a WAV file."""
    import soundfile

    parts = []
    for name in names:
        write_tone(path.with_name(f"{path.stem}-{name}.wav"), TONES[name], seed)
        samples, rate = soundfile.read(path.with_name(f"{path.stem}-{name}.wav"))
        parts.append(samples)
        path.with_name(f"{path.stem}-{name}.wav").unlink()
    soundfile.write(path, np.mean([part[: min(map(len, parts))] for part in parts], axis=0), rate)


def test_a_network_over_clips_learns_tags_and_labels_recordings(run, tones):
    overrides = [
        "data=csv", f"data.path={tones}", "data.group_column=artist", "data.label_separator='|'", "data/split=grouped",
        "model=cnn_small", "model.channels=4", "model.sample_rate=8000", "data.clip_seconds=1", "data.sampler=balanced", "augmentation.mixup_alpha=0.4", "hardware=cpu",
        "trainer.max_epochs=2", "logger=none", "run_dir=run", "evaluate=[valid,test]",
    ]  # fmt: skip
    trained = mrc.train(overrides)
    assert {"valid/roc_auc", "valid/pr_auc", "train/pr_auc"} <= set(pd.read_csv("run/history.csv"))
    assert run("predict", "run", "--input", "music", "--output", "labels.csv").code == 0
    labels = pd.read_csv("labels.csv", keep_default_na=False).set_index("path")
    test = trained.predictions("test").set_index("track_id")
    thresholds = trained.metrics["thresholds"]
    frame = mrc.predict("run", [str(tones.parent / name) for name in test.index]).set_index("path")
    for name, row in test.iterrows():
        path = str(tones.parent / name)
        tags = sorted((tag for tag in thresholds if row[f"p/{tag}"] >= thresholds[tag]), key=lambda t: -row[f"p/{t}"])
        tags = [] if labels.reason[path] else tags  # unlike the training tracks
        assert labels.tags[path] == "|".join(tags)
        assert labels.genre[path] == (tags[0] if tags else "unknown")
        assert frame.tags[path] == labels.tags[path]
        assert frame.loc[path, [f"p/{tag}" for tag in thresholds]].tolist() == pytest.approx(
            [row[f"p/{t}"] for t in thresholds], abs=1e-5
        )
    for option in (["--precision", "0.9"], ["--class-map", "gtzan_to_fma"]):
        result = run("predict", "run", "--input", "music", "--output", "other.csv", *option)
        assert result.code == 2
        assert result.problems[0].kind == "unsupported_option"


def test_an_interrupted_run_on_tags_resumes_exactly(runs, monkeypatch):
    from musicreclass.report.history import Curves

    uninterrupted = Run.open(runs["mlp"])
    overrides = [*SEPARATED, *MODELS["mlp"], "hardware=cpu", "logger=none"]
    log = Curves.log

    def interrupt(self: Curves, epoch: int, values: dict[str, float]) -> None:
        if epoch == 2:
            raise KeyboardInterrupt
        log(self, epoch, values)

    with monkeypatch.context() as patched:
        patched.setattr(Curves, "log", interrupt)
        with pytest.raises(KeyboardInterrupt):
            mrc.train([*overrides, "run_dir=resumed"])
    resumed = mrc.train([*overrides, "run_dir=resumed"])
    assert Run.open(resumed.folder).identity.signature == uninterrupted.identity.signature
    assert resumed.metrics["valid"] == uninterrupted.metrics["valid"]


def test_a_changed_model_of_tags_is_rejected(runs):
    path = runs["logreg"] / "model" / "constant.npy"
    np.save(path, np.zeros(9))
    sum_again(runs["logreg"] / "model")
    with pytest.raises(UserError) as caught:
        mrc.load(runs["logreg"]).predict_proba(np.zeros((1, 6)))
    assert caught.value.kind == "damaged_model"


def test_the_metrics_of_a_run_are_checked(run, runs):
    path = runs["mlp"] / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["valid"]["roc_auc"] = 0.1
    path.write_text(json.dumps(metrics))
    assert "mlp" in run("compare", "outputs").out + run("compare", "outputs").err
    metrics["valid"]["roc_auc"] = "high"
    path.write_text(json.dumps(metrics))
    assert run("evaluate", runs["mlp"], "--split", "test").code != 0


def test_tags_are_analyzed(run, tones):
    result = run("analyze", "data=csv", f"data.path={tones}", "data.label_separator='|'", "data.group_column=artist")
    assert result.code == 0
    summary = json.loads(Path("outputs/analysis/csv/analysis.json").read_text())
    frame = pd.read_csv(tones)
    assert summary["has_tags"]
    assert {entry["name"]: entry["total"] for entry in summary["classes"]} == {
        tag: int(frame.label.str.contains(tag).sum()) for tag in ("blues", "jazz", "rock")
    }
    assert set(summary["spectrograms"]["examples"]) == {"blues", "jazz", "rock"}
    assert set(summary["durations"]["per_class"]) == {"blues", "jazz", "rock"}


def test_a_finished_run_has_the_labels_that_task_asks_for(run, runs):
    again = [
        *SEPARATED,
        "model=logreg",
        "class_weight=balanced",
        f"run_dir={runs['logreg']}",
        "evaluate=[valid]",
        "hardware=cpu",
    ]
    assert run("train", *again, "task=multi", "logger=none").code == 0
    result = run("train", *again, "task=single", "logger=none")
    assert result.code == 2
    assert result.problems[0].kind == "other_task"


def test_the_stratification_and_the_ensemble_are_cited(run, runs):
    assert run("ensemble", *runs.values(), "--output", "outputs/e").code == 0
    cited = run("cite", "outputs/e").out
    assert "{sechidis2011," in cited
    assert "{caruana2004," in cited
    assert "{mackinnon2023," in cited
