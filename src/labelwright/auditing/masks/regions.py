"""Suspicious regions of a segmentation: pixels that doubt their class together, and how far a region is to be believed.

*Regions.* Touching pixels that doubt one class and point at one other form a region. Pixels of a region repeat each other,
so the sum of their log ratios is divided by pixels ** TEMPER (0 = all independent, 1 = one opinion). A region that lies
mostly one pixel deep along the suggested class, and is only a part of what was drawn, is the usual softness of outlines and
is dropped. What is left is measured by what an image of this data usually holds in its given class (`class_scales`): models
misread whole regions of some classes every day, of others never.

A region of relative strength s is wrong with probability 1 - 2 ** -(s / HALF) ** POWER. Two classes of an image that doubt
each other, as where they were exchanged or a segment was moved, speak sooner: a model's own mistakes go one way
(`mutual_error_prob`). The constants were measured (benchmarks/audit_masks.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from labelwright.auditing.masks.pixels import TEMPER, Doubt

POWER = 3.0  # how steeply the probability of a wrong region rises with its strength
HALF = 4.0  # relative strength at which a region is as likely wrong as right
MUTUAL_HALF = 4 / 3  # the same where two classes doubt each other
TRIMMED = 0.05  # share of the images whose strongest region of a class may be a mistake of the labels
BORROWED = 0.2  # weight of all classes together in the scale of one
FAINT = 2.0  # no scale is smaller: a region of 16 pixels that doubt their class by half a nat each
SOFT = 0.5  # a region with this share of its pixels one deep along the suggested class is soft outline
BAND = 0.15  # with more than this share it is a band along that class: some 7 pixels deep at most


class Region(NamedTuple):
    """Touching pixels whose given class is doubted in favour of one other.

    given, other: class ids.   box: x1, y1, x2, y2 with x1 <= x < x2.   pixels: how many.   strength: summed log likelihood
    ratio / pixels ** TEMPER.   problem: what it looks like.   runs: the mask, coded as in `Masks`.
    """

    given: int
    other: int
    box: tuple[int, int, int, int]
    pixels: int
    strength: float
    problem: str
    runs: np.ndarray


def find_regions(labels: np.ndarray, doubt: Doubt, min_pixels: int) -> list[Region]:
    """The suspicious regions of one image, by given and suggested class.

    Args:
        labels: (H, W) int64, -1 = unlabelled.
        doubt: from `pixel_doubt`.
        min_pixels: smaller regions are left out.
    """
    height, width = labels.shape
    flat, number = _connected(np.where(doubt.wrong > 0, labels * (doubt.other.max() + 1) + doubt.other, -1))
    order, size = np.argsort(number, kind="stable"), np.bincount(number)
    first = np.cumsum(size) - size
    near, (piece, piece_size) = _touching(labels, doubt.other), _pieces(labels)
    found = []
    for r in np.flatnonzero(size >= min_pixels):
        pixels = flat[order[first[r] : first[r] + size[r]]]
        share = size[r] / piece_size[np.bincount(piece[pixels]).argmax()]
        problem = _problem(share, near[pixels].mean())
        if problem:
            y, x = np.divmod(pixels, width)
            box = (int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1)
            given, other = int(labels.flat[pixels[0]]), int(doubt.other.flat[pixels[0]])
            strength = float(doubt.wrong.flat[pixels].sum(dtype=np.float64) / size[r] ** TEMPER)
            found.append(Region(given, other, box, int(size[r]), strength, problem, _runs(pixels, height * width)))
    return found


def _connected(code: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Flat positions of the pixels with code >= 0, rising, and for each the number of its 4-connected piece of one code."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    flat = np.flatnonzero(code >= 0)
    node = np.zeros(code.shape, np.int64)
    node.flat[flat] = np.arange(len(flat))
    right = (code[:, 1:] == code[:, :-1]) & (code[:, 1:] >= 0)
    down = (code[1:] == code[:-1]) & (code[1:] >= 0)
    a = np.concatenate([node[:, :-1][right], node[:-1][down]])
    b = np.concatenate([node[:, 1:][right], node[1:][down]])
    graph = coo_array((np.ones(len(a), bool), (a, b)), shape=(len(flat), len(flat)))
    return flat, connected_components(graph, directed=False)[1] if len(flat) else flat


def _touching(labels: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(H * W,) bool: one of the eight neighbours carries the class suggested for the pixel."""
    height, width = labels.shape
    padded, out = np.pad(labels, 1, constant_values=-1), np.zeros(labels.shape, bool)
    for dy, dx in np.ndindex(3, 3):
        out |= padded[dy : dy + height, dx : dx + width] == other
    return out.ravel()


