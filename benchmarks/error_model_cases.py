"""The error model against cleanlab where the label errors are known: ranking, flags, flags after 200 reviews, count.

    python benchmarks/error_model_cases.py --data DATA --cache CACHE --peer-python PYTHON_WITH_CLEANLAB

Every case is made once and kept under CACHE. A group (data set, noise, rate) is averaged over its seeds. cleanlab's
score is its best of five, chosen per group with hindsight; its flags are the better of its default filter and the rule
"prediction differs from the label" (naive). confidence_weighted_entropy can't be adjusted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.auditing.error_model import error_model, recalibrate
from labelwright.auditing.flags import expected_f1_cut
from labelwright.auditing.review import review_design
from labelwright.features import item_vectors, nearest_neighbours

N_REVIEWS, N_DRAWS, N_NEIGHBOURS = 200, 60, 20

PEER = """
import sys, numpy as np
from cleanlab.count import num_label_issues
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores
for path in sys.argv[1:]:
    d = np.load(path)
    s, P = d["labels"], d["pred_probs"].astype(np.float64)
    P /= P.sum(1, keepdims=True)
    out = {"flags": find_label_issues(s, P, n_jobs=1), "count": num_label_issues(s, P)}
    for method in ("self_confidence", "normalized_margin", "confidence_weighted_entropy"):
        for adjust in (False, True):
            if not (adjust and method == "confidence_weighted_entropy"):
                name = method + ("+adjusted" if adjust else "")
                out[name] = 1 - get_label_quality_scores(s, P, method=method, adjust_pred_probs=adjust)
    np.savez(path.replace(".npz", ".peer.npz"), **out)
"""


class Case(NamedTuple):
    """labels (N,), pred_probs (N, K), truth (N,) bool: the label is wrong; neighbours (index, similarity) or None."""

    labels: np.ndarray
    pred_probs: np.ndarray
    truth: np.ndarray
    neighbours: tuple[np.ndarray, np.ndarray] | None


# ------------------------------------------------------------------------------------- where the cases come from
def plant(y: np.ndarray, kind: str, rate: float, rng: np.random.Generator, P: np.ndarray) -> np.ndarray:
    """Given labels: uniform (any other class), asym (the next class), instance (a clean model's unsure rows flip)."""
    n, k = len(y), int(y.max()) + 1
    if kind == "uniform":
        flip = rng.random(n) < rate
        new = (y + 1 + rng.integers(0, max(1, k - 1), n)) % k
    elif kind == "asym":
        flip, new = rng.random(n) < rate, (y + 1) % k
    else:
        new = np.where(P.argmax(1) == y, np.argsort(P, 1)[:, -2], P.argmax(1))
        weight = 1 - P[np.arange(n), y] + 1e-3
        flip = rng.random(n) < np.clip(weight / weight.mean() * rate, 0, 0.9)
    return np.where(flip, new, y)


def out_of_fold(x: Any, s: np.ndarray, seed: int) -> np.ndarray:
    """(N, K) probabilities of a logistic regression from five stratified folds."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    folds = StratifiedKFold(5, shuffle=True, random_state=seed)
    return cross_val_predict(LogisticRegression(max_iter=300), x, s, cv=folds, method="predict_proba")


def neighbours_of(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As an audit finds them."""
    found = nearest_neighbours(item_vectors(features).search, N_NEIGHBOURS)
    return found.index, found.similarity


def trec(data: Path) -> tuple[Any, np.ndarray, np.ndarray]:
    """First 3000 questions: TF-IDF rows for the classifier, 100 SVD features for the neighbours, classes."""
    import pyarrow.parquet as pq
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    table = pq.read_table(data / "text_classification" / "trec.parquet").slice(0, 3000)
    y = np.unique(table["label"].to_pylist(), return_inverse=True)[1]
    words = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), min_df=2).fit_transform(table["text"].to_pylist())
    return words, TruncatedSVD(100, random_state=0).fit_transform(words), y


