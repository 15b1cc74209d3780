"""Experiments reproduced, recorded and written down, on planted data of known size."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from musicreclass.cli import main as cli
from musicreclass.config.tree import Tree
from musicreclass.errors import UserError
from tests.data.sources.test_fma import features_frame, regular, tracks_frame, write
from tools.baselines import __main__ as command
from tools.baselines.facts import Facts
from tools.baselines.tables import replace_between

ROOT = Path(__file__).parents[2]
MARKED = {"experiments/README.md": ("baselines", "partial", "expectations"), "README.md": ("baselines",),
          "docs/approaches.md": ("approaches",)}  # fmt: skip


@pytest.fixture
def project(here, monkeypatch):
    """A folder as the repository is, with FMA's tables of 48 tracks and facts that say how many there should be."""
    for file, names in MARKED.items():
        (here / file).parent.mkdir(exist_ok=True)
        (here / file).write_text("above\n" + "".join(f"<!-- {n} -->\n<!-- /{n} -->\n" for n in names) + "below\n")
    rows = [row for row in regular(60) if row[2] != "large"]
    write(here / "data" / "FMA" / "fma_metadata", tracks_frame(rows), features_frame([r[0] for r in rows]))
    monkeypatch.setenv("MUSICRECLASS_DATA", str(here / "data"))
    sizes = {split: sum(r[1] == word for r in rows) for split, word in
             (("train", "training"), ("valid", "validation"), ("test", "test"))}  # fmt: skip
    facts = {
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
    (here / "experiments" / "baselines.yaml").write_text(yaml.safe_dump(facts))
    monkeypatch.setattr(command, "train", lambda words: (cli.main(["train", *words, "logger=none"]), ""))
    return here


def change(project, **sizes):
    path = project / "experiments" / "baselines.yaml"
    facts = yaml.safe_load(path.read_text())
    facts["protocols"]["fma"]["tracks"].update(sizes)
    path.write_text(yaml.safe_dump(facts))


def recorded(project, name):
    path = project / "experiments" / name / "results.csv"
    return {row["scored on"]: row for row in csv.DictReader(path.open())} if path.exists() else None


def test_what_is_at_hand_is_run_and_recorded_and_the_rest_skipped_with_a_line(project, capfd):
    assert command.main(["fma_medium_svm", "gtzan_openjmla", "folder_cnn"]) == 0
    told = capfd.readouterr().out
    assert "fma_medium_svm: recorded\n" in told
    assert "folder_cnn: skipped: data.root: a value is needed" in told
    assert "gtzan_openjmla: skipped: features.checkpoint=models/epoch_20.pth: there is no such file" in told
    found = recorded(project, "fma_medium_svm")
    assert set(found) == {"valid", "test"}
    assert found["test"]["whole"] == "yes"
    assert found["test"]["command"] == "musicreclass train experiment=fma_medium_svm"
    assert (
        float(found["test"]["accuracy low"])
        <= float(found["test"]["accuracy"])
        <= float(found["test"]["accuracy high"])
    )
    page = (project / "experiments" / "README.md").read_text()
    assert page.startswith("above\n")
    assert page.endswith("below\n")
    shown = f"{100 * float(found['test']['accuracy']):.1f}"
    (line,) = [line for line in page.splitlines() if line.startswith("| fma_medium_svm | FMA, official | test")]
    assert shown in line
    assert "62.9 (SVM), [A paper](https://example.org) | `musicreclass train experiment=fma_medium_svm` |" in line
    assert "| OpenJMLA on GTZAN | 70 to 80 | gtzan_openjmla | not run: needs OpenJMLA's weights |" in page
    assert f"| SVM on FMA | 50 to 60 | fma_medium_svm | {shown}" in page
    assert "fma_medium_svm" in (project / "README.md").read_text()
    assert "| gtzan_openjmla | own |  | not run" in (project / "docs" / "approaches.md").read_text()
    capfd.readouterr()
    assert command.main(["--tables"]) == 0
    assert (project / "experiments" / "README.md").read_text() == page


def test_seeds_are_one_row(project):
    assert command.main(["fma_medium_mlp"]) == 0
    found = recorded(project, "fma_medium_mlp")["test"]
    assert found["seeds"] == "1 2"
    assert found["accuracy sd"] != ""
    assert "seed=1,2`" in (project / "experiments" / "README.md").read_text()


def test_partial_data_is_skipped_or_stands_apart_and_never_replaces_the_whole(project, capfd):
    change(project, test=290)
    assert command.main(["fma_medium_svm"]) == 0  # test is short, validation is not
    found = recorded(project, "fma_medium_svm")
    assert (found["valid"]["whole"], found["test"]["whole"]) == ("yes", "no")

    change(project, train=19922)
    capfd.readouterr()
    assert command.main(["fma_medium_svm"]) == 0
    assert "skipped: partial data, " in capfd.readouterr().out
    assert command.main(["fma_medium_svm", "--partial"]) == 0
    assert "not recorded: " in capfd.readouterr().out
    assert recorded(project, "fma_medium_svm")["valid"]["whole"] == "yes"

    (project / "experiments" / "fma_medium_svm" / "results.csv").unlink()
    assert command.main(["fma_medium_svm", "--partial", "--note", "an excerpt"]) == 0
    assert recorded(project, "fma_medium_svm")["valid"]["whole"] == "no"
    page = (project / "experiments" / "README.md").read_text()
    whole, _, partial = page.partition("<!-- partial -->")
    assert "| fma_medium_svm | FMA, official |  | not run: needs FMA |" in whole
    assert "of 19,922 train tracks" in partial
    assert "an excerpt" in partial
    assert "| SVM on FMA | 50 to 60 | fma_medium_svm | not run: needs FMA |" in page


def test_the_leaky_claim_stands_beside_its_honest_twin(project, capfd, monkeypatch):
    rows = [(i, split, ("small", "medium")[i % 2], genre, 1000 + i // 6, 500 + i // 6)
            for i, (*_, split, genre) in enumerate(planted(180))]  # fmt: skip
    write(project / "data" / "FMA" / "fma_metadata", tracks_frame(rows), features_frame([r[0] for r in rows]))
    path = project / "experiments" / "baselines.yaml"
    facts = yaml.safe_load(path.read_text())
    facts["experiments"] |= {n: {"protocol": "own", "seeds": [0]} for n in ("userclaim_77", "userclaim_honest")}
    path.write_text(yaml.safe_dump(facts))
    quick = ["trainer.max_epochs=2", "logger=none"]
    compose = command.configuration
    monkeypatch.setattr(command, "configuration", lambda words: compose([*words, *quick]))
    monkeypatch.setattr(command, "train", lambda words: (cli.main(["train", *words, *quick]), ""))
    assert command.main(["userclaim_77", "userclaim_honest"]) == 0
    leaky, honest = recorded(project, "userclaim_77"), recorded(project, "userclaim_honest")
    assert {split: row["leaky"] for split, row in leaky.items()} == {"valid": "yes"}
    assert {split: row["leaky"] for split, row in honest.items()} == {"valid": "no", "test": "no"}
    shown = [line.split()[:3] for line in capfd.readouterr().out.splitlines()]
    assert ["userclaim_77", "yes", "validation"] in shown
    assert ["userclaim_honest", "no", "test"] in shown
    assert "own, leaky" in (project / "experiments" / "README.md").read_text()


def planted(n):
    """(split, genre) of each track, six tracks to an artist."""
    place = ["training", "training", "training", "validation", "test"]
    return [(place[i // 6 % 5], ["Rock", "Folk", "Jazz"][i % 3]) for i in range(n)]


def test_absent_data_is_one_line(project, monkeypatch, capfd):
    monkeypatch.setenv("MUSICRECLASS_DATA", "")  # as make has it without DATA=
    assert command.main(["fma_medium_svm", "fma_medium_mlp"]) == 0
    told = capfd.readouterr().out.splitlines()
    assert told[0].startswith("fma_medium_svm: skipped: FMA: set data.root=DIR")
    assert recorded(project, "fma_medium_svm") is None


def test_a_run_that_fails_is_told_and_the_others_go_on(project, monkeypatch, capfd):
    sound = command.train
    monkeypatch.setattr(command, "train", lambda words: (1, "boom") if "seed=0" in words else sound(words))
    assert command.main(["fma_medium_svm", "fma_medium_mlp"]) == 1
    told = capfd.readouterr().out
    assert "fma_medium_svm: failed: boom\n" in told
    assert "fma_medium_mlp: recorded\n" in told


def test_mistakes_are_one_line(project):
    with pytest.raises(UserError, match="fma_medium_smv: no such experiment; did you mean fma_medium_svm"):
        command.main(["fma_medium_smv"])
    (project / "README.md").write_text("no markers")
    with pytest.raises(UserError, match=r"README.md: lacks the lines <!-- baselines -->"):
        replace_between(project / "README.md", "baselines", [])
    with pytest.raises(UserError, match="run this in the project's own folder"):
        Facts.load(project / "nowhere")


def test_every_experiment_has_facts():
    facts = Facts.load(ROOT / "experiments")
    assert set(facts.baselines) == set(Tree().groups["experiment"])
    for known in facts.baselines.values():
        assert all(published.source for published in known.published)


def test_the_committed_tables_are_those_of_the_record(tmp_path):
    import shutil

    shutil.copytree(ROOT / "experiments", tmp_path / "experiments")
    (tmp_path / "docs").mkdir()
    for file in MARKED:
        shutil.copy(ROOT / file, tmp_path / file)
    assert command.main(["--tables", "--experiments", str(tmp_path / "experiments")]) == 0
    for file in MARKED:
        assert (tmp_path / file).read_text() == (ROOT / file).read_text(), f"{file}: python -m tools.baselines --tables"
