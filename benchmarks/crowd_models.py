"""The models of a crowd against crowd-kit: quality on crowds with known truth, speed and memory on made ones.

    python benchmarks/crowd_models.py --data DATA [--peer-python PYTHON_WITH_CROWD_KIT] [--large]

Quality: on every set of DATA/crowd with classes as truth: accuracy (classes that tie share), NLL (probabilities clipped at
1e-6) and ECE (15 bins). The two constants of `crowds/temper.py`, the even prior of one_coin and glad, the fitted one of mace
and the even spread of vote_shares were chosen with the results on product, dog, rte, trec and ducks in sight
("development"); the others were not looked at before ("unseen"). "full" is the same model with votes counted in full
(dependence=0, doubt=0).

Speed: 10 votes per item from 100 and 500 annotators, 5 classes; annotators right with probability Beta(6, 2), less on hard
items, 15 % of them constant or random; errors lean to the next class. CPU seconds of one fit, the better of two, votes
prepared before (crowd-kit: a data frame prepared before, one fit). --large adds dawid_skene on 10 M votes by 50,000
annotators, once; memory is the peak of the process (the making of the votes included) above what it held with the votes.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.crowds.dawid_skene import fit_dawid_skene
from labelwright.crowds.methods import METHODS
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.labels import LabelSpace, Votes

DEVELOPMENT = ("product", "dog", "rte", "trec", "ducks")
UNSEEN = ("bluebirds", "face", "adult2", "color", "plot", "adult_content2")
TEMPERED = ("one_coin", "dawid_skene", "glad", "mace")
SIZES = {"10k": (1_000, 100, 5), "100k": (10_000, 500, 5), "100k, K=100": (10_000, 500, 100)}

PEER = """
import json, sys, time, warnings
import numpy as np, pandas as pd
warnings.simplefilter("ignore")
import crowdkit.aggregation as ck
for path in sys.argv[2:]:
    d = np.load(path)
    n, k = int(d["n"]), int(d["k"])
    df = pd.DataFrame({"task": d["item"], "worker": d["annotator"], "label": d["label"]})
    out = {}
    for name in json.loads(sys.argv[1]):
        if name in ("GLAD", "MACE") and len(df) > 30_000: continue
        start, of, to_the_end = time.process_time(), *name.partition(", ")[::2]
        options = {"n_iter": 100} if of not in ("MACE", "MajorityVote") else {}
        model = getattr(ck, of)(**options | ({"tol": -np.inf} if to_the_end else {}))
        model.fit(df)
        out["cpu " + name] = time.process_time() - start
        p = model.probas_.reindex(index=range(n), columns=range(k)).fillna(0).to_numpy(float)
        out["prob " + name] = p
    np.savez(path.replace(".npz", ".peer.npz"), **out)
