"""`features=fma518` and joined features: computed once per recording, resumed, and equal however they are computed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from threadpoolctl import threadpool_limits

from musicreclass.config.check import train_settings
from musicreclass.data.sources.folder import GenreFolders
from musicreclass.features import extractors
from musicreclass.features.embeddings import EncoderPart
from musicreclass.features.extractors import Extractor, ExtractorPart
from musicreclass.features.feature_data import FeatureData
from musicreclass.features.fma518.columns import COLUMNS
from musicreclass.features.fma518.extraction import extract_file
from musicreclass.features.fma518.extractor import FMA518
from musicreclass.models.encoder import Encoder
from musicreclass.runs.folder import Run
from musicreclass.runs.signature import signature
from musicreclass.tasks.machine import use_machine
from musicreclass.tasks.open_data import open_data
from tests.conftest import only_run, written_at
from tests.library import TONES, write_tone

RATE = 16000
MFCC = "features.sets=[mfcc]"  # the cheapest large set


@pytest.fixture
def music(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three genres of four short tones, and a cache of the test's own."""
    monkeypatch.setenv("MUSICRECLASS_CACHE", str(here / "cache"))
    return write_music(here / "music")


@pytest.fixture
def cached_music(here: Path) -> Path:
    """The same recordings; their features are in the cache that tests share."""
    return write_music(here / "music")


def write_music(folder: Path, tracks: int = 4, first: int = 0) -> Path:
    for genre, frequency in TONES.items():
        for i in range(first, first + tracks):
            write_tone(folder / genre / f"{i}.wav", frequency, i, seconds=2.3, rate=RATE)
    return folder


def arguments(music: Path, *overrides: str) -> list[str]:
    return ["data=folder", f"data.root={music}", "model=logreg", *overrides]


def table_of(music: Path, *overrides: str) -> FeatureData:
    settings = train_settings(arguments(music, *overrides))
    data = open_data(settings, use_machine(settings)[1])
    assert isinstance(data, FeatureData)
    return data


