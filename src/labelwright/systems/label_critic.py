"""Card 105: the better of two masks by a judge who is asked in both orders; the rest goes to people."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _mask_candidates as masks
from labelwright.systems import _mask_scenes as scenes
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "protocol": "labelwright.crowds.judging.judge_candidates",
    "gate": "labelwright.crowds.judging.dice",
    "answers": "labelwright.crowds.judging.read_answer",
    "dual confirmation": "labelwright.crowds.judging.confirmed",
    "closed form": "labelwright.crowds.judging.expected_confirmation",
    "bias and accuracy without truth": "labelwright.crowds.better_annotation",
    "overlay": "labelwright.crowds.regions.overlay",
    "ranking of the sources": "labelwright.crowds.fit_bradley_terry",
}
LESSONS, CASES = 200, 300  # comparisons that the judge learns from, objects of the test


class Case(NamedTuple):
    """candidates: object -> {source: (H, W) bool as int8}.   image, truth: object -> array.   judge: as `judge_candidates`
    calls it.   quality: (object, source) -> Dice with the truth."""

    candidates: dict[int, dict[str, np.ndarray]]
    truth: dict[int, np.ndarray]
    judge: Callable[[Any, Any, Any], int]
    quality: dict[tuple[int, str], float]


# ------------------------------------------------------------------------------------------------------- swapping
def judge_sets(folder: Path | None) -> Iterator[Dataset]:
    """Judges of known accuracy where the better one is first, and second."""
    for first, second in ((0.8, 0.8), (0.95, 0.6), (0.65, 0.65)):
        items = {"item": np.arange(2000)}
        yield Dataset(f"right in {first:g} first, {second:g} second", items, options={"p": (first, second)})


def biased_judge(data: Dataset, seed: int) -> tuple[dict[int, dict[str, int]], Any, tuple[float, float]]:
    """Pairs (candidate 1 is the better one) and a judge who errs independently each time."""
    p = tuple(data.options.get("p", (0.8, 0.8)))
    rng = np.random.default_rng([seed, 105])

    def judge(item: Any, first: int, second: int) -> int:
        better, right = (1, rng.random() < p[0]) if first > second else (2, rng.random() < p[1])
        return better if right else 3 - better

    pairs = [{"a": 1, "b": 0} if rng.random() < 0.5 else {"a": 0, "b": 1} for _ in data["item"]]
    return dict(zip(np.asarray(data["item"]).tolist(), pairs)), judge, (p[0], p[1])


def swapped(conservative: bool = False) -> Any:
    """Accuracy of what is decided, coverage, and what the closed form and the contradictions alone say they are."""

    def run(case: Any, seed: int) -> dict[str, float]:
        from labelwright.crowds.judging import expected_confirmation, judge_candidates

        pairs, judge, p = case
        found = judge_candidates(pairs, judge, conservative=conservative, random_state=seed)
        coverage, accuracy = expected_confirmation(*p)
        told = found.verdicts().judges.to_pylist()[0]
        return {
            "accuracy": found.accuracy(lambda item, a, b: a if pairs[item][a] > pairs[item][b] else b),
            "coverage": found.coverage,
            "expected accuracy": accuracy,
            "expected coverage": coverage,
            "accuracy told by contradictions": told["accuracy"],
        }

    return run


def asked_once(case: Any, seed: int) -> dict[str, float]:
    """The judge's first answer, in a random order."""
    pairs, judge, _ = case
    rng = np.random.default_rng(seed)
    right = []
    for item, choices in pairs.items():
        shown = list(choices.values()) if rng.random() < 0.5 else list(choices.values())[::-1]
        right.append(shown[judge(item, *shown) - 1] == 1)
    return {"accuracy": float(np.mean(right)), "coverage": 1.0}


# ----------------------------------------------------------------------------------------------------- objects
def object_sets(folder: Path | None) -> Iterator[Dataset]:
    """Drawn objects on a noisy ground, and objects of street scenes; the faults of their masks are planted. And street scenes as
    three quick models segment them, whose faults are their own."""
    image, truth = masks.drawn_objects(1500)
    yield Dataset("drawn objects", {"image": image, "y": truth})
    if scenes.camvid(folder, 4) is None:
        return
    image, truth = masks.cut_objects(folder)
    yield Dataset("CamVid objects", {"image": image, "y": truth})
    image, truth, predicted = masks.model_masks(folder)
    yield Dataset("CamVid, three models", {"image": image, "y": truth, "masks": predicted}, real=True)


