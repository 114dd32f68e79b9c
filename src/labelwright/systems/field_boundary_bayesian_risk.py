"""Card 91: masks that several people drew, merged by their skill on expert-checked tasks, with a risk per pixel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.systems import _datasets
from labelwright.systems import _mask_scenes as scenes
from labelwright.systems.contract import Contract
from labelwright.systems.proof import Arm, Dataset, Proof

PARTS = {
    "score of a mask": "labelwright.crowds.regions.skill.task_score",
    "skill of labellers": "labelwright.crowds.regions.labellers.labeller_skills",
    "dependence": "labelwright.crowds.regions.calibration.fit_dependence",
    "weighted share": "labelwright.crowds.regions.consensus.weighted_share",
    "posterior": "labelwright.crowds.regions.consensus.posterior",
    "risk of sites": "labelwright.crowds.regions.aggregate_masks",
}
PEOPLE, EACH, CHECKED = (
    12,
    3,
    40,
)  # labellers, labellers per site, sites with an expert mask: 10 checked tasks per labeller
DS_PIXELS = 20_000  # that Dawid and Skene's model is fitted to
LEAST = 1e-3  # probability, in the log loss of shares that are 0


class Case(NamedTuple):
    """masks: site -> {labeller: mask}.   truth: site -> (H, W), -1 unlabelled.   expert: the checked sites.   test: the others.
    k: classes.   real_risks: of real sites, for comparison.   done: numbers of arms that have run."""

    masks: dict[int, dict[str, np.ndarray]]
    truth: dict[int, np.ndarray]
    expert: dict[int, np.ndarray]
    test: list[int]
    k: int
    real_risks: np.ndarray | None
    done: dict[str, dict[str, float]]


# ------------------------------------------------------------------------------------------------------------ data
def mask_sets(folder: Path | None) -> Iterator[Dataset]:
    """Fields as rectangles, and real street scenes; the people who draw them are simulated, two of twelve spam or none."""
    fields, street = scenes.field_scenes(1700), scenes.camvid(folder)
    risks = () if folder is None else _real_risks(folder)
    for spammers in (0, 2):
        options = {"spammers": spammers, "risks": risks}
        yield Dataset(f"fields, {spammers} of 12 spam", {"y": fields}, options=options)
        if street is not None:
            yield Dataset(f"CamVid, {spammers} of 12 spam", {"y": street[1]}, options={"spammers": spammers})


def _real_risks(folder: Path) -> tuple[float, ...]:
    path = folder / "crop_label_risk" / "risk.csv.gz"
    if not path.is_file():
        return ()
    import pyarrow.csv as csv

    return tuple(csv.read_csv(path)["mean_risk"].to_pylist())


def prepare(data: Dataset, seed: int) -> Case:
    """One of five disjoint fifths of the scenes, drawn by people of this seed: 40 sites are checked, the rest is the test."""
    return _prepared(data.fingerprint, seed, _Held(data))


class _Held:
    """A data set that is equal to every other, so that the cache goes by the fingerprint."""

    def __init__(self, data: Dataset):
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=20)
def _prepared(fingerprint: str, seed: int, held: _Held) -> Case:
    data = held.data
    truth = np.asarray(data["y"])[_datasets.fifth(data, seed)]
    rng = np.random.default_rng([seed, 91])
    k = max(int(np.max(data["y"])) + 1, 2)
    spammers = int(data.options.get("spammers", 0))
    crowd = scenes.people(PEOPLE, spammers, k, rng)
    order = rng.permutation(len(truth))
    checked = min(CHECKED, len(truth) // 2)
    turn = np.concatenate([rng.permutation(PEOPLE) for _ in range(len(truth) * EACH // PEOPLE + 1)])
    masks: dict[int, dict[str, np.ndarray]] = {}
    for at, site in enumerate(order):
        complete = _complete(truth[site])
        hard = scenes.difficulties(complete, 0 if k == 2 else -1, rng)
        who = dict.fromkeys(turn[at * EACH : (at + 1) * EACH])
        masks[int(site)] = {
            f"person {a}": scenes.drawing(complete, hard, crowd[a], _complete(truth[rng.choice(len(truth))]), rng)
            for a in who
        }
    known = {site: truth[site].astype(np.int64) for site in masks}
    expert = {int(s): known[int(s)] for s in order[:checked]}
    risks = np.array(data.options.get("risks", ()))
    return Case(masks, known, expert, [int(s) for s in order[checked:]], k, risks if len(risks) else None, {})


def _complete(scene: np.ndarray) -> np.ndarray:
    """Unlabelled pixels get the class of the nearest labelled one: people draw something there."""
    from scipy.ndimage import distance_transform_edt

    gap = scene < 0
    if not gap.any() or gap.all():
        return np.maximum(scene, 0)
    return np.asarray(scene[tuple(distance_transform_edt(gap, return_distances=False, return_indices=True))])


# ------------------------------------------------------------------------------------------------------------ arms
Maps = Callable[[int], np.ndarray]  # site -> (H, W, K)


def judged(make: Callable[[Case, int], Maps]) -> Any:
    """The numbers of an arm, computed once per case and seed."""

    def run(case: Case, seed: int) -> dict[str, float]:
        if make.__name__ not in case.done:
            case.done[make.__name__] = scored(make(case, seed), case, seed)
        return case.done[make.__name__]

    return run


def bayes(case: Case, seed: int) -> Maps:
    """Posterior by the skills on the checked sites."""
    return _merged(case, expert=case.expert, random_state=seed)


def skill_weighted(case: Case, seed: int) -> Maps:
    """The paper's weights: score times recall of the class drawn."""
    return _merged(case, expert=case.expert, method="share")


