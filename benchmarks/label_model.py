"""The label model beside majority, vote shares, the crowd models and snorkel's LabelModel: how right, how calibrated, how fast.

    python benchmarks/label_model.py --data DATA [--peer-python PYTHON] [--out benchmarks/results/label_model.json]

PYTHON is an interpreter that has snorkel 0.10; it runs in subprocesses on the same votes, 100 epochs (its default) and 500.
Real rules: weak_youtube (10 rules, 2 classes) and weak_trec (68 rules, 6 classes; its rules are run on the train texts by
`apply_rules`). The form of the label model and its constants (accuracy 0.8, strength 30, inferred 0.1, included 0.8) were set
on the train parts. The last of them was changed, by the train parts, after one run had shown that the dependence of rules of one
class made valid + test of weak_youtube worse, so "valid + test" is not quite unseen. Planted: 20 rules with accuracies from
U(0.5, 0.9), silent on half of the items, 3 of them copies of another in 90 % of the items; 3 seeds.
NLL in nats with probabilities clipped at 1e-6; accuracy shares ties; ECE of the likeliest class, 15 bins. Models are fitted
without labels: to the votes on all items and scored on valid + test, as one who has rules would use them; and to the items of a
part alone, and scored on these. "covered" are items on which a rule speaks.

Times are CPU seconds from votes to probabilities: "seconds" the second run in a process, one thread; "first" the first run in a
fresh process after its imports, one thread; "first, default threads" the same without a limit on threads (one seed of each size;
threads that wait for each other burn CPU time). snorkel begins with the matrix of votes, the label model with `Prepared` votes;
"from matrix" adds what leads there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

TREC = {
    "ABBREVIATION": "ABBR",
    "DESCRIPTION": "DESC",
    "ENTITY": "ENTY",
    "HUMAN": "HUM",
    "LOCATION": "LOC",
    "NUMERIC": "NUM",
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
Case = tuple[np.ndarray, np.ndarray, int]  # votes (N, M), -1 = silent; truth (N,); K


def run_peer(source: str, target: str, threads: str, epochs: str) -> None:
    """In the peer's interpreter: snorkel on one set of votes, twice."""
    import torch
    from snorkel.labeling.model import LabelModel, MajorityLabelVoter

    if threads == "1":
        torch.set_num_threads(1)
    given = np.load(source)
    matrix, k = given["votes"], int(given["k"])

    def fitted() -> np.ndarray:
        model = LabelModel(cardinality=k, verbose=False)
        model.fit(matrix, n_epochs=int(epochs), seed=0, progress_bar=False)
        return np.asarray(model.predict_proba(matrix))

    first, _ = timed(fitted)
    second, prob = timed(fitted)
    majority = MajorityLabelVoter(cardinality=k).predict_proba(matrix)
    np.savez(target, prob=prob, majority=majority, first=first, second=second)


def run_ours(source: str, target: str, threads: str, method: str) -> None:
    """The same for one of `methods`."""
    given = np.load(source)
    matrix, k = given["votes"], int(given["k"])
    begin, made = timed(lambda: methods(matrix, k, all_of_them=False))
    first, _ = timed(made[method])
    second, prob = timed(made[method])
    np.savez(target, prob=prob, first=first, second=second, begin=begin)


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.process_time()
    found = call()
    return time.process_time() - start, found


def in_a_process(
    python: str, run: str, matrix: np.ndarray, k: int, what: str, threads: str = "1"
) -> dict[str, np.ndarray]:
    """What `run_peer` or `run_ours` finds in a fresh process; threads: "1", or "" for as many as the libraries take."""
    kept = {name: value for name, value in os.environ.items() if name not in THREADS}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.npz", Path(folder) / "out.npz"
        np.savez(source, votes=matrix.astype(np.int64), k=k)
        subprocess.run(
            [python, __file__, run, str(source), str(target), threads, what], check=True, stderr=subprocess.DEVNULL,
            env=kept | (dict.fromkeys(THREADS, "1") if threads else {}),
        )  # fmt: skip
        return dict(np.load(target))


