"""Ensembles of finished runs: what is fitted, what is written, what is refused."""

from __future__ import annotations

import json
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import musicreclass as mrc
from musicreclass.cli.ensemble import METHODS as OPTIONS
from musicreclass.comparison.wording import ONE_MEMBER, row_marks, table_notes
from musicreclass.errors import RunError, UserError
from musicreclass.evaluation.combining import METHODS, cross_fit
from musicreclass.evaluation.predictions import PREFIX
from musicreclass.runs.folder import Run
from musicreclass.tasks import ensemble as task
from musicreclass.tasks.compare import compare
from musicreclass.tasks.ensemble import ensemble
from musicreclass.tasks.inspect import inspect_run
from musicreclass.tasks.tensorboard import Links
from tests.conftest import sum_again, table_overrides
from tests.run_factory import make_run

MODELS = {
    "logreg": ["model=logreg"],
    "mlp": ["model=mlp", "trainer.max_epochs=1"],
    "forest": ["model=random_forest", "model.n_estimators=5"],
}


@pytest.fixture(scope="module")
def trained(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs on the demo, one of them scored on test."""
    outputs = tmp_path_factory.mktemp("trained")
    for name, overrides in MODELS.items():
        splits = "evaluate=[valid,test]" if name == "logreg" else "evaluate=[valid]"
        mrc.train(
            ["data=demo", *overrides, splits, "logger=none", f"run_dir={outputs / name}", f"paths.outputs={outputs}"]
        )
    return outputs


@pytest.fixture
def runs(trained: Path, here: Path) -> list[Path]:
    """Copies of the three runs."""
    shutil.copytree(trained, here / "outputs", ignore=shutil.ignore_patterns("scores.jsonl*"))
    return [here / "outputs" / name for name in MODELS]


def valid_stack(ensemble: Run) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
    tables = [
        member.predictions("valid").table.sort_values("track_id", ignore_index=True) for member in ensemble.members
    ]
    columns = [name for name in tables[0] if name.startswith(PREFIX)]
    classes = [name.removeprefix(PREFIX) for name in columns]
    y_true = tables[0].target.map(classes.index).to_numpy()
    return np.stack([table[columns].to_numpy() for table in tables]), y_true, tables[0].group.tolist()


def content(folder: Path) -> dict[str, bytes]:
    """Every file that does not contain a time, a host or a process id, by relative path."""
    changing = ("provenance.json", "status.json", "run.log")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix != ".png"]
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in paths
        if "tensorboard" not in path.parts and not (path.parent == folder and path.name in changing)
    }


@pytest.mark.parametrize("method", METHODS)
def test_an_ensemble_is_a_run(runs, run, here, method):
    built = run("ensemble", *runs, "--method", method)
    assert built.code == 0, built.err
    (folder,) = (here / "outputs").glob("demo-ensemble_*")
    loaded = mrc.load(folder)
    ensemble = Run.open(folder)
    stack, y_true, groups = valid_stack(ensemble)
    table = loaded.predictions("valid").sort_values("track_id")
    expected = cross_fit(method, stack, y_true, groups)
    assert table.filter(regex="^p/").to_numpy() == pytest.approx(expected)
    metrics = loaded.metrics
    assert metrics["valid"]["accuracy"] == pytest.approx((expected.argmax(1) == y_true).mean())
    assert set(metrics) == {"valid", "classes", "protocol", "ensemble", "calibration"}
    assert metrics["protocol"]["leaky"] == "no"
    assert metrics["ensemble"]["difference"]["accuracy"]["difference"] == pytest.approx(
        metrics["valid"]["accuracy"] - metrics["ensemble"]["best_member"]["accuracy"]
    )
    combination = ensemble.combination
    assert combination is not None
    assert combination.method == method
    assert sorted(combination.members) == sorted(MODELS)
    assert combination.combine(stack).sum(1) == pytest.approx(1)
    accuracies = [member["accuracy"] for member in metrics["ensemble"]["members"]]
    assert accuracies == sorted(accuracies, reverse=True)
    assert [member.metrics["valid"]["accuracy"] for member in ensemble.members] == pytest.approx(accuracies)

    again = run("ensemble", *reversed(runs), "--method", method)
    assert again.code == 0
    assert len(list((here / "outputs").glob("demo-ensemble_*"))) == 1
    rows = mrc.compare(here / "outputs")
    assert set(rows["model"]) == {"logreg", "mlp", "random_forest", f"ensemble: {method} of 3"}
    properties = dict(next(inspect_run(folder)).properties)
    assert all(any(name in text for text in properties.values()) for name in MODELS)
    x = np.zeros((2, 518), np.float32)
    assert loaded.predict_proba(x).sum(1) == pytest.approx(1)


def test_test_is_scored_from_the_members_and_logged(runs, run, here):
    before = mrc.ensemble(runs, "mean", here / "e").metrics
    assert "test" not in before
    shutil.rmtree(runs[0])  # the ensemble has what it needs
    shutil.move(here / "e", here / "moved")
    result = run("evaluate", here / "moved", "--split", "test")
    assert result.code == 0, result.err
    moved = Run.open(here / "moved")
    tables = [member.predictions("test").table.set_index("track_id").sort_index() for member in moved.members]
    expected = np.mean([table.filter(regex="^p/") for table in tables], axis=0)
    scored = moved.predictions("test").table.set_index("track_id").sort_index()
    assert scored.filter(regex="^p/").to_numpy() == pytest.approx(expected)
    assert moved.metrics["test"]["n"] == len(expected)
    names = [json.loads(line).get("run") for line in (here / "scores.jsonl").read_text().splitlines()]
    assert "moved" in names
    assert not list((here / "moved" / "members").glob("**/scores.jsonl"))
    assert (moved.metrics["valid"], moved.metrics["ensemble"]) == (before["valid"], before["ensemble"])


@pytest.mark.slow
def test_other_data_is_scored_elsewhere(runs, run, here):
    built = mrc.ensemble(runs, "greedy", here / "e")
    result = run("evaluate", built.folder, "data=demo", "data/split=random")
    assert result.code == 0, result.err
    (record,) = built.metrics["elsewhere"].values()
    assert record["protocol"]["leaky"] == "yes"
    assert "test" not in built.metrics


def test_test_is_not_read_while_fitting(runs, here):
    expected = mrc.ensemble(runs, "stacking", here / "a")
    (runs[0] / "predictions" / "test.parquet").write_bytes(b"damaged")
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    metrics["test"] = {**metrics["test"], "accuracy": 0.0}
    (runs[0] / "metrics.json").write_text(json.dumps(metrics))
    built = mrc.ensemble(runs, "stacking", here / "b")
    for name in ("model/ensemble.json", "predictions/valid.parquet", "identity.json"):
        assert (here / "a" / name).read_bytes() == (here / "b" / name).read_bytes()
    assert built.metrics["valid"] == expected.metrics["valid"]


class Killed(BaseException):
    """A process that ends at once."""


def test_a_build_that_is_stopped_anywhere_is_repeated(runs, here, monkeypatch):
    ensemble(runs, "greedy", here / "undisturbed")
    expected = content(here / "undisturbed")
    replace, limit, writes = Path.replace, 0, 0

    def count_writes(path: Path, target: Path) -> Path:
        nonlocal writes
        writes += 1
        if writes > limit:
            raise Killed
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", count_writes)
    stopped = 0
    for limit in range(40):  # noqa: B007
        writes = 0
        try:
            ensemble(runs, "greedy", here / "e")
            break
        except Killed:
            stopped += 1
            assert Run(here / "e").state != "done"
    assert 10 < stopped < 39
    repeated = content(here / "e")
    assert repeated.keys() == expected.keys()
    assert {name for name in repeated if repeated[name] != expected[name]} == set()
    assert not [*(here / "e").rglob(".*.part"), *(here / "e").rglob(".*.old")]


def test_a_finished_ensemble_is_not_built_again(runs, here, monkeypatch):
    built = ensemble(runs, "greedy", here / "e")
    monkeypatch.setattr(task, "build", lambda plan, stopwatch: pytest.fail("built again"))
    again = ensemble(runs[::-1], "greedy", here / "e")
    assert (built.existed, again.existed) == (False, True)
    with pytest.raises(RunError) as caught:
        ensemble(runs[:2], "greedy", here / "e")
    assert caught.value.kind == "another_run"


def test_a_member_that_was_trained_again_makes_another_ensemble(runs, here):
    first = ensemble(runs, "mean")
    path = runs[1] / "predictions" / "valid.parquet"
    table = pd.read_parquet(path)
    columns = [name for name in table if name.startswith(PREFIX)]
    table[columns] = 0.99 * table[columns] + 0.01 / len(columns)
    table.to_parquet(path)
    second = ensemble(runs, "mean")
    assert not second.existed
    assert second.run.folder != first.run.folder


def test_a_member_that_changes_meanwhile_is_noticed(runs, here, monkeypatch):
    copy_member = task.copy_member

    def change(folder: Path, target: Path) -> None:
        copy_member(folder, target)
        table = pd.read_parquet(target / "predictions" / "valid.parquet")
        table[::-1].assign(**{table.columns[3]: 1.0, table.columns[4]: 0.0}).iloc[:, :5].to_parquet(
            target / "predictions" / "valid.parquet"
        )

    monkeypatch.setattr(task, "copy_member", change)
    with pytest.raises(RunError) as caught:
        ensemble(runs, "mean", here / "e")
    assert caught.value.kind in ("run_changed", "invalid_predictions")
    assert Run(here / "e").state == "failed"


def test_what_is_missing_from_a_member_is_named(runs, run):
    def problem(*arguments: object) -> tuple[str, str]:
        result = run("ensemble", *arguments)
        assert result.code == 2
        assert len(result.lines) == 1
        return result.problems[0].kind, result.problems[0].key

    metrics = json.loads((runs[2] / "metrics.json").read_text())
    (runs[2] / "metrics.json").write_text(json.dumps({name: metrics[name] for name in metrics if name != "valid"}))
    result = run("ensemble", *runs)
    assert result.code == 2
    assert f"evaluate {runs[2]} --split valid" in result.err
    assert run("evaluate", runs[2], "--split", "valid").code == 0
    assert run("ensemble", *runs, "--output", "e").code == 0

    assert problem(runs[0]) == ("too_few_members", "runs")
    assert problem(runs[0], runs[0]) == ("too_few_members", "runs")
    shutil.copytree(runs[0], "copy")
    assert problem(runs[0], "copy") == ("same_run", "copy")
    assert problem(runs[0], "e") == ("nested_ensemble", "e")
    assert problem(runs[0], "nowhere") == ("missing_folder", "nowhere")
    (runs[1] / "status.json").write_text('{"state": "interrupted"}')
    assert problem(*runs) == ("unfinished_run", str(runs[1]))


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"tracks": "u"}, "other_tracks"),
        ({"n": 119}, "other_tracks"),
        ({"classes": ("blues", "jazz", "ska")}, "other_classes"),
        ({"classes": ("jazz", "blues", "rock")}, "other_classes"),
        ({"splits": ("test",)}, "not_scored"),
    ],
)
def test_runs_of_other_tracks_are_refused(here, options, kind):
    first = make_run(here / "outputs", "a", groups=20)
    other = make_run(here / "outputs", "b", model="cnn", groups=20, **options)
    with pytest.raises(RunError) as caught:
        ensemble([first, other])
    assert (caught.value.kind, caught.value.key) == (kind, str(other))


def test_runs_of_mapped_classes_are_refused_with_the_remedy(run, table):
    """Of the same tracks, of which one run has mapped the classes; with data.class_map both can be combined."""
    common = [*table_overrides(table), "evaluate=[valid]", "logger=none"]
    mapped = [*common, "data.class_map=gtzan_to_fma"]
    for name, overrides in {"a": common, "b": mapped, "c": [*mapped, "seed=1"]}.items():
        assert run("train", *overrides, "model=random_forest", "model.n_estimators=5", f"run_dir={name}").code == 0
    result = run("ensemble", "a", "b", "--output", "e")
    assert (result.code, result.problems[0].kind) == (2, "other_classes")
    assert len(result.err.splitlines()) == 1
    assert "data.class_map" in result.err
    result = run("ensemble", "a", "b", "--class-map", "gtzan_to_fma")
    assert (result.code, len(result.err.splitlines())) == (2, 1)
    assert run("ensemble", "b", "c", "--output", "e").code == 0


def test_other_targets_are_refused(here):
    first, other = (make_run(here / "outputs", name, model=name, groups=20) for name in ("mlp", "cnn"))
    path = other / "predictions" / "valid.parquet"
    table = pd.read_parquet(path)
    table.loc[7, "target"] = "rock" if table.loc[7, "target"] == "jazz" else "jazz"
    table.to_parquet(path)
    with pytest.raises(RunError) as caught:
        ensemble([first, other])
    assert (caught.value.kind, caught.value.problems[0].value) == ("other_targets", table.loc[7, "track_id"])


def test_validation_tracks_of_one_artist_are_refused(here):
    runs = [make_run(here / "outputs", name, model=name, groups=1) for name in ("mlp", "cnn")]
    with pytest.raises(RunError) as caught:
        ensemble(runs, "greedy")
    assert caught.value.kind == "one_group"


def test_an_unknown_method_is_refused(here):
    assert task.METHODS == OPTIONS
    with pytest.raises(UserError) as caught:
        ensemble([], "median")
    assert (caught.value.kind, caught.value.key) == ("invalid_value", "method")


def write_tracks(run: Path, **splits: list[str]) -> None:
    """The Tracks table of a run, without checksums."""
    rows = [(i, split, None) for split, ids in splits.items() for i in ids]
    pd.DataFrame(rows, columns=["track_id", "split", "checksum"]).to_parquet(run / "tracks.parquet")


def ids_of(run: Path, split: str) -> list[str]:
    return pd.read_parquet(run / "predictions" / f"{split}.parquet").track_id.tolist()


def test_the_protocol_is_the_worst_of_the_members(here):
    first, second = (
        make_run(here / "outputs", name, model=name, groups=20, leaky=leaky)
        for name, leaky in (("mlp", "no"), ("cnn", "yes"))
    )
    metrics = json.loads((second / "metrics.json").read_text())
    metrics["protocol"] |= {"why": ["5 artists"], "cautions": {"shared albums": "2"}, "pretraining_overlap": ["MSD"]}
    (second / "metrics.json").write_text(json.dumps(metrics))
    for run in (first, second):
        write_tracks(run, train=["x"], valid=ids_of(run, "valid"), test=ids_of(run, "test"))
    protocol = ensemble([first, second]).run.metrics["protocol"]
    assert (protocol["leaky"], protocol["cautions"]) == ("yes", {"shared albums": "2"})
    assert protocol["pretraining_overlap"] == ["MSD"]
    assert protocol["why"] == ["cnn: 5 artists"]


def test_training_tracks_of_one_member_among_those_scored(here):
    first, second = (make_run(here / "outputs", name, model=name, groups=20) for name in ("mlp", "cnn"))
    assert ensemble([first, second]).run.metrics["protocol"]["leaky"] == "unknown"  # the tracks are not recorded
    valid, test = ids_of(first, "valid"), ids_of(first, "test")
    write_tracks(first, train=["x"], valid=valid, test=test)
    write_tracks(second, train=["y", *test[:3]], valid=valid, test=test[3:])
    protocol = ensemble([first, second], output=here / "leaky").run.metrics["protocol"]
    assert protocol["leaky"] == "yes"
    assert "cnn" in protocol["why"][0]
    write_tracks(second, train=["y", valid[4]], valid=valid, test=test)
    with pytest.raises(RunError) as caught:
        ensemble([first, second], output=here / "refused")
    assert (caught.value.kind, caught.value.problems[0].value) == ("trained_on_validation", valid[4])


@pytest.mark.parametrize(
    "part", ["model", "predictions", "predictions/valid.parquet", "model/meta.json", "tracks.parquet"]
)
def test_links_of_a_member_are_not_followed(runs, here, part):
    path = runs[1] / part
    shutil.move(path, here / "outside")
    path.symlink_to(here / "outside")
    with pytest.raises(RunError) as caught:
        ensemble(runs, output=here / "e")
    assert (caught.value.kind, caught.value.key) == ("link_in_run", str(path))
    assert not (here / "e").exists()


def test_links_in_an_ensemble_are_not_followed(runs, here):
    built = ensemble(runs, output=here / "e").run
    for path in (built.folder / "members" / "1", built.folder / "members"):
        shutil.move(path, here / f"outside {path.name}")
        path.symlink_to(here / f"outside {path.name}")
        with pytest.raises(RunError) as caught:
            _ = built.members
        assert caught.value.kind == "link_in_run"


def test_links_to_predictions_in_an_ensemble_are_not_followed(runs, run, here):
    path = ensemble(runs, output=here / "e").run.folder / "members" / "0" / "predictions"
    shutil.move(path, here / "outside")
    path.symlink_to(here / "outside")
    result = run("evaluate", "e", "--split", "test")
    assert result.code == 2
    assert result.problems[0].kind == "link_in_run"


DAMAGED = ["", "[]", "{}", '{"format": 1, "method": "mean"}', '{"format": 9}', "[" * 10**5, "version https://git-lfs"]


def test_a_damaged_combination_is_named(runs, run, here):
    built = ensemble(runs, output=here / "e").run
    path = built.folder / "model" / "ensemble.json"
    sums = (path.parent / "SHA256SUMS").read_bytes()
    for text, consistent in product(DAMAGED, (False, True)):
        path.write_text(text)
        (path.parent / "SHA256SUMS").write_bytes(sums)
        if consistent:
            sum_again(path.parent)
        for command in (["inspect", "e"], ["evaluate", "e"], ["ensemble", "e", str(runs[0])]):
            result = run(*command)
            assert result.code == 2
            assert str(path.relative_to(here)) in result.err or command[0] == "ensemble"
            assert len(result.lines) == 1


def test_an_ensemble_of_ensembles_that_was_forged_is_refused(runs, here):
    built = ensemble(runs, output=here / "e").run
    shutil.copy(built.folder / "model" / "ensemble.json", built.folder / "members" / "0" / "model")
    with pytest.raises(RunError) as caught:
        _ = built.members
    assert caught.value.kind == "nested_ensemble"


def test_a_member_with_damaged_predictions_is_named(here):
    first, second = (make_run(here / "outputs", name, model=name, groups=20) for name in ("mlp", "cnn"))
    path = second / "predictions" / "valid.parquet"
    table = pd.read_parquet(path)
    for damage in ({"p/jazz": np.nan}, {"p/jazz": 2.0}, {"p/jazz": "x"}, {"target": "ska"}, {"track_id": "t"}):
        table.assign(**damage).to_parquet(path)
        with pytest.raises(RunError) as caught:
            ensemble([first, second])
        assert (caught.value.kind, caught.value.key) == ("invalid_predictions", str(path))


def test_an_ensemble_without_models_cannot_label(here):
    runs = [make_run(here / "outputs", name, model=name, groups=20) for name in ("mlp", "cnn")]
    built = mrc.ensemble(runs)
    assert built.metrics["ensemble"]["method"] == "greedy"
    with pytest.raises(RunError) as caught:
        built.predict_proba(np.zeros((1, 3)))
    assert caught.value.kind == "no_model"
    with pytest.raises(RunError) as caught:
        Run.open(built.folder).classifier()
    assert caught.value.kind == "ensemble"


def test_an_ensemble_of_one_member_is_ranked_after_it_and_named(run, here):
    good = make_run(here / "outputs", "good", model="mlp", groups=20, right=0.95, leaky="unknown")
    bad = make_run(here / "outputs", "bad", model="cnn", groups=20, right=0.3, leaky="unknown")
    built = run("ensemble", good, bad)
    assert built.code == 0, built.err
    assert any("good" in line and "bad" not in line for line in built.out.splitlines())
    (folder,) = (here / "outputs").glob("*ensemble_greedy*")
    (table,) = compare([here / "outputs"]).tables
    first, second = table.ranked[:2]
    assert (first.model, second.model) == ("mlp", "ensemble: greedy of 2")
    assert all(first.scores["valid", metric] == second.scores["valid", metric] for metric in table.metrics)
    assert (first.only_members, second.only_members) == ([], ["good"])
    assert (ONE_MEMBER in row_marks(table, first), ONE_MEMBER in row_marks(table, second)) == (False, True)
    assert any("good" in note for note in table_notes(table))
    assert compare([folder]).tables[0].rows[0].only_members == ["good"]


def test_marks_of_members_are_marks_of_the_ensemble(here):
    runs = [
        make_run(here / "outputs", "a", model="mlp", groups=20, features="openjmla"),  # of random weights
        make_run(here / "outputs", "b", model="cnn", groups=20, provenance={"model": {"best_epoch": 3}}),
    ]
    built = Run.open(mrc.ensemble(runs).folder)
    assert built.is_selected_on_valid
    table = mrc.compare(built.folder)
    assert pd.isna(table["rank"][0])  # a random encoder is not ranked
    identity = json.loads((built.folder / "members" / "0" / "identity.json").read_text())
    assert not built.is_stale
    (built.folder / "members" / "0" / "identity.json").write_text(json.dumps({**identity, "code": "0" * 12}))
    assert built.is_stale


def test_the_board_has_the_ensemble_under_a_readable_name(runs, here):
    built = ensemble(runs, "greedy").run
    (here / "links").mkdir()
    links = Links(here / "links", [here / "outputs"])
    links.refresh()
    assert "ensemble_ greedy of 3" in links.names[built.folder.resolve()]
    assert len(links.names) == 1  # the members were trained without event files