def candidates_of(data: Dataset, seed: int) -> Case:
    """A judge who learns from 200 comparisons, and 300 other objects with their candidates."""
    from labelwright.crowds.judging import dice

    rng, truth = np.random.default_rng([seed, 50]), np.asarray(data["y"]).astype(bool)
    order = rng.permutation(len(truth))[: LESSONS + CASES]
    made: dict[int, dict[str, np.ndarray]] = {}
    for i in order.tolist():
        if "masks" in data:
            made[i] = {f"model {m + 1}": p.astype(np.int8) for m, p in enumerate(np.asarray(data["masks"])[i])}
        else:
            made[i] = {source: masks.faulty(truth[i], source, rng).astype(np.int8) for source in masks.FAULTS}
    quality = {(i, s): dice(m, truth[i]) for i, named in made.items() for s, m in named.items()}
    image = np.asarray(data["image"])
    judge = masks.learnt_judge(image, made, quality, order[:LESSONS].tolist(), rng)
    test = order[LESSONS:].tolist()
    return Case({i: made[i] for i in test}, {i: truth[i] for i in test}, judge, quality)


# ------------------------------------------------------------------------------------------------------------ arms
def better_of(case: Case, item: Any, a: str, b: str) -> str | None:
    one, two = case.quality[item, a], case.quality[item, b]
    return None if one == two else a if one > two else b


def pairs_of(case: Case, seed: int) -> dict[int, dict[str, np.ndarray]]:
    """Two candidates of each object, drawn; those of equal quality are left out."""
    rng, out = np.random.default_rng([seed, 3]), {}
    for item, named in case.candidates.items():
        a, b = rng.choice(sorted(named), 2, replace=False).tolist()
        if case.quality[item, a] != case.quality[item, b]:
            out[item] = {a: named[a], b: named[b]}
    return out


def confirmed_choice(case: Case, seed: int) -> dict[str, float]:
    """Both orders, what survives the swap."""
    from labelwright.crowds.judging import judge_candidates

    found = judge_candidates(pairs_of(case, seed), case.judge, threshold=1.0, random_state=seed)
    told = found.verdicts().judges.to_pylist()[0]
    return {
        "accuracy": found.accuracy(lambda item, a, b: better_of(case, item, a, b)),
        "coverage": found.coverage,
        "accuracy told by contradictions": told["accuracy"],
    }


def by_rule(rule: Callable[[Case, Any, list[str], np.random.Generator], str]) -> Any:
    """Accuracy of a rule that names the best of several."""

    def run(case: Case, seed: int) -> dict[str, float]:
        rng = np.random.default_rng([seed, 4])
        right = [rule(case, i, list(two), rng) == better_of(case, i, *two) for i, two in pairs_of(case, seed).items()]
        return {"accuracy": float(np.mean(right)), "coverage": 1.0}

    return run


def at_random(case: Case, item: Any, names: list[str], rng: np.random.Generator) -> str:
    """Any."""
    return str(rng.choice(names))


def one_order(case: Case, item: Any, names: list[str], rng: np.random.Generator) -> str:
    """The judge's answer to one random order; the winner meets the next."""
    names = rng.permutation(names).tolist()
    best = names[0]
    for other in names[1:]:
        made = case.candidates[item]
        best = (best, other)[case.judge(item, made[best], made[other]) - 1]
    return best


def larger(case: Case, item: Any, names: list[str], rng: np.random.Generator) -> str:
    """The largest area."""
    return max(names, key=lambda n: int((case.candidates[item][n] > 0).sum()))


def nearest_to_all(case: Case, item: Any, names: list[str], rng: np.random.Generator) -> str:
    """The one with the largest mean Dice with all candidates of the object."""
    from labelwright.crowds.judging import dice

    made = case.candidates[item]
    return max(names, key=lambda n: float(np.mean([dice(made[n], other) for m, other in made.items() if m != n])))


def assembled(threshold: float | None, nearest_first: bool = False) -> Any:
    """Rounds with dual confirmation, of the pairs below a similarity (None: the paper's gate)."""

    def run(case: Case, seed: int) -> dict[str, float]:
        from labelwright.crowds.judging import judge_candidates

        made = case.candidates
        if nearest_first:
            made = {i: _by_nearness(c) for i, c in made.items()}
        found = judge_candidates(made, case.judge, threshold=threshold, random_state=seed)
        rows = found.best.to_pylist()
        quality = [case.quality[r["item"], r["best"]] for r in rows]
        settled = np.array([r["settled"] for r in rows])
        best = [max(case.quality[r["item"], n] for n in made[r["item"]]) for r in rows]
        return {
            "Dice": float(np.mean(quality)),
            "review load": float(1 - settled.mean()),
            "Dice after review": float(np.mean(np.where(settled, quality, best))),
            "questions per item": found.asked / len(rows),
        }

    return run


