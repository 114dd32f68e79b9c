"""Wrong regions planted into CamVid: our ranking of images and pixels against cleanlab's, on the same probabilities.

    python benchmarks/audit_masks.py --peer-python PYTHON_WITH_CLEANLAB --data FOLDER --cache SCRATCH [--models block]

Images: every third of the 701 frames of CamVid at 240 x 180, sorted by name: 234, with 11 classes; unlabelled pixels take part
in nothing. Probabilities: extremely randomised trees on colour, texture and position at several scales, at half resolution,
learned from the labels without faults (both sides get the same arrays). Two models, both out of sample:
    sequence   each of the four drives predicted by a model of the other three: a weak model
    block      each drive cut into five stretches, each predicted by a model of the other four fifths of all drives

Faults, each in 10 % of the images; a segment is a connected piece of one class:
    swap       one segment of 30 pixels to 30 % of the image gets another class, drawn evenly
    missed     such a segment gets the class most frequent within two pixels around it
    boundary   a segment of at least 200 pixels grows by 4 to 8 pixels, or moves by 5 to 10 (what it leaves goes to the
               nearest other class)
    classes    two classes of the image, each on at least 1 % of it, are exchanged everywhere
    mixed      the four in turn
A pixel is wrong where its class changed, an image where a pixel did. The frames' own mistakes count as right.

cleanlab's image scores are "softmin" and "num_pixel_issues", the better chosen per case in hindsight; its pixel score is that of
both, p[given]; its flags are `find_label_issues`. It knows no unlabelled pixels: there it gets the likeliest class with
probability 1. Pixel figures use every third pixel. The constants of `audit_masks` were chosen on these images with fault seeds
100 to 112, with cleanlab's softmin in sight; reported are seeds 0 to 9, so the draws are new and the images are not.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

RESULT = Path(__file__).resolve().parent / "results" / "masks.json"
K, EVERY, VOID = 11, 3, -1
KINDS = ("swap", "missed", "boundary", "classes")
MODELS = ("sequence", "block")
SQUARE = np.ones((3, 3), int)


# ------------------------------------------------------------------------------------------------- images and probabilities
def load(data: Path) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Images (180, 240, 3), labels (N, 180, 240) int64 with -1 = unlabelled, drive of each image."""
    import pyarrow.parquet as pq
    from PIL import Image

    table = pq.read_table(data / "segmentation_camvid" / "camvid240.parquet").sort_by("name")
    table = table.take(list(range(0, table.num_rows, EVERY)))
    images = [np.asarray(Image.open(io.BytesIO(b)).convert("RGB")) for b in table["jpeg"].to_pylist()]
    labels = np.stack([np.asarray(Image.open(io.BytesIO(b))) for b in table["mask_png"].to_pylist()]).astype(np.int64)
    labels[labels == K] = VOID
    return images, labels, np.unique([n[:6] for n in table["name"].to_pylist()], return_inverse=True)[1]


def shifted(a: np.ndarray, dy: int, dx: int) -> np.ndarray:
    height, width = a.shape
    return a[np.clip(np.arange(height) + dy, 0, height - 1)][:, np.clip(np.arange(width) + dx, 0, width - 1)]


def describe(image: np.ndarray) -> np.ndarray:
    """(90 * 120, 66) float16: position, colour, texture, and what stands above, below, left and right."""
    from PIL import Image
    from scipy import ndimage

    half = np.asarray(Image.fromarray(image).resize((120, 90), Image.BOX), np.float32) / 255
    grey = half.mean(2)
    colours = [(grey - grey.mean()) / (grey.std() + 1e-3), half[..., 0] - half[..., 1], half[..., 2] - grey]
    full = np.asarray(Image.fromarray(image).convert("L"), np.float32) / 255
    fine = np.abs(ndimage.laplace(full)).reshape(90, 2, 120, 2).mean((1, 3))
    edges = [np.abs(ndimage.sobel(grey, axis)) for axis in (0, 1)]
    y, x = np.mgrid[0:90, 0:120].astype(np.float32)
    out = [y / 90, np.abs(x - 60) / 60, x / 120, *colours]
    for scale in (1.5, 3, 6, 12):
        blurred = [ndimage.gaussian_filter(c, scale) for c in colours]
        square = ndimage.gaussian_filter(colours[0] ** 2, scale)
        out += [*blurred, np.sqrt(np.maximum(square - blurred[0] ** 2, 0))]
        texture = [ndimage.gaussian_filter(e, scale) for e in (*edges, fine)]
        out += texture
        if scale in (3, 6):
            far = round(3 * scale)
            for dy, dx in ((-far, 0), (far, 0), (0, -far), (0, far)):
                out += [shifted(c, dy, dx) for c in (*blurred, texture[2])]
    return np.stack(out, -1).reshape(90 * 120, -1).astype(np.float16)


