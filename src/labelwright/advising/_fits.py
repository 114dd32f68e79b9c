"""Which systems of the catalogue fit which finding, and why; which command finds more of them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from labelwright.advising.finding import Fit
from labelwright.systems import System, catalogue

MOST = 5

Reasons = tuple[tuple[str, str], ...]

_NOISY: Reasons = (
    ("confident-learning-test-errors", "finds the likely wrong labels and which classes get mixed up"),
    ("plm-reannotators", "proposes the labels of similar texts where they clash"),
    ("erase", "corrects node labels along the edges while it trains"),
    ("elr", "trains on the labels as they are without memorising the wrong ones"),
    ("storm-meta-rescaling", "weighs training texts down as they turn out wrong"),
    ("rcal", "copes with wrong labels and rare classes at once"),
    ("nested-dropout-coteaching", "lets two networks pick clean items for each other"),
    ("echoalign", "keeps the images that need little change to fit their label"),
    ("imprecise-label-learning", "treats the true label as unknown and the given one as noisy evidence"),
)
_FEW: Reasons = (
    ("imprecise-label-learning", "learns from labelled and unlabelled items in one objective"),
    ("tape", "adds a language model's guesses to the few labelled nodes"),
    ("lfd", "finds the cluster around a node from noisy labels"),
    ("llkd", "fills the gaps with a language model's labels where it is sure"),
    ("crosstune", "needs about 16 labelled texts per class"),
    ("fedlabel", "pseudo-labels each client's items with the surer of two models"),
    ("grip", "pseudo-labels the surest items of each class"),
    ("robust-active-distillation", "picks the unlabelled items whose labels are worth paying for"),
    ("dsl", "gives valid intervals when most labels come from a model"),
)
_NONE: Reasons = (
    ("tnt-llm", "builds a label set for the texts and labels them"),
    ("0shot-tc", "sorts texts into classes named in words"),
    ("llm-gnn", "asks a language model about a few well-chosen nodes"),
    ("scgc", "clusters the nodes without labels"),
    ("grip", "adapts a zero-shot model with no labels"),
    ("tfup", "improves a zero-shot classifier with the unlabelled items"),
    ("lls-ddfa", "discovers classes where groups of items have different class shares"),
    ("dataset-nutrition-label", "describes a table before anybody labels it"),
)
_VOTES: Reasons = (
    ("toptwo", "finds each item's answer and its most tempting wrong one"),
    ("aggregate-soft-labels", "keeps the disagreement as soft labels"),
    ("zoobot", "learns from raw vote counts"),
)
_MULTI_GAPS: Reasons = (
    ("pu-mlc", "learns from the present labels only, all others unknown"),
    ("comic", "copes with missing labels and rare classes at once"),
    ("lp-icp", "lists the label sets that cannot be ruled out"),
)
FITS: dict[str, Reasons] = {
    "label errors": _NOISY,
    "known errors": _NOISY,
    "tag errors": (
        ("confident-learning-test-errors", "finds the likely wrong entries of each class"),
        ("lp-icp", "lists the label sets that cannot be ruled out"),
        ("pu-mlc", "learns from the present labels only, where absent ones may be forgotten"),
        ("comic", "copes with missing labels and rare classes at once"),
    ),
    "conflicting copies": _NOISY[:4],
    "review verdicts": (
        (
            "confident-learning-test-errors",
            "was the way these items were chosen for review; its flags can be checked against the verdicts",
        ),
        ("llm-label-error-judge", "bounds the error rate from a sample of expert verdicts"),
        ("dough-bagel-severity", "tells severe mistakes from harmless ones"),
    ),
    "ambiguous classes": (
        ("knowledge-guided-disambiguation", "merges the classes that a network keeps confusing"),
        ("imprecise-label-learning", "keeps several classes possible for one item"),
        ("relabel", "gives an image several labels where it shows several things"),
    ),
    "several classes fit": (
        ("multilabel-imagenet-asma", "scores single-label models fairly where several labels are valid"),
        ("relabel", "replaces the one label by a map of soft labels"),
        ("dough-bagel-severity", "shows which remaining mistakes are real"),
    ),
    "rare classes": (
        ("ssp-imbalanced", "uses unlabelled items for the rare classes"),
        ("rcal", "repairs the statistics of rare classes"),
        ("pcb", "chooses what to label next so that the classes stay balanced"),
    ),
    "rare values": (("conr", "pulls apart items that look alike but have far-off rare targets"),),
    "missing labels": _FEW,
    "few labels": _FEW,
    "no labels": _NONE,
    "disagreement": _VOTES,
    "majority errors": (
        *_VOTES,
        ("dsl", "corrects later regressions for wrong answers, with the items whose truth is known"),
    ),
    "contrary annotators": _VOTES[:2],
    "tied votes": _VOTES[:3],
    "vote counts": (
        ("aggregate-soft-labels", "turns the counts into soft labels that keep the doubt"),
        ("zoobot", "predicts vote shares with their uncertainty"),
        ("deqa-score", "turns mean and spread of ratings into soft labels"),
        ("nkd-uskd", "trains a student on soft labels"),
    ),
    "ordered classes": (
        ("driveability-sord", "makes near misses cost less than far ones"),
        ("loki", "predicts with the distances between the classes"),
        ("deqa-score", "teaches mean and spread of ratings"),
    ),
    "class tree": (
        ("budget-reannotation-hierarchy", "reviews first what is far from its label in the tree"),
        ("loki", "uses the distances in the tree to predict classes never seen"),
    ),
    "missing tags": _MULTI_GAPS,
    "rare tags": (_MULTI_GAPS[1], ("laso", "makes new features for unions and overlaps of label sets"), _MULTI_GAPS[2]),
    "very many tags": (
        ("dexml", "compares a text with the label texts"),
        ("ngame", "trains with hard negatives by construction"),
        ("vixml", "tags by vector search over enriched labels"),
        ("lp-icp", "bounds the errors of large label sets"),
    ),
    "rules": (
        ("imprecise-label-learning", "takes what the rules leave possible as candidate sets"),
        ("llkd", "adds a language model's labels where the rules are silent"),
        ("soap-weak-transfer", "learns from rules, then from few labels of the target"),
    ),
    "candidate labels": (("imprecise-label-learning", "learns from sets that hold the true class"),),
    "comparisons": (
        ("irepo", "fits the share of people who prefer an answer"),
        ("rlaif-v", "makes preference labels by checking single claims"),
    ),
    "label proportions": (
        ("llp-bp", "infers a label per item from the counts per bag"),
        ("weakstil", "predicts scores of parts from one share per whole"),
        ("imprecise-label-learning", "takes proportions as one kind of imprecise label"),
    ),
    "scores": (
        ("conr", "helps where some target values are rare"),
        ("dsl", "gives valid intervals for regressions on such labels"),
    ),
    "boxes": (
        ("soft-teacher", "trusts box class and place separately and adds unlabelled images"),
        ("marvelovd", "re-scores boxes of unlabelled classes"),
        ("ps-ttl", "uses the detector's unsure boxes as soft labels"),
        ("lpld", "learns from low-confidence boxes of a new domain"),
    ),
    "masks": (
        ("label-critic", "compares two masks of one object and keeps the better"),
        ("driveability-sord", "softens classes that have an order"),
        ("agmm", "spreads few labelled pixels into a soft map"),
        ("label-assisted-distillation", "makes a strong teacher from scrambled label maps"),
    ),
    "token tags": (
        ("bio-domain-transfer", "moves a tagger to a new field with few tagged sentences"),
        ("codec-label-projection", "carries spans over to a translation"),
        ("ls-llama", "turns a language model into a tagger"),
    ),
    "class shift": (
        ("label-shift-adapter", "corrects a trained classifier for other class shares"),
        ("lls-ddfa", "uses groups with different class shares"),
    ),
    "graph": (
        ("erase", "corrects node labels along the edges"),
        ("lfd", "finds the cluster around a node from noisy labels"),
        ("tape", "uses a language model's ranked guesses"),
        ("lighthgnn", "distils a hypergraph network into a plain one"),
        ("pot", "scores how well each node is trained"),
    ),
}

QUERIES = {
    "tag errors": "wrong or missing labels, multi-label",
    "label errors": "find wrong labels",
    "known errors": "train on noisy labels",
    "conflicting copies": "find wrong labels",
    "review verdicts": "check label errors with experts",
    "ambiguous classes": "ambiguous classes",
    "several classes fit": "several valid labels per image",
    "rare classes": "rare classes, long tail",
    "rare values": "imbalanced regression",
    "missing labels": "few labels, many unlabelled items",
    "few labels": "few labels, many unlabelled items",
    "no labels": "no labels",
    "disagreement": "crowd workers who disagree",
    "contrary annotators": "unreliable crowd workers",
    "majority errors": "crowd workers, majority vote wrong",
    "tied votes": "crowd votes as soft labels",
    "vote counts": "crowd votes as soft labels",
    "ordered classes": "ordered classes",
    "class tree": "class hierarchy",
    "missing tags": "multi-label with missing labels",
    "rare tags": "multi-label, rare classes",
    "very many tags": "extreme multi-label text",
    "rules": "labelling rules, weak supervision",
    "candidate labels": "candidate labels",
    "comparisons": "preference comparisons",
    "label proportions": "label proportions of bags",
    "scores": "human scores, regression",
    "boxes": "object detection boxes",
    "masks": "segmentation masks",
    "token tags": "named entities, token tags",
    "class shift": "label shift",
    "graph": "graph nodes, noisy labels",
}


@lru_cache(maxsize=1)
def _systems() -> dict[str, System]:
    return {s.name: s for s in catalogue()}


def fits(kind: str, data: Iterable[str], *, without: Iterable[str] = ()) -> tuple[Fit, ...]:
    """The systems that fit a finding on such data, at most five: those with code whose proof says "works" first, then those
    with code, then the others. A system for other data is named only where fewer than two fit, and the reason says so.

    Args:
        kind: of the finding.   data: what the items are, in the catalogue's words; {} where nothing is known of them.
        without: systems that the figures rule out.
    """
    present = set(data)
    ranked = []
    for place, (name, reason) in enumerate(FITS.get(kind, ())):
        if name in without:
            continue
        system = _systems()[name]
        needs = set(system.data)
        far = not (needs & (present | {"any"}))
        if far:
            reason += f" (needs {' or '.join(sorted(needs))})"
        fit = Fit(name, system.number, reason, system.state, system.registered)
        ranked.append((far, not (fit.registered and fit.state == "works"), not fit.registered, place, fit))
    ranked.sort(key=lambda r: r[:4])
    near = [r[4] for r in ranked if not r[0]]
    if len(near) < 2 and not present and kind != "no labels":
        near = [r[4] for r in ranked]
    return tuple(near[:MOST])


def query(kind: str) -> str | None:
    """The command that searches the catalogue for more."""
    words = QUERIES.get(kind)
    return None if words is None else f'labelwright systems "{words}"'
