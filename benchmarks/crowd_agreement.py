"""Agreement, comparisons and scores: speed, coverage of the 90 % intervals, and accuracy.

    python benchmarks/crowd_agreement.py --data DATA [--votes 1000000,10000000] [--json benchmarks/results/crowd_agreement.json]

speed: seconds for simulated votes (5 per item, 1,000 annotators, 10 classes), one thread.
intervals: 90 % intervals of the agreement statistics over simulated crowds; truth is the statistic of 100,000 items. `bootstrap`
is the percentile interval over items (60 resamplings).
comparisons: Davidson's model with two of ten judges tossing a coin and an advantage of the first of 0.6 nats.
scores: emotion_scores against experts (600 items of the six emotions, 100 of valence, fitted apart), against mean and median of
the ten; scores held out, one per item, from emotion_scores and from likert_paraphrase (four raters); and simulated crowds with
20 annotators, of whom a share draws numbers at random. The default `spread=None` was preferred to "item" and "score" with the
expert values in sight; the held-out scores were looked at once, at the end.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.crowds._distances import read
from labelwright.crowds._influence import alpha, fleiss, gwet, observed
from labelwright.crowds._intervals import Influence, estimate
from labelwright.crowds._pairs import Pairs, weights_of
from labelwright.crowds.agreement import agreement, krippendorff_alpha
from labelwright.crowds.pairwise import fit_bradley_terry
from labelwright.crowds.scores import ScoreFit, fit_scores
from labelwright.labels import Comparisons, LabelSpace, Votes

CROWDS = {  # items, annotators, accuracy on easy items, share of missing votes, class shares; 3 of 10 items are guessed
    "20 items, 3 votes, even": (20, 3, 0.9, 0.0, (0.5, 0.5)),
    "20 items, 5 annotators, gaps": (20, 5, 0.8, 0.3, (0.25,) * 4),
    "50 items, skewed": (50, 3, 0.95, 0.2, (0.8, 0.1, 0.1)),
    "50 items, rare class": (50, 3, 0.97, 0.0, (0.9, 0.1)),
    "200 items, gaps": (200, 4, 0.85, 0.3, (0.5, 0.3, 0.2)),
    "200 items, poor annotators": (200, 3, 0.6, 0.4, (0.2,) * 5),
}


# --------------------------------------------------------------------------------------------------------------- agreement
def speed(n_votes: int) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    n, k = n_votes // 5, 10
    true, item, who = rng.integers(0, k, n), rng.integers(0, n, n_votes), rng.integers(0, 1000, n_votes)
    label = np.where(rng.random(n_votes) < 0.7, true[item], rng.integers(0, k, n_votes))
    votes = Votes(item, who, label, np.arange(n), np.arange(1000), LabelSpace(range(k), structure="ordered"))
    krippendorff_alpha(votes[:1000])  # imports
    out: dict[str, Any] = {"votes": n_votes}
    for metric in ("nominal", "ordinal", "interval", "space"):
        start = time.perf_counter()
        krippendorff_alpha(votes, metric=metric)
        out[f"alpha, {metric}"] = round(time.perf_counter() - start, 2)
    start = time.perf_counter()
    agreement(votes)
    return out | {"agreement (all statistics, pairs, annotators)": round(time.perf_counter() - start, 2)}


def crowd(kind: tuple[Any, ...], rng: np.random.Generator, n: int | None = None) -> Votes:
    items, annotators, accuracy, missing, shares = kind
    n, k = n or items, len(shares)
    true, hard = rng.choice(k, n, p=shares), rng.random(n) < 0.3
    right = rng.random((n, annotators)) < np.where(hard, 1 / k, accuracy)[:, None]
    label = np.where(right, true[:, None], rng.choice(k, (n, annotators), p=shares))
    label[rng.random((n, annotators)) < missing] = -1
    item, who = np.nonzero(label >= 0)
    space = LabelSpace(range(k), structure="ordered")
    return Votes(item, who, label[item, who], np.arange(n), np.arange(annotators), space)


def statistics(votes: Votes) -> dict[str, Influence]:
    answers = read(votes)
    cells, pairs = answers.cells(), Pairs.of(answers, 5)
    out = {"observed": observed(cells), "fleiss": fleiss(cells), "ac1": gwet(cells)}
    out |= {f"alpha {m}": alpha(cells, votes.space, m) for m in ("nominal", "ordinal")}
    for weights in ("nominal", "quadratic"):
        far = weights_of(votes.space, weights)
        kappa, slope = pairs.kappas(far)
        if len(kappa):
            chance = float(pairs.parts(weights_of(votes.space, "nominal"))[1][0])
            out[f"cohen {weights}"] = Influence(float(kappa[0]), slope[: pairs.start[1]], chance)
    return out


def resampled(votes: Votes, rng: np.random.Generator) -> Votes:
    n = votes.n_items
    rows = [np.flatnonzero(votes.item == i) for i in rng.integers(0, n, n)]
    item = np.repeat(np.arange(n), [len(r) for r in rows])
    at = np.concatenate(rows)
    return Votes(item, votes.annotator[at], votes.label[at], votes.items, votes.annotators, votes.space)


def intervals(draws: int) -> list[dict[str, Any]]:
    out = []
    for name, kind in CROWDS.items():
        rng = np.random.default_rng(0)
        truth = {s: f.value for s, f in statistics(crowd(kind, rng, 100_000)).items()}
        ours: dict[str, list[bool]] = {s: [] for s in truth}
        boot: dict[str, list[bool]] = {s: [] for s in truth}
        for draw in range(draws):
            votes = crowd(kind, rng)
            for s, f in statistics(votes).items():
                if np.isfinite(f.value):
                    found = estimate(f, 0.9)
                    ours[s].append(found.low <= truth[s] <= found.high)
            if draw < draws // 4:
                again = [statistics(resampled(votes, rng)) for _ in range(60)]
                for s in truth:
                    values = [a[s].value for a in again if s in a and np.isfinite(a[s].value)]
                    if values:
                        low, high = np.quantile(values, [0.05, 0.95])
                        boot[s].append(low <= truth[s] <= high)
        out += [
            {"crowd": name, "statistic": s, "truth": round(truth[s], 3), "coverage": round(float(np.mean(ours[s])), 3),
             "bootstrap": round(float(np.mean(boot[s])), 3)}
            for s in truth
        ]  # fmt: skip
    return out


# ------------------------------------------------------------------------------------------------------------- comparisons
def comparisons(seeds: int) -> dict[str, float]:
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        k, judges, n = 20, 10, 2000
        score = rng.normal(0, 1.5, k)
        score -= score.mean()
        a = rng.integers(0, k, n)
        b = (a + rng.integers(1, k, n)) % k
        judge = rng.integers(0, judges, n)
        sign = np.where(rng.random(n) < np.where(judge < 2, 0.5, 0.95), 1, -1)
        x = sign * (score[a] - score[b]) + 0.6
        weight = np.stack([np.exp(x / 2), np.exp(-x / 2), np.full(n, 0.2)], axis=1)
        answer = (rng.random(n)[:, None] > (weight / weight.sum(1, keepdims=True)).cumsum(1)).sum(1)
        space = LabelSpace([f"m{i}" for i in range(k)])
        c = Comparisons(
            np.arange(n), judge, a, b, np.choose(answer, [a, b, -1]), np.arange(n), np.arange(judges), space
        )
        fit, plain = fit_bradley_terry(c), fit_bradley_terry(c, judges=False, position=False)
        row = [fit.first.mean(), fit.reliability[:2].mean(), fit.reliability[2:].mean()]
        for f in (fit, plain):
            row += [np.sqrt(((f.score - score) ** 2).mean()), (np.abs(f.score - score) < 1.645 * f.se).mean()]
        found.append(row)
    names = ("first (truth 0.6)", "reliability of coin tossers (0.5)", "of the others (0.95)", "rmse", "coverage",
             "rmse, plain Bradley-Terry", "coverage, plain Bradley-Terry")  # fmt: skip
    return dict(zip(names, np.round(np.mean(found, axis=0), 3).tolist(), strict=True))


# ------------------------------------------------------------------------------------------------------------------ scores
def errors(value: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    gap = value - truth
    return {
        "mae": round(float(np.abs(gap).mean()), 3),
        "rmse": round(float(np.sqrt((gap**2).mean())), 3),
        "correlation": round(float(np.corrcoef(value, truth)[0, 1]), 4),
    }


def by_item(fit: ScoreFit, n: int) -> np.ndarray:
    """(3, n): value, low, high by item number."""
    out = np.empty((3, n))
    out[:, fit.items] = [fit.value, *fit.interval()]
    return out


def emotions(data: Path) -> list[dict[str, Any]]:
    file = np.load(data / "crowd" / "emotion_scores.npz")
    out = []
    for name, part in (("six emotions, 0 to 100", slice(0, 600)), ("valence, -100 to 100", slice(600, 700))):
        rows = (file["item"] >= part.start) & (file["item"] < part.stop)
        item, who, score = file["item"][rows] - part.start, file["worker"][rows], file["label"][rows].astype(float)
        truth, n = file["truth"][part].astype(float), part.stop - part.start
        table = np.stack([score[item == i] for i in range(n)])
        found = {"mean": errors(table.mean(1), truth), "median": errors(np.median(table, axis=1), truth)}
        for spread in (None, "item", "score"):
            value, low, high = by_item(fit_scores(item, who, score, spread=spread), n)
            inside = round(float(((low <= truth) & (truth <= high)).mean()), 3)
            found[f"fit_scores, spread={spread}"] = errors(value, truth) | {"coverage of the experts": inside}
        out.append({"set": name, "items": n} | found)
    return out


def held_out(name: str, item: np.ndarray, who: np.ndarray, score: np.ndarray, draws: int) -> dict[str, Any]:
    """One score per item is left out and predicted from the others."""
    found = []
    for seed in range(draws):
        order = np.random.default_rng(seed).permutation(len(item))
        _, first = np.unique(item[order], return_index=True)
        out = np.zeros(len(item), dtype=bool)
        out[order[first]] = True
        fit = fit_scores(item[~out], who[~out], score[~out])
        at = {k: i for i, k in enumerate(fit.items.tolist())}
        people = {r["annotator"]: r for r in fit.annotators.to_pylist()}
        place = np.array([at[i] for i in item[out].tolist()])
        bias, scale, noise = (np.array([people[w][c] for w in who[out].tolist()]) for c in ("bias", "scale", "noise"))
        guess, sd = bias + scale * fit.value[place], np.hypot(noise, scale * fit.sd[place])
        keys, code = np.unique(item[~out], return_inverse=True)
        mean = (np.bincount(code, score[~out]) / np.bincount(code))[np.searchsorted(keys, item[out])]
        row = [np.sqrt(((x - score[out]) ** 2).mean()) for x in (guess, mean)]
        found.append([*row, (np.abs(guess - score[out]) < 1.645 * sd).mean()])
    names = ("rmse", "rmse of the mean of the others", "coverage")
    return {"set": name, "draws": draws} | dict(zip(names, np.round(np.mean(found, axis=0), 3).tolist(), strict=True))


def simulated(spam: float, seeds: int) -> dict[str, Any]:
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        n, people, votes = 200, 20, 1400
        value = rng.normal(50, 15, n)
        bias, scale, noise = (
            rng.normal(0, 6, people),
            np.clip(rng.normal(1, 0.2, people), 0.3, 2),
            rng.gamma(4, 2.5, people),
        )
        item, who = np.concatenate([np.arange(n), rng.integers(0, n, votes - n)]), rng.integers(0, people, votes)
        score = 50 + bias[who] + scale[who] * (value[item] - 50) + noise[who] * rng.standard_t(4, votes)
        guess = who < people * spam
        score[guess] = rng.uniform(0, 100, guess.sum())
        ours, low, high = by_item(fit_scores(item, who, score), n)
        mean = np.bincount(item, score) / np.bincount(item)
        median = np.array([np.median(score[item == i]) for i in range(n)])
        rmse = [np.sqrt(((x - value) ** 2).mean()) for x in (ours, mean, median)]
        found.append([*rmse, ((low <= value) & (value <= high)).mean()])
    names = ("rmse", "rmse of the mean", "rmse of the median", "coverage")
    return {"spammers": spam} | dict(zip(names, np.round(np.mean(found, axis=0), 3).tolist(), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--votes", default="1000000,10000000")
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    import pyarrow.parquet as pq

    file = np.load(options.data / "crowd" / "emotion_scores.npz")
    six = file["item"] < 600
    likert = pq.read_table(options.data / "likert_paraphrase" / "paraphrase.parquet").to_pydict()
    ratings = np.array([likert[f"rating{j}"] for j in range(1, 5)], dtype=float).T
    item, who = np.nonzero(np.isfinite(ratings))
    results = {
        "speed": [speed(int(v)) for v in options.votes.split(",")],
        "intervals": intervals(options.draws),
        "comparisons": comparisons(20),
        "scores": {
            "experts": emotions(options.data),
            "held out": [
                held_out("six emotions", file["item"][six], file["worker"][six], file["label"][six].astype(float), 5),
                held_out("likert_paraphrase", item, who, ratings[item, who], 5),
            ],
            "simulated": [simulated(spam, 20) for spam in (0.0, 0.2, 0.4)],
        },
    }
    text = json.dumps(results, indent=1)
    print(text)
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
