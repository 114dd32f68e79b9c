"""Card 12: the best answer and the most tempting wrong one, from the votes of a crowd."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "top two": "labelwright.crowds.top_two.fit_top_two",
    "reliability from agreement": "labelwright.crowds.top_two.agreements",
    "plug-in likelihood": "labelwright.crowds.top_two.pick",
}
SETS = ("color", "dog", "plot", "face", "adult_content2")  # crowds with more than two classes


class Case(NamedTuple):
    """votes: `Prepared`.   best, second, q: (N,) the truth, -1 or NaN where it is not known.   rows: items to score.
    reliability: (A,) the truth, None where it is not known.   kept: fits made so far, shared by the seeds of a data set."""

    votes: Any
    best: np.ndarray
    second: np.ndarray
    q: np.ndarray
    rows: np.ndarray
    reliability: np.ndarray | None
    kept: dict[str, Any]


# ------------------------------------------------------------------------------------------------------------ data
def simulated_sets(folder: Path | None) -> Iterator[Dataset]:
    """The model of the paper: 50 annotators with p ~ U(0, 1), 500 items, 5 classes. Each seed draws everything anew."""
    for low, high, share in ((0.5, 1.0, 0.5), (0.5, 0.6, 0.4), (0.5, 1.0, 0.2)):
        options = {"q": (low, high), "answered": share, "even": True}
        yield Dataset(f"simulated, q in {low} to {high}, {share:.0%} answered", {"y": np.zeros(500)}, options=options)
    options = {"q": (0.5, 1.0), "answered": 0.25, "even": False}
    yield Dataset("simulated, some answer much, some little", {"y": np.zeros(500)}, options=options)


def known_seconds(folder: Path | None) -> Iterator[Dataset]:
    """Colours whose most confusing answer is known by design."""
    yield from (d for d in crowds(folder) if "second" in d)


def crowds(folder: Path | None) -> Iterator[Dataset]:
    """Crowds with more than two classes and known truth."""
    for name in SETS if folder is not None and (folder / "crowd").is_dir() else ():
        assert folder is not None
        z = _datasets.arrays(folder / "crowd" / f"{name}.npz")
        columns = {"item": z["item"], "annotator": z["worker"], "label": z["label"], "y": z["truth"]}
        if "second" in z:
            columns["second"] = z["second"]
        yield Dataset(name, columns, real=True)


def simulate(data: Dataset, seed: int) -> Case:
    """Votes drawn from the model."""
    rng, n, a, k = np.random.default_rng(seed), len(data), 50, 5
    share, (low, high) = float(data.options["answered"]), data.options["q"]
    p, q = rng.random(a), rng.uniform(low, high, n)
    best = rng.integers(k, size=n)
    second = (best + rng.integers(1, k, n)) % k
    answers = share if data.options["even"] else rng.beta(0.5, 0.5 / share - 0.5, a)[:, None]
    annotator, item = np.nonzero(rng.random((a, n)) < answers)
    within, first = rng.random(len(item)) < p[annotator], rng.random(len(item)) < q[item]
    label = np.where(within, np.where(first, best[item], second[item]), rng.integers(k, size=len(item)))
    votes = _votes(item, annotator, label, n, a, k)
    return Case(votes, best, second, q, np.flatnonzero(np.diff(votes.start) > 0), p, {})


def resampled(data: Dataset, seed: int) -> Case:
    """The items with known truth (seed 0), or as many drawn with replacement. The fit is to all votes."""
    if data.fingerprint not in _FITS:
        _FITS.clear()
        n, k = len(data["y"]), int(max(np.max(data["label"]), np.max(data["y"]))) + 1
        item, annotator = np.asarray(data["item"]), np.asarray(data["annotator"])
        votes = _votes(item, annotator, np.asarray(data["label"]), n, int(annotator.max()) + 1, k)
        _FITS[data.fingerprint] = (votes, {})
    votes, kept = _FITS[data.fingerprint]
    best = np.asarray(data["y"]).astype(np.int64)
    second = np.asarray(data["second"]).astype(np.int64) if "second" in data else np.full(len(best), -1)
    known = np.flatnonzero(best >= 0)
    rows = np.random.default_rng(seed).choice(known, len(known)) if seed else known
    return Case(votes, best, second, np.full(len(best), np.nan), rows, None, kept)


_FITS: dict[str, tuple[Any, dict[str, Any]]] = {}  # of the last data set: resamples share the votes and the fits


def _votes(item: np.ndarray, annotator: np.ndarray, label: np.ndarray, n: int, a: int, k: int) -> Any:
    from labelwright.crowds.prepared import prepare
    from labelwright.labels import LabelSpace, Votes

    item, annotator, label = (np.asarray(x).astype(np.int64) for x in (item, annotator, label))
    return prepare(Votes(item, annotator, label, np.arange(n), np.arange(a), LabelSpace(range(k))))


# ------------------------------------------------------------------------------------------------------------ arms
def top_two(shrink: bool = True) -> Callable[[Case, int], dict[str, float]]:
    """`fit_top_two`; its own q."""

    def run(case: Case, seed: int) -> dict[str, float]:
        from labelwright.crowds.top_two import fit_top_two

        fit = _once(case, f"top_two {shrink}", partial(fit_top_two, case.votes, shrink=shrink))
        return _told(fit.labels, fit.details["q"], case, seed)

    return run


def counted(case: Case, seed: int) -> dict[str, float]:
    """The two classes with most votes; q is the share of the first among both."""
    from labelwright.crowds.shares import fit_vote_shares

    labels = _once(case, "shares", partial(fit_vote_shares, case.votes, pseudo_count=1e-9)).labels
    return _told(labels, None, case, seed)


def model(name: str, plain: bool) -> Callable[[Case, int], dict[str, float]]:
    """The two likeliest classes of a model of the true class. plain: as its paper has it."""

    def run(case: Case, seed: int) -> dict[str, float]:
        from labelwright.crowds.methods import METHODS
        from labelwright.crowds.pooling import PLAIN

        options = PLAIN[name] if plain else {}
        labels = _once(case, f"{name} {plain}", partial(METHODS[name], case.votes, **options)).labels
        return _told(labels, None, case, seed)

    return run


def cuts(case: Case, seed: int) -> dict[str, float]:
    """The paper's own first stage, dense: singular vectors averaged over the cuts 1..k against k+1..K, and its plug-in."""
    from labelwright.crowds._candidates import Pairs
    from labelwright.crowds.top_two import pick

    def fit() -> tuple[Any, np.ndarray]:
        score, p = cut_scores(case.votes)
        q = np.clip(1 / case.votes.n_classes + score.max(1) / np.linalg.norm(p), 0.501, 0.999)
        pairs = Pairs.voted(case.votes)
        chosen = pick(case.votes, pairs, p, q)
        prob = q[pairs.item] * chosen.first + (1 - q)[pairs.item] * chosen.second
        even = np.full(case.votes.n_classes, 1 / case.votes.n_classes)
        return pairs.soft(case.votes, prob, (1 - q) * chosen.rest, even), q

    labels, q = _once(case, "cuts", fit)
    return _told(labels, q, case, seed)


