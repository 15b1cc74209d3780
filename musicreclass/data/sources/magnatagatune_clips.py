"""MagnaTagATune's clips: their tags, artists, albums and splits, the usual tags, and the faulty clips."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from musicreclass.config.settings.data import SPLITS
from musicreclass.data.class_map import ClassMap
from musicreclass.data.sources.magnatagatune_files import (
    ANNOTATIONS,
    CLIP_FOLDERS,
    CLIP_INFO,
    SPLIT_FOLDERS,
    artist_of,
    find_text,
    no_annotations,
    read_annotations,
    read_clip_info,
    read_split_lists,
)
from musicreclass.data.tracks import some
from musicreclass.errors import DataError, DatasetNotFoundError
from musicreclass.plurals import agreeing, counted

SPLIT_OF_FOLDER = {name: "train" if name < "c" else "valid" if name == "c" else "test" for name in CLIP_FOLDERS}
# The usual 50 tags, in the order of their frequency, as in musicnn (Pons and Serra, 2019) and
# https://github.com/jongpillee/music_dataset_split (MTAT_split/top50_tags.txt).
TOP_50 = (
    "guitar", "classical", "slow", "techno", "strings", "drums", "electronic", "rock", "fast", "piano", "ambient", "beat", "violin",
    "vocal", "synth", "female", "indian", "opera", "male", "singing", "vocals", "no vocals", "harpsichord", "loud", "quiet", "flute",
    "woman", "male vocal", "no vocal", "pop", "soft", "sitar", "solo", "man", "classic", "choir", "voice", "new age", "dance",
    "male voice", "female vocal", "beats", "harp", "cello", "no voice", "weird", "country", "female voice", "metal", "choral",
)  # fmt: skip
# Empty or unreadable in the published archive: clips 35644, 55753 and 57881. Public code for the dataset leaves them out.
FAULTY_CLIPS = (
    "6/norine_braun-now_and_zen-08-gently-117-146.mp3",
    "8/jacob_heringman-josquin_des_prez_lute_settings-19-gintzler__pater_noster-204-233.mp3",
    "9/american_baroque-dances_and_suites_of_rameau_and_couperin-25-le_petit_rien_xiveme_ordre_couperin-88-117.mp3",
)


@dataclass
class Clips:
    """The annotated clips in use.

    Attributes:
        frame: `tags` (sorted tuples), `artist`, `artist_name`, `album` and `split` by mp3 path, such as
            `c/artist-album-01-title-0-29.mp3`.
        files: what was read.
        annotated: the mp3 paths of all annotated clips, in use or not.
        dropped, notes: as in `TrackData`.
    """

    frame: pd.DataFrame
    files: list[Path]
    annotated: frozenset[str]
    dropped: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def keep(self, rows: np.ndarray, reason: str) -> None:
        """Keep some clips, bool (n,), and count the others."""
        if not rows.all():
            self.dropped[reason] = int((~rows).sum())
        self.frame = self.frame[rows].copy()

    def join(self, files: dict[str, Path], what: str, singular: str) -> str:
        """Keep the clips that have a file, joined by its name, and count both what has no file and what has no annotation.

        Args:
            files: by mp3 path.
            what: they are, in the plural.
            singular: the same of one.

        Returns:
            how many clips have none, as a note; empty if all have one.
        """
        if not_annotated := len(files.keys() - self.annotated):
            one = what.removesuffix("s")
            self.notes.append(f"{counted(not_annotated, f'{one} has', f'{what} have')} no annotation")
        expected = len(self.frame)
        self.keep(self.frame.index.isin(list(files)), f"without {singular}")
        missing = expected - len(self.frame)
        return (
            f"{missing} of {counted(expected, 'annotated clip')} {agreeing(missing, 'has', 'have')} no {singular.partition(' ')[2]}"
            if missing
            else ""
        )


def load_clips(
    root: str | None, tags: str | int, untagged: str, class_map: ClassMap | None = None, official: bool = True
) -> Clips:
    """The annotated clips, with the chosen tags.

    Args:
        root: the dataset folder.
        tags: `top50`, `all`, or a number: the most frequent tags, after the class map if there is one.
        untagged: `drop` or `keep` the clips without any of these tags.
        class_map: merges tags; only used to count them.
        official: leave out clips that the split lists do not name, if there are lists.

    Raises:
        DatasetNotFoundError: if there are no annotations.
        DataError: if a file cannot be read, or lacks a tag.
    """
    path = find_text(root, ANNOTATIONS)
    if path is None:
        raise no_annotations(root)
    paths, names, has_tag = read_annotations(path)
    columns = choose_tags(names, has_tag, tags, class_map, path)
    chosen, name = has_tag[:, columns], np.array(names, dtype=object)[columns]
    frame = pd.DataFrame({"tags": [tuple(sorted(name[row])) for row in chosen.astype(bool)]}, index=paths)
    clips = Clips(frame, [path], frozenset(paths))
    clips.keep(frame.index != "", "without a path")
    add_artists(clips, root)
    add_splits(clips, root, official)
    if untagged == "drop":
        clips.keep((clips.frame.tags.map(len) > 0).to_numpy(), f"without any of the {counted(len(columns), 'tag')}")
    if official:
        splits = clips.frame.groupby("artist").split.nunique()
        clips.notes.append(
            f"{int((splits > 1).sum())} of the {counted(len(splits), 'artist')} {agreeing(int((splits > 1).sum()), 'is', 'are')} in several splits"
        )
    return clips


def choose_tags(
    names: list[str], has_tag: np.ndarray, tags: str | int, class_map: ClassMap | None, path: Path
) -> list[int]:
    """The indices of the chosen tags, see `load_clips`."""
    if tags == "all":
        return list(range(len(names)))
    if tags == "top50":
        missing = [tag for tag in TOP_50 if tag not in names]
        if missing:
            line = f"{path}: {len(missing)} of the usual 50 tags are missing ({some(missing)}); use data.tags=all or a number"
            raise DataError(line, "missing_column", "data.tags", missing)
        return [names.index(tag) for tag in TOP_50]
    targets = list(names) if class_map is None else class_map.targets_of(names)
    count: dict[str, int] = {}
    for target in dict.fromkeys(targets):
        if target is not None:
            count[target] = int(has_tag[:, [t == target for t in targets]].any(axis=1).sum())
    frequent = sorted(count, key=lambda target: -count[target])[: int(tags)]
    return [i for i, target in enumerate(targets) if target in frequent]


def add_artists(clips: Clips, root: str | None) -> None:
    """Add `artist` and `album`: of clip_info_final.csv, else of the file's name."""
    path = find_text(root, CLIP_INFO)
    info = {} if path is None else read_clip_info(path)
    clips.files += [] if path is None else [path]
    rows = [info.get(clip) for clip in clips.frame.index]
    by_name = sum(row is None for row in rows)
    artists = [row or artist_of(clip) for clip, row in zip(clips.frame.index, rows, strict=True)]
    for i, name in enumerate(("artist", "artist_name", "album")):
        clips.frame[name] = pd.Series([row[i] for row in artists], index=clips.frame.index, dtype=object)
    if path is None:
        clips.notes.append(f"artists are those in the names of the files: there is no {CLIP_INFO}")
    elif by_name:
        clips.notes.append(
            f"{counted(by_name, 'clip is', 'clips are')} not in {CLIP_INFO}: the artist is that in the name of the file"
        )
    not_annotated = len(info.keys() - set(clips.frame.index))
    if not_annotated:
        clips.notes.append(
            f"{counted(not_annotated, 'clip')} of {CLIP_INFO} {agreeing(not_annotated, 'has', 'have')} no annotation"
        )