def predict(images: list[np.ndarray], labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """(N, K, 180, 240) float16, each fold predicted by trees that learned 600 pixels of every other image."""
    from PIL import Image
    from sklearn.ensemble import ExtraTreesClassifier

    rng, small = np.random.default_rng(0), labels[:, ::2, ::2].reshape(len(labels), -1)
    features, picked = [describe(image) for image in images], []
    for row in small:  # rare classes are drawn more often: weight 1 / sqrt(frequency)
        weight = np.where(row >= 0, 1 / np.sqrt(np.bincount(row + 1, minlength=K + 1)[row + 1]), 0)
        picked.append(rng.choice(len(row), 600, replace=False, p=weight / weight.sum()))
    out = np.empty((len(images), K, 180, 240), np.float16)
    for f in np.unique(fold):
        rows = np.flatnonzero(fold != f)
        x = np.concatenate([features[i][picked[i]] for i in rows]).astype(np.float32)
        y = np.concatenate([small[i][picked[i]] for i in rows])
        trees = ExtraTreesClassifier(50, min_samples_leaf=4, max_features=0.3, n_jobs=2, random_state=0).fit(x, y)
        for i in np.flatnonzero(fold == f):
            p = trees.predict_proba(features[i].astype(np.float32)).astype(np.float32).T.reshape(K, 90, 120)
            p = np.stack([np.asarray(Image.fromarray(c).resize((240, 180), Image.BILINEAR)) for c in p])
            p = np.maximum(p, 1e-3)
            out[i] = p / p.sum(0)
    return out


def folds(model: str, drive: np.ndarray) -> np.ndarray:
    if model == "sequence":
        return drive
    place = np.array([np.sum(drive[:i] == d) for i, d in enumerate(drive)])
    return place * 5 // np.bincount(drive)[drive]


# ------------------------------------------------------------------------------------------------------------------- faults
def segments(labels: np.ndarray, least: int) -> list[tuple[int, np.ndarray]]:
    from scipy import ndimage

    out = []
    for k in np.unique(labels[labels >= 0]):
        pieces, _ = ndimage.label(labels == k, SQUARE)
        size = np.bincount(pieces.ravel())[1:]
        out += [(int(k), pieces == i + 1) for i, v in enumerate(size) if least <= v <= 0.3 * labels.size]
    return out


def damage(labels: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """One image (H, W) with one fault; unchanged where no segment fits."""
    new = labels.copy()
    if kind == "classes":
        large = np.flatnonzero(np.bincount(labels[labels >= 0], minlength=K) >= 0.01 * labels.size)
        a, b = rng.choice(large, 2, replace=False)
        new[labels == a], new[labels == b] = b, a
        return new
    found = segments(labels, 200 if kind == "boundary" else 30)
    for s in rng.permutation(len(found)):
        k, mask = found[s]
        if kind == "swap":
            new[mask] = rng.choice([j for j in range(K) if j != k])
        elif kind == "missed":
            new[mask] = surrounding(labels, k, mask)
        else:
            new = misplaced(labels, k, mask, rng)
        if (new != labels).any():
            break
    return new


def surrounding(labels: np.ndarray, k: int, mask: np.ndarray) -> int:
    from scipy import ndimage

    rim = labels[ndimage.binary_dilation(mask, SQUARE, 2) & ~mask]
    count = np.bincount(rim[(rim >= 0) & (rim != k)], minlength=K)
    return int(count.argmax()) if count.any() else k


def misplaced(labels: np.ndarray, k: int, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    from scipy import ndimage

    known = labels >= 0
    if rng.random() < 0.5:
        grown = ndimage.binary_dilation(mask, iterations=int(rng.integers(4, 9)))
        return np.where(grown & known, k, labels)
    far, angle = int(rng.integers(5, 11)), rng.uniform(0, 2 * np.pi)
    y, x = np.nonzero(mask)
    y, x = y + round(far * np.sin(angle)), x + round(far * np.cos(angle))
    inside = (y >= 0) & (x >= 0) & (y < labels.shape[0]) & (x < labels.shape[1])
    moved = np.zeros_like(mask)
    moved[y[inside], x[inside]] = True
    nearest = ndimage.distance_transform_edt(mask | ~known, return_distances=False, return_indices=True)
    return np.where(known, np.where(moved, k, labels[tuple(nearest)]), VOID)


def plant(labels: np.ndarray, kind: str, seed: int) -> np.ndarray:
    rng, given = np.random.default_rng(seed), labels.copy()
    for n, i in enumerate(rng.choice(len(labels), round(0.1 * len(labels)), replace=False)):
        given[i] = damage(labels[i], KINDS[n % 4] if kind == "mixed" else kind, rng)
    return given


# ----------------------------------------------------------------------------------------------------------- the two sides
def run_peer(probs: str, labels: str, target: str) -> None:
    from cleanlab.segmentation.filter import find_label_issues
    from cleanlab.segmentation.rank import get_label_quality_scores

    p, given = np.load(probs, mmap_mode="r"), np.load(labels)
    start = time.process_time()
    softmin, pixel = get_label_quality_scores(given, p, method="softmin", verbose=False)
    middle = time.process_time()
    issues = find_label_issues(given, p, n_jobs=1, verbose=False)
    seconds = (middle - start, time.process_time() - middle)
    # num_pixel_issues is 1 - mean(find_label_issues): not computed twice
    image = np.stack([softmin, 1 - issues.mean((1, 2))])
    save(target, image=image, pixel=1 - pixel, flags=issues, seconds=seconds)


def run_ours(probs: str, labels: str, target: str) -> None:
    import warnings

    from labelwright.auditing.masks import audit_masks

    warnings.simplefilter("ignore")
    p, given = np.load(probs, mmap_mode="r"), np.load(labels)
    start = time.process_time()
    audit = audit_masks(given, p)
    seconds, memory = time.process_time() - start, peak_mib()
    pixel = np.stack([audit.pixel_errors(i) for i in range(len(given))])
    flags = np.zeros(given.shape, bool)
    for r in np.flatnonzero(audit.parts["is_issue"].to_numpy(zero_copy_only=False)):
        flags[audit.parts["row"][r].as_py()] |= audit.regions.array(int(r))
    save(target, image=audit.quality[None], pixel=pixel, flags=flags, seconds=(seconds,), memory=memory)


def peak_mib() -> float:
    """Largest resident memory of this process, mapped files included; `ru_maxrss` would start from the parent's."""
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return int(status.split()[0]) / 1024


def save(target: str, *, image, pixel, flags, seconds, memory=None) -> None:
    memory = memory or peak_mib()
    thin = [a.reshape(len(a), -1)[:, ::EVERY] for a in (pixel, flags)]
    np.savez(target, image=image, pixel=thin[0], flags=thin[1], seconds=seconds, peak_mib=memory)


def side(python: str, name: str, probs: Path, labels: Path, folder: Path) -> dict[str, np.ndarray]:
    target = folder / f"{name}.npz"
    subprocess.run([python, __file__, f"--side={name}", str(probs), str(labels), str(target)], check=True)
    return dict(np.load(target))


# -------------------------------------------------------------------------------------------------------------- comparison
def f1(flags: np.ndarray, wrong: np.ndarray) -> float:
    return float(2 * (flags & wrong).sum() / max(flags.sum() + wrong.sum(), 1))


def compare(ours: dict, peer: dict, wrong: np.ndarray, known: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import average_precision_score as ap

    image = wrong.any((1, 2))
    thin, seen = (a.reshape(len(a), -1)[:, ::EVERY] for a in (wrong, known))
    thin = thin[seen]
    return {
        "wrong_images": int(image.sum()),
        "wrong_pixels": float(thin.mean()),
        "image_ap": ap(image, -ours["image"][0]),
        "image_ap_softmin": ap(image, -peer["image"][0]),
        "image_ap_num_pixel_issues": ap(image, -peer["image"][1]),
        "pixel_ap": ap(thin, ours["pixel"][seen]),
        "pixel_ap_peer": ap(thin, peer["pixel"][seen]),
        "pixel_f1": f1(ours["flags"][seen], thin),
        "pixel_f1_peer": f1(peer["flags"][seen], thin),
        "cpu": float(ours["seconds"].sum()),
        "cpu_softmin": float(peer["seconds"][0]),
        "cpu_num_pixel_issues": float(peer["seconds"][1]),
    }


def arrays(model: str, data: Path, cache: Path) -> tuple[np.ndarray, Path, Path]:
    """Labels, and the files with the probabilities for us and for cleanlab (certain where nothing is labelled)."""
    cache.mkdir(parents=True, exist_ok=True)
    images, labels, drive = load(data)
    mine, theirs = cache / f"probs_{model}.npy", cache / f"probs_{model}_peer.npy"
    if not mine.exists():
        np.save(mine, predict(images, labels, folds(model, drive)))
    if not theirs.exists():
        p = np.load(mine)
        for row, given in zip(p, labels):
            row[:, given < 0] = np.eye(K, dtype=np.float16)[row[:, given < 0].argmax(0)].T
        np.save(theirs, p)
    return labels, mine, theirs


def summarise(rows: list[dict]) -> list[dict]:
    out = []
    for model in MODELS:
        for case in (*KINDS, "mixed"):
            chosen = [r for r in rows if (r["model"], r["case"]) == (model, case)]
            if not chosen:
                continue
            mean = {k: float(np.mean([r[k] for r in chosen])) for k in chosen[0] if k not in ("model", "case", "seed")}
            peer = np.array([[r["image_ap_softmin"], r["image_ap_num_pixel_issues"]] for r in chosen])
            best = peer[:, peer.mean(0).argmax()]
            gap = np.array([r["image_ap"] for r in chosen]) - best
            out.append({"model": model, "case": case, "seeds": len(chosen), **mean, "image_ap_peer": float(best.mean()),
                        "image_gap": float(gap.mean()), "image_gap_least": float(gap.min())})  # fmt: skip
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer-python", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(10)))
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--out", type=Path, default=RESULT)
    options = parser.parse_args()
    rows = json.loads(options.out.read_text())["rows"] if options.out.exists() else []
    rows = [r for r in rows if r["model"] not in options.models or r["seed"] not in options.seeds]  # the others stay
    for model in options.models:
        labels, mine, theirs = arrays(model, options.data, options.cache)
        p = np.load(mine, mmap_mode="r")
        likeliest = np.stack([np.asarray(q).argmax(0) for q in p])
        accuracy = float((likeliest == labels)[labels >= 0].mean())
        print(f"{model}: {len(labels)} images, pixel accuracy {accuracy:.3f}", flush=True)
        for case in (*KINDS, "mixed"):
            for seed in options.seeds:
                given = plant(labels, case, seed)
                np.save(options.cache / "given.npy", given)
                np.save(options.cache / "given_peer.npy", np.where(given < 0, likeliest, given))
                ours = side(sys.executable, "ours", mine, options.cache / "given.npy", options.cache)
                peer = side(options.peer_python, "peer", theirs, options.cache / "given_peer.npy", options.cache)
                row = compare(ours, peer, given != labels, labels >= 0)
                memory = {"ours": float(ours["peak_mib"]), "cleanlab": float(peer["peak_mib"])}  # of the last case
                rows.append({"model": model, "case": case, "seed": seed, "accuracy": accuracy, **row})
                print(
                    " ".join(f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in rows[-1].items()),
                    flush=True,
                )
                options.out.write_text(
                    json.dumps({"peak_mib": memory, "summary": summarise(rows), "rows": rows}, indent=1) + "\n"
                )
    for s in summarise(rows):
        gap = f"{s['image_gap']:+.3f} (least {s['image_gap_least']:+.3f})"
        print(f"{s['model']:9s} {s['case']:9s} image AP {s['image_ap']:.3f}, cleanlab {s['image_ap_peer']:.3f}, {gap}; "
              f"pixel AP {s['pixel_ap']:.3f}, cleanlab {s['pixel_ap_peer']:.3f}")  # fmt: skip


if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1].startswith("--side="):
        {"ours": run_ours, "peer": run_peer}[sys.argv[1].removeprefix("--side=")](*sys.argv[2:])
    else:
        main()
