"""Data sets that several proofs read: bundled ones always, real ones where their folder is there."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.systems.proof import Dataset


def fifth(data: Dataset, seed: int) -> np.ndarray:
    """Rows of one of five disjoint parts of a data set, so that five seeds are independent samples."""
    order = np.random.default_rng(0).permutation(len(data))
    return np.sort(order[seed % 5 :: 5])


@lru_cache(maxsize=8)
def arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of an .npz file."""
    from labelwright.store import read_arrays

    return read_arrays(path)


@lru_cache(maxsize=1)
def digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's digits: (1797, 64) pixels in [0, 1] and classes."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y.astype(np.int64)


def cifar10n(folder: Path | None) -> Iterator[Dataset]:
    """CIFAR-10 with labels of one person (worst) or of three (aggregate) and the out-of-fold probabilities of two models."""
    if folder is None or not (folder / "cifar_n").is_dir():
        return
    labels = arrays(folder / "cifar_n" / "cifar10n.npz")
    for noise in ("aggregate", "worst"):
        for model in ("resnet18", "swin"):
            p = arrays(folder / "cifar_n" / f"cv_{noise}_{model}.npz")["pyx"]
            columns: dict[str, Any] = {"y": labels["clean"], "y_given": labels[noise], "pred_probs": p}
            yield Dataset(f"CIFAR-10N {noise}, {model}", columns, real=True)


def human_verdicts(folder: Path | None) -> Iterator[Dataset]:
    """Test labels that five people judged: y_given, pred_probs and wrong (1, 0, -1 = not judged). A label is wrong where fewer
    than three said it was right."""
    if folder is None or not (folder / "label_errors").is_dir():
        return
    for name, title in (("mnist", "MNIST"), ("cifar10", "CIFAR-10"), ("20news", "20 Newsgroups"), ("imdb", "IMDB")):
        found = arrays(folder / "label_errors" / f"{name}.npz")
        wrong = np.full(len(found["given"]), -1)
        wrong[found["id"]] = found["votes"][:, 0] < 3
        columns = {"y_given": found["given"].astype(np.int64), "pred_probs": found["pyx"], "wrong": wrong}
        yield Dataset(f"{title}, judged test labels", columns, real=True)
    votes = folder / "cifar10h" / "cifar10h.npz"
    if votes.is_file():
        found = arrays(folder / "label_errors" / "cifar10.npz")
        given, counts = found["given"].astype(np.int64), arrays(votes)["counts"]
        share = counts[np.arange(len(given)), given] / counts.sum(1)
        columns = {"y_given": given, "pred_probs": found["pyx"], "wrong": (share < 0.5).astype(np.int64)}
        yield Dataset("CIFAR-10 test, 50 people each", columns, real=True)


WORDS = {  # of names that are no words
    "ABBR": "abbreviation", "DESC": "description", "ENTY": "entity", "HUM": "human", "LOC": "location", "NUM": "number",
}  # fmt: skip


@lru_cache(maxsize=8)
def texts_of(folder: Path | None, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    """All items of a set of text_classification, (texts, class names), both object (N,); None where it is not there."""
    if folder is None or not (folder / "text_classification" / f"{name}.parquet").is_file():
        return None
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "text_classification" / f"{name}.parquet")
    names = [WORDS.get(label, label) for label in table["label"].to_pylist()]
    return np.array(table["text"].to_pylist(), dtype=object), np.array(names, dtype=object)