def cut_scores(votes: Any) -> tuple[np.ndarray, np.ndarray]:
    """(N, K) what the cuts say of each class beyond chance, and (A,) reliability (steps 1 to 5 of the card)."""
    k, shape = votes.n_classes, (votes.n_annotators, votes.n_items)
    given = np.full(shape, -1)
    given[votes.annotator, votes.item] = votes.label
    seen = given >= 0
    share = seen.mean()
    sides = [np.where(seen, np.where(given < c, -1.0, 1.0), 0.0) - share * (k - 2 * c) / k for c in range(1, k)]
    left = [np.linalg.svd(side, full_matrices=False)[0][:, 0] for side in sides]
    u = np.clip(np.mean([v * np.sign(v.sum()) for v in left], axis=0), 0, 1)
    w = np.stack([np.zeros(shape[1]), *(side.T @ u / (2 * share) for side in sides), np.zeros(shape[1])])
    score = -np.diff(w, axis=0).T
    two = np.argsort(-score, axis=1, kind="stable")[:, :2]
    within = ((given == two[:, 0]) | (given == two[:, 1])) & seen
    p = (within.sum(1) / np.maximum(seen.sum(1), 1) - 2 / k) / (1 - 2 / k)
    return score, np.clip(p, 0.001, 0.999)


def informed(case: Case, seed: int) -> dict[str, float]:
    """The plug-in likelihood with the true p and q."""
    from labelwright.crowds._candidates import Pairs
    from labelwright.crowds.top_two import pick

    assert case.reliability is not None
    pairs = Pairs.voted(case.votes)
    chosen = pick(case.votes, pairs, np.clip(case.reliability, 0.001, 0.999), np.clip(case.q, 0.501, 0.999))
    prob = case.q[pairs.item] * chosen.first + (1 - case.q)[pairs.item] * chosen.second
    even = np.full(case.votes.n_classes, 1 / case.votes.n_classes)
    return _told(pairs.soft(case.votes, prob, (1 - case.q) * chosen.rest, even), case.q, case, seed)