# -- data -------------------------------------------------------------------------------------------------------------
def youtube(data: Path, parts: list[str]) -> Case:
    kept = np.load(data / "weak_youtube" / "weak_votes.npz")
    rows = np.isin(kept["split"].astype(str), parts)
    return kept["weak"][rows].astype(int), kept["label"][rows].astype(int), 2


def trec(data: Path, parts: list[str]) -> Case:
    kept = np.load(data / "weak_trec" / "rules.npz")
    if parts != ["train"]:
        return (
            np.concatenate([kept[f"{p}_weak"] for p in parts]).astype(int),
            np.concatenate([kept[f"{p}_label"] for p in parts]).astype(int),
            6,
        )
    import pyarrow.parquet as pq

    from labelwright.annotators import apply_rules, pattern
    from labelwright.labels import LabelSpace

    space = LabelSpace(kept["classes"].tolist())
    lines = [line.split("\t") for line in (data / "weak_trec" / "rules.txt").read_text().splitlines() if line.strip()]
    rules = [pattern({TREC[c]: text}, column="text", name=f"rule {i}") for i, (c, text, _) in enumerate(lines)]
    table = pq.read_table(data / "weak_trec" / "text.parquet")
    table = table.filter(np.array(table["split"].to_pylist()) == "train")
    return apply_rules(rules, table, space=space).matrix.astype(int), space.encode(table["label"]), 6


def planted(n: int, m: int, k: int, seed: int) -> Case:
    rng = np.random.default_rng(seed)
    truth, accuracy = rng.integers(0, k, n), rng.uniform(0.5, 0.9, m)
    wrong = (truth[:, None] + rng.integers(1, k, (n, m))) % k
    votes = np.where(rng.random((n, m)) < accuracy, truth[:, None], wrong)
    votes = np.where(rng.random((n, m)) < 0.5, votes, -1)
    for copy, source in ((m - 3, 0), (m - 2, 1), (m - 1, 2)):
        same = rng.random(n) < 0.9
        votes[same, copy] = votes[same, source]
    return votes, truth, k


# -- measures ---------------------------------------------------------------------------------------------------------
def measured(p: np.ndarray, truth: np.ndarray, spoken: np.ndarray) -> dict[str, list[float]]:
    return {name: _measured(p[rows], truth[rows]) for name, rows in (("all", slice(None)), ("covered", spoken))}


def _measured(p: np.ndarray, truth: np.ndarray) -> list[float]:
    """Accuracy, NLL, ECE."""
    best = np.isclose(p, p.max(1, keepdims=True), rtol=0, atol=1e-6)
    right = best[np.arange(len(p)), truth] / best.sum(1)
    nll = -np.log(np.clip(p[np.arange(len(p)), truth], 1e-6, 1)).mean()
    bins = np.minimum((p.max(1) * 15).astype(int), 14)
    ece = sum(np.mean(bins == b) * abs(right[bins == b].mean() - p.max(1)[bins == b].mean()) for b in np.unique(bins))
    return [round(float(v), 4) for v in (right.mean(), nll, ece)]


def shares(matrix: np.ndarray, k: int) -> np.ndarray:
    counts = np.stack([(matrix == c).sum(1) for c in range(k)], 1).astype(float)
    total = counts.sum(1, keepdims=True)
    return np.where(total > 0, counts / np.maximum(total, 1), 1 / k)


def methods(matrix: np.ndarray, k: int, *, all_of_them: bool) -> dict[str, Callable[[], np.ndarray]]:
    from labelwright.crowds.label_model import fit_label_model
    from labelwright.crowds.methods import METHODS
    from labelwright.crowds.prepared import prepare
    from labelwright.labels import LabelSpace, Votes

    n, m = matrix.shape
    item, rule = np.nonzero(matrix >= 0)
    votes = Votes(item, rule, matrix[item, rule].astype(np.int64), np.arange(n), np.arange(m), LabelSpace(range(k)))
    prepared = prepare(votes)

    def ours(**options) -> Callable[[], np.ndarray]:
        return lambda: fit_label_model(prepared, **options).labels.dense().astype(float)

    def crowd(name: str) -> Callable[[], np.ndarray]:
        return lambda: METHODS[name](prepared).labels.dense().astype(float)

    out = {
        "vote shares, as they are": lambda: shares(matrix, k),
        "label_model": ours(),
        "label_model, dependencies=None": ours(dependencies=None),
        "label_model, abstentions='informative'": ours(abstentions="informative"),
    }
    if all_of_them:
        out |= {f"aggregate: {name}": crowd(name) for name in ("vote_shares", "one_coin", "dawid_skene")}
    return out


