"""The votes of rules, sorted by item and class, in blocks of items that fit into fast memory."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from labelwright.crowds._candidates import members, numbered
from labelwright.crowds.prepared import Prepared

BLOCK = 1 << 14  # items


@dataclass(frozen=True, eq=False)
class Cells:
    """A cell is one class of one item that somebody voted for.

    source, cell, weight: (V,).   start: (G + 1,) first vote of each cell.   item, label: (G,).   first: (I,) first cell of each
    item that has votes.   held: (I,) those items.   order: (V,) position of each vote in the Prepared votes.
    gold: (N,) true classes, -1 unknown.   n_sources, n_classes: A and K.
    """

    source: np.ndarray
    weight: np.ndarray
    start: np.ndarray
    item: np.ndarray
    label: np.ndarray
    first: np.ndarray
    held: np.ndarray
    order: np.ndarray
    gold: np.ndarray
    n_sources: int
    n_classes: int

    @cached_property
    def cell(self) -> np.ndarray:
        """(V,) the cell of each vote."""
        return np.repeat(np.arange(len(self.item)), np.diff(self.start))

    @cached_property
    def size(self) -> np.ndarray:
        """(I,) cells of each item that has votes."""
        return np.diff(np.append(self.first, len(self.item)))

    def matrix(self, values: np.ndarray) -> Any:
        """(G, A) sparse, of values (V,)."""
        return csr_matrix((values, self.source, self.start), shape=(len(self.item), self.n_sources))

    def spread(self, values: np.ndarray) -> np.ndarray:
        """(G,) of values (I,) of the items that have votes."""
        return np.repeat(values, self.size)


def blocks_of(votes: Prepared) -> list[Prepared]:
    """The votes of `BLOCK` items at a time, their items numbered from 0 in each."""
    n, out = votes.n_items, []
    if n <= BLOCK:
        return [votes]
    for at in range(0, n, BLOCK):
        start = votes.start[at : at + BLOCK + 1]
        mine = slice(start[0], start[-1])
        item, label, weight = votes.item[mine] - np.int32(at), votes.label[mine], votes.weight[mine]
        gold, start = votes.gold[at : at + BLOCK], start - start[0]
        block = replace(
            votes, item=item, annotator=votes.annotator[mine], label=label, weight=weight, start=start, gold=gold
        )
        out.append(block)
    return out


def fires_of(blocks: list[Prepared]) -> np.ndarray:
    """(A, K) votes of each source for each class."""
    m, k = blocks[0].n_annotators, blocks[0].n_classes
    claims = (block.annotator * np.int64(k) + block.label for block in blocks)
    found: np.ndarray = sum((np.bincount(claim, minlength=m * k) for claim in claims), np.zeros(m * k)).reshape(m, k)
    return found


def sort_cells(votes: Prepared) -> Cells:
    """See `Cells`."""
    k = votes.n_classes
    keys, cell = numbered(votes.item.astype(np.int64) * k + votes.label)
    one = csr_matrix((np.ones(len(cell), bool), cell, np.arange(len(cell) + 1)), shape=(len(cell), len(keys)))
    turned = one.tocsc()  # a counting sort
    order, weight = turned.indices, votes.weight
    if len(weight) and weight.min() < weight.max():  # equal ones, which is usual, need no order
        weight = weight[order]
    return _cells(
        votes.annotator[order], weight, turned.indptr, keys // k, (keys % k).astype(np.int32), order,
        votes.gold, votes.n_annotators, k,
    )  # fmt: skip


def some_items(cells: Cells, step: int) -> tuple[Cells, np.ndarray]:
    """The cells of every `step`-th item, numbered from 0, and the positions of their votes in `cells`."""
    kept = np.flatnonzero(cells.item % step == 0)
    vote, start = members(cells.start, kept)
    some = _cells(
        cells.source[vote], cells.weight[vote], start, cells.item[kept] // step, cells.label[kept], vote,
        cells.gold[::step], cells.n_sources, cells.n_classes,
    )  # fmt: skip
    return some, vote


def _cells(
    source: np.ndarray, weight: np.ndarray, start: np.ndarray, item: np.ndarray, label: np.ndarray, *rest: Any
) -> Cells:
    first = np.flatnonzero(np.r_[True, item[1:] != item[:-1]][: len(item)])
    return Cells(source, weight, start, item, label, first, item[first], *rest)
