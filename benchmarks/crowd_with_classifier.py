"""Votes with a classifier, against CROWDLAB (cleanlab), the votes alone and the classifier alone.

    python benchmarks/crowd_with_classifier.py --data DATA [--peer-python PYTHON_WITH_CLEANLAB]

CIFAR-10H: votes are drawn from the human distribution of each picture and dealt to 200 made annotators ("plain"); "skilled"
replaces a vote by a random class unless its annotator looked, with probability Beta(4, 1.5). One or three votes a picture, five
seeds. The classifier is the published out-of-sample model of the test set (`label_errors`), the truth the published label. Only
the second 5,000 pictures: draws of the first half were development data.
CIFAR-10N: three real votes of each training picture, real out-of-sample probabilities of models that were trained on the
worst vote or on the majority. The first 10,000 in order of collection are "development", the last 10,000 "unseen". The
workers that the batches name differ no more in these files than chance would have it, so they tell models nothing.

The default method ("both"), `SHARED_ERROR` and `ENOUGH` of `with_classifier.py` were chosen on the development data, after a
first run of an earlier form on the data reported here had shown one_coin with one vote an item, and dawid_skene with "plain"
votes, to be too sure.

Measures: accuracy of the consensus; AUROC of its probability (CROWDLAB: quality score) for its being right; NLL of the
distribution, clipped at 1e-6. CROWDLAB gives no distribution: its quality goes to its consensus, the rest is spread evenly.
"NLL, own error" is the log loss of that one probability as a forecast of "the consensus is right", which needs no spreading.
CROWDLAB refuses one vote per item: there the vote itself and cleanlab's label quality score stand in.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.crowds.dawid_skene import fit_dawid_skene
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.crowds.with_classifier import fit_with_classifier
from labelwright.labels import LabelSpace, Votes

SEEDS = 5

PEER = """
import sys, time, warnings
import numpy as np
warnings.simplefilter("ignore")
from cleanlab.multiannotator import get_label_quality_multiannotator
from cleanlab.rank import get_label_quality_scores
for path in sys.argv[1:]:
    d = np.load(path)
    table = np.full((len(d["p"]), int(d["annotator"].max()) + 1), np.nan)
    table[d["item"], d["annotator"]] = d["label"]
    table = table[:, ~np.isnan(table).all(0)]
    start = time.process_time()
    if len(d["item"]) == len(table):
        label, quality = d["label"], get_label_quality_scores(d["label"].astype(int), d["p"])
    else:
        found = get_label_quality_multiannotator(
            table, d["p"], verbose=False, return_detailed_quality=False, return_annotator_stats=False)["label_quality"]
        label, quality = found["consensus_label"].to_numpy(), found["consensus_quality_score"].to_numpy()
    np.savez(path.replace(".npz", ".peer.npz"), label=label, quality=quality, cpu=time.process_time() - start)
