"""MagnaTagATune: a planted dataset with all irregularities, and the real split lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from musicreclass.config.settings.data import SPLITS
from musicreclass.data.class_map import read_class_map
from musicreclass.data.sources.magnatagatune import MagnaTagATune
from musicreclass.data.sources.magnatagatune_clips import FAULTY_CLIPS, TOP_50, load_clips
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.runs.folder import Run
from tests import magnatagatune as planted
from tests.conftest import only_run
from tests.library import SMALL


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data") / "MTT"
    planted.plant(root)
    return root


def opened(root: Path, cache: Path, protocol: str = "official", **settings) -> MagnaTagATune:
    options = {"min_seconds": 0.5, "max_bad_fraction": 0.5, "sample_rate": 16000, "workers": 2}
    data = MagnaTagATune(str(root), {"protocol": protocol}, store=str(cache), **options, **settings)
    data.setup()
    return data


def test_clips_have_sets_of_tags_and_the_split_of_their_folder(dataset, here):
    data = opened(dataset.parent, here / "c")
    tracks = data.tracks.set_index("track_id")
    assert data.is_multi
    assert tracks.target["0/artist_0-album_0-00-song-0-29.mp3"] == ("guitar", "opera")
    by_folder = tracks.split.groupby(tracks.index.str[0]).unique().map("".join)
    assert by_folder.to_dict() == {**dict.fromkeys("05ab", "train"), "c": "valid", **dict.fromkeys("def", "test")}
    assert data.dropped == {
        "without any of the 50 tags": 2, "without a recording": 1, "with a bad file: empty file": 2,
    }  # fmt: skip
    assert data.incomplete == "1 of 49 annotated clips has no recording"
    assert set(data.published_faults()) >= {FAULTY_CLIPS[0]}
    notes = "\n".join(data.notes)
    for line in (
        "1 mp3 file has no annotation",
        "1 clip is not in clip_info",
        "1 clip of clip_info_final.csv has no",
        "opera",
    ):
        assert line in notes


def test_artists_in_several_splits_are_counted_and_a_grouped_split_keeps_them_together(dataset, here):
    data = opened(dataset, here / "c")
    assert data.protocol.leaky == "yes"
    assert data.protocol.why[0].startswith("1 of the 4 artists in test is also in train")
    grouped = opened(dataset, here / "c", "grouped")
    assert grouped.protocol.leaky == "no"
    assert grouped.tracks.groupby("group").split.nunique().max() == 1


def test_other_numbers_of_tags(dataset):
    def classes(tags, class_map=None) -> set[str]:
        return {tag for row in load_clips(str(dataset), tags, "drop", class_map).frame.tags for tag in row}

    assert classes("all") == {"guitar", "techno", "electro", "acoustic", "opera", "irish"}
    assert classes(2) == {"guitar", "techno"}
    merged = read_class_map("mtt_to_merged")
    assert classes(2, merged) == {"guitar", "techno"}
    tags = load_clips(str(dataset), "top50", "keep").frame.tags
    assert (tags[planted.NO_TAG], tags[planted.NO_TOP_TAG]) == ((), ())


def test_frequencies_are_counted_after_the_class_map(here):
    clips = {f"0/a-b-0{i}-c-0-29.mp3": [tag] for i, tag in enumerate(["harp", "harp", "beat", "beats", "beats"])}
    planted.write_annotations(here, clips | {"0/a-b-09-c-0-29.mp3": ["beat", "beats"]})
    tags = load_clips(str(here), 1, "drop", read_class_map("mtt_to_merged")).frame.tags
    assert set(tags) == {("beat",), ("beats",), ("beat", "beats")}


def test_split_lists_in_the_folder_are_used(dataset, here):
    planted.plant(here / "MTT", audio=False)
    (here / "MTT" / "mp3").symlink_to(dataset / "mp3")
    clips = [*planted.tags_of_clips()]
    for i, name in enumerate(SPLITS):
        chosen = clips[: 4 * len(planted.FOLDERS)][i::3] + (["0/x-y-01-gone-0-29.mp3"] if i == 0 else [])
        (here / "MTT" / f"split_{name}.txt").write_text("\n".join(f"{clip[:-4]}.npy" for clip in chosen) + "\n")
    data = opened(here, here / "c")
    assert data.tracks.split.value_counts().to_dict() == {"train": 15, "valid": 15, "test": 14}
    assert data.dropped["outside the split lists"] == 7
    assert "1 clip of the split lists has no annotation" in data.notes
    (here / "MTT" / "split_test.txt").unlink()
    with pytest.raises(DatasetNotFoundError) as caught:
        opened(here, here / "c")
    assert (caught.value.kind, caught.value.key) == ("missing_split_list", "split_test.txt")


@pytest.mark.parametrize(("change", "kind"), [
    (lambda text: text.replace('"mp3_path"', '"path"', 1), "missing_column"),
    (lambda text: text.replace('"weird"', '"guitar"', 1), "duplicate_column"),
    (lambda text: text.replace('"weird"', '"odd"', 1), "missing_column"),
    (lambda text: text.replace('"0"', '"2"', 1), "invalid_indicator"),
    (lambda text: text + text.splitlines()[1] + "\n", "duplicate_ids"),
    (lambda text: text.replace("\t", " "), "missing_column"), (lambda text: text[:-300], "unreadable"),
])  # fmt: skip
def test_annotations_that_cannot_be_used(here, change, kind):
    planted.write_annotations(here, planted.tags_of_clips())
    path = here / "annotations_final.csv"
    path.write_text(change(path.read_text()))
    with pytest.raises(DataError) as caught:
        load_clips(str(here), "top50", "drop")
    assert caught.value.kind == kind


def test_rows_without_a_path_are_counted(here):
    planted.write_annotations(here, {"0/a-b-01-c-0-29.mp3": ["harp"], "": ["harp"], " ": ["beat"]})
    clips = load_clips(str(here), "top50", "drop")
    assert (len(clips.frame), clips.dropped) == (1, {"without a path": 2})


def test_missing_files_are_named(here):
    for prepare, kind in (
        (lambda: None, "missing_metadata"),
        (lambda: planted.plant(here, audio=False), "missing_audio"),
    ):
        prepare()
        with pytest.raises(DatasetNotFoundError) as caught:
            opened(here, here / "c")
        assert (caught.value.kind, caught.value.key) == (kind, str(here))


@pytest.mark.slow
def test_a_run_on_planted_clips(dataset, run, here, monkeypatch):
    monkeypatch.setenv("MUSICRECLASS_DATA", str(dataset.parent))
    small = [*SMALL, "data.max_bad_fraction=0.5", "trainer.max_epochs=15"]
    result = run("train", "data=magnatagatune", *small, "evaluate=[valid,test]")
    assert result.code == 0, result.err
    metrics = Run.open(only_run(here)).metrics
    assert metrics["test"]["roc_auc"] > 0.8
    assert metrics["protocol"]["leaky"] == "yes"


def test_the_real_lists(real_data, here):
    """The published numbers of clips, the usual tags, and the artists in several splits, from the names of the files."""
    lists = {name: (real_data / "MTT" / f"split_{name}.txt").read_text().splitlines() for name in SPLITS}
    assert {name: len(clips) for name, clips in lists.items()} == {"train": 15_244, "valid": 1529, "test": 4332}
    names = (real_data / "MTT" / "top50_tags.txt").read_text().split("\n")
    assert [tag.replace(" ", "").lower() for tag in TOP_50] == [name.lower() for name in names if name]
    clips = {clip: [TOP_50[i % 50]] for i, clip in enumerate(lists["train"])}  # only the others' tags are known here
    with np.load(real_data / "MTT" / "tags_valid_test.npz") as tags:
        for name in ("valid", "test"):
            rows = tags[name].astype(bool)
            clips |= {c: [TOP_50[i] for i in np.flatnonzero(row)] for c, row in zip(lists[name], rows, strict=True)}
    planted.write_annotations(here, {**clips, FAULTY_CLIPS[0]: ["guitar"]}, TOP_50)
    loaded = load_clips(str(here), "top50", "drop")
    assert loaded.dropped == {}  # every listed clip has one of the usual tags
    by_folder = loaded.frame
    assert by_folder.split.value_counts().to_dict() == {"train": 15_245, "valid": 1529, "test": 4332}
    for name in SPLITS:
        (here / f"split_{name}.txt").write_text("\n".join(lists[name]))
    listed = load_clips(str(here), "top50", "drop")
    assert listed.dropped == {"outside the split lists": 1}
    assert (listed.frame.split == by_folder.split[listed.frame.index]).all()
    assert "56 of the 230 artists are in several splits" in listed.notes
    of = listed.frame.groupby("split").artist.unique().map(set)
    shared = pd.Series({"valid": len(of.train & of.valid), "test": len(of.train & of.test)})
    assert shared.to_dict() == {"valid": 13, "test": 45}