class Bands(Encoder):
    """Two values of each half second; counts how often it is created."""

    sample_rate, columns, settings = 8000, ["low", "high"], {"version": 1}
    created = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).created += 1

    def windows(self, waveform: torch.Tensor) -> torch.Tensor:
        return waveform[: len(waveform) // 4000 * 4000].reshape(-1, 4000)

    def embed(self, windows: torch.Tensor) -> torch.Tensor:
        return torch.stack([windows.abs().mean(1), windows.square().mean(1)], 1)


class Louder(Bands):
    """At another sample rate."""

    sample_rate, settings = 12000, {"version": 2}


def source_of(music: Path, here: Path, rate: int = 8000, **settings: object) -> GenreFolders:
    options = {"sample_rate": rate, "cache": "none", "store": str(here / "cache"), **settings}
    return GenreFolders(str(music), {"protocol": "random"}, **options)


def encoder_part(kind: type[Encoder]) -> EncoderPart:
    return EncoderPart(kind, [], torch.device("cpu"))


def test_keys_and_fingerprints_of_one_encoder_are_those_of_earlier_versions(here, music, monkeypatch):
    """The values were computed before features had parts."""
    monkeypatch.setattr(Bands, "__module__", "own")
    for i in range(4):
        for genre, frequency in TONES.items():
            write_tone(here / "pinned" / genre / f"{i}.wav", frequency, i)
    data = FeatureData(source_of(here / "pinned", here), {"features": encoder_part(Bands)})
    data.setup()
    assert data.encoder_fingerprint == "11e6f0641d049ee9f08a4206ad472073133cfc1dd0c3f31a0ea2efc35270b174"
    assert [path.name for path in (here / "cache/vectors").iterdir()] == ["3aec6ac15eceec60248417be"]
    if hashlib.sha256((here / "pinned/blues/0.wav").read_bytes()).hexdigest().startswith(PINNED_WAV):
        assert data.fingerprint() == "bd7cb3977fe6b2f4c51cce7011f23abba5c32198a7d0a3d5c3cb0f19b2e75cb2"
        assert (here / "cache/embeddings/beb475ba02979791db39619b/x.npy").is_file()


PINNED_WAV = "c86e6f528d73e307"  # of another libsndfile, another file


def test_fma518_trains_prepares_and_evaluates(run, here, music):
    options = ["data=folder", f"data.root={music}", "features=fma518"]
    prepared = run("prepare", *options, "table=t.csv")
    assert prepared.code == 0, prepared.err
    frame = pd.read_csv("t.csv")
    assert frame.columns[6:].tolist() == list(COLUMNS)
    with threadpool_limits(limits=1, user_api="blas"):
        expected = np.stack([extract_file(path) for path in frame.path])
    assert np.array_equal(frame[list(COLUMNS)].to_numpy(np.float32), expected)
    vectors = written_at(here / "cache", "*.npy")
    assert len([name for name in vectors if name.startswith("vectors")]) == 12
    assert not (here / "cache/waveforms").exists()
    assert run("train", *options, "model=logreg", "evaluate=[valid,test]").code == 0
    assert written_at(here / "cache", "*.npy") == vectors
    assert Run.open(only_run(here)).metrics["valid"]["accuracy"] == 1
    other = write_music(here / "other", 2, first=10)
    scored = run("evaluate", only_run(here), "--split", "all", "data=folder", f"data.root={other}")
    assert scored.code == 0, scored.err
    (record,) = Run.open(only_run(here)).metrics["elsewhere"].values()
    assert (record["n"], record["accuracy"]) == (6, 1)


@pytest.mark.parametrize("suffix", ["csv", pytest.param("parquet", marks=pytest.mark.slow)])
def test_a_prepared_table_reads_back_with_its_split_and_overlap(run, here, cached_music, suffix, monkeypatch):
    overlap = [{"dataset": "", "what": "pretrained on everything", "source": "its author"}]
    monkeypatch.setattr(FMA518, "overlaps", overlap)
    options = ["data=folder", f"data.root={cached_music}", "features=fma518", MFCC]
    assert run("prepare", *options, f"table=t.{suffix}").code == 0
    assert run("train", *options, "model=logreg", "run_dir=audio").code == 0
    result = run("train", "data=table", f"data.path=t.{suffix}", "model=logreg", "run_dir=table")
    assert result.code == 0, result.err
    audio, table = Run.open(here / "audio"), Run.open(here / "table")
    frames = [run.predictions("valid").table.set_index("track_id").sort_index() for run in (audio, table)]
    pd.testing.assert_frame_equal(*frames, rtol=1e-9)
    marks = [run.metrics["protocol"]["pretraining_overlap"] for run in (audio, table)]
    assert marks == [["pretrained on everything (its author)"]] * 2


@pytest.mark.slow
def test_a_model_of_a_table_scores_recordings_and_the_reverse(run, here, music):
    options = ["data=folder", f"data.root={music}", "features=fma518"]
    assert run("prepare", *options, "table=t.csv").code == 0
    assert run("train", "data=table", "data.path=t.csv", "model=logreg", "run_dir=table").code == 0
    assert run("train", *options, "model=logreg", "run_dir=audio").code == 0
    other = write_music(here / "other", 2, first=10)
    scored = run("evaluate", "table", "--split", "all", "data=folder", f"data.root={other}", "features=fma518")
    assert scored.code == 0, scored.err
    (record,) = Run.open(here / "table").metrics["elsewhere"].values()
    assert record["accuracy"] == 1
    assert record["choices"]["features"] == "fma518"
    reverse = run("evaluate", "audio", "--split", "all", "data=table", "data.path=t.csv", "features=none")
    assert reverse.code == 0, reverse.err
    rejected = run("evaluate", "audio", "--split", "all", "data=folder", f"data.root={other}", "features=musicnn")
    assert [problem.kind for problem in rejected.problems] == ["not_data"]


def test_bad_files_are_counted_and_skipped(run, here, cached_music):
    write_tone(cached_music / "jazz/short.wav", 900, 1, seconds=1.5, rate=RATE)
    write_tone(cached_music / "rock/low.wav", 900, 1, seconds=2.5, rate=8000)
    (cached_music / "rock/empty.wav").write_bytes(b"")
    options = arguments(cached_music, "features=fma518", MFCC, "run_dir=r", "evaluate=[valid]")
    assert run("train", *options).problems[0].kind == "too_many_bad_files"
    result = run("train", *options, "data.max_bad_fraction=0.5")
    assert result.code == 0, result.err
    dropped = Run.open(here / "r").provenance["dropped"]
    assert {reason: n for reason, n in dropped.items() if n} == {
        "with a bad file: too short": 1, "with a bad file: not supported": 1, "with a bad file: empty file": 1
    }  # fmt: skip
    assert sum(Run.open(here / "r").provenance["tracks"].values()) == 12
    strict = run("train", *options, "data.on_bad_file=error", "run_dir=strict")
    assert [problem.kind for problem in strict.problems] == ["bad_files"]


def test_features_are_keyed_by_content_back_end_and_sets(here, music):
    first = table_of(music, "features=fma518", MFCC)
    for path in sorted(music.rglob("*.wav")):
        path.rename(path.with_name(f"renamed-{path.name}"))
    vectors = written_at(here / "cache/vectors")
    again = table_of(music, "features=fma518", MFCC)
    assert written_at(here / "cache/vectors") == vectors
    assert sorted(map(tuple, again.x)) == sorted(map(tuple, first.x))
    reference = table_of(music, "features=fma518", MFCC, "features.backend=reference")
    assert not np.array_equal(reference.x, again.x)
    assert np.allclose(reference.x, again.x, rtol=1e-2, atol=1e-2)
    assert len(list((here / "cache/vectors").iterdir())) == 2
    keys = {signature(train_settings(arguments(music, "features=fma518", o)), "d")
            for o in (MFCC, "features.backend=reference", "features.parallel=threading", "data.workers=1")}  # fmt: skip
    assert len(keys) == 3


def test_a_join_is_its_parts_side_by_side(here, music):
    joined = FeatureData(
        source_of(music, here),
        {"a": encoder_part(Bands), "b": ExtractorPart(FMA518(sets=["zcr"])), "c": encoder_part(Louder)},
    )
    joined.setup()
    parts = [
        ("a", encoder_part(Bands), 8000),
        ("b", ExtractorPart(FMA518(sets=["zcr"])), 8000),
        ("c", encoder_part(Louder), 12000),
    ]
    tables = []
    for name, part, rate in parts:
        data = FeatureData(source_of(music, here / name, rate), {name: part})
        data.setup()
        assert data.tracks.track_id.tolist() == joined.tracks.track_id.tolist()
        tables.append(data)
    assert np.array_equal(joined.x, np.concatenate([data.x for data in tables], axis=1))
    names = [f"{name}/{column}" for (name, *_), data in zip(parts, tables, strict=True) for column in data.columns]
    assert joined.columns == names
    assert joined.columns[:3] == ["a/low", "a/high", "b/zcr_kurtosis_01"]


def test_one_encoder_is_in_memory_at_a_time_and_one_part_is_computed(here, music, monkeypatch):
    in_memory: list[int] = []
    parts = {"a": encoder_part(Bands), "b": encoder_part(Louder)}
    for part in parts.values():
        part.release()
    compute = EncoderPart.compute

    def count(self, *arguments):
        result = compute(self, *arguments)
        in_memory.append(sum(part._encoder is not None for part in parts.values()))
        return result

    monkeypatch.setattr(EncoderPart, "compute", count)
    alone = FeatureData(source_of(music, here), {"a": encoder_part(Bands)})
    alone.setup()
    in_memory.clear()
    vectors = written_at(here / "cache/vectors")
    joined = FeatureData(source_of(music, here), parts)
    joined.setup()
    assert in_memory == [1]  # only the new part
    assert vectors.items() <= written_at(here / "cache/vectors").items()
    assert all(part._encoder is None for part in parts.values())


def test_a_join_from_the_command_line(run, here, music):
    folder = here / "mine/features"
    folder.mkdir(parents=True)
    for name, settings in (("zcr", "sets: [zcr]"), ("rmse", "sets: [rmse]")):
        (folder / f"{name}.yaml").write_text(f"defaults: [fma518, _self_]\n{settings}\n")
    join = ["--config-dir", "mine", *arguments(music, "features=[zcr,fma518]", "features.parts.fma518.sets=[mfcc]")]
    result = run("train", *join)
    assert result.code == 0, result.err
    folder = only_run(here)
    finished = Run.open(folder)
    assert finished.identity.choices["features"] == "zcr+fma518"
    assert finished.config["features"]["parts"]["fma518"]["sets"] == ["mfcc"]
    columns = finished.classifier().card.columns
    assert len(columns) == 7 + 140
    assert (columns[0], columns[-1]) == ("zcr/zcr_kurtosis_01", "fma518/mfcc_std_20")
    vectors = written_at(here / "cache/vectors")
    assert run("train", *join).code == 0  # found
    assert run("train", "--config-dir", "mine", *arguments(music, "features=[zcr,fma518,rmse]",
               "features.parts.fma518.sets=[mfcc]", "run_dir=three")).code == 0  # fmt: skip
    added = written_at(here / "cache/vectors").keys() - vectors.keys()
    assert len(added) == 12
    other = write_music(here / "other", 2, first=10)
    for more in ([], ["--split", "all", "data=folder", f"data.root={other}", "--config-dir", "mine"]):
        scored = run("evaluate", folder, *more)
        assert scored.code == 0, scored.err
    assert "features=zcr+fma518" in run("inspect", folder).out.replace("\n", "")
    assert run("compare", "outputs", "three", "--output", "c.csv").code == 0
    assert set(pd.read_csv("c.csv")["setting features"]) == {"zcr+fma518", "zcr+fma518+rmse"}


@pytest.mark.slow
def test_a_sweep_compares_parts_with_their_join(run, here, music):
    folder = here / "mine/features"
    folder.mkdir(parents=True)
    (folder / "zcr.yaml").write_text("defaults: [fma518, _self_]\nsets: [zcr]\n")
    (folder / "mfcc.yaml").write_text("defaults: [fma518, _self_]\nsets: [mfcc]\n")
    (folder / "both.yaml").write_text(
        "defaults: [_joined, /features@parts.zcr: zcr, /features@parts.mfcc: mfcc, _self_]\n"
    )
    options = ["--config-dir", "mine", *arguments(music)]
    result = run("train", "-m", *options, "features=zcr,mfcc,[zcr,mfcc]", "seed=0,1", "evaluate=[valid]")
    assert result.code == 0, result.err
    runs = [Run.open(path.parent) for path in (here / "outputs").glob("*/status.json")]
    counts = [(run.identity.choices["features"], len(run.classifier().card.columns)) for run in runs]
    assert sorted(counts) == sorted(2 * [("zcr", 7), ("mfcc", 140), ("zcr+mfcc", 147)])
    assert run("train", *options, "features=both", "run_dir=both").code == 0
    assert Run.open(here / "both").classifier().card.columns == next(
        run.classifier().card.columns for run in runs if run.identity.choices["features"] == "zcr+mfcc"
    )


@pytest.mark.parametrize(("overrides", "kind", "key"), [
    (["features=[fma518,musicn]"], "unknown_option", "features"),
    (["features=[fma518,fma518]"], "repeated_option", "features"),
    (["features=[fma518,none]"], "unknown_option", "features"),
    (["features=[fma518,musicnn]", "features.parts.musicnn.layr=tags"], "unknown_key", "features.parts.musicnn.layr"),
    (["features=[fma518,musicnn]", "features.parts.fma518.backend=slow"], "invalid_value", "features.parts.fma518.backend"),
    (["features=[fma518,openjmla]"], "file_not_found", "features.parts.openjmla.checkpoint"),
    (["features=fma518", "features.sets=[mfc]"], "invalid_value", "features"),
    (["features=fma518", "features.checkpoint=x.pt"], "unknown_key", "features.checkpoint"),
    (["features=[fma518,musicnn]", "model=cnn"], "input_mismatch", "model"),
])  # fmt: skip
def test_invalid_sources_are_one_problem(run, here, music, overrides, kind, key):
    result = run("train", *arguments(music, *overrides))
    assert (result.code, result.problems[0].kind, result.problems[0].key) == (2, kind, key)
    assert not (here / "outputs").exists()


def test_help_names_the_settings_of_parts(run):
    result = run("train", "data=demo_audio", "model=logreg", "features=[fma518,musicnn]", "--help")
    assert result.code == 0, result.err
    assert "features.parts.musicnn.layer=embedding" in result.out
    assert "[fma518+musicnn]" in result.out


def test_a_crafted_join_executes_nothing(run, here, cached_music):
    assert run("train", *arguments(cached_music, "features=fma518", MFCC, "run_dir=r")).code == 0
    config = yaml.safe_load((here / "r/config.yaml").read_text())
    (here / "precious").write_text("intact")
    bad = {"_target_": "shutil.rmtree", "path": "precious"}
    config["features"] = {
        "_target_": "musicreclass.features.feature_data.FeatureData",
        "parts": {"a": config["features"], "b": bad},
    }
    (here / "r/config.yaml").write_text(yaml.safe_dump(config))
    result = run("evaluate", "r", "--split", "train")
    assert [(problem.kind, problem.key) for problem in result.problems] == [
        ("untrusted_module", "features.parts.b._target_")
    ]
    assert (here / "precious").read_text() == "intact"


class Broken(Extractor):
    """Fails in several ways."""

    columns, settings = ["a"], {"version": 1}

    def __init__(self, result: object) -> None:
        self.result = result

    def extract(self, path: Path) -> np.ndarray:
        if isinstance(self.result, Exception):
            raise self.result
        return np.asarray(self.result)


@pytest.mark.parametrize(("result", "kind"), [
    (ZeroDivisionError("0"), "extractor_failed"), ([1.0, 2.0], "invalid_features"), ([np.nan], "invalid_features"),
])  # fmt: skip
def test_a_failing_extractor_is_one_error_that_names_the_file(here, music, result, kind):
    from musicreclass.errors import DataError

    data = FeatureData(source_of(music, here), {"x": ExtractorPart(Broken(result))})
    with pytest.raises(DataError) as caught:
        data.setup()
    assert caught.value.kind == kind
    assert caught.value.key.startswith(str(music))


@pytest.mark.parametrize(
    "parallel", ["threading", *(pytest.param(name, marks=pytest.mark.slow) for name in ("loky", "multiprocessing"))]
)
def test_back_ends_of_joblib_give_equal_tables(here, music, parallel, monkeypatch):
    monkeypatch.setattr(extractors, "ALONE_SECONDS", 0.0)
    tables = []
    for name in ("sequential", parallel):
        source = source_of(music, here / name, workers=1 if name == "sequential" else 2)
        data = FeatureData(source, {"x": ExtractorPart(FMA518(sets=["mfcc"], parallel=name))})
        data.setup()
        tables.append(data.x)
    assert np.array_equal(*tables)


def command(music: Path, here: Path, name: str, *overrides: str) -> list[str]:
    return [sys.executable, "-m", "musicreclass", "prepare", "data=folder", f"data.root={music}", "features=fma518",
            f"paths.cache={here / name}", f"table={here / name}.parquet", *overrides]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["sequential", "loky"])