def make_planted(data: Path, seeds: range) -> Iterator[tuple[str, Callable[[], Case]]]:
    """sklearn's small tables and one text set, each noise kind, rate and seed; made when asked for."""
    from sklearn.datasets import load_breast_cancer, load_digits, load_wine

    sets = {"digits": load_digits, "wine": load_wine, "breast_cancer": load_breast_cancer, "trec": None}
    for name, load in sets.items():
        grid = [(kind, rate) for kind in ("uniform", "asym", "instance") for rate in (0.05, 0.2)]
        if load is None:
            grid = [("uniform", 0.2), ("asym", 0.2)]
        loaded: list[Any] = []

        def table(load: Any = load, loaded: list[Any] = loaded) -> list[Any]:
            if not loaded:
                if load is None:
                    x, features, y = trec(data)
                else:
                    x, y = load(return_X_y=True)
                    features = x = (x - x.mean(0)) / (x.std(0) + 1e-9)
                loaded.extend([x, y, neighbours_of(features), out_of_fold(x, y, 0)])
            return loaded

        for kind, rate in grid:
            for seed in seeds:

                def make(kind: str = kind, rate: float = rate, seed: int = seed, table: Any = table) -> Case:
                    x, y, neighbours, clean_probs = table()
                    s = plant(y, kind, rate, np.random.default_rng(seed), clean_probs)
                    return Case(s, out_of_fold(x, s, seed), s != y, neighbours)

                yield f"{name} {kind} {rate}#{seed}", make


def make_human(data: Path) -> Iterator[tuple[str, Callable[[], Case]]]:
    """CIFAR-10N (aggregate, worst) x two models, and CIFAR-10's own test labels against CIFAR-10H's votes."""

    def cifar_n(noise: str, model: str) -> Case:
        d = np.load(data / "cifar_n" / "cifar10n.npz")
        P = np.load(data / "cifar_n" / f"cv_{noise}_{model}.npz")["pyx"]
        return Case(d[noise].astype(np.int64), P, d[noise] != d["clean"], None)

    def cifar10() -> Case:
        d, votes = np.load(data / "label_errors" / "cifar10.npz"), np.load(data / "cifar10h" / "cifar10h.npz")["counts"]
        given = d["given"].astype(np.int64)
        share = votes[np.arange(len(votes)), given] / votes.sum(1)
        return Case(given, d["pyx"], share < 0.5, None)

    for noise in ("aggregate", "worst"):
        for model in ("resnet18", "swin"):
            yield f"cifar10n {noise} {model}#0", partial(cifar_n, noise, model)
    yield "cifar10 own test labels#0", cifar10


def load_cases(data: Path, cache: Path, seeds: range, only: str) -> dict[str, tuple[Case, Path]]:
    """All cases whose name contains one of the comma-separated words of `only`, from the cache where it has them."""
    cache.mkdir(parents=True, exist_ok=True)
    out = {}
    for name, make in [*make_human(data), *make_planted(data, seeds)]:
        if not any(word in name for word in only.split(",")):
            continue
        path = cache / (name.replace(" ", "_").replace("#", "_seed") + ".npz")
        if not path.exists():
            case = make()
            index, similarity = case.neighbours or (np.zeros(0), np.zeros(0))
            np.savez(
                path,
                labels=case.labels,
                pred_probs=case.pred_probs,
                truth=case.truth,
                index=index,
                similarity=similarity,
            )
        d = np.load(path)
        neighbours = (d["index"], d["similarity"]) if d["index"].size else None
        out[name] = Case(d["labels"], d["pred_probs"], d["truth"], neighbours), path
    return out


# ------------------------------------------------------------------------------------------------- figures of merit
def average_precision(score: np.ndarray, truth: np.ndarray) -> float:
    hit = truth[np.argsort(-score, kind="stable")]
    return float((np.cumsum(hit) / np.arange(1, len(hit) + 1) * hit).sum() / max(1, hit.sum()))


def f1(flag: np.ndarray, truth: np.ndarray) -> float:
    return float(2 * (flag & truth).sum() / max(1, flag.sum() + truth.sum()))


