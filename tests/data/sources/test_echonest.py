"""The Echo Nest's analysis of MagnaTagATune: values, missing ones, hostile files, and joining by name."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from musicreclass.data.sources import echonest
from musicreclass.data.sources.echonest import COLUMNS, InvalidAnalysis, read_analysis
from musicreclass.data.sources.magnatagatune import MagnaTagATuneFeatures
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.runs.folder import Run
from tests import magnatagatune as planted
from tests.conftest import only_run


@pytest.fixture
def root(here) -> Path:
    """Annotations and an analysis of every clip but one, with every irregularity."""
    clips = planted.plant(here / "MTT", audio=False)
    for number, (clip, tags) in enumerate([*clips.items(), (planted.NOT_ANNOTATED, [])]):
        if clip == planted.GONE:
            continue
        attributes = {"key": None, "tempo": 0} if clip == planted.NOT_IN_INFO else {}
        path = here / "MTT" / "mp3_echonest_xml" / f"{clip}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(planted.analysis(number, timbre=2 * ("techno" in tags), **attributes))
    (here / "MTT" / "mp3_echonest_xml" / f"{planted.EMPTY}.xml").write_bytes(b"")
    return here / "MTT"


def opened(root: Path, cache: Path, **settings) -> MagnaTagATuneFeatures:
    data = MagnaTagATuneFeatures(str(root), {"protocol": "official"}, str(cache), **settings)
    data.setup()
    return data


def test_values(here):
    (here / "a.xml").write_text(planted.analysis(3, timeSignature=0, mode=-1, key=-1, endOfFadeIn=None, loudness="nan"))
    values = dict(zip(COLUMNS, read_analysis(here / "a.xml"), strict=True))
    assert len(COLUMNS) == len(set(COLUMNS)) == 60
    assert {name for name, value in values.items() if np.isnan(value)} == {
        "time_signature", "mode", "key", "end_of_fade_in", "loudness",
    }  # fmt: skip
    assert (values["tempo"], values["tempo_confidence"]) == (121, 0.5)
    segments = ET.parse(here / "a.xml").getroot().iter("segment")
    by_number = [[{int(c.get("class", c.get("dim"))): float(c.text) for c in s.find(part)} for part in ("timbre", "pitches")]
                 for s in segments]  # fmt: skip
    for p, name in enumerate(("timbre", "pitch")):
        table = np.array([[segment[p][i] for i in range(12)] for segment in by_number])
        np.testing.assert_allclose([values[f"{name}_mean_{i:02d}"] for i in range(12)], table.mean(0), rtol=1e-5)
        np.testing.assert_allclose([values[f"{name}_std_{i:02d}"] for i in range(12)], table.std(0), rtol=1e-5)


def test_without_segments_their_statistics_are_missing(here):
    (here / "a.xml").write_text(planted.analysis(3, segments=0))
    assert np.isnan(read_analysis(here / "a.xml")[12:]).all()


@pytest.mark.parametrize("text", [
    "", "<track", "<analysis></analysis>", "<a>" * 100 + "<track/>" + "</a>" * 100,
    '<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;">]><analysis><track tempo="&c;"/></analysis>',
    '<!DOCTYPE a [<!ENTITY secret SYSTEM "a.txt">]><analysis><track>&secret;</track></analysis>',
    '<!DOCTYPE a [<!ENTITY % more SYSTEM "a.txt"> %more;]><analysis><track/></analysis>',
])  # fmt: skip
def test_files_that_are_no_analysis_or_hostile(here, text):
    (here / "a.txt").write_text("secret")
    (here / "a.xml").write_text(text)
    with pytest.raises(InvalidAnalysis):
        read_analysis(here / "a.xml")


def test_too_large_a_file(here, monkeypatch):
    monkeypatch.setattr(echonest, "MAX_BYTES", 100)
    (here / "a.xml").write_text(planted.analysis(1))
    with pytest.raises(InvalidAnalysis):
        read_analysis(here / "a.xml")


def test_analyses_are_joined_by_name_and_stored(root, here, monkeypatch):
    data = opened(root.parent, here / "c")
    assert data.dropped == {
        "without any of the 50 tags": 2, "without an analysis": 1, "with an unreadable analysis": 1, "without a label": 0,
        "without a single finite feature": 0,
    }  # fmt: skip
    clips = [*planted.tags_of_clips()]
    row = data.x[data.tracks.track_id.tolist().index(clips[7])]
    assert row[:5].tolist() == np.float32([29.17, 0.2, 28.5, -13.2, 118]).tolist()
    missing = data.x[data.tracks.track_id.tolist().index(planted.NOT_IN_INFO)]
    assert np.isnan(missing[[COLUMNS.index("key"), COLUMNS.index("tempo")]]).all()
    notes = "\n".join(data.notes)
    for line in (
        "1 XML file has no annotation",
        "7 columns are constant (end_of_fade_in",
        "2 columns are missing for some",
    ):
        assert line in notes
    monkeypatch.setattr(echonest, "read_analysis", None)
    assert np.array_equal(opened(root, here / "c").x, data.x, equal_nan=True)


def test_analyses_that_do_not_belong_to_the_annotations(root, here):
    planted.write_annotations(root, {"0/other-album-01-song-0-29.mp3": ["guitar"]})
    with pytest.raises(DataError) as caught:
        opened(root, here / "c")
    assert caught.value.kind == "no_tracks"
    copy = root / "copy" / "0"
    copy.mkdir(parents=True)
    (copy / "artist_0-album_0-00-song-0-29.xml").write_text(planted.analysis(0))
    with pytest.raises(DataError) as caught:
        opened(root, here / "c")
    assert caught.value.kind == "duplicate_ids"


def test_missing_analyses_are_named(here):
    planted.plant(here, audio=False)
    with pytest.raises(DatasetNotFoundError) as caught:
        opened(here, here / "c")
    assert (caught.value.kind, caught.value.key) == ("missing_analyses", str(here))


@pytest.mark.slow
def test_a_run_on_planted_analyses(root, run, here, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_DATA", str(here))
    result = run("train", "data=magnatagatune_features", "model=logreg", "evaluate=[valid,test]")
    assert result.code == 0, result.err
    metrics = Run.open(only_run(here)).metrics
    assert metrics["test"]["per_tag"]["techno"]["roc_auc"] > 0.9