def unweighted(case: Case, seed: int) -> Maps:
    """Share of the labellers who drew the class."""
    return _merged(case, method="share")


def _merged(case: Case, **options: Any) -> Maps:
    from labelwright.crowds.regions import aggregate_masks

    found = aggregate_masks(case.masks, space=range(case.k), **options)
    return lambda site: found[site].dense()


def pixel_majority(case: Case, seed: int) -> Maps:
    """The class of most labellers, without doubt."""
    share = unweighted(case, seed)
    return lambda site: np.eye(case.k)[share(site).argmax(-1)]


def dawid_skene(case: Case, seed: int) -> Maps:
    """Confusion matrices from the masks alone, pixels as items (STAPLE is this model for two classes)."""
    return _dawid_skene(case, seed, gold=False)


def dawid_skene_expert(case: Case, seed: int) -> Maps:
    """The same, with the expert's classes as gold."""
    return _dawid_skene(case, seed, gold=True)


def _dawid_skene(case: Case, seed: int, gold: bool) -> Maps:
    from labelwright.crowds.dawid_skene import fit_dawid_skene
    from labelwright.crowds.prepared import prepare
    from labelwright.crowds.regions.consensus import bayes_tables, posterior
    from labelwright.crowds.regions.drawn import DrawnMasks
    from labelwright.labels import LabelSpace, Votes

    drawn, rng = DrawnMasks(case.masks, space=range(case.k)), np.random.default_rng([seed, 19])
    each = DS_PIXELS // len(case.masks) + 1
    item, person, label, true = [], [], [], []
    for i, site in enumerate(drawn.items):
        who, said = drawn.of(site)
        at = rng.choice(said[0].size, each, replace=False)
        item.append(np.tile(np.arange(each) + i * each, len(who)))
        person.append(np.repeat(who, each))
        label.append(said.reshape(len(who), -1)[:, at].ravel())
        true.append(case.expert[site].ravel()[at] if gold and site in case.expert else np.full(each, -1))
    items, persons, labels = (np.concatenate(c) for c in (item, person, label))
    votes = Votes.from_columns(items, persons, labels, LabelSpace(range(case.k)))
    known = np.concatenate(true)[np.asarray(votes.items)] if gold else None
    fit = fit_dawid_skene(prepare(votes, known), dependence=0.0, doubt=0.0)
    assert fit.confusion is not None
    numbers = {int(a): j for j, a in enumerate(np.asarray(votes.annotators))}
    confusion = np.full((len(drawn.labellers), case.k, case.k + 1), 1e-6)
    for a in range(len(drawn.labellers)):
        confusion[a, :, : case.k] = np.maximum(fit.confusion(numbers[a]), 1e-6)
    tables = bayes_tables(confusion / confusion.sum(2, keepdims=True))
    return lambda site: posterior(*drawn.of(site), tables, np.maximum(fit.prior, 1e-6), 0.0)


