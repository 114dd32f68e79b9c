"""Are errors, ambiguous items and novel items told apart? AUROC of both scores, and the kinds given to flagged items.

    python benchmarks/kinds_apart.py --data DATA --cache CACHE [--sets digits dbpedia14 trec mnist ag_news] [--seeds 5]

Planted, per seed: *errors*: about 5 % uniform and 4 % pairwise flips of ordinary labels; *ambiguous*: 5 % of the
items are made the mean of two pictures, or two texts in a row, of different classes, under the label of one (a fifth:
of a third class); *novel*: one class (by turns) leaves the space, its items are labelled by a model of the others
("likely") or at random ("uniform"), all of them or 4 % of the data ("few"); *foreign*: 3 % are scrambled pictures or
film reviews, labelled by the model. Probabilities are out of five folds (logistic regression on pixels or TF-IDF),
neighbours the 20 of highest cosine (pixels or 200 SVD features), flags error_prob > 0.5 of `error_model`. Nothing
sees the truth. Scores and constants were chosen on digits, dbpedia14 and trec, FLOOR also with one seed of ag_news in
sight; mnist was not looked at.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from labelwright.auditing.error_model import error_model
from labelwright.auditing.kinds import Kinds, tell_apart
from labelwright.auditing.noise import asymmetric, symmetric
from labelwright.features.neighbours import nearest_neighbours

ORDINARY, ERROR, AMBIGUOUS, NOVEL = range(4)
NAMES = ("ok", "error", "ambiguous", "novel")
SCENES = {  # scene: (what is novel, how much of it, errors?, ambiguous items?)
    "all, likely": ("likely", 1.0, True, True),
    "all, uniform": ("uniform", 1.0, True, True),
    "all, likely, few": ("likely", 0.04, True, True),
    "all, uniform, few": ("uniform", 0.04, True, True),
    "novel alone, likely": ("likely", 1.0, False, False),
    "novel alone, uniform": ("uniform", 1.0, False, False),
    "ambiguous alone": (None, 0.0, False, True),
    "errors alone": (None, 0.0, True, False),
    "foreign and errors": ("foreign", 0.03, True, False),
}


class Case(NamedTuple):
    """labels (N,), pred_probs (N, K), index and similarity (N, k), planted (N,): what was done to each item."""

    labels: np.ndarray
    pred_probs: np.ndarray
    index: np.ndarray
    similarity: np.ndarray
    planted: np.ndarray


def load(name: str, data: Path) -> tuple[np.ndarray, np.ndarray]:
    """Items (pictures as rows in [0, 1], or an object array of texts) and classes."""
    if name == "digits":
        from sklearn.datasets import load_digits

        x, y = load_digits(return_X_y=True)
        return x / 16, y
    if name == "mnist":
        with np.load(data / "mnist" / "train.npz") as file:
            x, y = file["x"][:3000], file["y"][:3000]
        return x.reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(len(x), -1) / 255, y.astype(np.int64)
    import pyarrow.parquet as pq

    table = pq.read_table(data / "text_classification" / f"{name}.parquet")
    rows = np.random.default_rng(0).permutation(len(table))[:3000]
    return np.array(table["text"].to_pylist(), object)[rows], np.unique(
        table["label"].to_pylist(), return_inverse=True
    )[1][rows]


def mixture(a, b, rng: np.random.Generator):
    if isinstance(a, str):
        return f"{a} {b}" if rng.random() < 0.5 else f"{b} {a}"
    return (a + b) / 2


def encode(x: np.ndarray):
    """Features for the classifier and for the neighbours."""
    if x.dtype != object:
        return x, x - x.mean(0)
    from scipy.sparse import hstack
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    words = TfidfVectorizer(sublinear_tf=True, min_df=2, ngram_range=(1, 2), max_features=8000)
    letters = TfidfVectorizer(sublinear_tf=True, min_df=3, analyzer="char_wb", ngram_range=(3, 4), max_features=8000)
    both = hstack([words.fit_transform(x), letters.fit_transform(x)]).tocsr()
    return both, TruncatedSVD(200, random_state=0).fit_transform(both)


def make(name: str, scene: str, seed: int, data: Path) -> Case:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    how, amount, errors, ambiguous = SCENES[scene]
    rng = np.random.default_rng(seed)
    x, y = load(name, data)
    x, n = x.copy(), len(x)
    planted = np.full(n, ORDINARY)
    if how == "foreign":
        planted[rng.permutation(n)[: int(amount * n)]] = NOVEL
        novel = np.flatnonzero(planted == NOVEL)
        if x.dtype == object:
            x[novel] = rng.permutation(load("mr", data)[0])[: len(novel)]
        else:
            x[novel] = rng.permuted(x[novel], axis=1)
    else:  # the class leaves the space in every scene, so that all scenes have the same classes
        large = np.flatnonzero(np.bincount(y) >= 0.03 * n)
        members = np.flatnonzero(y == large[seed % len(large)])
        stay = rng.permutation(members)[: int(amount * n) if amount < 1 else None] if how else members[:0]
        planted[stay] = NOVEL
        keep = np.setdiff1d(np.arange(n), np.setdiff1d(members, stay))
        x, y, planted = x[keep], y[keep], planted[keep]
    known = planted != NOVEL
    y = np.where(known, np.searchsorted(np.unique(y[known]), y), -1)
    k = int(y.max()) + 1
    given = y.copy()
    if ambiguous:
        whole = x.copy()
        for i in rng.permutation(np.flatnonzero(known))[: int(0.05 * n)]:
            j = rng.choice(np.flatnonzero((y != y[i]) & known))
            x[i], planted[i] = mixture(whole[i], whole[j], rng), AMBIGUOUS
            third = np.setdiff1d(np.arange(k), [y[i], y[j]])
            given[i] = rng.choice(third) if len(third) and rng.random() < 0.2 else rng.choice([y[i], y[j]])
    if errors:
        rest = np.flatnonzero(planted == ORDINARY)
        noisy, _ = symmetric(y[rest], 0.05, n_classes=k, random_state=seed)
        noisy, _ = asymmetric(noisy, 0.04, n_classes=k, random_state=seed + 1)
        given[rest] = noisy
        planted[rest[noisy != y[rest]]] = ERROR
    features, places = encode(x)
    model = LogisticRegression(C=10 if x.dtype == object else 1, max_iter=200, tol=1e-3)
    novel = np.flatnonzero(planted == NOVEL)
    if how == "uniform":
        given[novel] = rng.integers(0, k, len(novel))
    elif how:
        rest = np.flatnonzero((planted == ORDINARY) | (planted == ERROR))
        p = model.fit(features[rest], y[rest]).predict_proba(features[novel])
        given[novel] = (rng.random((len(novel), 1)) > p.cumsum(1)[:, :-1]).sum(1)
    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    p = cross_val_predict(model, features, given, cv=folds, method="predict_proba")
    return Case(given.astype(np.int64), p, *nearest_neighbours(places, 20), planted)


def cached(cache: Path, name: str, scene: str, seed: int, data: Path) -> Case:
    file = cache / f"{name}-{scene}-{seed}.npz".replace(", ", "-").replace(" ", "_")
    if not file.exists():
        np.savez(file, **make(name, scene, seed, data)._asdict())
    with np.load(file) as held:
        return Case(**held)


def judge(case: Case, sources: str) -> tuple[Kinds, np.ndarray]:
    """Kinds and flags from both sources, or from one of them all the way."""
    p = None if sources == "neighbours" else case.pred_probs
    neighbours = None if sources == "pred_probs" else (case.index, case.similarity)
    model = error_model(case.labels, p, neighbours=neighbours, n_classes=case.pred_probs.shape[1])
    flags = model.error_prob > 0.5
    return tell_apart(case.labels, model.label_dist, p, neighbours, flags), flags


def auroc(score: np.ndarray, planted: np.ndarray, this: int, other: int) -> float:
    from sklearn.metrics import roc_auc_score

    pair = (planted == this) | (planted == other)
    return roc_auc_score(planted[pair] == this, score[pair])


def report(name: str, scene: str, seeds: int, data: Path, cache: Path, sources: str = "both") -> None:
    """One line: AUROCs (mean and deviation over seeds), then per planted kind how many were flagged, and as what."""
    novelty, ambiguity, counts = [], [], np.zeros((4, 4))
    for seed in range(seeds):
        case = cached(cache, name, scene, seed, data)
        kinds, flags = judge(case, sources)
        base = (
            ERROR if (case.planted == ERROR).any() else ORDINARY
        )  # alone, the ordinary items are what is left to compare
        if (case.planted == NOVEL).any():
            novelty.append(auroc(kinds.novelty, case.planted, NOVEL, base))
        if (case.planted == AMBIGUOUS).any():
            ambiguity.append(auroc(kinds.ambiguity, case.planted, AMBIGUOUS, base))
        given = np.array([NAMES.index(kind) for kind in kinds.kind])
        np.add.at(counts, (case.planted[flags], given[flags]), 1)
    text = [f"{np.mean(a):.3f} ±{np.std(a):.3f}" if a else "     -      " for a in (novelty, ambiguity)]
    total = counts[:, 1:].sum(1)
    share = counts[:, 1:] / np.maximum(total, 1)[:, None]
    planted = [t for t in (ERROR, AMBIGUOUS, NOVEL) if total[t]]
    right = np.mean([share[t, t - 1] for t in planted]) if planted else np.nan
    cells = "  ".join(f"{total[t] / seeds:4.0f}: {' '.join(f'{v:.2f}' for v in share[t])}" for t in range(4))
    print(f"{name:10s} {scene:22s} {sources:10s} {text[0]}  {text[1]}  {right:.2f}  {cells}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["digits", "dbpedia14", "trec", "mnist", "ag_news"])
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=list(SCENES))
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    print("AUROC against planted errors (alone: against ordinary items); share of planted, flagged items told right,")
    print(
        "mean over kinds; then for flagged ordinary, error, ambiguous and novel items: their number per seed, and the"
    )
    print("shares called error, ambiguous, novel")
    print(f"{'set':10s} {'planted':22s} {'sources':10s} {'novelty':13s} {'ambiguity':13s} right")
    for name in options.sets:
        for scene in options.scenes:
            report(name, scene, options.seeds, options.data, options.cache)
        for sources in ("pred_probs", "neighbours"):
            report(name, options.scenes[0], options.seeds, options.data, options.cache, sources)


if __name__ == "__main__":
    main()
