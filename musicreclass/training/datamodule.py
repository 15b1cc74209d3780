"""Tracks as a LightningDataModule, from which Lightning's Trainer takes the batches of a fit."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from pytorch_lightning import LightningDataModule

from musicreclass.data.crops import ClipBatches
from musicreclass.data.recordings import AudioData
from musicreclass.data.sampling import Batch, LoaderSettings, TrackSampler
from musicreclass.data.table import TableData, TensorBatches

TABLE_GROUP = 16  # effective batches per item; see `BatchGroups`


class TrackDataModule(LightningDataModule):
    """Any source of tracks for Lightning: it trains on the training split, and validates on the validation split.

    The sources themselves do not import Lightning, so that commands without training start faster.

    Args:
        data: set up by `setup`, if it is not yet.
        loading: what its loaders are asked for.
        limit: effective batches of an epoch; None for all.
        grouped: whether several effective batches of a table may be one item. Grouped clips would only use memory: Lightning's work
            per item is small compared with a step over clips.
    """

    def __init__(
        self, data: TableData | AudioData, loading: LoaderSettings, limit: int | None = None, grouped: bool = True
    ) -> None:
        super().__init__()
        self.data, self.loading, self.limit = data, loading, limit
        self.group_size = TABLE_GROUP if grouped and isinstance(data, TableData) else 1

    def prepare_data(self) -> None:
        """Get what `setup` reads."""
        self.data.prepare_data()

    def setup(self, stage: str) -> None:
        """Read and split the tracks."""
        self.data.setup(stage)

    def train_dataloader(self) -> BatchGroups:
        """Lists of effective batches, in an order drawn from (seed, epoch)."""
        return BatchGroups(self.data.train_loader(self.loading), self.group_size, self.limit)

    def val_dataloader(self) -> TensorBatches | ClipBatches:
        """Batches of the validation split."""
        return self.data.scoring_loader("valid", self.loading)


class BatchGroups:
    """Yields lists of effective batches, so that Lightning's work per loader item is shared by several optimizer steps.

    With one batch per item the epoch of an MLP (17,000 x 518, batches of 64, one thread) took 1.2 times as long, and with
    Lightning's automatic optimisation, without metrics or recovery from out-of-memory errors, 1.2 times too.

    Args:
        loader: yields effective batches.
        size: batches per list.
        limit: batches of an epoch; None for all.
    """

    batch_sampler = None  # Lightning reads this attribute of a loader that has a sampler

    def __init__(self, loader: TensorBatches | ClipBatches, size: int, limit: int | None = None) -> None:
        self.loader, self.size, self.limit = loader, size, limit

    def __len__(self) -> int:
        return -(-min(len(self.loader), self.limit or len(self.loader)) // self.size)

    def __iter__(self) -> Iterator[list[Batch]]:
        batches = islice(self.loader, self.limit)
        while group := list(islice(batches, self.size)):
            yield group

    @property
    def sampler(self) -> TrackSampler | None:
        """Lightning sets its epoch."""
        return self.loader.sampler
