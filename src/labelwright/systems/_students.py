"""Students, teachers and data that the proofs of the learning systems share: small, and real where it counts."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems.proof import Dataset

CNN = ("cnn", {"widths": [16, 32, 64]})
MLP = ("mlp", {"hidden": [128]})


# ------------------------------------------------------------------------------------------------------------ data
def digit_pictures() -> Dataset:
    """scikit-learn's digits as (1797, 8, 8) pictures; bundled, so any machine can run a proof."""
    x, y = _datasets.digits()
    return Dataset("digits", {"image": x.reshape(-1, 8, 8), "y": y})


def mnist(folder: Path | None, n: int = 12000) -> Iterator[Dataset]:
    """The first `n` training pictures of MNIST, (n, 28, 28) uint8."""
    if folder is not None and (folder / "mnist" / "train.npz").is_file():
        z = _datasets.arrays(folder / "mnist" / "train.npz")
        yield Dataset("MNIST", {"image": z["x"][:n], "y": z["y"][:n].astype(np.int64)}, real=True)


def cifar10(folder: Path | None) -> Iterator[Dataset]:
    """The 12,000 first training pictures of CIFAR-10 as the 888 numbers that describe each (`features.image_vectors`)."""
    if folder is not None and (folder / "cifar10" / "train_first12000.npz").is_file():
        y = _datasets.arrays(folder / "cifar10" / "train_first12000.npz")["y"].astype(np.int64)
        x = standardised(_datasets.cifar_images(folder))
        yield Dataset("CIFAR-10", {"x": x, "y": y}, real=True)


def cifar10h(folder: Path | None) -> Iterator[Dataset]:
    """The 10,000 test pictures of CIFAR-10, described, with the answers of about 50 people each as `soft` (N, 10)."""
    if folder is None or not (folder / "cifar10h" / "cifar10h.npz").is_file():
        return
    counts = _datasets.arrays(folder / "cifar10h" / "cifar10h.npz")["counts"].astype(np.float64)
    y = _datasets.arrays(folder / "cifar10" / "test.npz")["y"].astype(np.int64)
    soft = (counts / counts.sum(1, keepdims=True)).astype(np.float32)
    yield Dataset("CIFAR-10H", {"x": _test_vectors(folder), "y": y, "soft": soft}, real=True)


@lru_cache(maxsize=1)
def _test_vectors(folder: Path) -> np.ndarray:
    from labelwright.features import image_vectors

    return standardised(image_vectors(_datasets.arrays(folder / "cifar10" / "test.npz")["x"]))


def texts(folder: Path | None, *names: str) -> Iterator[Dataset]:
    """Text sets as vectors of the installed text encoder; nothing where there is none."""
    if _datasets.text_encoder() is None:
        return
    for name in names:
        found = _datasets.texts_of(folder, name)
        if found is None:
            continue
        classes, y = np.unique(found[1].astype(str), return_inverse=True)
        made = Dataset(name, {"text": found[0]}, options={"encoder": True})
        x = standardised(_datasets.vectors_of(made))
        yield Dataset(name, {"x": x, "y": y.astype(np.int64), "classes": classes}, real=True)


def standardised(x: np.ndarray) -> np.ndarray:
    """Columns of mean 0 and spread 1, float32."""
    return np.asarray((x - x.mean(0)) / (x.std(0) + 1e-6), np.float32)


def inputs_of(data: Dataset) -> np.ndarray:
    """The pictures or vectors of a data set."""
    return np.asarray(data["image"] if "image" in data else data["x"])


def parts_of(n: int, sizes: tuple[int, ...], seed: int) -> list[np.ndarray]:
    """Disjoint random rows of the given sizes, and the rest."""
    order = np.random.default_rng([seed, 77]).permutation(n)
    ends = np.cumsum(sizes)
    return np.split(order, ends)


# ---------------------------------------------------------------------------------------------------------- learning
def learnt(x: Any, labels: Any, *, seed: int, student: Any, **options: Any) -> Any:
    """`train` with one thread, so that proofs side by side do not wait for each other."""
    import torch

    from labelwright.learning import train

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return train(x, labels, student=student, seed=seed, **options)
    finally:
        torch.set_num_threads(before)


def told(model: Any, x: Any, y: np.ndarray, soft: np.ndarray | None = None) -> dict[str, float]:
    """accuracy, NLL, ECE of a model on a test set, and against people's distributions `soft` their cross-entropy."""
    import torch

    from labelwright.learning.looking import figures

    logits = torch.from_numpy(model.logits(x))
    found = figures(logits, torch.from_numpy(np.asarray(y, np.int64)))
    out = {"accuracy": found["accuracy"], "NLL": found["nll"], "ECE": found["ece"]}
    if soft is not None:
        out["NLL of people"] = figures(logits, torch.from_numpy(np.asarray(soft, np.float32)))["nll"]
    return out