def test_a_killed_extraction_is_resumed(here, parallel):
    music = write_music(here / "music", 40)
    script = (
        "import sys; from musicreclass.features import extractors; extractors.ALONE_SECONDS = float(sys.argv.pop(1)); "
        "from musicreclass.cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    limit = "0" if parallel == "loky" else "1e9"

    def prepare(name: str) -> list[str]:
        return [sys.executable, "-c", script, limit, *command(music, here, name, "data.workers=2")[3:]]

    subprocess.run(prepare("whole"), check=True, env=dict(os.environ))
    process = subprocess.Popen(prepare("killed"), start_new_session=True)
    while len(list((here / "killed").glob("vectors/*/*/*.npy"))) < 20:
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(1)
    finished = written_at(here / "killed/vectors", "*.npy")
    assert 20 <= len(finished) < 120
    subprocess.run(prepare("killed"), check=True)
    assert finished.items() <= written_at(here / "killed/vectors", "*.npy").items()  # none was repeated
    assert (here / "killed.parquet").read_bytes() == (here / "whole.parquet").read_bytes()


@pytest.mark.slow
def test_two_processes_on_a_cold_store_give_the_same_table(here):
    music = write_music(here / "music", 10)
    both = [subprocess.Popen(command(music, here, "cache", f"table={here}/{i}.csv")) for i in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    assert (here / "0.csv").read_bytes() == (here / "1.csv").read_bytes()
    assert len(list((here / "cache").glob("vectors/*/*/*.npy"))) == 30


def test_unlike_features_are_said_or_refused(run, here, cached_music):
    import musicreclass as mrc

    options = ["data=folder", f"data.root={cached_music}", "features=fma518"]
    assert run("prepare", *options, "table=t.csv").code == 0
    assert run("train", "data=table", "data.path=t.csv", "model=logreg", "run_dir=r").code == 0
    frame = pd.read_csv("t.csv")
    padded = frame.assign(**dict.fromkeys(COLUMNS[48:], 0.0))
    padded.to_csv("padded.csv", index=False)
    result = run("evaluate", "r", "--split", "all", "data=table", "data.path=padded.csv")
    (problem,) = result.problems
    assert (result.code, problem.kind) == (2, "constant_columns")
    assert 400 < problem.value <= 470
    assert f"{problem.value} of 518 columns are constant" in problem.message
    x = frame[list(COLUMNS)].to_numpy(np.float32)
    finished = mrc.load(here / "r")
    assert finished.predict_proba(x).shape == (12, 3)
    for wrong, kind in (
        (padded[list(COLUMNS)].to_numpy(np.float32), "constant_columns"),
        (x[:1, ::-1], "out_of_range"),
    ):
        with pytest.raises(mrc_error()) as caught:
            finished.predict_proba(wrong)
        assert caught.value.kind == kind
    shifted = frame.copy()
    shifted[list(COLUMNS[:30])] *= 50
    shifted.assign(track_id=shifted.track_id + "x").to_csv("shifted.csv", index=False)
    assert run("evaluate", "r", "--split", "all", "data=table", "data.path=shifted.csv").code == 0
    (record,) = Run.open(here / "r").metrics["elsewhere"].values()
    assert "features unlike training" in record["protocol"]["cautions"]


def mrc_error() -> type[Exception]:
    from musicreclass.errors import DataError

    return DataError


def test_recordings_of_another_length_are_said(run, here, cached_music):
    assert run("train", *arguments(cached_music, "features=fma518", "run_dir=r")).code == 0
    for genre, frequency in TONES.items():
        write_tone(here / "long" / genre / "1.wav", frequency, 3, seconds=9, rate=RATE)
    assert run("evaluate", "r", "--split", "all", "data=folder", f"data.root={here / 'long'}").code == 0
    (record,) = Run.open(here / "r").metrics["elsewhere"].values()
    assert "recordings of another length" in record["protocol"]["cautions"]


def test_old_runs_without_ranges_still_predict(run, here, music):
    import musicreclass as mrc

    assert run("train", *arguments(music, "features=fma518", MFCC, "run_dir=r")).code == 0
    meta = here / "r/model/meta.json"
    card = json.loads(meta.read_text())
    assert len(card.pop("ranges")["low"]) == 140
    meta.write_text(json.dumps(card))
    sums = (here / "r/model/SHA256SUMS").read_text().splitlines()
    digest = hashlib.sha256(meta.read_bytes()).hexdigest()
    lines = [f"{digest}  meta.json" if line.endswith("  meta.json") else line for line in sums]
    (here / "r/model/SHA256SUMS").write_text("\n".join(lines) + "\n")
    assert mrc.load(here / "r").predict_proba(np.full((6, 140), 1e9)).shape == (6, 3)


def test_an_interrupted_store_of_rejected_files_is_not_repeated(here, music, monkeypatch):
    """Which recordings cannot be used is stored, too."""
    write_tone(music / "jazz/short.wav", 900, 1, seconds=1.5, rate=RATE)
    overrides = ("features=fma518", MFCC, "data.max_bad_fraction=0.5")
    first = table_of(music, *overrides)
    monkeypatch.setattr(ExtractorPart, "compute", lambda *arguments: pytest.fail("computed again"))
    again = table_of(music, *overrides)
    assert again.fingerprint() == first.fingerprint()
    assert again.bad_files == first.bad_files == {str(music / "jazz/short.wav"): "too short"}
    shutil.rmtree(here / "cache")


@pytest.mark.slow
def test_both_back_ends_give_the_same_predictions(run, here, real_data):
    """On the real excerpts of GTZAN."""
    predicted = []
    for backend in ("fast", "reference"):
        options = [
            "data=gtzan",
            f"data.root={real_data / 'GTZAN_excerpts'}",
            "features=fma518",
            f"features.backend={backend}",
        ]
        assert run("train", *options, "model=logreg", f"run_dir={backend}", "logger=none").code == 0
        assert run("evaluate", backend, "--split", "all").code == 0
        (file,) = (here / backend / "predictions").glob("all@*.parquet")
        table = pd.read_parquet(file).set_index("track_id").filter(regex="^p/")
        predicted.append(table.idxmax(axis=1))
    assert len(predicted[0]) > 300
    assert (predicted[0] == predicted[1]).mean() >= 0.99


@pytest.mark.slow
def test_a_model_of_fmas_table_classifies_its_clips(run, here, real_data):
    """The ten tracks with recordings have no row in features.csv; their features are of clips, which is said."""
    root = f"data.root={real_data / 'FMA'}"
    assert run("train", "data=fma_features", root, "model=logreg", "run_dir=r", "logger=none").code == 0
    scored = run("evaluate", "r", "--split", "all", "data=fma_audio", root, "features=fma518", MFCC)
    assert scored.code == 0, scored.err
    (record,) = Run.open(here / "r").metrics["elsewhere"].values()
    assert record["n"] == 10
    assert record["accuracy"] >= 0.8
    assert "recordings of another length" in record["protocol"]["cautions"]


LEVEL = """
import numpy as np
import soundfile
from musicreclass.features.extractors import Extractor


class Level(Extractor):
    def __init__(self, scale: float = 1.0):
        self.columns = ["rms", "peak"]
        self.settings = {"version": 1, "scale": scale}

    def extract(self, path):
        samples, rate = soundfile.read(path)
        return self.settings["scale"] * np.array([np.sqrt(np.mean(samples**2)), np.abs(samples).max()])
"""


@pytest.mark.slow
def test_an_extractor_of_ones_own_runs_in_processes(run, here, music, monkeypatch):
    monkeypatch.setattr(extractors, "ALONE_SECONDS", 0.0)
    (here / "own_level_1.py").write_text(LEVEL)
    (here / "mine/features").mkdir(parents=True)
    (here / "mine/features/level.yaml").write_text("_target_: own_level_1.Level\ncache: none\nscale: 2.0\n")
    result = run("train", "--config-dir", "mine", *arguments(music, "features=level", "data.workers=2", "run_dir=r"))
    assert result.code == 0, result.err
    assert Run.open(here / "r").classifier().card.columns == ["rms", "peak"]
    assert [problem.kind for problem in run("evaluate", "r").problems] == ["untrusted_module"]
    scored = run("evaluate", "r", "--trust", "own_level_1")
    assert scored.code == 0, scored.err
