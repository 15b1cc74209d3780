"""`musicreclass cite`: every entry is valid, and runs cite what they used."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

import musicreclass as mrc
from musicreclass.comparison.citations import OWN_DATA, REFERENCES, module_of
from musicreclass.config.settings.tasks import BY_TARGET
from tests.run_factory import make_run

TABLE = yaml.safe_load(REFERENCES.read_text(encoding="utf-8"))
SECTIONS = ("datasets", "splits", "encoders", "models", "statistics", "tags", "ensembles")
REQUIRED = {
    "article": "journal",
    "inproceedings": "booktitle",
    "misc": "note",
    "book": "publisher",
}
WITHOUT_REFERENCE = {*TABLE["own_data"], "musicreclass.data.combined"}  # a combination cites its parts


def check_bibtex(text: str) -> list[str]:
    """The keys of the entries in a text, each of which must be complete and balanced."""
    keys = []
    without_comments = re.sub(r"^%.*$", "", text, flags=re.MULTILINE)
    for entry in re.split(r"\n(?=@)", without_comments.strip()):
        head = re.match(r"@(\w+)\{(\w+),\n", entry)
        assert head, entry
        fields = dict(re.findall(r"^ {2}(\w+) = \{(.*)\},?$", entry, re.MULTILINE))
        assert {"author", "title", "year", REQUIRED[head[1]]} <= set(fields)
        assert re.fullmatch(r"\d{4}", fields["year"])
        assert all(value.count("{") == value.count("}") for value in fields.values())
        assert not any(re.search(r"(?<!\\)[&%$#_]", value) for value in fields.values())
        assert len(re.findall(r"^ {2}.*[^,]$", entry, re.MULTILINE)) == 1  # only the last field has no comma
        assert entry.rstrip().endswith("\n}")
        keys.append(head[2])
    assert len(set(keys)) == len(keys)
    return keys


def test_every_entry_is_valid_and_used():
    assert check_bibtex("\n".join(TABLE["entries"].values())) == list(TABLE["entries"])
    used = {name for section in SECTIONS for names in TABLE[section].values() for name in names}
    assert used == set(TABLE["entries"])


def test_every_dataset_of_the_package_has_a_reference_or_is_the_users_own():
    modules = {module_of(target) for target, kind in BY_TARGET.items() if "data" in kind.__module__.split(".")}
    assert modules == set(TABLE["datasets"]) | WITHOUT_REFERENCE
    for module in [*TABLE["datasets"], *(name for name in TABLE["encoders"])]:
        assert find_spec(module)


def test_splits_are_options():
    options = {file.stem for file in (Path(mrc.__file__).parents[1] / "conf" / "data" / "split").glob("*.yaml")}
    assert set(TABLE["splits"]) <= options


def test_runs_cite_their_data_their_model_and_the_tests(run, here):
    for model in ("logreg", "svm"):
        make_run(here / "outputs", model, model=model, data="moods")
    result = run("cite", "outputs")
    assert result.code == 0
    keys = check_bibtex(result.out)
    assert {"musicreclass", "pedregosa2011sklearn", "efron1993bootstrap", "holm1979", "fagerland2013mcnemar"} <= set(
        keys
    )
    assert not {"tzanetakis2002gtzan", "chen2016xgboost"} & set(keys)
    assert [line for line in result.out.splitlines() if "moods" in line and line.startswith("%")]  # no reference
    written = run("cite", "outputs", "--output", "refs.bib")
    assert (written.code, [line for line in written.out.splitlines() if "refs.bib" in line]) == (
        0,
        written.out.splitlines(),
    )
    assert (here / "refs.bib").read_text().strip() == result.out.strip() == mrc.cite("outputs").strip()


def test_names_in_comments_begin_no_entry(run, here):
    make_run(here / "outputs", "a", data="me@home{x")
    text = run("cite", "outputs").out
    assert "home{x" in text
    assert all("@" not in line or line.startswith("@") for line in text.splitlines())


@pytest.mark.parametrize(
    ("target", "split", "features", "keys"),
    [
        ("musicreclass.data.sources.gtzan.GTZAN", "fault_filtered", "musicreclass.models.musicnn.MusiCNNEncoder",
         {"tzanetakis2002gtzan", "kereliuk2015", "pons2019musicnn"}),
        ("musicreclass.data.sources.fma_audio.FMAAudio", "official",
         "musicreclass.models.openjmla.OpenJMLAEncoder.from_checkpoint", {"defferrard2017fma", "du2023jmla"}),
        ("mine.Moods", "grouped", "mine.Loudness", set()),
    ],
)  # fmt: skip
def test_datasets_and_encoders_are_cited_by_their_class(run, here, target, split, features, keys):
    folder = make_run(here / "outputs", "a", model="svm", split=split, features="own")
    text = (folder / "config.yaml").read_text()
    config = yaml.safe_load(text)
    config["data"]["_target_"], config["features"]["_target_"] = target, features
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    result = run("cite", "outputs")
    assert result.code == 0, result.err
    cited = set(check_bibtex(result.out))
    assert keys <= cited
    if not keys:
        assert cited == {"musicreclass", "pedregosa2011sklearn", "efron1993bootstrap"}
        assert sum("no reference" in line for line in result.out.splitlines()) == 2


@pytest.mark.parametrize("target", TABLE["own_data"])
def test_data_of_the_users_own_lacks_nothing(run, here, target):
    folder = make_run(here / "outputs", "a", model="svm", data="moods")
    config = yaml.safe_load((folder / "config.yaml").read_text())
    source = next(name for name in BY_TARGET if module_of(name) == target)
    config["data"]["_target_"] = source
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    result = run("cite", "outputs")
    assert result.code == 0, result.err
    (line,) = (line for line in result.out.splitlines() if line.startswith("%") and "moods" in line)
    assert OWN_DATA in line
    assert "no reference" not in result.out


def test_a_missing_folder_is_reported(run):
    result = run("cite", "nowhere")
    assert (result.code, [problem.key for problem in result.problems]) == (2, ["nowhere"])
