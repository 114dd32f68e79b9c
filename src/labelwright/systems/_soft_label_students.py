"""Students of soft labels, and the shifted pictures and words that they are tested on."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

L2 = 1.0  # of the student, against the sum of its losses


@lru_cache(maxsize=2)
def pictures(raw: bytes, shape: tuple[int, ...]) -> list[np.ndarray]:
    """Vectors of pictures in [0, 1] as they are, with noise, blurred, and with less contrast."""
    from scipy.ndimage import gaussian_filter

    from labelwright.features import image_vectors

    x = np.frombuffer(raw, np.float32).reshape(shape)
    noisy = x + np.random.default_rng(1).normal(0, 0.15, shape)
    blurred = gaussian_filter(x, (0, 1.0, 1.0, 0)[: x.ndim])
    views = [np.clip(v, 0, 1).astype(np.float32) for v in (x, noisy, blurred, 0.3 * x + 0.35)]
    if x.ndim == 3:
        return [view.reshape(len(x), -1) for view in views]
    found = [image_vectors((view * 255).astype(np.uint8)) for view in views]
    centre, spread = found[0].mean(0), found[0].std(0) + 1e-3
    return [(view - centre) / spread / 10 for view in found]


def words(tokens: np.ndarray, group: np.ndarray) -> Any:
    """(N, 16384) sparse: a word, its ends and shape, and the words beside it in its group."""
    from sklearn.feature_extraction import FeatureHasher

    low = [str(token).lower() for token in tokens]
    rows = []
    for i, token in enumerate(tokens):
        before = low[i - 1] if i and group[i - 1] == group[i] else ""
        after = low[i + 1] if i + 1 < len(low) and group[i + 1] == group[i] else ""
        shape = "".join("X" if c.isupper() else "x" if c.isalpha() else "0" if c.isdigit() else c for c in str(token))
        ends = [f"end={low[i][-m:]}" for m in (1, 2, 3)]
        rows.append(
            [f"is={low[i]}", *ends, f"begin={low[i][:2]}", f"shape={shape[:4]}", f"before={before}", f"after={after}"]
        )
    return FeatureHasher(1 << 14, input_type="string", alternate_sign=False).transform(rows)


def misspelt(tokens: np.ndarray, seed: int) -> np.ndarray:
    """In lower case, and every other word of more than three letters without one of them."""
    rng, out = np.random.default_rng([seed, 9]), []
    for token in tokens:
        word = str(token).lower()
        if len(word) > 3 and rng.random() < 0.5:
            at = int(rng.integers(len(word)))
            word = word[:at] + word[at + 1 :]
        out.append(word)
    return np.array(out, dtype=object)


def student(x: Any, target: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Multinomial logistic regression of least KL(target || prediction), by L-BFGS; returns x -> (n, K) probabilities."""
    from scipy.optimize import minimize

    shape = x.shape[1] + 1, target.shape[1]

    def predict(w: np.ndarray, x: Any) -> np.ndarray:
        score = x @ w[:-1] + w[-1]
        p = np.exp(score - score.max(1, keepdims=True))
        return np.asarray(p / p.sum(1, keepdims=True))

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = flat.reshape(shape)
        p = predict(w, x)
        gap = p - target
        slope = np.vstack([x.T @ gap + L2 * w[:-1], gap.sum(0)])
        value = -float((target * np.log(np.maximum(p, 1e-300))).sum()) + 0.5 * L2 * float((w[:-1] ** 2).sum())
        return value, slope.ravel()

    start = np.zeros(shape[0] * shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return lambda z: predict(found.x.reshape(shape), z)


def calibrated_log_loss(pred_probs: np.ndarray, y: np.ndarray, seed: int = 0) -> float:
    """Log loss on one half of the items with the temperature that suits the other half; mean of five ways to halve."""
    from labelwright.features.calibration import fit_scaling

    rng, found = np.random.default_rng([seed, 11]), []
    for _ in range(5):
        one, two = np.array_split(rng.permutation(len(y)), 2)
        p = fit_scaling(pred_probs[one], y[one])(pred_probs[two])
        found.append(float(-np.log(np.maximum(p[np.arange(len(two)), y[two]], 1e-12)).mean()))
    return float(np.mean(found))