"""

Case = tuple[Prepared, np.ndarray, np.ndarray]


def drawn(data: Path, seed: int, skilled: bool, per_item: int, n_annotators: int = 200) -> Case:
    """Votes, probabilities and truth of the second half of CIFAR-10H."""
    rng = np.random.default_rng(seed)
    human = np.load(data / "cifar10h" / "cifar10h.npz")
    share = human["counts"][5000:].astype(float)
    share /= share.sum(1, keepdims=True)
    n, k = share.shape
    item = np.repeat(np.arange(n), per_item)
    annotator = np.concatenate([rng.choice(n_annotators, per_item, replace=False) for _ in range(n)])
    label = (share.cumsum(1)[item] > rng.random((len(item), 1))).argmax(1)
    if skilled:
        looks = rng.random(len(item)) < rng.beta(4, 1.5, n_annotators)[annotator]
        label = np.where(looks, label, rng.integers(0, k, len(item)))
    p = np.load(data / "label_errors" / "cifar10.npz")["pyx"][5000:]
    return votes_of(item, annotator, label, n, k), p, human["y"][5000:].astype(np.int64)


def collected(data: Path, model: str, part: slice) -> Case:
    """The three votes of each picture of a part of CIFAR-10N."""
    import pyarrow.parquet as pq

    folder = data / "cifar_n"
    votes, order = (
        np.load(folder / "cifar10n.npz"),
        np.load(folder / "cifar10n_tfds_order.npz")["order"].astype(np.int64),
    )
    workers = pq.read_table(folder / "cifar10n_workers.parquet")
    names = np.stack([workers[f"worker{j}"].to_numpy() for j in (1, 2, 3)], 1)
    rows = np.arange(len(order))[part]
    pictures, annotator = order[rows], names[rows // 10].astype(np.int64)
    annotator = np.unique(annotator, return_inverse=True)[1].reshape(annotator.shape)
    label = np.stack([votes[f"random{j}"][pictures] for j in (1, 2, 3)], 1).astype(np.int64)
    item = np.repeat(np.arange(len(rows)), 3)
    p = np.load(folder / f"cv_{model}.npz")["pyx"][pictures]
    return votes_of(item, annotator.ravel(), label.ravel(), len(rows), 10), p, votes["clean"][pictures].astype(np.int64)


def votes_of(item: np.ndarray, annotator: np.ndarray, label: np.ndarray, n: int, k: int) -> Prepared:
    return prepare(Votes(item, annotator, label, np.arange(n), np.arange(annotator.max() + 1), LabelSpace(range(k))))


def scores(label: np.ndarray, quality: np.ndarray, prob: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    from sklearn.metrics import roc_auc_score

    right, q = label == truth, np.clip(quality, 1e-6, 1 - 1e-6)
    own = -np.where(right, np.log(q), np.log(1 - q)).mean()
    nll = -np.log(np.clip(prob[np.arange(len(truth)), truth], 1e-6, 1)).mean()
    found = {"accuracy": right.mean(), "auroc": roc_auc_score(right, quality), "nll": nll, "nll, own error": own}
    return {name: round(float(value), 4) for name, value in found.items()}


def of_distribution(prob: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    return scores(prob.argmax(1), prob.max(1), prob, truth)


def ours(case: Case) -> dict[str, Any]:
    votes, p, truth = case
    methods: dict[str, Callable[[], Any]] = {
        "votes alone": lambda: fit_dawid_skene(votes),
        "with classifier": lambda: fit_with_classifier(votes, p),
        "with classifier, one_coin": lambda: fit_with_classifier(votes, p, method="one_coin"),
        "with classifier, dawid_skene": lambda: fit_with_classifier(votes, p, method="dawid_skene"),
    }
    out: dict[str, Any] = {"classifier alone": of_distribution(p, truth)}
    for name, fit in methods.items():
        start = time.process_time()
        found = fit()
        seconds = time.process_time() - start
        out[name] = of_distribution(found.labels.dense().astype(float), truth) | {"cpu_s": round(seconds, 2)}
    return out


def peer(python: str, cases: dict[str, Case], folder: Path) -> dict[str, dict[str, Any]]:
    """cleanlab on the same votes, in its own environment."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = {name: folder / f"with_classifier_{i}.npz" for i, name in enumerate(cases)}
    for name, (votes, p, _) in cases.items():
        np.savez(paths[name], item=votes.item, annotator=votes.annotator, label=votes.label, p=p)
    subprocess.run([python, "-c", PEER, *map(str, paths.values())], check=True)
    out = {}
    for name, path in paths.items():
        found, truth = np.load(str(path).replace(".npz", ".peer.npz")), cases[name][2]
        label, quality = found["label"].astype(np.int64), found["quality"]
        prob = np.repeat(((1 - quality) / 9)[:, None], 10, 1)
        prob[np.arange(len(label)), label] = quality
        out[name] = {"CROWDLAB": scores(label, quality, prob, truth) | {"cpu_s": round(float(found["cpu"]), 2)}}
    return out


def summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean per method and measure over the seeds, and in how many of them it does at least as well as CROWDLAB."""
    out: dict[str, Any] = {}
    for method in runs[0]:
        out[method] = {m: round(float(np.mean([run[method][m] for run in runs])), 4) for m in runs[0][method]}
        if "CROWDLAB" in runs[0] and method != "CROWDLAB":
            for m, sign in (("accuracy", 1), ("auroc", 1), ("nll", -1), ("nll, own error", -1)):
                wins = sum(sign * (run[method][m] - run["CROWDLAB"][m]) >= 0 for run in runs)
                out[method][f"seeds with {m} as good as CROWDLAB"] = f"{wins} of {len(runs)}"
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python")
    parser.add_argument(
        "--cache", type=Path, help="folder for the votes that cleanlab reads", default=Path("crowd_cache")
    )
    parser.add_argument(
        "--out", type=Path, default=Path(__file__).parent / "results" / "crowd_with_classifier.json"
    )  # fmt: skip
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    groups: dict[str, list[Case]] = {
        f"CIFAR-10H, {'skilled' if skilled else 'plain'}, {per_item} votes": [
            drawn(options.data, seed, skilled, per_item) for seed in range(SEEDS)
        ]
        for skilled in (False, True)
        for per_item in (1, 3)
    }
    for model in ("worst_resnet18", "aggregate_resnet18"):
        for name, part in (("development", slice(0, 10_000)), ("unseen", slice(40_000, 50_000))):
            groups[f"CIFAR-10N, {model}, {name}"] = [collected(options.data, model, part)]
    cases = {f"{name}/{seed}": case for name, some in groups.items() for seed, case in enumerate(some)}
    found = {name: ours(case) for name, case in cases.items()}
    if options.peer_python:
        for name, more in peer(options.peer_python, cases, options.cache).items():
            found[name] |= more
    result = {name: summary([found[f"{name}/{seed}"] for seed in range(len(some))]) for name, some in groups.items()}
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
