"""Do our confident-learning functions agree with cleanlab, and what do they cost?

    python benchmarks/confident_learning_vs_cleanlab.py --peer-python PEER_ENV/bin/python [--data FOLDER] [--seeds 5]

cleanlab runs in its own environment, in a subprocess, on the same arrays. Printed per data set: the largest difference
of thresholds, joints, noise rates and scores, the number of items on which each filter differs, and CPU seconds on both
sides. Scores of the kind confidence_weighted_entropy are compared where P[given] and z are at least 1e-6: below,
cleanlab clips and we take the limit (see `labelwright.auditing.scores`); the AUROC of both is shown where the truth is
known.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

FILTERS = (
    "prune_by_class",
    "prune_by_noise_rate",
    "both",
    "confident_learning",
    "predicted_neq_given",
    "low_normalized_margin",
    "low_self_confidence",
)
SCORES = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")
PRIORS = ("cnt", "marginal", "marginal_ps", "eqn")


def timed(function, *args, **options):
    start = time.process_time()
    value = function(*args, **options)
    return value, time.process_time() - start


def run_peer(source: str, target: str) -> None:
    """In the peer's environment: everything cleanlab says about one data set."""
    warnings.simplefilter("ignore")
    from cleanlab.count import (
        compute_confident_joint,
        estimate_latent,
        get_confident_thresholds,
    )
    from cleanlab.filter import find_label_issues
    from cleanlab.multilabel_classification import get_label_quality_scores as get_multilabel_scores
    from cleanlab.multilabel_classification.filter import find_multilabel_issues_per_class
    from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class
    from cleanlab.rank import get_label_quality_ensemble_scores, get_label_quality_scores

    data = np.load(source)
    s, p = data["labels"], data["pred_probs"]
    if s.ndim == 2:
        lists = [np.flatnonzero(row).tolist() for row in s]
        out = {"joint": compute_confident_joint(lists, p, multi_label=True)}
        for name in FILTERS:
            flags, timings = timed(find_multilabel_issues_per_class, lists, p, filter_by=name, n_jobs=1)
            out[name], out[f"cpu_{name}"] = flags, timings
        out["self_confidence"] = get_label_quality_scores_per_class(lists, p)
        out["item_quality"] = get_multilabel_scores(lists, p)
        np.savez(target, **out)
        return
    out = {"thresholds": get_confident_thresholds(s, p), "raw": compute_confident_joint(s, p, calibrate=False)}
    out["joint"], seconds = timed(compute_confident_joint, s, p)
    out["cpu_joint"] = seconds
    for frac in (1.0, 0.5):
        for name in FILTERS[:3]:
            options = {"filter_by": name, "frac_noise": frac, "n_jobs": 1}
            out[f"{name}_{frac}"], out[f"cpu_{name}_{frac}"] = timed(find_label_issues, s, p, **options)
    for name in FILTERS[3:]:
        out[name], out[f"cpu_{name}"] = timed(find_label_issues, s, p, filter_by=name, n_jobs=1)
    for name in SCORES:
        out[name], out[f"cpu_{name}"] = timed(get_label_quality_scores, s, p, method=name)
    for name in SCORES[:2]:
        out[f"{name}_adjusted"] = get_label_quality_scores(s, p, method=name, adjust_pred_probs=True)
    for name in PRIORS:
        rates = estimate_latent(out["joint"], s, py_method=name)
        out[f"prior_{name}"], out["noise"], out["inverse"] = rates
    models = [p, data["second"]]
    out["ensemble_accuracy"] = get_label_quality_ensemble_scores(s, models, verbose=False)
    out["ensemble_log_loss"] = get_label_quality_ensemble_scores(
        s, models, weight_ensemble_members_by="log_loss_search", verbose=False
    )
    np.savez(target, **out)