"""


def made(n: int, a: int, k: int, per_item: int = 10, seed: int = 0) -> tuple[Prepared, np.ndarray]:
    """Votes as the page describes them, and the truth."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(k, n, p=rng.dirichlet(np.full(k, 4.0)))
    skill, hard = rng.beta(6, 2, a), rng.beta(1, 4, n)
    constant, habit, spam = rng.random(a) < 0.5, rng.integers(0, k, a), rng.random(a) < 0.15
    item = np.repeat(np.arange(n), per_item)
    first, stride = rng.integers(0, a, n), rng.integers(1, max(2, a // per_item), n)
    annotator = ((first[:, None] + stride[:, None] * np.arange(per_item)) % a).ravel()
    right = rng.random(len(item)) < skill[annotator] * (1 - 0.6 * hard[item])
    step = np.where(rng.random(len(item)) < 0.5, 1, rng.integers(1, k, len(item)))
    label = np.where(right, truth[item], (truth[item] + step) % k)
    guess = np.where(constant[annotator], habit[annotator], rng.integers(0, k, len(item)))
    label = np.where(spam[annotator], guess, label)
    return prepare(Votes(item, annotator, label, np.arange(n), np.arange(a), LabelSpace(range(k)))), truth


def load_votes(path: Path) -> tuple[Votes, np.ndarray]:
    d = np.load(path)
    item, annotator, label = (d[name].astype(np.int64) for name in ("item", "worker", "label"))
    items, annotators = np.arange(len(d["truth"])), np.arange(annotator.max() + 1)
    return Votes(item, annotator, label, items, annotators, LabelSpace(range(len(d["classes"])))), d["truth"]


def load(path: Path) -> tuple[Prepared, np.ndarray]:
    votes, truth = load_votes(path)
    return prepare(votes), truth


def hits(prob: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Of each item of known truth: 1 where its likeliest class is true; classes that tie share."""
    p, y = np.asarray(prob, float)[truth >= 0], truth[truth >= 0]
    tie = p >= p.max(1, keepdims=True) - 1e-6
    return np.asarray(tie[np.arange(len(y)), y] / tie.sum(1))


def quality(prob: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    known = truth >= 0
    p, y = np.asarray(prob, float)[known], truth[known]
    rows, top, right = np.arange(len(y)), p.max(1), hits(prob, truth)
    place = np.minimum((top * 15).astype(int), 14)
    gaps = [abs(float((right - top)[place == b].sum())) for b in range(15)]
    return {
        "accuracy": round(float(right.mean()), 4),
        "nll": round(float(-np.log(np.clip(p[rows, y], 1e-6, 1)).mean()), 4),
        "ece": round(sum(gaps) / len(y), 4),
    }


def ours(votes: Prepared, truth: np.ndarray, times: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, method in METHODS.items():
        if name == "ordinal":
            continue  # for ordered classes only, which most of these are not
        seconds = []
        for _ in range(times):
            start = time.process_time()
            fit = method(votes)
            seconds.append(time.process_time() - start)
        out[name] = quality(fit.labels.dense(), truth) | {"cpu_s": round(min(seconds), 4), "steps": len(fit.trace)}
        if name in TEMPERED:
            out[name]["dependence_of_votes"] = round(fit.details["dependence_of_votes"], 4)
            full = method(votes, dependence=0.0, doubt=0.0)  # type: ignore[call-arg]
            out[f"{name}, full"] = quality(full.labels.dense(), truth)
    return out


def peers(
    python: str, names: list[str], cases: dict[str, tuple[Prepared, np.ndarray]], folder: Path
) -> dict[str, dict[str, Any]]:
    """crowd-kit on the same votes, in its own environment."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {}
    for i, (case, (votes, _)) in enumerate(cases.items()):
        paths[case] = folder / f"crowd_{i}.npz"
        np.savez(
            paths[case], item=votes.item, annotator=votes.annotator, label=votes.label, n=votes.n_items, k=votes.n_classes
        )  # fmt: skip
    subprocess.run([python, "-c", PEER, json.dumps(names), *map(str, paths.values())], check=True)
    out: dict[str, dict[str, Any]] = {}
    for case, path in paths.items():
        found = np.load(str(path).replace(".npz", ".peer.npz"))
        out[case] = {
            f"crowd-kit {name}": quality(found[f"prob {name}"], cases[case][1])
            | {"cpu_s": round(float(found[f"cpu {name}"]), 3)}
            for name in names
            if f"prob {name}" in found
        }
    return out


def large() -> dict[str, Any]:
    votes, truth = made(1_000_000, 50_000, 5)
    before = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    start = time.process_time()
    fit = fit_dawid_skene(votes)
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    found = quality(fit.labels.dense(), truth)
    return found | {
        "cpu_s": round(seconds, 2),
        "extra_bytes_per_vote_at_most": round((peak - before) / len(votes), 1),
        "steps": len(fit.trace),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python")
    parser.add_argument("--large", action="store_true")
    parser.add_argument(
        "--cache", type=Path, help="folder for the votes that crowd-kit reads (default: a temporary one)"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "crowd_models.json")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as folder:
        measure(options, options.cache or Path(folder))


def measure(options: argparse.Namespace, cache: Path) -> None:
    """What the options ask for, written beside what other runs have measured."""
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    if options.large:
        result["large"] = large()
    else:
        sets = {name: load(options.data / "crowd" / f"{name}.npz") for name in DEVELOPMENT + UNSEEN}
        result["real"] = {name: ours(*case, times=1) for name, case in sets.items()}
        made_up = {name: made(*size) for name, size in SIZES.items()}
        result["made"] = {name: ours(*case, times=2) for name, case in made_up.items()}
        if options.peer_python:
            names = ["MajorityVote", "OneCoinDawidSkene", "DawidSkene"]
            for key, cases in (("real", sets), ("made", made_up)):
                for case, found in peers(options.peer_python, names, cases, cache).items():
                    result[key][case] |= found
            small = {"10k": made_up["10k"]}
            for case, found in peers(options.peer_python, ["GLAD", "MACE"], small, cache).items():
                result["made"][case] |= found
        result["development"], result["unseen"] = list(DEVELOPMENT), list(UNSEEN)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
