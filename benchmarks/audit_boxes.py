"""The audit of bounding boxes against cleanlab's object detection scores, with planted faults of a known kind.

    python benchmarks/audit_boxes.py --data DATA --cache CACHE --peer-python PYTHON_WITH_CLEANLAB [--seeds 0 1 2 3 4]

Data: 364 pictures of blood cells (BCCD), 4886 boxes of 3 classes. Its own label errors (many unmarked cells) stay in and
count as right for both sides. Faults, at 10 % and at 2 % of the boxes: removed; swapped (another class, evenly drawn);
shifted (moved and scaled until the IoU with the true box is 0.3 to 0.6); spurious (added: class and size of a random
box, at a random place of a random picture, IoU at most 0.3 with every true box); mixed (a quarter of the rate each).

Detectors. real: two small perceptrons (class; corners) on the colours and edges around each point of a grid, trained on
the faulty labels of the other two of three folds of pictures. simulated: of every true box 95 % are found, corners off
by 5 % of the size; 2 false boxes per picture; a second box of another class on 15 %; scores from overlapping Gaussians
of the logit; it has not seen the faults. Both keep boxes of score >= 0.05.

Measure: average precision of the pictures with a fault, by our `quality` and by cleanlab's default score and each of its
three kinds of score, also with its probability threshold of 0.95 lowered to 0.8 and 0.5; the best of these is chosen
with hindsight per case. Then the same for the given boxes, and for suggested boxes against the removed ones (IoU >=
0.5). cleanlab has no score for spurious boxes. Our constants were chosen on seeds 100 and 101, with these numbers in
sight. Flags (a picture with any flag) are compared on the first seed, as cleanlab's take long.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.auditing.boxes import audit_boxes, box_iou
from labelwright.labels import Boxes, LabelSpace

KINDS = ("removed", "swapped", "shifted", "spurious", "mixed")
RATES = (0.1, 0.02)
WIDTH, HEIGHT = 640, 480
CELL, STRIDE, RADII = 8, 2, (2, 4, 6, 8, 10, 13)  # cells of 8 x 8 pixels; a point every 2 cells

PEER = """
import sys, time, warnings, numpy as np
from cleanlab.object_detection import filter, rank
warnings.simplefilter("ignore")
for path in sys.argv[1:]:
    d = np.load(path)
    labels, predictions = [], []
    for i in range(int(d["n_items"])):
        g, p = d["g_item"] == i, d["p_item"] == i
        labels.append({"bboxes": d["g_corners"][g].astype(float), "labels": d["g_label"][g]})
        rows = np.c_[d["p_corners"][p], d["p_score"][p]].astype(float)
        predictions.append([rows[d["p_label"][p] == k] for k in range(int(d["n_classes"]))])
    out, start = {}, time.process_time()
    out["image default"] = 1 - rank.get_label_quality_scores(labels, predictions, verbose=False)
    out["cpu"] = time.process_time() - start
    start = time.process_time()
    if int(d["flags"]):
        out["flags"] = filter.find_label_issues(labels, predictions)
    out["cpu flags"] = time.process_time() - start
    shared = rank._get_valid_inputs_for_compute_scores(0.9, labels, predictions)
    boxes = {"badloc": rank.compute_badloc_box_scores(auxiliary_inputs=shared)}
    for t in (0.95, 0.8, 0.5):
        for name in ("overlooked", "swap"):
            score = getattr(rank, f"compute_{name}_box_scores")
            boxes[f"{name} {t}"] = score(auxiliary_inputs=shared, high_probability_threshold=t)
    for name, score in boxes.items():
        out["image " + name] = 1 - rank.pool_box_scores_per_image(score)
        out["box " + name] = 1 - np.concatenate(score)
    np.savez(path.replace(".npz", ".peer.npz"), **out)
