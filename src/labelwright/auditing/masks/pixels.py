"""What speaks against the label of a pixel: log likelihood ratios whose worth is counted over all images.

For a pixel given class g and another class j, the model says l = log p_j / p_g. How much that is worth is counted, not
believed: the share of pixels given j that show this l, over the share of pixels given g that do. Most labels are right, so
pixels given a class stand for pixels of the class; a class that the model always doubts then needs more doubt. That is
the log likelihood ratio of "truly j" to "truly g"; the mean ratio over the other classes is that of "g is wrong".

Pixels of one image repeat each other, so the n pixels of a class in an image count as n ** (1 - TEMPER); one image in which
a small class was put on a large region then does not decide what the class looks like. And as the given classes are only
mostly the true ones, the counts never replace the model's own word entirely (MANY_IMAGES).

The constants were chosen on the images of benchmarks/audit_masks.py with other faults than those reported there.

Source: Northcutt, Jiang & Chuang 2021, "Confident Learning": the given classes as the yardstick of the model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

BINS = 32  # of l = log p_j / p_g
REACH = 8.0  # nats; beyond, l is cut
FLOOR = 1e-4  # of a probability whose log is taken
HOLES = 1e-3  # mass spread evenly over the bins of every histogram
FEW_IMAGES = 5.0  # classes seen in so many images are calibrated half by counts, half by the model's own odds
MANY_IMAGES = 20.0  # the counts of more images than this weigh no more
TEMPER = 0.5  # of the number of pixels: 0 = all independent, 1 = one opinion
UNIT = 1 << 16  # of the counts, which are integers so that merging in any order gives the same


class PixelEvidence:
    """Mergeable statistic: what the log odds of two classes are worth; a chunk is `(labels, pred_probs)` of one image.

    State: K x K x 32 integers [given, other, bin], pixels weighted and in units of 1 / UNIT, and K integers, the images in
    which a class is given.
    """

    def __init__(self, n_classes: int):
        self.counts = np.zeros((n_classes, n_classes, BINS), np.int64)
        self.images = np.zeros(n_classes, np.int64)

    def update(self, chunk: tuple[np.ndarray, np.ndarray]) -> None:
        labels, pred_probs = chunk
        known = labels >= 0
        given = labels[known]
        logp = _log(pred_probs)[:, known]
        own = np.take_along_axis(logp, given[None], 0)[0]
        pixels = np.bincount(given, minlength=len(self.images))
        weight = np.rint(UNIT * np.maximum(pixels, 1.0) ** -TEMPER).astype(np.int64)
        for j, row in enumerate(logp):
            cell = given * BINS + _bins(row - own)
            seen = np.bincount(cell, minlength=self.counts[:, j].size).reshape(-1, BINS)
            self.counts[:, j] += seen * weight[:, None]
        self.images[np.unique(given)] += 1

    def merge(self, other: PixelEvidence) -> None:
        self.counts += other.counts
        self.images += other.images

    def result(self) -> np.ndarray:
        """(K, K, 32) float32 [given, other, bin], log p(l | truly other) / p(l | truly given).

        Neighbouring bins are smoothed. The mass HOLES is spread so that bins nobody fell in get the ratio e^l, the
        model's own word; that word also stands in everywhere with the weight of FEW_IMAGES images, against that of the images
        in which the rarer class is given, MANY_IMAGES at most.
        """
        from scipy.ndimage import gaussian_filter1d

        own_word = (np.arange(BINS) + 0.5) * (2 * REACH / BINS) - REACH  # l at the centre of each bin
        share = self.counts / np.maximum(self.counts.sum(2, keepdims=True), 1)
        share = gaussian_filter1d(share, 1.0, axis=2, mode="nearest") + HOLES / BINS * np.exp(-own_word / 2)
        counted = np.log(share.swapaxes(0, 1)[:, :, ::-1] / share)  # log p_j / p_g seen from j is -l
        seen = np.minimum(np.minimum(self.images[:, None], self.images[None, :]), MANY_IMAGES)[..., None]
        table = (seen * counted + FEW_IMAGES * own_word) / (seen + FEW_IMAGES)
        up, down = np.maximum.accumulate(table, 2), np.minimum.accumulate(table[..., ::-1], 2)[..., ::-1]
        return np.asarray((up + down) / 2, np.float32)  # higher odds of a class never speak less for it


class Doubt(NamedTuple):
    """What speaks against the labels of one image.

    wrong: (H, W) float32 log likelihood ratio "another class" to "the given class"; -inf where unlabelled.
    other: (H, W) int64, the class that explains the pixel best, never the given one.
    """

    wrong: np.ndarray
    other: np.ndarray


def pixel_doubt(labels: np.ndarray, pred_probs: np.ndarray, table: np.ndarray) -> Doubt:
    """Log likelihood ratios of one image, averaged over the 3 x 3 neighbours of the same given class.

    Args:
        labels: (H, W) int64, -1 = unlabelled.
        pred_probs: (K, H, W) floats.
        table: (K, K, 32) from `PixelEvidence`.
    """
    known = labels >= 0
    given = np.where(known, labels, 0)
    logp = _log(pred_probs)
    own = np.take_along_axis(logp, given[None], 0)[0]
    for j, row in enumerate(logp):
        logp[j] = table[given, j, _bins(row - own)]
    evidence = _pooled(logp, labels)
    np.put_along_axis(evidence, given[None], -np.inf, 0)
    other = evidence.argmax(0)
    top = evidence.max(0)
    wrong = top + np.log(np.exp(evidence - top).sum(0) / (len(evidence) - 1))  # the mean ratio over the other classes
    return Doubt(np.where(known, wrong, -np.inf).astype(np.float32), other)


def _pooled(evidence: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(K, H, W) mean over those of the 3 x 3 neighbours that carry the same label."""
    total, count = evidence.copy(), np.ones(labels.shape, np.float32)
    for dy, dx in ((0, 1), (1, -1), (1, 0), (1, 1)):
        height, width = labels.shape
        here = (slice(0, height - dy), slice(max(0, -dx), width - max(0, dx)))
        there = (slice(dy, height), slice(max(0, dx), width - max(0, -dx)))
        same = labels[here] == labels[there]
        for a, b in ((here, there), (there, here)):
            total[:, a[0], a[1]] += evidence[:, b[0], b[1]] * same
            count[a] += same
    return total / count


def _log(pred_probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(pred_probs.astype(np.float32), FLOOR))


def _bins(log_odds: np.ndarray) -> np.ndarray:
    return np.clip((log_odds + REACH) * (BINS / (2 * REACH)), 0, BINS - 1).astype(np.int64)
