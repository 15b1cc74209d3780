"""FMA's 518 precomputed features as a source (Defferrard et al., ISMIR 2017)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from musicreclass.data.dataset_folder import is_absent
from musicreclass.data.sources.fma_features_csv import FeaturesCSV
from musicreclass.data.sources.fma_metadata import find_metadata, in_subset, load_tracks
from musicreclass.data.table_source import FeatureTable, TableSource
from musicreclass.errors import DataError
from musicreclass.plurals import agreeing, counted
from musicreclass.storage.store import Store

TRUNCATED_CLIPS = (  # in the audio archives, the clips of these tracks are empty or a few seconds long
    1486, 5574, 65753, 80391, 98558, 98559, 98560, 98565, 98566, 98567, 98568, 98569, 98571, 99134, 105247, 108924, 108925,
    126981, 127336, 133297, 143992,
)  # fmt: skip


class FMAFeatures(TableSource):
    """tracks.csv and features.csv as a feature table.

    Args:
        root: the dataset folder; the files are searched in `Misc/fma_metadata/`, `fma_metadata/` and the folder itself.
        split: `official` (set.split of tracks.csv), `grouped` by artist, or `random`.
        store: folder of the store, in which both files are cached in a form that loads fast.
        subset: `small`, `medium`, `large` or `full`; each includes those before it.
        subset_exact: use only the tracks whose subset is exactly `subset`.
        feature_sets: names of feature sets as in the FMA paper: `mfcc`, `spectral_contrast`, ...; empty for all.
        truncated_clips: `keep` or `drop` tracks with truncated clips; their features were computed on whole tracks.
        policies: as in `TableSource`.
    """

    def __init__(
        self,
        root: str | None,
        split: dict[str, Any],
        store: str,
        subset: str = "medium",
        subset_exact: bool = False,
        feature_sets: tuple[str, ...] | list[str] = (),
        truncated_clips: str = "keep",
        **policies: Any,
    ) -> None:
        super().__init__(split, **policies)
        self.root = root
        self.store = Store(Path(store).expanduser())
        self.subset, self.subset_exact = subset, subset_exact
        self.feature_sets = list(feature_sets)
        self.truncated_clips = truncated_clips

    def missing_archives(self) -> list[str]:
        """`fma_metadata` if the tables do not exist."""
        return ["fma_metadata"] if is_absent(lambda: find_metadata(self.root)) else []

    def files(self) -> list[Path]:
        """tracks.csv and features.csv."""
        folder = find_metadata(self.root)
        return [folder / "tracks.csv", folder / "features.csv"]

    def read(self) -> FeatureTable:
        """The labelled tracks of the subset, with their features.

        Raises:
            DatasetNotFoundError: if the files do not exist.
            DataError: if they are damaged or of another release.
        """
        tracks_csv, features_csv = self.files()
        all_tracks = load_tracks(tracks_csv, self.store)
        features = FeaturesCSV.load(features_csv, self.store)
        tracks = all_tracks[in_subset(all_tracks.subset, self.subset, self.subset_exact)]
        columns = features.columns_of(self.feature_sets, features_csv)
        rows = features.rows(tracks.index)
        dropped = {
            "in tracks.csv but not in features.csv": int((rows < 0).sum()),
            "in features.csv but not in tracks.csv": len(set(features.ids) - set(all_tracks.index)),
        }
        notes = [f"features.csv has {len(features.columns)} of the 518 columns"] if len(features.columns) != 518 else []
        tracks, rows = tracks[rows >= 0], rows[rows >= 0]
        truncated = tracks.index.isin(TRUNCATED_CLIPS)
        if self.truncated_clips == "drop":
            dropped["with truncated clips"] = int(truncated.sum())
            tracks, rows = tracks[~truncated], rows[~truncated]
        elif truncated.any():
            notes.append(
                f"{counted(int(truncated.sum()), 'track')} with truncated clips {agreeing(int(truncated.sum()), 'is', 'are')} kept: their features are of whole tracks"
            )
        if not len(tracks):
            raise self._no_tracks(all_tracks.subset[features.rows(all_tracks.index) >= 0], tracks_csv)
        return FeatureTable(
            track_id=tracks.index,
            target=tracks.genre,
            x=features.values[rows][:, columns] if len(columns) < len(features.columns) else features.values[rows],
            columns=[features.columns[i] for i in columns],
            metadata={"split": tracks.split, "group": tracks.artist, "album": tracks.album},
            split_name="official",
            artist_names=tracks.artist_name,
            dropped=dropped,
            notes=notes,
        )

    def _no_tracks(self, subsets: pd.Series[Any], path: Path) -> DataError:
        """The error for a subset without features.

        Args:
            subsets: the subset of each track that has features.
            path: of tracks.csv.
        """
        exact = " with data.subset_exact=true" if self.subset_exact else ""
        counts = subsets.dropna().astype(str).value_counts()
        others = ", ".join(f"{n} of {name}" for name, n in counts.items() if n) or "none"
        remedy = ""
        if self.subset_exact and in_subset(subsets, self.subset, False).any():
            remedy = "; data.subset_exact=false also uses those of smaller subsets"
        elif len(counts):
            remedy = "; choose another data.subset"
        return DataError(
            f"{path.parent}: no track of data.subset={self.subset}{exact} is in both tracks.csv and features.csv; those in "
            f"both are {others}{remedy}",
            kind="no_tracks",
            key="data.subset",
            value=self.subset,
        )