def run_ours(s: np.ndarray, p: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    from labelwright.auditing.confident import confident_joint, noise_rates
    from labelwright.auditing.filters import find_issues
    from labelwright.auditing.multilabel import multilabel_issues
    from labelwright.auditing.scores import ensemble_quality, label_quality
    from labelwright.auditing.thresholds import class_thresholds

    warnings.simplefilter("ignore")
    if s.ndim == 2:
        out = {}
        for name in FILTERS:
            found, out[f"cpu_{name}"] = timed(multilabel_issues, s, p, filter_by=name)
            out |= {name: found.flags, "joint": found.joints, "self_confidence": found.quality}
        return out | {"item_quality": found.item_quality}
    out = {"thresholds": class_thresholds(s, p), "raw": confident_joint(s, p, calibrated=False)}
    out["joint"], out["cpu_joint"] = timed(confident_joint, s, p)
    for frac in (1.0, 0.5):
        for name in FILTERS[:3]:
            options = {"filter_by": name, "frac_noise": frac}
            out[f"{name}_{frac}"], out[f"cpu_{name}_{frac}"] = timed(find_issues, s, p, **options)
    for name in FILTERS[3:]:
        out[name], out[f"cpu_{name}"] = timed(find_issues, s, p, filter_by=name)
    for name in SCORES:
        out[name], out[f"cpu_{name}"] = timed(label_quality, s, p, score=name)
    for name in SCORES[:2]:
        out[f"{name}_adjusted"] = label_quality(s, p, score=name, adjust=True)
    for name in PRIORS:
        rates = noise_rates(out["joint"], prior=name)
        out[f"prior_{name}"], out["noise"], out["inverse"] = rates.prior, rates.transition.T, rates.inverse.T
    for name in ("accuracy", "log_loss"):
        out[f"ensemble_{name}"] = ensemble_quality(s, [p, second], weights=name)
    return out


def digits(seeds: int) -> Iterator[tuple]:
    """Digits, 40 % asymmetric (3<->8, 4<->9, 1->7) or symmetric noise; out-of-fold logistic regression and kNN."""
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    from labelwright.auditing.noise import asymmetric, symmetric

    x, y = load_digits(return_X_y=True)
    x = x / 16
    for seed in range(seeds):
        for kind in ("asymmetric", "symmetric"):
            if kind == "symmetric":
                s, _ = symmetric(y, 0.4, n_classes=10, random_state=seed)
            else:
                s, _ = asymmetric(y, 0.4, n_classes=10, class_map={3: 8, 8: 3, 4: 9, 9: 4, 1: 7}, random_state=seed)
            folds = StratifiedKFold(5, shuffle=True, random_state=seed)
            p, second = (
                cross_val_predict(m, x, s, cv=folds, method="predict_proba")
                for m in (LogisticRegression(max_iter=300), KNeighborsClassifier(10))
            )
            yield f"digits {kind} {seed}", s, p, second, y


def multilabel(folder: Path) -> Iterator[tuple]:
    """Multi-label tables with 5 % of the labels flipped; ridge scores squeezed into probabilities, out of fold."""
    from sklearn.linear_model import RidgeClassifier
    from sklearn.model_selection import cross_val_predict
    from sklearn.preprocessing import StandardScaler

    for name in ("emotions", "scene", "yeast"):
        data = np.load(folder / "multilabel" / f"{name}.npz")
        n, k = data["shape_train"][[0, 2]]
        y = np.zeros((n, k), np.int64)
        y[np.repeat(np.arange(n), np.diff(data["y_train_indptr"])), data["y_train_indices"]] = 1
        s = np.where(np.random.default_rng(0).random(y.shape) < 0.05, 1 - y, y)
        x = StandardScaler().fit_transform(data["x_train"])
        score = cross_val_predict(RidgeClassifier(10.0), x, s, cv=5, method="decision_function")
        p = 1 / (1 + np.exp(-3 * score))
        yield f"multi-label {name}", s, p, p, None


def published(folder: Path) -> Iterator[tuple]:
    """CIFAR-10N and the released test-set probabilities."""
    labels = np.load(folder / "cifar_n" / "cifar10n.npz")
    for noise in ("aggregate", "worst"):
        p = {m: np.load(folder / "cifar_n" / f"cv_{noise}_{m}.npz")["pyx"] for m in ("resnet18", "swin")}
        s, y = labels[noise].astype(np.int64), labels["clean"].astype(np.int64)
        yield f"CIFAR-10N {noise} resnet18", s, p["resnet18"], p["swin"], y
        yield f"CIFAR-10N {noise} swin f64", s, p["swin"].astype(np.float64), p["resnet18"], y
    for name in ("mnist", "cifar10", "20news", "imdb"):
        data = np.load(folder / "label_errors" / f"{name}.npz")
        p = np.clip(data["pyx"], 0, 1)  # cleanlab refuses imdb's 1.00002
        sharp = p**2 / (p**2).sum(1, keepdims=True)
        yield f"released {name}", data["given"].astype(np.int64), p, sharp, None


def compare(ours: dict, peer: dict, s: np.ndarray) -> str:
    """Largest differences of numbers, differing flags (and those among them that are no tie), CPU seconds."""
    worst, flags = {}, {}
    if s.ndim == 2:
        for key in FILTERS:
            flags[key] = f"{(ours[key] != peer[key]).sum()}/{peer[key].sum()}"
        for key in ("joint", "self_confidence", "item_quality"):
            worst[key] = np.abs(ours[key] - peer[key]).max()
        return report(worst, flags, ours, peer)
    _, group, size = np.unique(np.stack([s, ours["self_confidence"]]), axis=1, return_inverse=True, return_counts=True)
    tied = size[group] > 1  # another item of the same class has exactly this probability
    safe = (ours["self_confidence"] >= 1e-6) & (ours["confidence_weighted_entropy"] < 1 - 1e-6)
    for key in ours:
        a, b = np.asarray(ours[key]), np.asarray(peer[key])
        if a.dtype == bool:
            flags[key] = f"{(a != b).sum()}({((a != b) & ~tied).sum()})/{b.sum()}"
        elif not key.startswith("cpu_"):
            d = np.abs(a - b)
            worst[key] = float((d[safe] if key == "confidence_weighted_entropy" else d).max())
    text = report(worst, flags, ours, peer)
    return f"  entropy score compared on {safe.sum()} of {len(safe)} items\n{text}"


def report(worst: dict, flags: dict, ours: dict, peer: dict) -> str:
    cpu = {
        side: sum(float(v) for k, v in values.items() if k.startswith("cpu_"))
        for side, values in (("ours", ours), ("cleanlab", peer))
    }
    return "\n".join(
        [
            "  differences: " + ", ".join(f"{k} {v:.1g}" for k, v in worst.items()),
            "  flags that differ (and are no tie) / flagged: " + ", ".join(f"{k} {v}" for k, v in flags.items()),
            f"  CPU s: ours {cpu['ours']:.2f}, cleanlab {cpu['cleanlab']:.2f}",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer-python", help="Python of an environment with cleanlab")
    parser.add_argument("--data", type=Path, help="folder of the published data sets; without it digits only")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--as-peer", nargs=2, metavar=("IN", "OUT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_peer:
        run_peer(*options.as_peer)
        return
    if not options.peer_python:
        parser.error("--peer-python is needed: the Python of an environment with cleanlab")
    from sklearn.metrics import roc_auc_score

    from labelwright.auditing.filters import find_issues

    cases = [digits(options.seeds)] + ([published(options.data), multilabel(options.data)] if options.data else [])
    with tempfile.TemporaryDirectory() as scratch:
        source, target = str(Path(scratch) / "in.npz"), str(Path(scratch) / "out.npz")
        for name, s, p, second, truth in (case for group in cases for case in group):
            np.savez(source, labels=s, pred_probs=p, second=second)
            subprocess.run([options.peer_python, __file__, "--as-peer", source, target], check=True)
            ours, peer = run_ours(s, p, second), np.load(target)
            print(f"{name}: N={len(s)} K={p.shape[1]} {p.dtype}\n{compare(ours, peer, s)}")
            if s.ndim == 1:
                alike = find_issues(s, p, joint=peer["joint"]) == peer["prune_by_noise_rate_1.0"]
                print(f"  prune_by_noise_rate on cleanlab's joint: {(~alike).sum()} differ")
            if truth is not None:
                scored = [
                    f"{k} {roc_auc_score(truth != s, -ours[k]):.3f} / {roc_auc_score(truth != s, -peer[k]):.3f}"
                    for k in SCORES
                ]
                print("  AUROC ours / cleanlab: " + ", ".join(scored))
            sys.stdout.flush()


if __name__ == "__main__":
    main()