"""


# ------------------------------------------------------------------------------------------------- data and faults
def load(data: Path) -> tuple[Boxes, list[bytes]]:
    """The true boxes, sorted by picture, and the pictures; two boxes without area are dropped."""
    import pyarrow.parquet as pq

    images = pq.read_table(data / "detection_bccd" / "images.parquet").to_pydict()
    table = pq.read_table(data / "detection_bccd" / "boxes.parquet").to_pydict()
    row = {name: i for i, name in enumerate(images["image"])}
    corners = np.stack([table[c] for c in ("xmin", "ymin", "xmax", "ymax")], axis=1).astype(np.float32)
    space = LabelSpace.from_labels(table["label"])
    item = np.array([row[name] for name in table["image"]])
    keep = np.flatnonzero((corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1]))
    keep = keep[np.argsort(item[keep], kind="stable")]
    return Boxes.from_columns(item[keep], corners[keep], space.encode(table["label"])[keep], space), images["jpeg"]


def _moved(box: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`box` shifted and scaled, inside the picture, with IoU 0.3 to 0.6."""
    size = box[2:] - box[:2]
    while True:
        centre = (box[:2] + box[2:]) / 2 + rng.uniform(-0.5, 0.5, 2) * size
        half = size * np.exp(rng.uniform(-0.5, 0.5, 2)) / 2
        new = np.r_[centre - half, centre + half].clip(0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
        if (new[2:] - new[:2]).min() > 4 and 0.3 <= box_iou(box[None], new[None])[0] <= 0.6:
            return new


def _added(true: Boxes, n_items: int, rng: np.random.Generator) -> tuple[int, np.ndarray, int]:
    """Picture, corners and class of a box where nothing is."""
    while True:
        model, item = int(rng.integers(len(true))), int(rng.integers(n_items))
        size = true.corners[model, 2:] - true.corners[model, :2]
        corner = rng.uniform(0, 1, 2) * ([WIDTH, HEIGHT] - size)
        box, there = np.r_[corner, corner + size], true.corners[true.item == item]
        if box_iou(np.tile(box, (len(there), 1)), there).max(initial=0) <= 0.3:
            return item, box, int(true.label[model])


def plant(true: Boxes, kind: str, rate: float, seed: int, n_items: int) -> tuple[Boxes, dict[str, np.ndarray]]:
    """The faulty boxes and the truth: `wrong` (P,) bool per given box, `removed` rows of `true`, `image` (N,) bool."""
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    share = rate / 4 if kind == "mixed" else rate
    n = round(share * len(true))
    order = rng.permutation(len(true))
    chosen = dict(zip(KINDS[:3], (order[:n], order[n : 2 * n], order[2 * n : 3 * n])))
    removed, swapped, shifted = (chosen[k] if kind in (k, "mixed") else order[:0] for k in KINDS[:3])
    item, corners, label = true.item.copy(), true.corners.copy(), true.label.copy()
    label[swapped] = (label[swapped] + rng.integers(1, len(true.space), len(swapped))) % len(true.space)
    for i in shifted:
        corners[i] = _moved(true.corners[i], rng)
    extra = [_added(true, n_items, rng) for _ in range(n if kind in ("spurious", "mixed") else 0)]
    wrong = np.zeros(len(true), bool)
    wrong[np.r_[swapped, shifted]] = True
    kept = np.setdiff1d(np.arange(len(true)), removed)
    item = np.r_[item[kept], np.array([e[0] for e in extra], np.int64)]
    corners = np.concatenate([corners[kept], np.array([e[1] for e in extra]).reshape(-1, 4)])
    label = np.r_[label[kept], np.array([e[2] for e in extra], np.int64)]
    wrong = np.r_[wrong[kept], np.ones(len(extra), bool)]
    image = np.zeros(n_items, bool)
    image[item[wrong]] = True
    image[true.item[removed]] = True
    by_item = np.argsort(item, kind="stable")
    given = Boxes.from_columns(item[by_item], corners[by_item], label[by_item], true.space)
    return given, {"wrong": wrong[by_item], "removed": removed, "image": image}


# ------------------------------------------------------------------------------------------------------- detectors
def simulated(true: Boxes, seed: int, n_items: int) -> Boxes:
    """Detections of a good network, drawn from the true boxes (see the top)."""
    rng = np.random.default_rng([seed, 99])
    k, found = len(true.space), np.flatnonzero(rng.random(len(true)) < 0.95)
    second = found[rng.random(len(found)) < 0.15]
    models = rng.integers(len(true), size=2 * n_items)
    size = true.corners[:, 2:] - true.corners[:, :2]
    place = rng.uniform(0, 1, (len(models), 2)) * ([WIDTH, HEIGHT] - size[models])
    base = np.concatenate([true.corners[found], true.corners[second], np.c_[place, place + size[models]]])
    jitter = rng.normal(0, 0.05, base.shape) * np.tile(base[:, 2:] - base[:, :2], 2)
    logit = np.r_[
        rng.normal(2.5, 1.3, len(found)), rng.normal(-2.0, 1.0, len(second)), rng.normal(-1.5, 1.2, len(models))
    ]
    other = (true.label[second] + rng.integers(1, k, len(second))) % k
    label = np.r_[true.label[found], other, true.label[models]]
    item = np.r_[true.item[found], true.item[second], rng.integers(n_items, size=len(models))]
    return _cut(item, base + jitter, label, 1 / (1 + np.exp(-logit)), true.space)


def _cut(item: np.ndarray, corners: np.ndarray, label: np.ndarray, score: np.ndarray, space: LabelSpace) -> Boxes:
    """Inside the picture, score >= 0.05, sorted by picture, then class."""
    corners = np.clip(corners, 0, [WIDTH, HEIGHT, WIDTH, HEIGHT])
    keep = (score >= 0.05) & ((corners[:, 2:] - corners[:, :2]).min(axis=1) > 1)
    order = np.flatnonzero(keep)[np.lexsort([label[keep], item[keep]])]
    return Boxes.from_columns(item[order], corners[order], label[order], space, score=score[order])


def grid_features(jpegs: list[bytes], cache: Path) -> tuple[np.ndarray, np.ndarray]:
    """Points (G, 2) in pixels and uint8 features (N, G, F): colours and edges on circles around each point."""
    from PIL import Image
    from scipy import ndimage

    angle = np.arange(8) * np.pi / 4
    rings = [np.zeros((1, 2))] + [r * np.stack([np.cos(angle), np.sin(angle)], 1) for r in RADII]
    offsets = np.concatenate(rings).round().astype(int)
    at = np.stack(np.meshgrid(np.arange(1, WIDTH // CELL, STRIDE), np.arange(1, HEIGHT // CELL, STRIDE)), -1)
    at, pad = at.reshape(-1, 2), max(RADII)
    points, path = at * CELL + CELL / 2, cache / "grid.npy"
    if not path.exists():
        out = []
        for jpeg in jpegs:
            rgb = np.asarray(Image.open(io.BytesIO(jpeg)).convert("RGB"), np.float32)
            rgb = np.minimum(rgb / np.percentile(rgb, 95, axis=(0, 1)) * 220, 255)  # equal brightness of the ground
            edge = np.minimum(4 * ndimage.gaussian_gradient_magnitude(rgb[..., 1], 1.5), 255)
            cells = np.concatenate([rgb, edge[..., None]], -1)
            cells = cells.reshape(HEIGHT // CELL, CELL, WIDTH // CELL, CELL, 4).mean((1, 3))
            cells = np.pad(cells, ((pad, pad), (pad, pad), (0, 0)), mode="constant")
            where = at[:, None] + offsets + pad
            out.append(cells[where[..., 1], where[..., 0]].reshape(len(at), -1).astype(np.uint8))
        np.save(path, np.stack(out))
    return points, np.load(path)


def real(given: Boxes, jpegs: list[bytes], cache: Path, seed: int) -> Boxes:
    """Detections of the perceptrons, out of fold, learnt from `given`."""
    points, features = grid_features(jpegs, cache)
    fold = np.random.default_rng([seed, 7]).permutation(len(jpegs)) % 3
    parts = [_detect(given, points, features, fold, f, seed) for f in range(3)]
    item, corners, label, score = (np.concatenate(column) for column in zip(*parts))
    return _cut(item, corners, label, score, given.space)


def _detect(given: Boxes, points: np.ndarray, features: np.ndarray, fold: np.ndarray, f: int, seed: int) -> tuple:
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    rng, k = np.random.default_rng([seed, f]), len(given.space)
    x, y, box = [], [], []
    for i in np.flatnonzero(fold != f):
        own = given.item == i
        corners, label = given.corners[own].astype(np.float64), given.label[own]
        centre, size = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        off = (np.abs(points[:, None] - centre) / np.maximum(size, 45)).max(-1)  # (G, boxes)
        nearest = off.min(1, initial=9)
        near, clear = nearest < 0.2, np.flatnonzero(nearest > 0.3)
        clear = rng.choice(clear, min(80, len(clear)), replace=False)
        hit = off[near].argmin(1) if len(label) else np.empty(0, int)
        x.append(features[i, np.r_[np.flatnonzero(near), clear]])
        y.append(np.r_[label[hit], np.full(len(clear), k)])
        box.append(corners[hit] - np.tile(points[near], 2))
    x, y, box = _scaled(np.concatenate(x)), np.concatenate(y), np.concatenate(box)
    unit = np.stack([np.median(np.abs(box[y[y < k] == c]), axis=0) for c in range(k)])  # a platelet's pixel weighs more
    box /= unit[y[y < k]]
    options = {"hidden_layer_sizes": (64,), "alpha": 1e-3, "learning_rate_init": 2e-3, "random_state": seed}
    classes = MLPClassifier(**options, max_iter=8).fit(x, y)
    edges = MLPRegressor(**options, max_iter=8).fit(np.c_[x[y < k], np.eye(k)[y[y < k]]], box)
    out = []
    for i in np.flatnonzero(fold == f):
        x = _scaled(features[i])
        p = np.zeros((len(points), k + 1), np.float32)
        p[:, classes.classes_] = classes.predict_proba(x)
        row, label = np.nonzero(p[:, :k] >= 0.05)
        if len(row):
            corners = edges.predict(np.c_[x[row], np.eye(k)[label]]) * unit[label] + np.tile(points[row], 2)
            corners[:, 2:] = np.maximum(corners[:, 2:], corners[:, :2] + 1)  # the net may turn a box inside out
            keep, corners = _merge(corners, label, p[row, label])
            out.append((np.full(len(keep), i), corners, label[keep], p[row, label][keep]))
    return tuple(np.concatenate(column) for column in zip(*out))


def _scaled(features: np.ndarray) -> np.ndarray:
    return (features.astype(np.float32) - 128) / 64


def _merge(corners: np.ndarray, label: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Non-maximum suppression per class at IoU 0.4; a kept box is the mean of its near followers, by score squared."""
    keep, boxes = [], []
    for k in np.unique(label):
        left = np.flatnonzero(label == k)
        left = left[np.argsort(-score[left], kind="stable")]
        while len(left):
            iou = box_iou(np.broadcast_to(corners[left[0]], (len(left), 4)), corners[left])
            weight = score[left] ** 2 * (iou >= 0.6)
            keep.append(left[0])
            boxes.append(weight @ corners[left] / weight.sum())
            left = left[iou < 0.4]
    return np.array(keep), np.array(boxes)


# --------------------------------------------------------------------------------------------------------- measures
def average_precision(truth: np.ndarray, suspicion: np.ndarray) -> float:
    """NaN suspicion comes last."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, np.nan_to_num(suspicion, nan=-np.inf).clip(-1e9)))


def found_removed(true: Boxes, removed: np.ndarray, item: np.ndarray, corners: np.ndarray, score: np.ndarray) -> float:
    """Average precision of suggestions: one that hits a removed box (IoU >= 0.5) which none before it hit is right."""
    left, hits = set(removed.tolist()), []
    for i in np.argsort(-score, kind="stable"):
        own = removed[true.item[removed] == item[i]]
        iou = box_iou(np.tile(corners[i], (len(own), 1)), true.corners[own])
        best = int(own[iou.argmax()]) if iou.max(initial=0) >= 0.5 else -1
        hits.append(best in left)
        left.discard(best)
    hit = np.array(hits, dtype=float)
    return float((hit * hit.cumsum() / np.arange(1, len(hit) + 1)).sum() / len(removed))


def ask_peer(given: Boxes, predicted: Boxes, n_items: int, python: str, path: Path, flags: bool) -> Any:
    """cleanlab's scores on the same boxes, from its own environment."""
    arrays = {
        f"{s}_{f}": getattr(b, f) for s, b in (("g", given), ("p", predicted)) for f in ("item", "corners", "label")
    }
    np.savez(path, **arrays, p_score=predicted.score, n_items=n_items, n_classes=len(given.space), flags=flags)
    subprocess.run([python, "-c", PEER, str(path)], check=True, capture_output=True)
    return np.load(str(path).replace(".npz", ".peer.npz"))


def peer_scores(peer: Any, truth: dict[str, np.ndarray], true: Boxes, predicted: Boxes) -> dict[str, dict[str, float]]:
    """Average precision of every score cleanlab has: of pictures, of given boxes, of removed boxes."""
    out: dict[str, dict[str, float]] = {"image": {}, "box": {}, "missed": {}}
    for name in peer.files:
        level, _, kind = name.partition(" ")
        if level == "image":
            out["image"][kind] = average_precision(truth["image"], peer[name])
        elif level == "box" and kind.startswith("overlooked") and len(truth["removed"]):
            at = np.flatnonzero(np.isfinite(peer[name]))
            found = predicted.item[at], predicted.corners[at], peer[name][at]
            out["missed"][kind] = found_removed(true, truth["removed"], *found)
        elif level == "box" and not kind.startswith("overlooked") and truth["wrong"].any():
            out["box"][kind] = average_precision(truth["wrong"], peer[name])
    if truth["wrong"].any():
        for t in (0.95, 0.8, 0.5):
            both = np.maximum(peer["box badloc"], peer[f"box swap {t}"])
            out["box"][f"larger of badloc, swap {t}"] = average_precision(truth["wrong"], both)
    return out


def our_scores(
    given: Boxes, predicted: Boxes, truth: dict[str, np.ndarray], true: Boxes, n_items: int
) -> dict[str, Any]:
    """The same measures, CPU seconds, and the pictures with a flag."""
    start = time.process_time()
    audit = audit_boxes(given, predicted, n_items=n_items)
    out: dict[str, Any] = {"cpu": time.process_time() - start}
    parts = audit.parts.to_pandas()
    wrong, item = 1 - parts["quality"].to_numpy(), parts["row"].to_numpy()
    boxes, lone = slice(0, len(given)), slice(len(given), None)
    out["image"] = average_precision(truth["image"], 1 - audit.quality)
    if truth["wrong"].any():
        out["box"] = average_precision(truth["wrong"], wrong[boxes])
    if len(truth["removed"]):
        corners = parts[["x1", "y1", "x2", "y2"]].to_numpy()
        out["missed"] = found_removed(true, truth["removed"], item[lone], corners[lone], wrong[lone])
    out["expected"] = {"wrong boxes": float(wrong[boxes].sum()), "missed objects": float(wrong[lone].sum())}
    flagged = np.zeros(n_items, bool)
    flagged[item[parts["is_issue"].to_numpy()]] = True
    return out | {"flags": flagged}


def f1(truth: np.ndarray, flags: np.ndarray) -> float:
    return float(2 * (truth & flags).sum() / max(truth.sum() + flags.sum(), 1))


def run_case(case: tuple[str, str, float, int], true: Boxes, jpegs: list[bytes], options: argparse.Namespace) -> dict:
    """Everything about one detector, kind of fault, rate and seed; cleanlab's part is kept in the cache."""
    detector, kind, rate, seed = case
    n, cache = len(jpegs), options.cache
    given, truth = plant(true, kind, rate, seed, n)
    path = cache / f"{detector}_{kind}_{rate}_{seed}.npz"
    if detector == "simulated":
        predicted = simulated(true, seed, n)
    else:
        if not path.exists():
            found = real(given, jpegs, cache, seed)
            np.savez(path, item=found.item, corners=found.corners, label=found.label, score=found.score)
        d = np.load(path)
        predicted = Boxes.from_columns(d["item"], d["corners"], d["label"], true.space, score=d["score"])
    ours = our_scores(given, predicted, truth, true, n)
    kept = cache / f"peer_{detector}_{kind}_{rate}_{seed}.json"
    flags = seed == options.seeds[0]
    if kept.exists() and (not flags or "flags" in json.loads(kept.read_text())):
        peer = json.loads(kept.read_text())
    else:
        raw = ask_peer(given, predicted, n, options.peer_python, cache / f"case_{detector}_{rate}.npz", flags)
        peer = peer_scores(raw, truth, true, predicted) | {
            "cpu": float(raw["cpu"]),
            "cpu flags": float(raw["cpu flags"]),
        }
        peer |= {"flags": f1(truth["image"], raw["flags"])} if flags else {}
        kept.write_text(json.dumps(peer))
    ours["flags"] = f1(truth["image"], ours["flags"])
    return {"ours": ours, "cleanlab": peer, "pictures": float(truth["image"].mean())}


def summary(runs: list[dict]) -> dict[str, Any]:
    """Means over the seeds; cleanlab's score is the one that is best in the mean."""
    out: dict[str, Any] = {"faulty pictures": float(np.mean([r["pictures"] for r in runs]))}
    for level in ("image", "box", "missed"):
        if level not in runs[0]["ours"]:
            continue
        ours = np.array([r["ours"][level] for r in runs])
        peers = {k: np.array([r["cleanlab"][level][k] for r in runs]) for k in runs[0]["cleanlab"][level]}
        best = max(peers, key=lambda k: peers[k].mean())
        out[level] = {
            "ours": ours.mean(),
            "cleanlab best": peers[best].mean(),
            "which": best,
            "wins": int((ours >= peers[best]).sum()),
        }
        out[level] |= {"cleanlab default": peers["default"].mean()} if "default" in peers else {}
    for key in ("wrong boxes", "missed objects"):
        out[f"expected {key}"] = float(np.mean([r["ours"]["expected"][key] for r in runs]))
    out["flags F1"] = {"ours": runs[0]["ours"]["flags"], "cleanlab": runs[0]["cleanlab"].get("flags")}
    out["CPU s"] = {"ours": float(np.mean([r["ours"]["cpu"] for r in runs]))}
    cpu = [r["cleanlab"]["cpu"] for r in runs if "cpu" in r["cleanlab"]]
    out["CPU s"] |= {"cleanlab scores": float(np.mean(cpu)), "cleanlab flags": runs[0]["cleanlab"].get("cpu flags")}
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--detectors", nargs="+", default=["simulated", "real"])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "boxes.json")
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    true, jpegs = load(options.data)
    table = {}
    for detector in options.detectors:
        for rate in RATES:
            for kind in KINDS:
                runs = [run_case((detector, kind, rate, seed), true, jpegs, options) for seed in options.seeds]
                name = f"{detector} {kind} {rate:.0%}"
                table[name] = summary(runs)
                print(name, json.dumps(table[name], default=float), flush=True)
    options.out.write_text(json.dumps({"seeds": options.seeds, "cases": table}, indent=1, default=float) + "\n")


if __name__ == "__main__":
    main()
