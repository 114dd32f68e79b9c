"""Small pictures and texts as vectors, for proofs whose students are MLPs."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems._students import cifar10, digit_pictures, mnist, standardised
from labelwright.systems.proof import Dataset


def pictures(folder: Path | None) -> Iterator[Dataset]:
    """Digits; MNIST as 14 x 14 pixels; CIFAR-10 as vectors. `train` is how many items a proof learns from."""
    digits = digit_pictures()
    yield Dataset(
        "digits", {"x": np.asarray(digits["image"]).reshape(-1, 64), "y": digits["y"]}, options={"train": 900}
    )
    for data in mnist(folder, 6000):
        x = halved(np.asarray(data["image"], np.float32) / 255).reshape(-1, 196)
        yield Dataset("MNIST", {"x": x, "y": data["y"]}, real=True, options={"train": 1000})
    for data in cifar10(folder):
        rows = np.arange(6000)
        yield Dataset("CIFAR-10", {"x": data["x"][rows], "y": data["y"][rows]}, real=True, options={"train": 1000})


def halved(image: np.ndarray) -> np.ndarray:
    """(N, H, W, ...) at half the resolution: means of 2 x 2 pixels."""
    n, h, w, *rest = image.shape
    return image.reshape(n, h // 2, 2, w // 2, 2, *rest).mean((2, 4))


@lru_cache(maxsize=2)
def text_tasks(folder: Path | None, *sizes: tuple[str, int]) -> dict[str, np.ndarray] | None:
    """So many items of each text set as 200 latent dimensions of their words, which all sets share.

    x (N, 200), y (N,) the class within its own set, task (N,) which set. None where a set is missing.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    rng = np.random.default_rng(0)
    text: list[str] = []
    label: list[np.ndarray] = []
    for name, n in sizes:
        found = _datasets.texts_of(folder, name)
        if found is None:
            return None
        rows = rng.permutation(len(found[0]))[:n]
        text.extend(found[0][rows])
        label.append(np.unique(found[1][rows].astype(str), return_inverse=True)[1])
    words = TfidfVectorizer(sublinear_tf=True, min_df=3, stop_words="english").fit_transform(text)
    x = TruncatedSVD(200, random_state=0).fit_transform(words)
    x = standardised(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6))
    task = np.repeat(np.arange(len(label)), [len(part) for part in label])
    return {"x": x, "y": np.concatenate(label).astype(np.int64), "task": task}
