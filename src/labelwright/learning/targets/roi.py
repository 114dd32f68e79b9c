"""Labels of a crop from the label map of its image: RoIAlign over the box, from dense maps or from stored top-k cells.

Boxes are fractions of the whole image: top, left, height, width. Maps are made from the whole image resized to a square, so
the fractions hold for any aspect, with as many cells per side as the map has. RoIAlign to one place is linear in the map and
separable, so it is a weight per row times a weight per column; top-k cells are pooled without ever being made dense.

Source: Yun et al. 2021 (ReLabel), LabelPooling; He et al. 2017 (RoIAlign), aligned: cell i covers i to i + 1, its centre at
i + 0.5. Unlike the released code, x is left and y is top, and a box below one cell is not enlarged.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from labelwright.errors import DataError, OptionError, check_option
from labelwright.learning.losses._rows import wide

POOLS = ("logits", "probs")
_LOWEST = -1e4  # stands for a logit of -inf: a weight of 0 times -inf would be NaN


def pool_labels(
    maps: Tensor,
    boxes: Tensor,
    flip: Tensor | None = None,
    *,
    temperature: float = 1.0,
    pool: str = "logits",
    grid: tuple[int, int] | None = None,
    flip_first: bool = False,
) -> Tensor:
    """Label distributions of crops, from dense maps.

    Args:
        maps: (B, K, h, w) logits of the image that each crop was cut from.
        boxes: (B, 4) top, left, height, width in [0, 1].
        flip: (B,) bool, crops that are mirrored left to right. By symmetry this changes no (B, K) label; it mirrors
            the places of `grid`.
        temperature: of the softmax over the classes.
        pool: "logits" averages logits, then takes the softmax (the paper; sharper); "probs" averages the cells' softmax.
        grid: (rows, columns) places of the crop that get a label each, for token labels. None: one label per crop.
        flip_first: True where the image was mirrored before the box was cut, so that `left` counts in the mirrored image.

    Returns:
        (B, K), or (B, rows, columns, K) with `grid`; rows sum to 1.

    Raises:
        DataError: shapes that do not fit, or boxes outside the image.   OptionError: a temperature or pool that will not do.

    >>> left_right = torch.tensor([[[[9.0, 0.0]], [[0.0, 9.0]]]])  # one image: class 0 on the left, class 1 on the right
    >>> pool_labels(left_right, torch.tensor([[0.0, 0.0, 1.0, 0.5]])).round(decimals=2)
    tensor([[1., 0.]])
    """
    if maps.ndim != 4:
        raise DataError(found=f"maps of shape {tuple(maps.shape)}", expected="(B, K, h, w)", fix="add the missing axes")
    _check(len(maps), boxes, flip, temperature, pool, grid)
    rows, columns = _weights(boxes, flip, maps.shape[-2:], grid, flip_first)
    z = wide(maps) / temperature
    z = z.softmax(1) if pool == "probs" else z.clamp_min(_LOWEST)
    rows, columns = rows.to(z.dtype), columns.to(z.dtype)
    pooled = torch.einsum("bkhw,bgh,bvw->bgvk", z, rows, columns)  # g, v: places of the crop
    return _labels(pooled, pool, grid)


def pool_sparse(
    index: Tensor,
    logit: Tensor,
    rest: Tensor,
    boxes: Tensor,
    flip: Tensor | None = None,
    *,
    n_classes: int,
    fill: str | float = "rest",
    temperature: float = 1.0,
    pool: str = "logits",
    grid: tuple[int, int] | None = None,
    flip_first: bool = False,
) -> Tensor:
    """Label distributions of crops, from the k largest logits of each cell; costs B h w k, not B h w K.

    Args:
        index, logit: (B, h, w, k) class ids and logits.   rest: (B, h, w) log of the sum of exp over the other classes.
        n_classes: K.
        fill: logit of the classes that a cell does not list. "rest": what the rest is worth, evenly (exact for the mass of
            the cell); "min": the least logit listed there; a number, 0.0 in the released code, which smooths the more the
            lower the logits are.
        boxes, flip, temperature, pool, grid, flip_first: as in `pool_labels`.

    Returns:
        (B, K), or (B, rows, columns, K) with `grid`; rows sum to 1.

    Raises:
        DataError, OptionError: as in `pool_labels`, and for an unknown fill.
    """
    if index.ndim != 4 or index.shape != logit.shape or rest.shape != index.shape[:3] or index.shape[3] > n_classes:
        raise DataError(
            found=f"index {tuple(index.shape)}, logit {tuple(logit.shape)}, rest {tuple(rest.shape)}, {n_classes} classes",
            expected="(B, h, w, k), (B, h, w, k) and (B, h, w) with k at most the number of classes",
            fix="take the three from one LogitMaps",
        )
    _check(len(index), boxes, flip, temperature, pool, grid)
    size, k = index.shape[1:3], index.shape[3]
    rows, columns = _weights(boxes, flip, size, grid, flip_first)
    z = wide(logit).clamp_min(_LOWEST)
    rows, columns = rows.to(z.dtype), columns.to(z.dtype)
    other = _fill(z, rest.to(z.dtype), n_classes - k, fill) / temperature
    z = z / temperature
    if pool == "probs":
        total = z.logsumexp(-1)
        if k < n_classes:
            total = torch.logaddexp(total, other + math.log(n_classes - k))
        z, other = (z - total[..., None]).exp(), (other - total).exp()
    weight = torch.einsum("bgh,bvw->bgvhw", rows, columns).flatten(3).flatten(1, 2)  # (B, places, cells)
    pooled = (weight * other.flatten(1)[:, None]).sum(-1, keepdim=True).expand(-1, -1, n_classes).contiguous()
    more = weight[..., None] * (z - other[..., None]).flatten(1, 2)[:, None]  # (B, places, cells, k)
    ids = index.long().flatten(1)[:, None].expand(-1, weight.shape[1], -1)
    pooled.scatter_add_(2, ids, more.flatten(2))
    return _labels(pooled.reshape(-1, rows.shape[1], columns.shape[1], n_classes), pool, grid)


def roi_weights(start: Tensor, length: Tensor, cells: int, places: int = 1) -> Tensor:
    """(B, places, cells) weights of RoIAlign along one axis; they sum to 1 over the cells.

    start, length: (B,) the box as fractions of the axis. Each place is the mean of ceil(its cells) bilinear samples.
    """
    first, step = start * cells - 0.5, length * cells / places
    most = -(-cells // places)
    samples = step.sub(1e-5).ceil().clamp(1, most)  # a box of n cells up to rounding has n samples
    number = torch.arange(most, device=start.device, dtype=start.dtype)
    place = torch.arange(places, device=start.device, dtype=start.dtype)
    inside = (number + 0.5) / samples[:, None]  # (B, most) of a place's length
    at = first[:, None, None] + step[:, None, None] * (place[:, None] + inside[:, None, :])
    at = at.clamp(0, cells - 1)
    share = (number < samples[:, None]).to(start.dtype) / samples[:, None]
    share = share[:, None, :].expand_as(at)
    low = at.floor().clamp_max(max(cells - 2, 0))
    part = at - low
    out = torch.zeros(len(start), places, cells, device=start.device, dtype=start.dtype)
    out.scatter_add_(2, low.long(), share * (1 - part))
    return out.scatter_add_(2, low.long().add(1).clamp_max(cells - 1), share * part)


def _weights(
    boxes: Tensor, flip: Tensor | None, size: torch.Size, grid: tuple[int, int] | None, flip_first: bool
) -> tuple[Tensor, Tensor]:
    """(B, g, h) and (B, v, w): weights of the rows and of the columns."""
    boxes = wide(boxes)
    top, left, height, width = boxes.unbind(1)
    if flip is not None and flip_first:
        left = torch.where(flip.bool(), 1 - left - width, left)
    down, across = grid or (1, 1)
    rows, columns = roi_weights(top, height, size[0], down), roi_weights(left, width, size[1], across)
    if flip is not None:
        columns = torch.where(flip.bool()[:, None, None], columns.flip(1), columns)
    return rows, columns


def _fill(z: Tensor, rest: Tensor, others: int, fill: str | float) -> Tensor:
    """(B, h, w) logit of every class that a cell does not list."""
    if isinstance(fill, str):
        check_option("fill", fill, ("rest", "min"))
        out = z.amin(-1) if fill == "min" else rest - math.log(max(others, 1))
        return out.clamp_min(_LOWEST)
    if not math.isfinite(fill):
        raise OptionError(found=f"fill={fill!r}", expected='"rest", "min" or a finite logit', fix='pass fill="rest"')
    return torch.full_like(rest, float(fill))


def _labels(pooled: Tensor, pool: str, grid: tuple[int, int] | None) -> Tensor:
    out = pooled.softmax(-1) if pool == "logits" else pooled / pooled.sum(-1, keepdim=True)
    return out if grid is not None else out[:, 0, 0]


def _check(
    n: int, boxes: Tensor, flip: Tensor | None, temperature: float, pool: str, grid: tuple[int, int] | None
) -> None:
    check_option("pool", pool, POOLS)
    if not 0 < temperature < math.inf:
        raise OptionError(found=f"temperature={temperature}", expected="a number above 0", fix="1 is plain softmax")
    if grid is not None and min(grid) < 1:
        raise OptionError(found=f"grid={grid}", expected="rows and columns of at least 1", fix="None gives one label")
    if boxes.shape != (n, 4) or not boxes.is_floating_point():
        raise DataError(
            found=f"boxes of shape {tuple(boxes.shape)} and dtype {boxes.dtype} for {n} maps",
            expected="float (B, 4): top, left, height, width of one crop per map",
            fix="repeat the map of an image for each of its crops: maps[item]",
        )
    if flip is not None and flip.shape != (n,):
        raise DataError(found=f"flip of shape {tuple(flip.shape)}", expected=f"({n},)", fix="one bool per crop")
    far = 1 + 1e-3 if boxes.dtype in (torch.float16, torch.bfloat16) else 1 + 1e-5
    if not bool(((boxes >= 0) & (boxes <= far)).all() and (boxes[:, :2] + boxes[:, 2:] <= far).all()):
        raise DataError(
            found="boxes that do not lie in the image",
            expected="fractions top, left, height, width in [0, 1]",
            fix="divide pixels by the image's height and width",
        )