def _once(case: Case, name: str, fit: Callable[[], Any]) -> Any:
    if name not in case.kept:
        case.kept[name] = fit()
    return case.kept[name]


def _told(labels: Any, q: np.ndarray | None, case: Case, seed: int) -> dict[str, float]:
    """Shares of items with a wrong best class, a wrong second, either; mean error of q, by default the largest probability
    as a share of the two largest. Ties are broken by chance."""
    p = labels[case.rows].dense().astype(np.float64)
    order = np.lexsort((np.random.default_rng([seed, 5]).random(p.shape), -p), axis=1)
    g, h = order[:, 0] != case.best[case.rows], order[:, 1] != case.second[case.rows]
    told = {"error of the best": float(g.mean())}
    if (case.second >= 0).any():
        told |= {"error of the second": float(h.mean()), "error of the pair": float((g | h).mean())}
    if np.isfinite(case.q).all():
        two = -np.sort(-p, axis=1)[:, :2]
        found = two[:, 0] / two.sum(1) if q is None else q[case.rows]
        told["mean error of q"] = float(np.abs(found - case.q[case.rows]).mean())
    return told


VOTES = {
    "item": "item of each vote, (V,) int from 0",
    "annotator": "annotator of each vote, (V,) int from 0",
    "label": "class of each vote, (V,) int from 0",
    "y": "true class of each item, (N,) int, -1 unknown",
}
MODELS = (
    Arm("majority, top two counts", counted),
    Arm("Dawid-Skene", model("dawid_skene", True)),
    Arm("our Dawid-Skene", model("dawid_skene", False), "alternative"),
    Arm("our one-coin", model("one_coin", False), "alternative"),
    Arm("cuts, as in the paper", cuts, "alternative"),
    Arm("moments for q", top_two(False), "alternative"),
)
PROOFS = (
    Proof(
        name="planted pairs",
        question="Are the best and the second answer found in votes that were drawn from the model?",
        metric="error of the pair",
        higher_is_better=False,
        needs_real=False,
        keys={"y": "as many entries as there are to be items, (N,)"},
        datasets=simulated_sets,
        prepare=simulate,
        seeds=10,
        arms=(Arm("top two", top_two(), "method"), *MODELS, Arm("p and q known", informed, "bound")),
        note="Data drawn as in the paper. Instead of the paper's cuts the first stage takes the agreement of annotators beyond "
        "chance, in which no class is treated unlike another; the cuts stand beside it. The prior of q (how much of it is "
        "fitted) was chosen on such draws and on how well held-out votes of six real crowds are foretold, without truth.",
    ),
    Proof(
        name="colours",
        question="Is the answer that people confuse with the true one found in real votes?",
        metric="error of the pair",
        higher_is_better=False,
        keys=VOTES | {"second": "the most confusing answer of each item, (N,) int"},
        datasets=known_seconds,
        prepare=resampled,
        interval="bootstrap",
        seeds=300,
        arms=(Arm("top two", top_two(), "method"), *MODELS),
        note="The one public crowd whose most confusing answer is known by design. All votes are fitted once; the interval is "
        "over the items. Its errors were in sight when the prior of q was chosen; they moved by 0.003 among the choices.",
    ),
    Proof(
        name="best answer",
        question="Is the best answer right more often than with models of the true class?",
        metric="error of the best",
        higher_is_better=False,
        keys=VOTES,
        datasets=crowds,
        prepare=resampled,
        interval="bootstrap",
        seeds=300,
        arms=(Arm("top two", top_two(), "method"), *MODELS),
        note="No gain over Dawid-Skene is to be expected: confusions that depend on the class, which that model has and this "
        "one has not, tell much on some sets. Use top two for the second answer and for q.",
    ),
)


def _labels(data: dict[str, Any]) -> np.ndarray:
    from labelwright.crowds.prepared import prepare
    from labelwright.crowds.top_two import fit_top_two
    from labelwright.labels import LabelSpace, Votes

    n = int(data["item"].max()) + 1 if len(data["item"]) else 0
    votes = Votes(
        data["item"], data["annotator"], data["label"], np.arange(n), np.arange(5), LabelSpace(range(data["n_classes"]))
    )
    return np.asarray(fit_top_two(prepare(votes), random_state=data["seed"]).labels.dense())


CONTRACTS = (
    Contract(
        "labelwright.crowds.top_two.fit_top_two",
        "votes",
        _labels,
        answers="distributions",
        exempt={
            "duplication": "twice as many votes tell more of each annotator",
            "nan": "a vote without a label is an abstention and says nothing",
        },
    ),
)
