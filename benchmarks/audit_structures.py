"""Audits beyond one class of many: several labels with gaps, ordered classes, classes in a hierarchy; against cleanlab.

    python benchmarks/audit_structures.py --data DATA --peer-python PYTHON_WITH_CLEANLAB [--seeds 5] [--json FILE]

Both sides get the same out-of-fold probabilities. Planted, per seed: *several labels*: 20 % of the present classes left
out and 1 % of the absent ones added ("tags left out"), or 5 % of all entries flipped ("flipped"), and another 20 % of the
entries made unknown (cleanlab has no unknown entries: there they count as absent, its usual reading; those entries are
left out of the score); *ordered*: 15 % of the labels moved one step (two in three) or further; *hierarchy*: 15 %
moved within the group (half) or out of it. Average precision of the ranking of the wrong entries, or items; and for ordered
and hierarchical classes the share of the total cost (distance between given and true class) that the first 10 % hold.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import labelwright as lw
from labelwright.features import item_vectors, out_of_fold, out_of_fold_multilabel

PEER = """
import sys, time, numpy as np
from cleanlab.multilabel_classification import get_label_quality_scores as sets
from cleanlab.multilabel_classification.rank import get_label_quality_scores_per_class as entries
from cleanlab.rank import get_label_quality_scores
for path in sys.argv[1:]:
    d = np.load(path)
    y, p, start = d["labels"], d["pred_probs"].astype(np.float64), time.process_time()
    if y.ndim == 2:
        lists = [np.flatnonzero(row == 1).tolist() for row in y]
        out = {"entries": entries(lists, p), "items": sets(lists, p)}
    else:
        p /= p.sum(1, keepdims=True)
        out = {m: get_label_quality_scores(y, p, method=m)
               for m in ("self_confidence", "normalized_margin", "confidence_weighted_entropy")}
    np.savez(path.replace(".npz", ".peer.npz"), seconds=time.process_time() - start, **out)
"""


def average_precision(score: np.ndarray, wrong: np.ndarray) -> float:
    hit = wrong[np.argsort(-score, kind="stable")]
    return float((np.cumsum(hit) / np.arange(1, len(hit) + 1) * hit).sum() / max(1, hit.sum()))


def several(data: Path, name: str, seed: int) -> dict[str, Any]:
    """Wrong and unknown entries."""
    name, kind = name.split(", ")
    d = np.load(data / "multilabel" / f"{name}.npz")
    x, sizes = d["x_train"], np.diff(d["y_train_indptr"])
    truth = np.zeros((len(x), len(d["label_names"])), dtype=np.int8)
    truth[np.repeat(np.arange(len(x)), sizes), d["y_train_indices"]] = 1
    rng = np.random.default_rng(seed)
    rate = 0.05 if kind == "flipped" else np.where(truth == 1, 0.2, 0.01)
    wrong, gap = rng.random(truth.shape) < rate, rng.random(truth.shape) < 0.2
    given = np.where(gap, -1, np.where(wrong, 1 - truth, truth)).astype(np.int8)
    vectors = item_vectors(x)
    p = out_of_fold_multilabel(vectors.model, given, random_state=seed)
    return {"labels": given, "pred_probs": p, "wrong": wrong & ~gap, "gap": gap}


def one_class(data: Path, name: str, seed: int) -> dict[str, Any]:
    """Ordered classes (abalone ages in seven bins) or TREC's two levels, with planted mistakes."""
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    if name == "abalone, seven ages":
        table = pq.read_table(data / "scores" / "abalone.parquet").slice(0, 3000)
        target = next(c for c in table.column_names if c.lower() in ("rings", "y", "target"))
        rings = np.asarray(table[target].to_pylist(), dtype=float)
        y = np.searchsorted([6.5, 7.5, 8.5, 9.5, 10.5, 12.5], rings)
        vectors = item_vectors(table.drop_columns([target]))
        far = np.where(rng.random(len(y)) < 2 / 3, 1, rng.integers(2, 7, len(y))) * rng.choice([-1, 1], len(y))
        moved = np.clip(y + far, 0, 6)
        space = lw.LabelSpace(range(7), structure="ordered")
    else:
        table = pq.read_table(data / "text_classification" / "trec.parquet").slice(0, 2500)
        fine = np.array(table["fine_label"].to_pylist())
        names, y, counts = np.unique(fine, return_inverse=True, return_counts=True)
        keep = counts[y] >= 20
        names, y = np.unique(fine[keep], return_inverse=True)
        vectors = item_vectors([t for t, k in zip(table["text"].to_pylist(), keep) if k])
        group = np.array([n.split(":")[0] for n in names])
        near = [np.flatnonzero((group == group[c]) & (names != names[c])) for c in range(len(names))]
        other = [np.flatnonzero(group != group[c]) for c in range(len(names))]
        moved = np.array([rng.choice(near[c] if len(near[c]) and rng.random() < 0.5 else other[c]) for c in y])
        space = lw.LabelSpace(range(len(names)), structure="hierarchy", parents=[(c, g) for c, g in enumerate(group)])
    wrong = (rng.random(len(y)) < 0.15) & (moved != y)
    given = np.where(wrong, moved, y)
    p = out_of_fold(vectors.model, given, n_classes=len(space), random_state=seed)
    return {"labels": given, "pred_probs": p, "wrong": wrong, "truth": y, "space": space, "vectors": vectors}


