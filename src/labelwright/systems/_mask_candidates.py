"""Objects with several candidate masks, and a judge of masks that is learnt from comparisons: for the proof of card 105."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.systems import _mask_scenes as scenes

SIDE = 48  # pixels of a crop
FAULTS = {  # of the four planted sources of masks: probability of each fault
    "holes": {"holes": 0.8, "shift": 0.2}, "shift": {"shift": 0.8, "part": 0.2}, "part": {"part": 0.7, "leak": 0.2},
    "leak": {"leak": 0.8, "holes": 0.2},
}  # fmt: skip


@lru_cache(maxsize=1)
def drawn_objects(n: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, SIDE, SIDE) uint8 images and bool masks: an ellipse, a ring or two blobs."""
    from scipy.ndimage import gaussian_filter

    rng, (y, x) = np.random.default_rng(105), np.indices((SIDE, SIDE))
    masks = np.zeros((n, SIDE, SIDE), bool)
    for i in range(n):
        cy, cx = rng.uniform(18, 30, 2)
        a, b = rng.uniform(8, 15, 2)
        d = np.hypot((y - cy) / a, (x - cx) / b)
        two = np.minimum(np.hypot(y - cy + 7, x - cx + 6) / (a * 0.6), np.hypot(y - cy - 7, x - cx - 6) / (b * 0.6))
        masks[i] = (d < 1, (d < 1) & (d > 0.5), two < 1)[i % 3]
    light = gaussian_filter(masks.astype(float), (0, 1, 1)) * rng.uniform(25, 60, (n, 1, 1))
    ground = gaussian_filter(rng.normal(0, 60, masks.shape), (0, 3, 3)) + rng.normal(0, 25, masks.shape)
    return np.clip(100 + light + ground, 0, 255).astype(np.uint8), masks


