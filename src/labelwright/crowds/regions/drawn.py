"""Masks as several people drew them, read one item at a time and checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from labelwright.errors import DataError, LabelError, nearest
from labelwright.labels import LabelSpace

NOTHING, UNSURE = (
    -1,
    -2,
)  # answers beside the class ids; as indices they pick the last two rows of a table of K + 2 answers


class DrawnMasks:
    """Who drew what: item -> {labeller: mask}.

    Args:
        masks: a mapping item -> {labeller: (H, W) mask}; or records, mappings with the keys item, labeller and mask; or V masks,
            with `items` (V,) and `labellers` (V,) beside them.
        space: LabelSpace or names of the K classes; default: 0 .. the largest id, at least two.

    A mask holds class ids; -1 (or NaN) where nothing is said, 0.5 in masks of floats where the labeller is unsure.

    items, labellers: keys in first-seen order.   space: the classes.

    Raises:
        LabelError: masks of one item that differ in size, values that are no class, no mask, one labeller only.
        DataError: an input of another form; two masks of one labeller on one item.
    """

    def __init__(self, masks: Any, labellers: Any = None, items: Any = None, space: Any = None):
        self._masks: Mapping[Any, Mapping[Any, Any]] = _by_item(masks, labellers, items)
        self.items = list(self._masks)
        self.labellers = list(dict.fromkeys(who for item in self.items for who in self._masks[item]))
        if len(self.labellers) < 2:
            raise LabelError(
                found=f"masks of {len(self.labellers)} labeller(s)",
                expected="masks of at least two people, of the same items",
                fix="with one labeller there is nothing to combine: compare with an expert's masks by `task_score`",
            )
        self._place = {who: a for a, who in enumerate(self.labellers)}
        known = None if space is None else space if isinstance(space, LabelSpace) else LabelSpace(space)
        largest = max(self._checked(item, known) for item in self.items)
        self.space: LabelSpace = known or LabelSpace(range(max(largest + 1, 2)))

    def __len__(self) -> int:
        return len(self.items)

    def __contains__(self, item: Any) -> bool:
        return item in self._masks

    def of(self, item: Any) -> tuple[np.ndarray, np.ndarray]:
        """(n,) labellers by position, and their answers (n, H, W) int16: class ids, NOTHING or UNSURE."""
        drawn = self._masks[item]
        who = np.array([self._place[w] for w in drawn], dtype=np.int64)
        return who, np.stack([answers(mask) for mask in drawn.values()])

    def _checked(self, item: Any, space: LabelSpace | None) -> int:
        """The largest class id of an item's masks, after their checks."""
        drawn = self._masks[item]
        if not drawn:
            raise LabelError(
                found=f"no mask of item {item!r}",
                expected="at least one labeller's mask per item (an empty mask is all background, and a vote)",
                fix="drop the item, or pass its masks",
            )
        shapes = {who: np.shape(mask) for who, mask in drawn.items()}
        first = next(iter(shapes))
        for who, shape in shapes.items():
            if len(shape) != 2 or shape != shapes[first]:
                raise LabelError(
                    found=f"a mask of shape {shape} by {who!r} of item {item!r}, where {first!r} drew {shapes[first]}",
                    expected="(H, W) arrays, all masks of an item of one size",
                    fix="resize them to the image by nearest neighbour; squeeze further axes",
                )
        largest = 0
        for who, mask in drawn.items():
            largest = max(largest, int(answers(mask, f"the mask of {who!r} of item {item!r}").max(initial=0)))
        if space is not None and largest >= len(space):
            raise LabelError(
                found=f"class id {largest} in the masks of item {item!r}, with {len(space)} classes",
                expected=f"ids 0 to {len(space) - 1}, -1 for nothing said",
                fix="mend the masks, or pass space with all classes",
            )
        return largest


