"""Experiments run, recorded and tabulated, on synthetic data of known size."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from musicreclass.cli import main as cli
from musicreclass.config.tree import Tree
from musicreclass.errors import UserError
from musicreclass.runs.find import find_runs
from tests.data.sources.test_fma import features_frame, regular, tracks_frame, write
from tools.baselines import __main__ as command
from tools.baselines.catalog import Catalog
from tools.baselines.record import Result, collect_results, is_outdated, load_results
from tools.baselines.tables import replace_between, score_cells

ROOT = Path(__file__).parents[2]
MARKED = {"experiments/README.md": ("baselines", "partial", "expectations"), "README.md": ("baselines",),
          "docs/approaches.md": ("approaches",)}  # fmt: skip


@pytest.fixture
def project(here, monkeypatch):
    """A folder like the repository, with FMA tables of 48 tracks, and a catalog with their number."""
    for file, names in MARKED.items():
        (here / file).parent.mkdir(exist_ok=True)
        (here / file).write_text("above\n" + "".join(f"<!-- {n} -->\n<!-- /{n} -->\n" for n in names) + "below\n")
    rows = [row for row in regular(60) if row[2] != "large"]
    write(here / "data" / "FMA" / "fma_metadata", tracks_frame(rows), features_frame([r[0] for r in rows]))
    monkeypatch.setenv("MUSICRECLASS_DATA", str(here / "data"))
    sizes = {split: sum(r[1] == word for r in rows) for split, word in
             (("train", "training"), ("valid", "validation"), ("test", "test"))}  # fmt: skip
    catalog = {
        "sources": {"paper": "[A paper](https://example.org)"},
        "protocols": {"fma": {"what": "FMA, official", "classes": 3, "tracks": sizes}, "own": {"what": "own"}},
        "experiments": {
            "fma_medium_svm": {"protocol": "fma", "seeds": [0], "needs": "FMA",
                               "published": [{"accuracy": 62.9, "what": "SVM", "source": "paper"}]},
            "fma_medium_mlp": {"protocol": "fma", "seeds": [1, 2], "needs": "FMA"},
            "gtzan_openjmla": {"protocol": "own", "seeds": [0], "needs": "OpenJMLA's weights"},
            "folder_cnn": {"protocol": "own", "seeds": [0], "needs": "a library"},
        },
        "expectations": [{"what": "SVM on FMA", "expected": "50 to 60", "experiment": "fma_medium_svm"},
                         {"what": "OpenJMLA on GTZAN", "expected": "70 to 80", "experiment": "gtzan_openjmla"}],
    }  # fmt: skip
    (here / "experiments" / "baselines.yaml").write_text(yaml.safe_dump(catalog))
    monkeypatch.setattr(command, "train", lambda overrides: (cli.main(["train", *overrides, "logger=none"]), ""))
    return here


def change_sizes(project, **sizes):
    path = project / "experiments" / "baselines.yaml"
    catalog = yaml.safe_load(path.read_text())
    catalog["protocols"]["fma"]["tracks"].update(sizes)
    path.write_text(yaml.safe_dump(catalog))


def recorded(project, name):
    path = project / "experiments" / name / "results.csv"
    return {row["scored on"]: row for row in csv.DictReader(path.open())} if path.exists() else None


@pytest.mark.slow
def test_experiments_with_data_are_recorded_and_others_skipped_with_a_line(project, capfd):
    assert command.main(["fma_medium_svm", "gtzan_openjmla", "folder_cnn"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert "fma_medium_svm: recorded" in lines
    assert any(line.startswith("folder_cnn: skipped: data.root") for line in lines)
    assert any(line.startswith("gtzan_openjmla: skipped: features.checkpoint=models/epoch_20.pth") for line in lines)
    results = recorded(project, "fma_medium_svm")
    assert set(results) == {"valid", "test"}
    assert results["test"]["whole"] == "yes"
    assert results["test"]["command"] == "musicreclass train experiment=fma_medium_svm"
    assert not is_outdated(Catalog.load(project / "experiments").baselines["fma_medium_svm"], [Result(results["test"])])
    other = Result({**results["test"], "code": "0" * 12})
    assert is_outdated(Catalog.load(project / "experiments").baselines["fma_medium_svm"], [other])
    low, accuracy, high = (float(results["test"][f"accuracy{end}"]) for end in (" low", "", " high"))
    assert low <= accuracy <= high
    page = (project / "experiments" / "README.md").read_text()
    assert page.startswith("above\n")
    assert page.endswith("below\n")
    percent = f"{100 * accuracy:.1f}"
    (line,) = [line for line in page.splitlines() if line.startswith("| fma_medium_svm | FMA, official | test")]
    assert percent in line
    assert "62.9 (SVM), [A paper](https://example.org) | `musicreclass train experiment=fma_medium_svm` |" in line
    (line,) = [
        line for line in page.splitlines() if line.startswith("| OpenJMLA on GTZAN | 70 to 80 | gtzan_openjmla |")
    ]
    assert "OpenJMLA's weights" in line
    assert f"| SVM on FMA | 50 to 60 | fma_medium_svm | {percent}" in page
    assert "fma_medium_svm" in (project / "README.md").read_text()
    assert "| gtzan_openjmla | own |  |" in (project / "docs" / "approaches.md").read_text()
    capfd.readouterr()
    assert command.main(["--tables"]) == 0
    assert (project / "experiments" / "README.md").read_text() == page


@pytest.mark.slow
def test_seeds_are_one_row(project):
    assert command.main(["fma_medium_mlp"]) == 0
    result = recorded(project, "fma_medium_mlp")["test"]
    assert result["seeds"] == "1 2"
    assert result["accuracy sd"] != ""
    assert "seed=1,2`" in (project / "experiments" / "README.md").read_text()


@pytest.mark.slow
def test_partial_data_is_skipped_or_listed_separately_and_never_replaces_complete_data(project, capfd):
    change_sizes(project, test=290)
    assert command.main(["fma_medium_svm"]) == 0  # test is incomplete, validation is complete
    results = recorded(project, "fma_medium_svm")
    assert (results["valid"]["whole"], results["test"]["whole"]) == ("yes", "no")

    change_sizes(project, train=19922)
    capfd.readouterr()
    assert command.main(["fma_medium_svm"]) == 0
    assert any(line.startswith("fma_medium_svm: skipped: ") for line in capfd.readouterr().out.splitlines())
    assert command.main(["fma_medium_svm", "--partial"]) == 0
    assert any(line.startswith("fma_medium_svm: not recorded: ") for line in capfd.readouterr().out.splitlines())
    assert recorded(project, "fma_medium_svm")["valid"]["whole"] == "yes"

    (project / "experiments" / "fma_medium_svm" / "results.csv").unlink()
    assert command.main(["fma_medium_svm", "--partial", "--note", "an excerpt"]) == 0
    assert recorded(project, "fma_medium_svm")["valid"]["whole"] == "no"
    page = (project / "experiments" / "README.md").read_text()
    complete, _, partial = page.partition("<!-- partial -->")
    assert "| fma_medium_svm | FMA, official |  |" in complete
    assert "of 19,922 train" in partial
    assert "an excerpt" in partial
    (line,) = [line for line in page.splitlines() if line.startswith("| SVM on FMA | 50 to 60 | fma_medium_svm |")]
    assert " n = " not in line


@pytest.mark.slow
def test_the_leaky_experiment_is_listed_with_the_honest_one(project, capfd, monkeypatch):
    rows = [(i, split, ("small", "medium")[i % 2], genre, 1000 + i // 6, 500 + i // 6)
            for i, (*_, split, genre) in enumerate(splits_and_genres(180))]  # fmt: skip
    write(project / "data" / "FMA" / "fma_metadata", tracks_frame(rows), features_frame([r[0] for r in rows]))
    path = project / "experiments" / "baselines.yaml"
    catalog = yaml.safe_load(path.read_text())
    catalog["experiments"] |= {n: {"protocol": "own", "seeds": [0]} for n in ("userclaim_77", "userclaim_honest")}
    path.write_text(yaml.safe_dump(catalog))
    quick = ["trainer.max_epochs=2", "logger=none"]
    train_settings = command.train_settings
    monkeypatch.setattr(command, "train_settings", lambda overrides: train_settings([*overrides, *quick]))
    monkeypatch.setattr(command, "train", lambda overrides: (cli.main(["train", *overrides, *quick]), ""))
    assert command.main(["userclaim_77", "userclaim_honest"]) == 0
    leaky, honest = recorded(project, "userclaim_77"), recorded(project, "userclaim_honest")
    assert {split: row["leaky"] for split, row in leaky.items()} == {"valid": "yes"}
    assert {split: row["leaky"] for split, row in honest.items()} == {"valid": "no", "test": "no"}
    cells = [line.split()[:3] for line in capfd.readouterr().out.splitlines()]
    assert ["userclaim_77", "yes", "validation"] in cells
    assert ["userclaim_honest", "no", "test"] in cells
    assert "own, leaky" in (project / "experiments" / "README.md").read_text()


def splits_and_genres(n):
    """(split, genre) of each track, six tracks per artist."""
    splits = ["training", "training", "training", "validation", "test"]
    return [(splits[i // 6 % 5], ["Rock", "Folk", "Jazz"][i % 3]) for i in range(n)]


def test_missing_data_is_reported_in_one_line(project, monkeypatch, capfd):
    monkeypatch.setenv("MUSICRECLASS_DATA", "")  # set by make without DATA=
    assert command.main(["fma_medium_svm", "fma_medium_mlp"]) == 0
    line = capfd.readouterr().out.splitlines()[0]
    assert line.startswith("fma_medium_svm: skipped: ")
    assert "data.root=" in line
    assert "MUSICRECLASS_DATA" in line
    assert recorded(project, "fma_medium_svm") is None


@pytest.mark.slow
def test_a_failed_run_is_reported_and_the_others_continue(project, monkeypatch, capfd):
    train = command.train
    monkeypatch.setattr(command, "train", lambda overrides: (1, "boom") if "seed=0" in overrides else train(overrides))
    assert command.main(["fma_medium_svm", "fma_medium_mlp"]) == 1
    lines = capfd.readouterr().out.splitlines()
    assert "fma_medium_svm: failed: boom" in lines
    assert "fma_medium_mlp: recorded" in lines


def test_user_errors(project):
    with pytest.raises(UserError) as caught:
        command.main(["fma_medium_smv"])
    assert (caught.value.kind, caught.value.key) == ("unknown_experiment", "fma_medium_smv")
    assert "fma_medium_svm" in str(caught.value)  # the nearest name
    readme = project / "README.md"
    readme.write_text("no markers")
    with pytest.raises(UserError) as caught:
        replace_between(readme, "baselines", [])
    assert (caught.value.kind, caught.value.key) == ("missing_markers", str(readme))
    with pytest.raises(UserError) as caught:
        Catalog.load(project / "nowhere")
    assert (caught.value.kind, caught.value.key) == ("unreadable", str(project / "nowhere" / "baselines.yaml"))


def test_the_catalog_lists_every_experiment():
    catalog = Catalog.load(ROOT / "experiments")
    assert set(catalog.baselines) == set(Tree().groups["experiment"])
    for baseline in catalog.baselines.values():
        assert all(published.source for published in baseline.published)


def test_the_recorded_demo_reproduces(run, here):
    """If other code made the record, its runs are repeated: `python -m tools.baselines demo` records them again, on a CPU."""
    recorded = load_results(ROOT / "experiments" / "demo")
    baseline = Catalog.load(ROOT / "experiments").baselines["demo"]
    assert recorded
    if not is_outdated(baseline, recorded):
        return
    for seed in baseline.seeds:
        assert run("train", "experiment=demo", f"seed={seed}", "logger=none", "hardware=cpu").code == 0
    repeated = collect_results(baseline, find_runs(here / "outputs"))
    for metric in ("accuracy", "macro-F1"):
        expected = {result["scored on"]: result.number(metric) for result in recorded}
        actual = {result["scored on"]: result.number(metric) for result in repeated}
        assert actual == pytest.approx(expected, abs=0.0006), "python -m tools.baselines demo"


def test_the_committed_tables_match_the_record(tmp_path):
    import shutil

    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    (tmp_path / "docs").mkdir()
    for file in MARKED:
        shutil.copy(ROOT / file, tmp_path / file)
    assert command.main(["--tables", "--experiments", str(tmp_path / "experiments")]) == 0
    for file in MARKED:
        assert (tmp_path / file).read_text() == (ROOT / file).read_text(), f"{file}: python -m tools.baselines --tables"


def test_tags_have_areas_in_place_of_accuracy_and_macro_f1():
    baseline = Catalog.load(ROOT / "experiments").baselines["mtt_cnn"]
    assert [str(score) for score in baseline.published] == ["ROC-AUC 90.7, PR-AUC 38.4", "ROC-AUC 90.6, PR-AUC 44.2"]
    areas = {
        "ROC-AUC": "0.9",
        "ROC-AUC low": "0.8",
        "ROC-AUC high": "0.95",
        "PR-AUC": "0.4",
        "PR-AUC low": "0.3",
        "PR-AUC high": "0.5",
    }
    result = Result({"scored on": "test", "n": "4332", "seeds": "0", **areas})
    assert score_cells(result)[:3] == ["test", "ROC-AUC 90.0 [80.0, 95.0]", "PR-AUC 40.0 [30.0, 50.0]"]