def scored(maps: Maps, case: Case, seed: int) -> dict[str, float]:
    """Of the test sites: mean IoU, Brier score and log loss per pixel, rank correlation of a site's mean risk with its share of
    wrong pixels, AUROC of the risk for wrong pixels, and the distance to the risks of real sites (fields only)."""
    from scipy.stats import spearmanr, wasserstein_distance

    rng, table = np.random.default_rng([seed, 7]), np.zeros((case.k, case.k), np.int64)
    brier, nll, pixels, risks, errors, some = 0.0, 0.0, 0, [], [], []
    for site in case.test:
        p, truth = maps(site), case.truth[site]
        known = truth >= 0
        q, y = p[known], truth[known]
        given, at = (q >= q.max(-1, keepdims=True) - 1e-7).argmax(-1), np.arange(len(y))
        table += np.bincount(y * case.k + given, minlength=case.k**2).reshape(case.k, case.k)
        brier += float(((q - np.eye(case.k)[y]) ** 2).sum()) / 2
        nll -= float(np.log(np.maximum(q[at, y], LEAST)).sum())
        pixels += len(y)
        risk, wrong = 1 - q.max(-1), given != y
        risks.append(risk.mean())
        errors.append(wrong.mean())
        drawn = rng.choice(len(y), min(1000, len(y)), replace=False)
        some.append((risk[drawn], wrong[drawn]))
    hit, seen = np.diag(table), table.sum(0) + table.sum(1)
    iou = (hit / np.maximum(seen - hit, 1))[table.sum(1) > 0]
    told = {
        "IoU": float(iou[1] if case.k == 2 else iou.mean()),
        "Brier": brier / pixels,
        "log loss": nll / pixels,
        "risk-error correlation": float(spearmanr(risks, errors).statistic) if np.ptp(risks) > 0 else 0.0,
        "AUROC of risk": _datasets.auroc(*(np.concatenate(c) for c in zip(*some))),
    }
    if case.real_risks is not None:
        told["distance to real risks"] = float(wasserstein_distance(risks, case.real_risks))
    return told


KEYS = {"y": "true masks, (N, H, W) class ids, -1 unlabelled; the people who draw them are simulated"}
MADE = (
    "The masks of CamVid are real, its twelve labellers and those of the fields are simulated: they miss, invent and mistake "
    "objects, with outlines that are off, and find the same objects hard; 3 draw each site, 40 sites are checked by an expert. "
    "No data set with several people's masks was at hand. A seed is one of five disjoint fifths of the scenes. "
    "Arms that stand in several of these proofs run once: their times stand in the first. "
)
PROOFS = (
    Proof(
        name="weights",
        question="Are votes weighted by skill times recall of the class drawn better than plain shares?",
        metric="Brier",
        keys=KEYS,
        datasets=mask_sets,
        prepare=prepare,
        arms=(
            Arm("paper's weights", judged(skill_weighted), "method"),
            Arm("unweighted share", judged(unweighted), "baseline"),
        ),
        higher_is_better=False,
        needs_real=False,
        note=MADE + "Brier scores are halved sums over the classes.",
    ),
    Proof(
        name="consensus",
        question="Is the mask better by the posterior than by shares of votes?",
        metric="IoU",
        keys=KEYS,
        datasets=mask_sets,
        prepare=prepare,
        arms=(
            Arm("posterior by expert tasks", judged(bayes), "method"),
            Arm("unweighted share", judged(unweighted), "baseline"),
            Arm("paper's weights", judged(skill_weighted), "baseline"),
            Arm("pixel majority", judged(pixel_majority), "alternative"),
            Arm("Dawid-Skene, STAPLE", judged(dawid_skene), "alternative"),
            Arm("Dawid-Skene with the expert's", judged(dawid_skene_expert), "alternative"),
        ),
        needs_real=False,
        note=MADE
        + "IoU of the fields; mean over the classes for CamVid. The model of Dawid and Skene is fitted to 20,000 pixels.",
    ),
    Proof(
        name="risk",
        question="Does the mean risk of a site tell how much of its mask is wrong?",
        metric="risk-error correlation",
        keys=KEYS,
        datasets=mask_sets,
        prepare=prepare,
        arms=(
            Arm("posterior by expert tasks", judged(bayes), "method"),
            Arm("unweighted share", judged(unweighted), "baseline"),
            Arm("paper's weights", judged(skill_weighted), "baseline"),
            Arm("Dawid-Skene, STAPLE", judged(dawid_skene), "alternative"),
        ),
        needs_real=False,
        note=MADE
        + "The distance to real risks is Wasserstein's, between the mean risks of the sites and those of 2,191 real ones "
        "(crop_label_risk), which is a comparison of distributions only.",
    ),
)


def _one_pixel_masks(data: dict[str, Any]) -> np.ndarray:
    """Votes as masks of one pixel, without an expert."""
    from labelwright.crowds.regions import aggregate_masks

    masks = [np.array([[label]]) for label in data["label"]]
    found = aggregate_masks(
        masks, data["annotator"], items=data["item"], space=range(max(data["n_classes"], 2)), min_labellers=1
    )
    return np.stack([found[item].dense()[0, 0] for item in np.unique(data["item"])])


CONTRACTS = (
    Contract(
        "labelwright.crowds.regions.aggregate_masks",
        "votes",
        _one_pixel_masks,
        answers="distributions",
        exempt={"nan": "masks are integers here; NaN in masks of floats means that nothing is said"},
    ),
)