def answers(mask: Any, what: str = "the mask") -> np.ndarray:
    """(H, W) int16 answers from class ids, or from floats with 0.5 = unsure and NaN = nothing said.

    >>> answers([[0.0, 0.5, 1.0]]).tolist()
    [[0, -2, 1]]
    """
    values = np.asarray(mask)
    if values.dtype.kind in "biu":
        out = values.astype(np.int16)
        fine = out == values if values.dtype.kind != "b" else np.ones(values.shape, bool)
    elif values.dtype.kind == "f":
        unsure, nothing = values == 0.5, np.isnan(values)
        out = np.where(unsure, UNSURE, np.where(nothing, NOTHING, np.nan_to_num(values))).astype(np.int16)
        fine = unsure | nothing | (out == values)
    else:
        out, fine = np.zeros(values.shape, np.int16), np.zeros(values.shape, bool)
    fine &= (out >= NOTHING) | (out == UNSURE) & (values.dtype.kind == "f")
    if not fine.all():
        raise LabelError(
            found=f"{int((~fine).sum())} values that are no answer in {what}; first is {values[~fine].ravel()[0]!r}",
            expected="class ids 0 .. K - 1, -1 for nothing said, 0.5 (floats) for unsure",
            fix="map colours or 255 to class ids",
        )
    return out


def expert_answers(expert: Mapping[Any, Any], drawn: DrawnMasks) -> dict[Any, np.ndarray]:
    """The expert masks of items that somebody drew, checked.

    Raises:
        LabelError: a size that differs from the labellers', a class that the space does not know, unsure experts.
        DataError: no expert mask is of an item that was drawn.
    """
    found: dict[Any, np.ndarray] = {}
    for item, mask in expert.items():
        if item not in drawn:
            continue
        truth, shape = answers(mask, f"the expert mask of item {item!r}"), drawn.of(item)[1].shape[1:]
        if truth.shape != shape:
            raise LabelError(
                found=f"an expert mask of shape {truth.shape} of item {item!r}, which the labellers drew as {shape}",
                expected="one size per item",
                fix="resize the expert mask by nearest neighbour",
            )
        if truth.max(initial=0) >= len(drawn.space) or (truth == UNSURE).any():
            raise LabelError(
                found=f"values of the expert mask of item {item!r} that are no class",
                expected=f"ids 0 to {len(drawn.space) - 1}, and -1 where nothing was checked",
                fix="pass space with all classes; set what the expert does not know to -1",
            )
        found[item] = truth
    if expert and not found:
        close = nearest(str(next(iter(expert))), [str(i) for i in drawn.items[:5000]])[:3]
        raise DataError(
            found=f"{len(expert)} expert masks of items that nobody drew (such as {next(iter(expert))!r})",
            expected="items of `masks`, such as " + ", ".join(close),
            fix="use the same keys in both; expert=None goes without",
        )
    return found


def _by_item(masks: Any, labellers: Any, items: Any) -> Mapping[Any, Mapping[Any, Any]]:
    if isinstance(masks, Mapping):
        if not all(isinstance(drawn, Mapping) for drawn in masks.values()):
            raise DataError(
                found="a mapping whose values are no mappings",
                expected="item -> {labeller: (H, W) mask}",
                fix="name the labeller of each mask, also where there is only one",
            )
        return masks
    if labellers is not None or items is not None:
        if labellers is None or items is None or not len(masks) == len(labellers) == len(items):
            raise DataError(
                found="a list of masks without an item and a labeller for each",
                expected="items (V,) and labellers (V,) beside V masks",
                fix="pass both columns, or a mapping item -> {labeller: mask}",
            )
        rows = list(zip(items, labellers, masks))
    else:
        try:
            rows = [(r["item"], r["labeller"], r["mask"]) for r in masks]
        except (TypeError, KeyError, IndexError) as err:
            raise DataError(
                found=f"masks of type {type(masks).__name__} whose entries are no records",
                expected="a mapping item -> {labeller: mask}, or mappings with the keys item, labeller, mask",
                fix="for plain masks pass `items` and `labellers` too",
            ) from err
    out: dict[Any, dict[Any, Any]] = {}
    for item, who, mask in rows:
        drawn = out.setdefault(item, {})
        if who in drawn:
            raise DataError(
                found=f"two masks of item {item!r} by {who!r}", expected="one per labeller", fix="keep the last one"
            )
        drawn[who] = mask
    return out