def ours(case: dict[str, Any]) -> dict[str, float]:
    start = time.process_time()
    if case["labels"].ndim == 2:
        audit = lw.audit(case["labels"], case["pred_probs"], multi=True)
        doubt = np.where(case["labels"] == 1, 1 - audit.label_dist, audit.label_dist)
        known = ~case["gap"]
        return {
            "entries": average_precision(doubt[known], case["wrong"][known]),
            "items": average_precision(np.nan_to_num(audit.error_prob), case["wrong"].any(1)),
            "seconds": time.process_time() - start,
        }
    audit = lw.audit(case["labels"], case["pred_probs"], case["vectors"], case["space"], rank_by="cost")
    return {
        "items": average_precision(audit.error_prob, case["wrong"]),
        "cost found": cost_found(audit.severity, case),
        "seconds": time.process_time() - start,
    }


def cost_found(score: np.ndarray, case: dict[str, Any]) -> float:
    cost = case["space"].cost()[case["labels"], case["truth"]]
    first = np.argsort(-score, kind="stable")[: len(score) // 10]
    return float(cost[first].sum() / cost.sum())


def theirs(path: Path, case: dict[str, Any]) -> dict[str, float]:
    found = np.load(str(path).replace(".npz", ".peer.npz"))
    if case["labels"].ndim == 2:
        known = ~case["gap"]
        return {
            "entries": average_precision(-found["entries"][known], case["wrong"][known]),
            "items": average_precision(-found["items"], case["wrong"].any(1)),
            "seconds": float(found["seconds"]),
        }
    scores = [k for k in found.files if k != "seconds"]
    return {
        "items": max(average_precision(-found[k], case["wrong"]) for k in scores),
        "cost found": max(cost_found(-found[k], case) for k in scores),
        "seconds": float(found["seconds"]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the real data sets")
    parser.add_argument("--peer-python", required=True, help="interpreter with cleanlab")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    sets = [f"{n}, {kind}" for n in ("emotions", "scene", "yeast") for kind in ("tags left out", "flipped")]
    makers: dict[str, Any] = {n: (several, n) for n in sets}
    makers |= {f"{n}": (one_class, n) for n in ("abalone, seven ages", "TREC, two levels")}
    table = []
    for name, (make, which) in makers.items():
        pairs = []
        for seed in range(args.seeds):
            case = make(args.data, which, seed)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "case.npz"
                np.savez(path, labels=np.where(case["labels"] < 0, 0, case["labels"]), pred_probs=case["pred_probs"])
                subprocess.run([args.peer_python, "-c", PEER, str(path)], check=True)
                pairs.append((ours(case), theirs(path, case)))
        row = {"case": name, "seeds": args.seeds}
        for side, k in (("ours", 0), ("cleanlab", 1)):
            row[side] = {key: float(np.mean([p[k][key] for p in pairs])) for key in pairs[0][k]}
        table.append(row)
        print(name, *(f"{k} {row['ours'][k]:.4f} (cleanlab {row['cleanlab'][k]:.4f})" for k in row["ours"]), flush=True)
    if args.json:
        args.json.write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