def bundled_tables() -> Iterator[Dataset]:
    """Wine, breast cancer, diabetes (in its own units) and the 20 most varying pixels of digits, as tables with a label."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine

    for name, b in (
        ("wine", load_wine()),
        ("breast cancer", load_breast_cancer()),
        ("diabetes", load_diabetes(scaled=False)),
        ("digits, 20 pixels", load_digits()),
    ):
        keep = (
            np.sort(np.argsort(-b.data.var(0), kind="stable")[:20]) if "pixels" in name else np.arange(b.data.shape[1])
        )
        names = np.array([str(v) for v in b.feature_names])[keep]
        y = b.target if name == "diabetes" else np.array([str(v) for v in b.target_names])[b.target]
        yield Dataset(name, {"x": b.data[:, keep], "y": y, "names": names})


def abalone_table(folder: Path) -> Dataset:
    """Abalone: seven measurements, the sex, and the rings to predict."""
    import pyarrow.parquet as pq

    t = pq.read_table(folder / "scores" / "abalone.parquet")
    names = [n for n in t.column_names if n not in ("sex", "rings")]
    x = np.column_stack([t[n].to_numpy() for n in names]).astype(np.float64)
    sex = np.array(t["sex"].to_pylist())
    return Dataset(
        "abalone", {"x": x, "y": t["rings"].to_numpy().astype(np.float64), "names": np.array(names), "sex": sex}
    )


def crowd_score_table(folder: Path) -> Dataset:
    """700 headlines with ten people's scores of an emotion each, in the order of the file; the label is the expert's score."""
    z = arrays(folder / "crowd" / "emotion_scores.npz")
    order = np.argsort(z["item"], kind="stable")
    x = z["label"][order].reshape(len(z["truth"]), -1).astype(np.float64)
    names = np.array([f"score {j + 1}" for j in range(x.shape[1])])
    return Dataset("crowd scores", {"x": x, "y": z["truth"].astype(np.float64), "names": names})


@lru_cache(maxsize=1)
def text_encoder() -> Any:
    """The best installed text encoder, None where there is none."""
    from labelwright.errors import LabelwrightError
    from labelwright.features.encoders import available_encoders, load_encoder

    for name in available_encoders():
        try:
            return load_encoder(name, kind="text")
        except LabelwrightError:  # one of images, or without the package that runs it
            continue
    return None


_MADE: dict[str, np.ndarray] = {}  # vectors of the last few data sets, which every seed and proof needs


def vectors_of(data: Dataset) -> np.ndarray:
    """(N, D) vectors of x, image or text, for neighbours; texts by `text_encoder` where the options say encoder=True."""
    from labelwright.features import item_vectors

    source = next(key for key in ("x", "image", "text") if key in data)
    items, encode = data[source], bool(data.options.get("encoder"))
    key = Dataset(source, {source: items}, options={"encoder": encode}).fingerprint
    if key not in _MADE:
        while len(_MADE) >= 8:
            del _MADE[next(iter(_MADE))]
        if source == "x":
            _MADE[key] = np.asarray(items, np.float32)
        elif source == "text" and encode:
            _MADE[key] = text_encoder().encode(list(items))
        else:
            _MADE[key] = item_vectors(np.asarray(items) if source == "image" else list(items)).search
    return _MADE[key]


@lru_cache(maxsize=4)
def texts(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(texts, labels, splits) of one of the text classification sets."""
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=["text", "label", "split"])
    return tuple(np.array(table[name].to_pylist(), dtype=object) for name in ("text", "label", "split"))  # type: ignore[return-value]


@lru_cache(maxsize=1)
def cifar_images(folder: Path) -> np.ndarray:
    """(12000, 888) descriptors of the first CIFAR-10 training pictures, which CIFAR-10N labels in the same order."""
    from labelwright.features import image_vectors

    return image_vectors(arrays(folder / "cifar10" / "train_first12000.npz")["x"])


def auroc(score: np.ndarray, wrong: np.ndarray) -> float:
    """Chance that a wrong label scores higher than a right one, ties half; 0.5 where there is only one kind."""
    from scipy.stats import rankdata

    n1, n0 = int(wrong.sum()), int((~wrong).sum())
    return float((rankdata(score)[wrong].sum() - n1 * (n1 + 1) / 2) / (n1 * n0)) if n1 and n0 else 0.5