def add_splits(clips: Clips, root: str | None, official: bool) -> None:
    """Add `split`: that of the lists split_train.txt, split_valid.txt and split_test.txt if they exist, else by folder (12:1:3)."""
    lists = {name: find_text(root, f"split_{name}.txt", SPLIT_FOLDERS) for name in SPLITS}
    paths = {name: path for name, path in lists.items() if path is not None}
    by_folder = [SPLIT_OF_FOLDER.get(clip.partition("/")[0].lower()) for clip in clips.frame.index]
    if not paths:
        clips.frame["split"] = pd.Series(by_folder, index=clips.frame.index, dtype=object)
        if official:
            clips.keep(clips.frame.split.notna().to_numpy(), "in a folder that is not one of 0 to f")
            clips.notes.append("train, valid and test are the folders 0 to b, c, and d to f (12:1:3)")
        return
    if len(paths) < len(SPLITS):
        missing = next(name for name, path in lists.items() if path is None)
        line = f"MagnaTagATune: split_{missing}.txt is missing beside {some([*paths.values()], 1)}; all three lists are needed"
        raise DatasetNotFoundError(line, "missing_split_list", f"split_{missing}.txt")
    clips.files += paths.values()
    split = read_split_lists(paths)
    by_list = [split.get(clip) for clip in clips.frame.index]
    clips.frame["split"] = pd.Series(by_list, index=clips.frame.index, dtype=object)
    if not official:
        return
    unknown = len(split.keys() - set(clips.frame.index))
    if unknown:
        clips.notes.append(
            f"{counted(unknown, 'clip')} of the split lists {agreeing(unknown, 'has', 'have')} no annotation"
        )
    clips.keep(clips.frame.split.notna().to_numpy(), "outside the split lists")


def metadata_of(clips: Clips) -> dict[str, Any]:
    """The columns of the Tracks table."""
    frame = clips.frame
    return {"split": frame.split.tolist(), "group": frame.artist.tolist(), "album": frame.album.tolist()}
