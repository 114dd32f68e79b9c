"""A soft-label file as a torch Dataset; imported only where torch is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import Dataset

if TYPE_CHECKING:
    from labelwright.store._soft_file import SoftLabelFile


class SoftLabelDataset(Dataset[torch.Tensor]):
    """Row i is a (K,) float32 tensor; a list of rows gives (n, K), so a BatchSampler as `sampler` reads whole batches.

    `DataLoader(dataset, sampler=BatchSampler(...), batch_size=None)` is the fastest way to use it.
    """

    def __init__(self, file: SoftLabelFile):
        self.file = file

    def __len__(self) -> int:
        return len(self.file)

    def __getitem__(self, rows: Any) -> torch.Tensor:
        dense = torch.from_numpy(self.file.dense(rows))
        return dense[0] if isinstance(rows, int) else dense

    def __getitems__(self, rows: list[int]) -> list[torch.Tensor]:
        """What a plain DataLoader asks for: the rows of one batch, read in one go."""
        return list(torch.from_numpy(self.file.dense(rows)))
