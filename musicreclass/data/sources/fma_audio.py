"""FMA's clips: fma_small, fma_medium, fma_large and fma_full, with the tracks, genres and splits of tracks.csv."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from musicreclass.data.recordings import AudioData, Recordings
from musicreclass.data.sources.fma import SUBSETS, find_metadata, in_subset, load_tracks
from musicreclass.data.tracks import dataset_root
from musicreclass.errors import DatasetNotFoundError

PLACES = ("Data", ".", "FMA/Data", "FMA")  # where the archives lie unpacked


class FMAAudio(AudioData):
    """The 30 s clips of a subset.

    Args:
        root: the folder of the dataset: `Data/fma_medium/000/000002.mp3` and the metadata are found in it.
        split: `official` (set.split of tracks.csv), `grouped` by artist, or `random`.
        subset: `small`, `medium`, `large` or `full`; each means itself and all below it.
        subset_exact: only the tracks whose own subset is the one named, without those below it.
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

    def find(self) -> Recordings:
        """The labelled tracks of the subset whose clips are there.

        Raises:
            DatasetNotFoundError: if the metadata or the archive is not there.
        """
        tracks_csv = find_metadata(self.root) / "tracks.csv"
        table = load_tracks(tracks_csv, self.store)
        folders = find_archives(self.root, self.subset)
        chosen = table[in_subset(table.subset, self.subset, self.subset_exact)]
        unlabelled = chosen.genre.isna()
        chosen = chosen[~unlabelled]
        there = {int(f.stem): f for folder in reversed(folders) for f in folder.glob("*/*.mp3") if f.stem.isdecimal()}
        present = chosen[[number in there for number in chosen.index]]
        notes = []
        if len(present) < len(chosen):
            words = f"{len(chosen) - len(present)} of {len(chosen)} labelled tracks of {self.subset}"
            notes.append(f"{words} have no clip in {', '.join(f.name for f in folders)}")
        return Recordings(
            paths=[there[number] for number in present.index],
            track_id=[str(number) for number in present.index],
            target=present.genre.tolist(),
            known={"split": present.split.tolist(), "group": present.artist.tolist(), "album": present.album.tolist()},
            own_split="official",
            folders=[*folders, *(d for folder in folders for d in sorted(folder.iterdir()) if d.is_dir())],
            sources=[tracks_csv, *{folder.parent for folder in folders}],
            dropped={"without a label": int(unlabelled.sum()), "without a clip": len(chosen) - len(present)},
            notes=notes,
        )


def find_archives(root: str | None, subset: str) -> list[Path]:
    """The unpacked archives that may hold clips of a subset: its own first, then those above it, then those below.

    Raises:
        DatasetNotFoundError: if there is none.
    """
    base = dataset_root(root, "FMA")
    own = SUBSETS.index(subset)
    names = [f"fma_{name}" for name in (*SUBSETS[own:], *reversed(SUBSETS[:own]))]
    found = [folder for name in names for place in PLACES if (folder := base / place / name).is_dir()]
    if not found:
        packed = next((z for name in names for p in PLACES if (z := base / p / f"{name}.zip").is_file()), None)
        told = f"{packed} is still packed: unzip it where it is" if packed else (
            f"no {names[0]} under {base} (looked in {', '.join(PLACES)}); it is at https://os.unil.cloud.switch.ch/fma/{names[0]}.zip"
        )  # fmt: skip
        raise DatasetNotFoundError(f"FMA: {told}")
    return found