def compare(
    case: Case, peer: str | None, *, all_of_them: bool, fresh: bool = False, last: int | None = None
) -> dict[str, dict]:
    """last: score the last so many items; default: all that are fitted."""
    matrix, truth, k = case
    scored = slice(len(truth) - (last or len(truth)), None)
    truth, spoken = truth[scored], (matrix >= 0).any(1)[scored]
    out = {}
    for name, method in methods(matrix, k, all_of_them=all_of_them).items():
        method()
        seconds, p = timed(method)
        out[name] = measured(p[scored], truth, spoken) | {"seconds": round(seconds, 3)}
        if fresh and name.startswith("label_model"):
            out[name] |= first_runs(sys.executable, "--run-ours", matrix, k, name)
    for epochs in (100, 500) if peer else ():
        said, name = in_a_process(peer, "--run-peer", matrix, k, str(epochs)), f"snorkel LabelModel, {epochs} epochs"
        p = np.nan_to_num(said["prob"], nan=1 / k)
        out.setdefault("majority (snorkel)", measured(said["majority"][scored], truth, spoken))
        out[name] = measured(p[scored], truth, spoken) | {"seconds": round(float(said["second"]), 3)}
        if fresh:
            out[name] |= first_runs(peer, "--run-peer", matrix, k, str(epochs))
    return out


def first_runs(python: str, run: str, matrix: np.ndarray, k: int, what: str) -> dict[str, float]:
    one, free = (in_a_process(python, run, matrix, k, what, threads) for threads in ("1", ""))
    found = {"first": float(one["first"]), "first, default threads": float(free["first"])}
    if "begin" in one:
        found["from matrix"] = float(one["begin"])
    return {name: round(value, 3) for name, value in found.items()}


def show(title: str, found: dict[str, dict]) -> None:
    print(
        f"\n{title}\n{'':42} accuracy    NLL    ECE | covered       NLL    ECE | CPU s: second, first, default threads"
    )
    for name, row in found.items():
        cells = " | ".join("{:8.4f} {:6.3f} {:6.3f}".format(*row[part]) for part in ("all", "covered"))
        times = " ".join(f"{row[key]:.3f}" for key in ("seconds", "first", "first, default threads") if key in row)
        print(f"{name:42} {cells} | {times}", flush=True)


def main() -> None:
    if sys.argv[1:2] in (["--run-peer"], ["--run-ours"]):
        (run_peer if sys.argv[1] == "--run-peer" else run_ours)(*sys.argv[2:6])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "label_model.json")
    options = parser.parse_args()
    result: dict[str, dict] = {}
    for name, load in (("weak_youtube", youtube), ("weak_trec", trec)):
        train, rest = load(options.data, ["train"]), load(options.data, ["valid", "test"])
        whole = (np.concatenate([train[0], rest[0]]), np.concatenate([train[1], rest[1]]), train[2])
        for title, case, last in (
            (f"fitted to all {len(whole[1]):,}, scored on valid + test", whole, len(rest[1])),
            ("train (constants chosen here)", train, None),
            ("valid + test alone", rest, None),
        ):
            key = f"{name}, {title}, {last or len(case[1]):,} items"
            result[key] = compare(case, options.peer_python, all_of_them=True, last=last)
            show(key, result[key])
    for n, m, k in ((100_000, 20, 2), (100_000, 20, 5), (10_000, 20, 20)):
        for seed in range(3):
            key = f"planted, {n:,} items x {m} rules, K={k}, seed {seed}"
            result[key] = compare(planted(n, m, k, seed), options.peer_python, all_of_them=False, fresh=seed == 0)
            show(key, result[key])
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