def _by_nearness(made: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The candidate nearest to all others first: it stays where the judge does not decide."""
    from labelwright.crowds.judging import dice

    near = {n: np.mean([dice(m, other) for other in made.values()]) for n, m in made.items()}
    return {n: made[n] for n in sorted(made, key=lambda n: -near[n])}


def taken(rule: Callable[[Case, Any, list[str], np.random.Generator], str]) -> Any:
    """Mean Dice of the candidates that a rule takes."""

    def run(case: Case, seed: int) -> dict[str, float]:
        rng = np.random.default_rng([seed, 5])
        return {
            "Dice": float(np.mean([case.quality[i, rule(case, i, list(c), rng)] for i, c in case.candidates.items()]))
        }

    return run


def best_source(case: Case, seed: int) -> dict[str, float]:
    """The source that is best on the test objects: a choice nobody could have made beforehand."""
    names = sorted({n for c in case.candidates.values() for n in c})
    return {"Dice": max(float(np.mean([case.quality[i, n] for i in case.candidates])) for n in names)}


def pixel_majority(case: Case, seed: int) -> dict[str, float]:
    """A new mask: pixels that half of the candidates hold."""
    from labelwright.crowds.judging import dice

    made = {i: np.mean([m > 0 for m in c.values()], axis=0) >= 0.5 for i, c in case.candidates.items()}
    return {"Dice": float(np.mean([dice(made[i], case.truth[i]) for i in made]))}


def best_of_each(case: Case, item: Any, names: list[str], rng: np.random.Generator) -> str:
    """The one nearest to the truth."""
    return max(names, key=lambda n: case.quality[item, n])


KEYS = {
    "image": "(N, H, W) grey images, one object each",
    "y": "true masks, (N, H, W) bool",
    "masks?": "candidate masks, (N, M, H, W) bool; faults are planted where absent",
}
JUDGE = (
    "No vision-language model: the judge is gradient boosting on nine numbers of each mask and its picture, taught by 200 "
    "simulated comparisons; other objects of the same pictures may be in the test. In 'CamVid, three models' the candidates are "
    "the masks of three quick pixel classifiers (a linear one, a tree, naive Bayes) trained on other scenes, so their faults are "
    "real; elsewhere they are planted. Each seed draws 200 and 300 objects anew. "
)
PROOFS = (
    Proof(
        name="swap",
        question="Is a verdict that survives the swap of the two more often right, and as often as the closed form says?",
        metric="accuracy",
        keys={"item": "keys of the pairs, (N,)"},
        datasets=judge_sets,
        prepare=biased_judge,
        arms=(Arm("both orders", swapped(), "method"), Arm("one order", asked_once, "baseline")),
        needs_real=False,
        note="Simulated judges, whose answers err independently. Accuracy is of decided pairs and means nothing without the "
        "coverage beside it.",
    ),
    Proof(
        name="choice",
        question="Is the better of two masks found more often by both orders than by one?",
        metric="accuracy",
        keys=KEYS,
        datasets=object_sets,
        prepare=candidates_of,
        arms=(
            Arm("both orders", confirmed_choice, "method"),
            Arm("one order", by_rule(one_order), "baseline"),
            Arm("random", by_rule(at_random), "baseline"),
            Arm("larger area", by_rule(larger), "alternative"),
            Arm("nearest to all candidates", by_rule(nearest_to_all), "alternative"),
        ),
        note=JUDGE
        + "Accuracy of decided pairs; the others decide all. What the contradictions alone tell of the accuracy supposes "
        "that the two answers err independently, which a judge who sees the same faults twice does not: it is far too high here.",
    ),
    Proof(
        name="assembly",
        question="Is the label that is put together from several sources better than the best source?",
        metric="Dice",
        keys=KEYS,
        datasets=object_sets,
        prepare=candidates_of,
        arms=(
            Arm("rounds, both orders", assembled(1.0), "method"),
            Arm("best single source", best_source, "baseline"),
            Arm("random source", taken(at_random), "baseline"),
            Arm("rounds, both orders, paper's gate", assembled(None), "alternative"),
            Arm("rounds from the nearest to all", assembled(1.0, nearest_first=True), "alternative"),
            Arm("rounds, one order", taken(one_order), "alternative"),
            Arm("nearest to all candidates", taken(nearest_to_all), "alternative"),
            Arm("pixel majority", pixel_majority, "alternative"),
            Arm("best of each", taken(best_of_each), "bound"),
        ),
        note=JUDGE
        + "Dice before any review; what would go to people stands beside it as the review load, and the Dice if they "
        "take the best candidate there. The best single source is named with the truth of the test in sight. The first run, of "
        "seed 0, had the paper's gate as the method: it compares one pair in six or fewer. All pairs were made the method then, "
        "and the rounds that begin with the nearest to all were added.",
    ),
)


def _judged_classes(data: dict[str, Any]) -> np.ndarray:
    """Given label against prediction, by a judge who knows the probabilities."""
    from labelwright.crowds.judging import judge_candidates
    from labelwright.labels import check_pred_probs

    p = check_pred_probs(data["pred_probs"])
    items = {i: {"given": int(y), "model": int(p[i].argmax())} for i, y in enumerate(data["y"])}
    found = judge_candidates(items, lambda i, a, b: 1 if p[i, a] >= p[i, b] else 2)
    return np.array([items[r["item"]][r["best"]] for r in found.best.to_pylist()], dtype=np.int64)


CONTRACTS = (
    Contract("labelwright.crowds.judging.judge_candidates", "labels+pred_probs", _judged_classes, answers="classes"),
)
