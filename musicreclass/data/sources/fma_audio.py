"""FMA's clips (fma_small, fma_medium, fma_large, fma_full), with the tracks, genres and splits of tracks.csv."""

from __future__ import annotations

import re
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

from musicreclass.data.dataset_folder import below, contents, dataset_root, is_absent, wrong_root
from musicreclass.data.recording_files import Recordings
from musicreclass.data.recordings import AudioData
from musicreclass.data.sources.fma_features import TRUNCATED_CLIPS
from musicreclass.data.sources.fma_metadata import SUBSETS, find_metadata, in_subset, load_tracks, not_unpacked
from musicreclass.errors import DatasetNotFoundError
from musicreclass.plurals import agreeing, counted

ARCHIVE_FOLDERS = ("Data", ".", "FMA/Data", "FMA")
CHECKSUMS = "checksums"  # a file of each archive, as sha1sum writes it


class FMAAudio(AudioData):
    """The 30 s clips of a subset.

    Args:
        root: the dataset folder; it contains the metadata and clips such as `Data/fma_medium/000/000002.mp3`.
        split: `official` (set.split of tracks.csv), `grouped` by artist, or `random`.
        subset: `small`, `medium`, `large` or `full`; each includes those before it.
        subset_exact: use only the tracks whose subset is exactly `subset`.
        options: as in `AudioData`.
    """

    dataset = "fma"

    def __init__(
        self,
        root: str | None,
        split: dict[str, Any],
        subset: str = "medium",
        subset_exact: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(split, **options)
        self.root = root
        self.subset, self.subset_exact = subset, subset_exact

    def missing_archives(self) -> list[str]:
        """`fma_metadata` and `fma_medium`, or what is missing of them."""
        metadata = ["fma_metadata"] if is_absent(lambda: find_metadata(self.root)) else []
        clips = [f"fma_{self.subset}"] if is_absent(lambda: find_archives(self.root, self.subset)) else []
        return metadata + clips

    def published_checksums(self) -> dict[Path, str]:
        """Those of the files `checksums` in the archives."""
        published: dict[Path, str] = {}
        for folder in find_archives(self.root, self.subset):
            with suppress(OSError, UnicodeDecodeError):
                text = (folder / CHECKSUMS).read_text(encoding="utf-8")
                published |= {
                    folder / name: digest for digest, name in re.findall(r"^([0-9a-f]{40}) [ *](.+)$", text, re.M)
                }
        return published

    def published_faults(self) -> dict[str, str]:
        """The truncated clips."""
        return {str(number): "truncated in the published archive" for number in TRUNCATED_CLIPS}

    def find(self) -> Recordings:
        """The labelled tracks of the subset whose clips exist.

        Raises:
            DatasetNotFoundError: if the metadata or the archive does not exist.
        """
        tracks_csv = find_metadata(self.root) / "tracks.csv"
        all_tracks = load_tracks(tracks_csv, self.store)
        folders = find_archives(self.root, self.subset)
        tracks = all_tracks[in_subset(all_tracks.subset, self.subset, self.subset_exact)]
        unlabelled = tracks.genre.isna()
        labelled = tracks[~unlabelled]
        clips = {int(f.stem): f for folder in reversed(folders) for f in folder.glob("*/*.mp3") if f.stem.isdecimal()}
        if not clips:
            raise _no_clips(folders)
        available = labelled[[number in clips for number in labelled.index]]
        without_clip = len(labelled) - len(available)
        if without_clip:
            archives = ", ".join(f.name for f in folders)
            self.incomplete = f"{without_clip} of {counted(len(labelled), 'labelled track')} of {self.subset} {agreeing(without_clip, 'has', 'have')} no clip in {archives}"
        return Recordings(
            paths=[clips[number] for number in available.index],
            track_id=[str(number) for number in available.index],
            target=available.genre.tolist(),
            metadata={
                "split": available.split.tolist(),
                "group": available.artist.tolist(),
                "album": available.album.tolist(),
            },
            split_name="official",
            folders=[*folders, *(d for folder in folders for d in sorted(folder.iterdir()) if d.is_dir())],
            sources=[tracks_csv, *{folder.parent for folder in folders}],
            artist_names=available.artist_name.tolist(),
            dropped={"without a label": int(unlabelled.sum()), "without a clip": without_clip},
        )


def _no_clips(folders: list[Path]) -> DatasetNotFoundError:
    """The error for archives without clips: what was searched, and what there is instead."""
    folder = folders[0]
    others = sorted(f.relative_to(folder).as_posix() for f in islice(folder.rglob("*.*"), 1000) if f.is_file())
    remedy = "unpack the archive there"
    if others:
        nested, wrong = others[0].count("/") > 1, not others[0].endswith(".mp3")
        remedy = "keep the names of the archive" if not wrong else "only the MP3 files of the archive are supported"
        remedy = f"move the folders of {others[0].split('/')[0]}/ up into {folder}" if nested and not wrong else remedy
    message = f"{folder}: no clips such as 000/000002.mp3; it contains {others[0] if others else 'no files'}: {remedy}"
    return DatasetNotFoundError(message, "no_recordings", folder)


def find_archives(root: str | None, subset: str) -> list[Path]:
    """The unpacked archives that may contain clips of a subset: its own first, then larger ones, then smaller ones.

    Raises:
        DatasetNotFoundError: if there is none.
    """
    base = dataset_root(root, "FMA")
    size = SUBSETS.index(subset)
    names = [f"fma_{name}" for name in (*SUBSETS[size:], *reversed(SUBSETS[:size]))]

    def archives_in(folder: Path) -> list[Path]:
        return [path for name in names for f in ARCHIVE_FOLDERS if (path := below(folder, f"{f}/{name}")).is_dir()]

    if archives := archives_in(base):
        return archives
    packed = next((z for name in names for f in ARCHIVE_FOLDERS if (z := base / f / f"{name}.zip").is_file()), None)
    if packed is not None:
        raise not_unpacked(packed)
    if error := wrong_root(base, "FMA", lambda folder: bool(archives_in(folder))):
        raise error
    raise DatasetNotFoundError(
        f"FMA: no {names[0]} under {base} (searched {', '.join(ARCHIVE_FOLDERS)}; {contents(base)}); download it with "
        f"musicreclass prepare data=fma_audio data.subset={subset} data.root={base}",
        kind="missing_audio",
        key=base,
    )
