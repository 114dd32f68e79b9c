"""The models of a crowd against crowd-kit: quality on crowds with known truth, speed and memory on made ones.

    python benchmarks/crowd_models.py --data DATA [--peer-python PYTHON_WITH_CROWD_KIT] [--large | --auto]

Quality: on every set of DATA/crowd with classes as truth: accuracy (classes that tie share), NLL (probabilities clipped at
1e-6) and ECE (15 bins). The two constants of `crowds/temper.py`, the even prior of one_coin and glad, the fitted one of mace
and the even spread of vote_shares were chosen with the results on product, dog, rte, trec and ducks in sight
("development"); the others were not looked at before ("unseen"). "full" is the same model with votes counted in full
(dependence=0, doubt=0).

Speed: 10 votes per item from 100 and 500 annotators, 5 classes; annotators right with probability Beta(6, 2), less on hard
items, 15 % of them constant or random; errors lean to the next class. CPU seconds of one fit, the better of two, votes
prepared before (crowd-kit: a data frame prepared before, one fit). --large adds dawid_skene on 10 M votes by 50,000
annotators, once; memory is the peak of the process (the making of the votes included) above what it held with the votes.

--auto: method="auto", see `auto_quality` (against the best of majority and Dawid-Skene, chosen with hindsight per set; that
latent groups may take its place was added with ducks in sight, whose classes people share ideas beside),
`leave_one_out` (pick or mix, and the constants, chosen on the other sets), `with_gold` and `with_history`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.crowds import aggregate
from labelwright.crowds._candidates import Pairs
from labelwright.crowds._starts import share_posterior
from labelwright.crowds.choose import Compared, best_of, compare, figures, stack
from labelwright.crowds.dawid_skene import fit_dawid_skene
from labelwright.crowds.methods import METHODS
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.crowds.verb import AUTO
from labelwright.labels import LabelSpace, Votes

DEVELOPMENT = ("product", "dog", "rte", "trec", "ducks")
UNSEEN = ("bluebirds", "face", "adult2", "color", "plot", "adult_content2")
FIVE = tuple(name for name in AUTO if name != "top_two")
LEAST_DEPENDENCE, DOUBTS, TIES = (0.0, 0.1, 0.25, 0.4), (0.0, 0.1, 0.25, 0.4, 0.5, 0.6), (0.0, 1.0, 2.0)
KIT = ("DawidSkene", "DawidSkene, to the end")
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


def auto_quality(votes: Votes, truth: np.ndarray, kit: dict[str, np.ndarray]) -> dict[str, Any]:
    """ "auto" against the best of majority, Dawid-Skene with votes in full, and crowd-kit's Dawid-Skene after all its 100 steps
    (if there), the best by accuracy for the paired 90 % interval of the difference (bootstrap over items), the least NLL of
    those and of the vote shares as they are; against crowd-kit's as it stops by itself; and "pick", the one of the five methods
    that "auto" chose from before which foretells votes best.

    crowd-kit stops where its bound does not rise. That bound takes the prior and the entropy for each vote, so that it may fall
    in a step of EM: on adult2, adult_content2, bluebirds and trec it does in the second or third."""
    found, prepared = aggregate(votes), prepare(votes)
    rivals = {
        "majority": METHODS["majority"](prepared).labels.dense(),
        "Dawid-Skene": fit_dawid_skene(prepared, dependence=0.0, doubt=0.0).labels.dense(),
    } | ({"crowd-kit Dawid-Skene": kit[KIT[1]]} if kit else {})
    shares = METHODS["vote_shares"](prepared, pseudo_count=1e-9).labels.dense()  # type: ignore[call-arg]
    best = max(rivals, key=lambda name: float(hits(rivals[name], truth).mean()))
    least = {name: quality(p, truth)["nll"] for name, p in ({"vote shares": shares} | rivals).items()}
    prob, picked = found.labels.dense(), max(FIVE, key=lambda name: found.scores[name]["loglik"])
    pick = METHODS[picked](prepared).labels.dense()
    return {
        "mix": quality(prob, truth) | {"interval": interval(hits(prob, truth) - hits(rivals[best], truth))},
        "pick": quality(pick, truth) | {"interval": interval(hits(pick, truth) - hits(rivals[best], truth)), "of": picked},
        "best by accuracy": best, "accuracy": quality(rivals[best], truth)["accuracy"],
        **({"as crowd-kit stops": _against(prob, kit[KIT[0]], truth)} if kit else {}),
        "least nll": min(least.values()), "least nll by": min(least, key=lambda name: least[name]),
        "others": found.others.to_pylist() if found.others is not None else [],
    }  # fmt: skip


def _against(prob: np.ndarray, rival: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    return quality(rival, truth) | {"interval": interval(hits(prob, truth) - hits(rival, truth))}


def interval(difference: np.ndarray, times: int = 2000) -> list[float]:
    """5 % and 95 % of the mean of (N,) differences over items drawn with replacement."""
    rng, n = np.random.default_rng(0), len(difference)
    means = [difference[rng.integers(0, n, n)].mean() for _ in range(times)]
    return [round(float(x), 4) for x in np.quantile(means, (0.05, 0.95))]


def candidates(votes: Prepared, truth: np.ndarray) -> tuple[Compared, dict[Any, np.ndarray]]:
    """What the models foretell, and their labels of the items with truth under each least dependence, doubt 0."""
    found, known = compare({name: METHODS[name] for name in AUTO}, votes), np.flatnonzero(truth >= 0)
    labels: dict[Any, np.ndarray] = {}
    for name in AUTO:
        if name not in TEMPERED:
            labels[name] = METHODS[name](votes).labels[known].dense().astype(float)
            continue
        fitted = METHODS[name](votes, doubt=0.0, dependence=0.0).details["dependence_of_votes"]  # type: ignore[call-arg]
        for least in LEAST_DEPENDENCE:
            model = METHODS[name](votes, doubt=0.0, dependence=max(fitted, least))  # type: ignore[call-arg]
            labels[name, least] = model.labels[known].dense().astype(float)
    prob, _, _ = share_posterior(votes, Pairs.every(votes))
    labels["shares"] = prob.reshape(votes.n_items, -1)[known]
    return found, labels


def leave_one_out(sets: dict[str, tuple[Prepared, np.ndarray]]) -> dict[str, Any]:
    """Pick or mix, five or six models, the least dependence, the doubt and the tie rule of "pick": whatever has the least mean
    log of the NLL on the other sets, measured on the set itself. adult2 is part of adult_content2: both are left out together."""
    rules = [("mix", names, 0.0) for names in (FIVE, AUTO)] + [
        ("pick", names, tie) for names in (FIVE, AUTO) for tie in TIES
    ]
    grid = [(*rule, least, doubt) for rule in rules for least in LEAST_DEPENDENCE for doubt in DOUBTS]
    table: dict[str, list[dict[str, float]]] = {}
    for name, (votes, truth) in sets.items():
        (found, labels), known = candidates(votes, truth), truth[truth >= 0]
        weights = {rule: _weights(found, *rule) for rule in rules}
        table[name] = []
        for rule, names, tie, least, doubt in grid:
            prob = np.zeros_like(labels["shares"])
            for weight, model in zip(weights[rule, names, tie], names):
                own = labels.get(model, None)
                prob += weight * (
                    own if own is not None else (1 - doubt) * labels[model, least] + doubt * labels["shares"]
                )
            table[name].append(quality(prob, known))
    told: dict[str, Any] = {"mean": {}}
    for kind in ("any", "pick", "mix"):
        out = {}
        for name in sets:
            others = [other for other in sets if other[:5] != name[:5]]
            allowed = [i for i, choice in enumerate(grid) if kind in ("any", choice[0])]
            score = [float(np.mean([np.log(table[other][i]["nll"]) for other in others])) for i in allowed]
            best = allowed[int(np.argmin(score))]
            rule, names, tie, least, doubt = grid[best]
            choice = {"rule": rule, "models": len(names), "tie": tie, "least_dependence": least, "doubt": doubt}
            out[name] = choice | table[name][best]
        told[kind] = out
        told["mean"][kind] = {
            key: round(float(np.mean([row[key] for row in out.values()])), 4) for key in ("accuracy", "nll")
        }
    shipped = {"pick": ("pick", FIVE, 1.0, 0.25, 0.25), "mix": ("mix", AUTO, 0.0, 0.25, 0.25)}
    told["shipped constants"] = {
        kind: {name: table[name][grid.index(choice)] for name in sets} for kind, choice in shipped.items()
    }
    return told


def _weights(found: Compared, rule: str, names: tuple[str, ...], tie: float) -> np.ndarray:
    columns = [found.names.index(name) for name in names]
    if rule == "mix":
        return stack(found.votes[:, columns], np.ones(len(names)))[0]
    scores = figures(names, found.votes[:, columns], found.item)
    for one in scores.values():
        one["error"] *= tie
    return np.array([name == best_of(scores, names) for name in names], float)


def with_gold(votes: Votes, truth: np.ndarray, seeds: int) -> dict[str, Any]:
    """Accuracy and NLL on four fifths of the items, without and with the truth of the other fifth, and the standard deviation
    of the difference over the seeds."""
    known, out = np.flatnonzero(truth >= 0), {}
    for method in ("auto", "one_coin", "dawid_skene"):
        plain, rows = aggregate(votes, method=method).labels.dense(), []
        for seed in range(seeds):
            order = np.random.default_rng(seed).permutation(known)
            told, rest = order[: len(known) // 5], np.sort(order[len(known) // 5 :])
            gold = dict(zip(told.tolist(), truth[told].tolist()))
            heard = aggregate(votes, method=method, gold=gold, random_state=seed).labels.dense()
            both = [quality(p[rest], truth[rest]) for p in (plain, heard)]
            rows.append([one[key] for key in ("accuracy", "nll") for one in both])
        mean, spread = np.mean(rows, 0).round(4), np.std(np.array(rows)[:, 1] - np.array(rows)[:, 0]).round(4)
        out[method] = dict(zip(("accuracy", "accuracy with gold", "nll", "nll with gold"), mean.tolist()))
        out[method]["deviation"] = float(spread)
    return out


def with_history(votes: Votes, truth: np.ndarray, seeds: int) -> dict[str, Any]:
    """Three votes each on at most 100 items of one half of a set, alone and with the history of the annotators on the other half:
    the table of annotators of dawid_skene there (no truth is used), or their right votes by the truth."""
    rows: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        order = rng.permutation(np.flatnonzero(truth >= 0))
        before, now = order[: len(order) // 2], order[len(order) // 2 :][:100]
        turn = rng.permutation(len(votes.item))
        item, who, said = votes.item[turn], votes.annotator[turn], votes.label[turn]
        early, late = np.isin(item, before), np.flatnonzero(np.isin(item, now))
        late = late[np.argsort(item[late], kind="stable")]
        late = late[np.arange(len(late)) - np.searchsorted(item[late], item[late]) < 3]
        total, right = np.bincount(who[early]), np.bincount(who[early], said[early] == truth[item[early]])
        histories = {
            "none": None,
            "table": aggregate(
                item[early], who[early], said[early], space=votes.space, method="dawid_skene"
            ).annotators,
            "truth": {int(a): (float(right[a]), int(total[a])) for a in np.flatnonzero(total)},
        }
        for method in ("one_coin", "dawid_skene", "auto"):
            for name, history in histories.items():
                found = aggregate(item[late], who[late], said[late], space=votes.space, method=method, history=history)
                got = quality(found.labels.dense(), truth[np.asarray(found.items["item"])])
                rows.setdefault(f"{method}, {name}", []).append([got["accuracy"], got["nll"]])
    return {name: dict(zip(("accuracy", "nll"), np.mean(found, 0).round(4).tolist())) for name, found in rows.items()}


def auto(data: Path, python: str | None, cache: Path, parts: list[str]) -> dict[str, Any]:
    """Those parts of the result, all if none is named."""
    names = DEVELOPMENT + UNSEEN
    sets = {name: load_votes(data / "crowd" / f"{name}.npz") for name in names}
    cases = {name: (prepare(votes), truth) for name, (votes, truth) in sets.items()}
    if python:
        peers(python, list(KIT), cases, cache)
    kits = [cache / f"crowd_{i}.peer.npz" for i in range(len(names))]
    kit: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
    for name, path in zip(names, kits if python else ()):
        kit[name] = {arm: np.load(path)[f"prob {arm}"] for arm in KIT}
    small = {name: case for name, case in sets.items() if len(case[0].item) < 30_000}
    steps: dict[str, Callable[[], Any]] = {
        "auto": lambda: {name: auto_quality(*case, kit[name]) for name, case in sets.items()},
        "leave one set out": lambda: leave_one_out(cases),
        "gold": lambda: {name: with_gold(*case, seeds=5 if name in small else 1) for name, case in sets.items()},
        "history": lambda: {name: with_history(*case, seeds=5) for name, case in small.items() if name != "plot"},
    }
    return {name: step() for name, step in steps.items() if name.split()[0] in (parts or [name.split()[0]])}


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
    parser.add_argument("--auto", nargs="*", choices=("auto", "leave", "gold", "history"), help="parts; default: all")
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
    elif options.auto is not None:
        result |= auto(options.data, options.peer_python, cache, options.auto)
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