@lru_cache(maxsize=1)
def cut_objects(folder: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """(n, SIDE, SIDE) grey crops around the objects of at least 150 pixels that fit in, and their masks."""
    from scipy.ndimage import find_objects

    found = scenes.camvid(folder, 1)
    assert found is not None
    images, classes = found
    grey, crops, masks = images.mean(-1), [], []
    for scene, ids in zip(grey, classes):
        number = scenes.objects(ids, -2)
        for i, box in enumerate(find_objects(number), 1):
            h, w = (s.stop - s.start for s in box)
            if max(h, w) > SIDE - 4 or min(h, w) < 10 or (number[box] == i).sum() < 150:
                continue
            y, x = (np.clip((s.start + s.stop - SIDE) // 2, 0, m - SIDE) for s, m in zip(box, ids.shape))
            crops.append(scene[y : y + SIDE, x : x + SIDE])
            masks.append(number[y : y + SIDE, x : x + SIDE] == i)
    return np.stack(crops).astype(np.uint8), np.stack(masks)


@lru_cache(maxsize=1)
def model_masks(folder: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Masks of road, tree, car and building in the scenes 300 to 700 by three models trained on the pixels of the first 300:
    images (n, H, W), truth (n, H, W) bool, predictions (n, 3, H, W) bool, at 60 x 45 pixels."""
    from scipy.ndimage import uniform_filter
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.tree import DecisionTreeClassifier

    found = scenes.camvid(folder, 4)
    assert found is not None
    pixels, classes = found[0].astype(np.float32) / 255, found[1]
    near = uniform_filter(pixels, (0, 5, 5, 0))
    y, x = np.broadcast_arrays(*(c[None] for c in np.indices(classes.shape[1:]) / 45))
    where = np.stack([np.broadcast_to(c, classes.shape) for c in (y, x, y**2)], -1)
    features = np.concatenate([pixels, near, np.abs(pixels - near), where], -1).astype(np.float32)
    rng, out = np.random.default_rng(0), []
    for model, columns in (
        (LogisticRegression(max_iter=200), slice(None)),
        (DecisionTreeClassifier(max_depth=9, random_state=0), slice(0, 9)),
        (GaussianNB(), slice(3, None)),
    ):
        rows, labels = features[:300].reshape(-1, features.shape[-1]), classes[:300].ravel()
        at = rng.choice(np.flatnonzero(labels >= 0), 12_000, replace=False)
        model.fit(rows[at][:, columns], labels[at])
        later = features[300:].reshape(-1, features.shape[-1])[:, columns]
        out.append(model.predict(later).reshape(classes[300:].shape))
    image, later = (pixels[300:].mean(-1) * 255).astype(np.uint8), classes[300:]
    truth, given, scene = [], [], []
    for k in (1, 3, 5, 8):
        some = np.flatnonzero((later == k).sum((1, 2)) >= 30)
        truth.append(later[some] == k)
        given.append(np.stack([p[some] == k for p in out], 1))
        scene.append(image[some])
    return np.concatenate(scene), np.concatenate(truth), np.concatenate(given)


def faulty(mask: np.ndarray, source: str, rng: np.random.Generator) -> np.ndarray:
    """The mask with the faults of a source; every source also moves its outline a little."""
    from scipy.ndimage import binary_dilation, binary_erosion, shift

    out, (y, x) = mask.copy(), np.indices(mask.shape)
    inside = np.argwhere(mask)
    for fault, chance in FAULTS[source].items():
        if rng.random() > chance:
            continue
        cy, cx = inside[rng.integers(len(inside))]
        size = rng.uniform(0.15, 0.45) * np.sqrt(len(inside))
        if fault == "holes":
            out &= ~(np.hypot(y - cy, x - cx) < 0.6 * size)
        elif fault == "part":
            angle = rng.uniform(0, 2 * np.pi)
            along = np.cos(angle) * (y - inside[:, 0].mean()) + np.sin(angle) * (x - inside[:, 1].mean())
            out &= along < np.quantile(along[mask], rng.uniform(0.55, 0.9))
        elif fault == "leak":
            edge = np.argwhere(mask & ~binary_erosion(mask))
            cy, cx = edge[rng.integers(len(edge))]
            out |= np.hypot(y - cy, x - cx) < size
        else:
            out = shift(out.astype(np.int8), rng.uniform(-4, 4, 2), order=0).astype(bool)
    step = rng.integers(-1, 2)
    return np.asarray(binary_dilation(out) if step > 0 else binary_erosion(out) if step < 0 else out)


def learnt_judge(
    image: np.ndarray,
    made: dict[int, dict[str, np.ndarray]],
    quality: dict[tuple[int, str], float],
    lessons: list[int],
    rng: np.random.Generator,
) -> Callable[[Any, Any, Any], int]:
    """Gradient boosting on shape and contrast of the pair, in the order shown; as a person would, its teacher errs where the two
    are nearly as good (log-odds 20 times the difference in Dice)."""
    from sklearn.ensemble import GradientBoostingClassifier

    x, answer = [], []
    for i in lessons:
        a, b = rng.choice(list(made[i]), 2, replace=False)
        x.append(_pair(image[i], made[i][a], made[i][b]))
        answer.append(rng.random() < 1 / (1 + np.exp(-20 * (quality[i, a] - quality[i, b]))))
    model = GradientBoostingClassifier(n_estimators=60, max_depth=3, min_samples_leaf=5, random_state=0)
    model.fit(np.array(x), answer)
    known: dict[tuple[int, bytes, bytes], int] = {}

    def judge(item: Any, first: Any, second: Any) -> int:
        key = (item, np.asarray(first).tobytes(), np.asarray(second).tobytes())
        if key not in known:
            known[key] = 1 if model.predict(_pair(image[item], first, second)[None])[0] else 2
        return known[key]

    return judge


def _pair(image: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    a, b = (_features(image, np.asarray(m) > 0) for m in (first, second))
    return np.concatenate([a, b, a - b])


def _features(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Shape: area, pieces, holes, outline per area, extent. Picture: contrast along the outline, evenness inside."""
    from scipy.ndimage import binary_dilation, binary_erosion, binary_fill_holes, label

    area = int(mask.sum())
    if not area:
        return np.zeros(9)
    outer, inner = binary_dilation(mask, iterations=2) & ~mask, mask & ~binary_erosion(mask, iterations=2)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
    light = image.astype(np.float64)
    contrast = light[inner].mean() - light[outer].mean() if outer.any() and inner.any() else 0.0
    return np.array(
        [
            area / mask.size, label(mask)[1], (binary_fill_holes(mask).sum() - area) / area,
            (mask & ~binary_erosion(mask)).sum() / np.sqrt(area), area / box, abs(contrast) / (light.std() + 1), contrast,
            light[mask].std() / (light.std() + 1), abs(light[mask].mean() - light[~mask].mean()) if (~mask).any() else 0.0,
        ]
    )  # fmt: skip