def _problem(share: float, touching: float) -> str:
    """What a region looks like; "" where it is no more than a soft outline.

    share: of the connected piece of the given class that it covers.   touching: of its pixels that lie one deep along the
    suggested class.
    """
    if share >= 0.5:
        return "wrong class"
    return "" if touching >= SOFT else "bad boundary" if touching > BAND else "missed region"


def _runs(flat: np.ndarray, size: int) -> np.ndarray:
    """Lengths outside, inside, outside, ... of a mask of `size` pixels that holds the pixels `flat`, rising."""
    gap = np.flatnonzero(np.diff(flat) > 1)
    bounds = np.column_stack([flat[np.r_[0, gap + 1]], flat[np.r_[gap, len(flat) - 1]] + 1]).ravel()
    return np.diff(np.r_[0, bounds, size] if bounds[-1] < size else np.r_[0, bounds])


def _pieces(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H * W,) number of the connected piece of one class that a pixel belongs to, and the pixels of each piece."""
    from scipy.ndimage import label

    piece, total = np.zeros(labels.shape, np.int64), 0
    for given in np.unique(labels):
        numbered, n = label(labels == given, np.ones((3, 3), bool))
        piece += np.where(numbered > 0, numbered + total, 0)
        total += n
    return piece.ravel(), np.bincount(piece.ravel())


def class_scales(given: np.ndarray, strength: np.ndarray, n_classes: int, n_images: int) -> np.ndarray:
    """(K,) float64: strength of a region that an image usually holds in each given class, by mistakes of the model.

    The mean of the n_images strongest regions of the class (0 where there are fewer), without the strongest TRIMMED of
    them, which may be mistakes of the labels; drawn towards that of all classes together.

    Args:
        given: (R,) int, class of each region.
        strength: (R,) float64, > 0.

    >>> class_scales(np.array([0] * 100), np.array([900.0] + [24.0] * 99), 2, 100).round(2)
    array([21.89,  2.  ])
    """
    overall = _usual(strength, 2 * n_images)
    own = np.array([_usual(strength[given == g], n_images) for g in range(n_classes)])
    return np.asarray(np.maximum((own + BORROWED * overall) / (1 + BORROWED), FAINT))


def _usual(strength: np.ndarray, slots: int) -> float:
    first = int(np.ceil(TRIMMED * slots))
    return float(np.sort(strength)[::-1][first:slots].sum() / max(slots - first, 1))


def region_error_prob(relative: Any, half: float = HALF) -> np.ndarray:
    """P(the region is wrong), (R,) float64, from strength over class scale, (R,).

    >>> region_error_prob([0.0, HALF])
    array([0. , 0.5])
    """
    return np.asarray(-np.expm1(-np.log(2) * (np.asarray(relative, np.float64) / half) ** POWER))


def mutual_error_prob(found: list[Region], image: np.ndarray, scales: np.ndarray, n_images: int) -> np.ndarray:
    """(N,) float64 P(two classes of the image were taken for each other, somewhere or everywhere).

    All regions of one pair of classes in an image count as one, of relative strength s_ab; the pair is as strong as the
    geometric mean of s_ab and s_ba, and an image as its strongest pair.

    Args:
        found: regions.   image: (R,) the image of each.   scales: (K,) from `class_scales`.   n_images: N.
    """
    mass: dict[tuple[int, int, int], tuple[float, int]] = {}
    for region, i in zip(found, image.tolist()):
        total, pixels = mass.get((i, region.given, region.other), (0.0, 0))
        total += region.strength * region.pixels**TEMPER
        mass[i, region.given, region.other] = total, pixels + region.pixels
    relative = {key: total / pixels**TEMPER / scales[key[1]] for key, (total, pixels) in mass.items()}
    strongest = np.zeros(n_images)
    for (i, a, b), one in relative.items():
        strongest[i] = max(strongest[i], np.sqrt(one * relative.get((i, b, a), 0.0)))
    return region_error_prob(strongest, MUTUAL_HALF)