def ours(case: Case) -> dict[str, float]:
    start = time.perf_counter()
    fit = error_model(case.labels, case.pred_probs, neighbours=case.neighbours)
    seconds = time.perf_counter() - start
    p, truth = fit.error_prob, case.truth
    reviewed = []
    for draw in range(N_DRAWS):
        items, probability = review_design(p, seed=draw).sample(N_REVIEWS)
        disagrees = case.pred_probs.argmax(1) != case.labels
        reviewed.append(recalibrate(p, items, truth[items], probability, disagrees=disagrees))
    alone = {}
    if case.neighbours is not None:
        alone = {
            "ap_probs": average_precision(error_model(case.labels, case.pred_probs).error_prob, truth),
            "ap_neighbours": average_precision(error_model(case.labels, neighbours=case.neighbours).error_prob, truth),
        }
    return alone | {
        "ap": average_precision(p, truth),
        "f1": f1(expected_f1_cut(p), truth),
        "f1_reviewed": float(np.mean([f1(expected_f1_cut(q), truth) for q in reviewed])),
        "count": fit.expected_errors / truth.sum(),
        "count_reviewed": float(np.mean([q.sum() for q in reviewed]) / truth.sum()),
        "seconds": seconds,
    }


def peer(path: Path, case: Case) -> dict[str, float]:
    with np.load(str(path).replace(".npz", ".peer.npz")) as d:
        scores = {f"ap {k}": average_precision(d[k], case.truth) for k in d.files if k not in ("flags", "count")}
        default, count = f1(d["flags"], case.truth), float(d["count"])
    naive = f1(case.pred_probs.argmax(1) != case.labels, case.truth)
    return scores | {"default": default, "naive": naive, "count": count / case.truth.sum()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data sets")
    parser.add_argument("--cache", type=Path, required=True, help="folder for the cases and cleanlab's answers")
    parser.add_argument("--peer-python", required=True, help="interpreter with cleanlab")
    parser.add_argument("--seeds", default="0-5", help="first and one past the last seed of the planted noise")
    parser.add_argument("--only", default="", help="comma-separated words; cases with one of them in the name")
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    args = parser.parse_args()
    first, last = map(int, args.seeds.split("-"))
    cases = load_cases(args.data, args.cache, range(first, last), args.only)
    missing = [str(p) for _, p in cases.values() if not Path(str(p).replace(".npz", ".peer.npz")).exists()]
    if missing:
        subprocess.run([args.peer_python, "-c", PEER, *missing], check=True)
    groups: dict[str, list[tuple[dict[str, float], dict[str, float]]]] = {}
    for name, (case, path) in cases.items():
        groups.setdefault(name.split("#")[0], []).append((ours(case), peer(path, case)))
    report(groups, args.out)


def report(groups: dict[str, list[tuple[dict[str, float], dict[str, float]]]], out: Path | None) -> None:
    table: list[dict[str, Any]] = []
    print(
        f"{'case':28s} AP (best, gap)         | F1 (max, gap)          200 reviews (gap) "
        "| count, 200, peer | AP alone: probs, neighbours  seconds"
    )
    for name, pairs in groups.items():
        us = {k: float(np.mean([a[k] for a, _ in pairs])) for k in pairs[0][0]}
        them = {k: float(np.mean([b[k] for _, b in pairs])) for k in pairs[0][1]}
        ap, flags = max(v for k, v in them.items() if k.startswith("ap ")), max(them["default"], them["naive"])
        table.append({"case": name, **us, "peer_ap": ap, "peer_f1": flags, "peer": them})
        print(
            f"{name:28s} {us['ap']:6.4f} {ap:6.4f} {us['ap'] - ap:+7.4f} |",
            f"{us['f1']:6.4f} {flags:6.4f} {us['f1'] - flags:+7.4f} ",
            f"{us['f1_reviewed']:6.4f} {us['f1_reviewed'] - flags:+7.4f} |",
            f"{us['count']:5.2f} {us['count_reviewed']:5.2f} {them['count']:5.2f} |",
            f"{us.get('ap_probs', np.nan):6.4f} {us.get('ap_neighbours', np.nan):6.4f}  {us['seconds']:5.2f}",
        )
    for key, reference in (("ap", "peer_ap"), ("f1", "peer_f1"), ("f1_reviewed", "peer_f1")):
        gap = [float(r[key]) - float(r[reference]) for r in table]
        print(f"{key:12s} mean gap {np.mean(gap):+.4f}, least {min(gap):+.4f} ({table[int(np.argmin(gap))]['case']})")
    if out:
        out.write_text(json.dumps(table, indent=1))


if __name__ == "__main__":
    main()
