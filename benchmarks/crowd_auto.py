"""method="auto" on crowds with known truth: against the best of plain models, and with everything chosen on the other sets.

    python benchmarks/crowd_auto.py --data DATA [--peer-python PYTHON_WITH_CROWD_KIT] [auto | leave | gold | history ...]

The sets are those of crowd_models.py. See `auto_quality` (the best of majority and Dawid-Skene is chosen with hindsight per set;
that latent groups may take the place of the mixture was added with ducks in sight, whose classes people share ideas beside),
`leave_one_out` (pick or mix, and the constants, chosen on the other sets), `with_gold` and `with_history`. Only the named parts
are measured anew.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crowd_models import DEVELOPMENT, TEMPERED, UNSEEN, hits, load_votes, peers, quality
from labelwright.crowds import aggregate
from labelwright.crowds._candidates import Pairs
from labelwright.crowds._starts import share_posterior
from labelwright.crowds.choose import Compared, best_of, compare, figures, stack
from labelwright.crowds.dawid_skene import fit_dawid_skene
from labelwright.crowds.methods import METHODS
from labelwright.crowds.prepared import Prepared, prepare
from labelwright.crowds.verb import AUTO
from labelwright.labels import Votes

FIVE = tuple(name for name in AUTO if name != "top_two")
LEAST_DEPENDENCE, DOUBTS, TIES = (0.0, 0.1, 0.25, 0.4), (0.0, 0.1, 0.25, 0.4, 0.5, 0.6), (0.0, 1.0, 2.0)
KIT = ("DawidSkene", "DawidSkene, to the end")
PARTS = ("auto", "leave", "gold", "history")


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--peer-python")
    parser.add_argument(
        "--cache", type=Path, help="folder for the votes that crowd-kit reads (default: a temporary one)"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "crowd_auto.json")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    warnings.simplefilter("ignore")
    result: dict[str, Any] = json.loads(options.out.read_text()) if options.out.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        result |= auto(options.data, options.peer_python, options.cache or Path(folder), options.parts)
    options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
