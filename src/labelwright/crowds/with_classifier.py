"""Votes and a classifier together: what the item itself says and what people say of it, each believed as far as it deserves.

    p(class | item, votes)  is proportional to  c(class | item) * product of p(vote | class, annotator) ** worth

The classifier is evidence about the item, not one more voter: its probabilities, once they mean what they say, take the place
of the shares of the classes. c = softmax(log p / temperature + bias) is learnt together with the annotators, by EM on the
likelihood of the votes; no truth is asked for. How much c counts beside the votes, and how much votes on one item depend on
each other, is then chosen so that each vote is best foretold by the classifier and the other votes on its item (see `temper`).
Votes cannot show errors that all people share: with probability `shared_error` an item looks like another class to everybody, so
that however many votes agree, a classifier that contradicts them is still heard.

Source: the likelihood of Raykar et al. 2010, "Learning from crowds" (section 2), with a given classifier in place of their
regression; scaling by Guo et al. 2017. CROWDLAB (Goh et al. 2022) has the same aim, with weights from rates of agreement.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from labelwright.crowds import temper
from labelwright.crowds._candidates import SURE, Pairs, class_counts
from labelwright.crowds._item_evidence import ItemEvidence, candidates, check_rows, log_sum
from labelwright.crowds._people import Coins, Confusions, People
from labelwright.crowds._skills import skills
from labelwright.crowds._starts import settled, share_posterior, unsettled, usual_accuracy
from labelwright.crowds.dawid_skene import COMPLETE, fit_dawid_skene
from labelwright.crowds.fit import Fit
from labelwright.crowds.one_coin import fit_one_coin
from labelwright.crowds.prepared import Prepared
from labelwright.errors import OptionError, check_option, check_whole
from labelwright.labels import SoftLabels

PEOPLE = ("one_coin", "dawid_skene")
"""Models of the annotators: one accuracy each, or a confusion matrix each."""

SHARED_ERROR = 0.03
"""Chosen, as the method was, on development data: CIFAR-10N, and votes drawn for one half of the pictures of CIFAR-10H."""

ENOUGH = 100
"""Items with several votes from which on the classifier is rescaled. Below, votes that are all right and a classifier that is
less sure foretell the votes as well as the opposite, so the probabilities are taken to mean what they say."""

TOP = 5
"""Likeliest classes of the classifier that an item lists beside those voted for, with more than 16 classes."""


def fit_with_classifier(
    votes: Prepared,
    pred_probs: Any,
    *,
    method: str = "both",
    dependence: float | None = None,
    shared_error: float = SHARED_ERROR,
    max_iter: int = 200,
    tol: float = 1e-6,
    random_state: int = 0,
) -> Fit:
    """Posteriors of the classes from votes and a classifier's probabilities, and how good the annotators are.

    Args:
        pred_probs: (N, K) out-of-sample probabilities, rows in the order of the items, columns in that of the classes. They
            should come from a model that has not seen these votes of the item (`pred_probs_from_features` makes such). A row of
            NaN: no prediction for this item; the shares of the classes stand in for it. Not copied. Top-k rows (`SoftLabels`) do,
            too; there unknown rows are those without prediction.
        method: "one_coin" (an accuracy per annotator), "dawid_skene" (a confusion matrix per annotator) or "both":
            the mean of the two posteriors.
        dependence: see `temper`.   shared_error: in [0, 0.5], see above; 0 lets votes overrule any classifier.
        max_iter, tol: EM stops when its objective rises by less than this fraction.   random_state: draws the votes that
            choose the dependence and the weight, only where there are more than 10,000.

    Returns:
        Fit; the quality of the consensus is the largest probability of each label. Items that have only a prediction are
        known, too. details: per model scale (1 / temperature), bias,
        weight (a power of the classifier) and dependence.

    With one vote per item the classifier alone tells how good the annotators are. Up to 16 classes every class is possible;
    above, an item lists the classes voted for, the 5 likeliest of the classifier and a rest, and only the temperature is learnt.

    Raises:
        ProbabilityError: pred_probs of another shape, or rows that are neither distributions nor NaN.
        OptionError: an unknown method, or a dependence or shared_error out of range.
    """
    check_option("method", method, ("both", *PEOPLE))
    check_whole("max_iter", max_iter, 1)
    temper.check(dependence, 0.0)
    if not 0 <= shared_error <= 0.5:
        raise OptionError(
            found=f"shared_error={shared_error!r}", expected="a fraction up to a half", fix="pass shared_error=0.03"
        )
    p, seen = check_rows(pred_probs, votes)
    pairs = Pairs.every(votes) if votes.n_classes <= COMPLETE else candidates(votes, p, seen, TOP)
    rescaled = int((np.diff(votes.start) > 1).sum() + (votes.gold >= 0).sum()) >= ENOUGH
    names = PEOPLE if method == "both" else (method,)
    models = [
        _learn(votes, ItemEvidence.of(p, seen, pairs, share_posterior(votes, pairs)[2]), name, rescaled, max_iter, tol)
        for name in names
    ]
    for model in models:
        model.foretell_best(random_state)
    notes = _notes(seen, rescaled) + [n for m in models for n in unsettled(m.trace, tol, max_iter)]
    return _together(models, names, dependence, shared_error, notes)


def pred_probs_from_features(
    votes: Prepared, x: Any, *, method: str = "both", rounds: int = 2, n_folds: int = 5, random_state: int = 0
) -> np.ndarray:
    """(N, K) float32 probabilities for `fit_with_classifier` from features: logistic regression on the consensus, out of fold.

    The first round learns from the consensus of the votes alone, each further one from votes and predictions together. No item
    is predicted by a model that has seen its votes. What all annotators get wrong in the same way, the model learns, too.

    Args:
        x: (N, D) finite features, dense or SciPy sparse, rows in the order of the items. Items without a vote are predicted, too.
        method: as in `fit_with_classifier`.   rounds: at least 1.   n_folds, random_state: as in `out_of_fold`.

    Raises:
        DataError: features that do not fit.   LabelError: fewer than two items with a vote.   OptionError.
    """
    from labelwright.features import out_of_fold

    check_option("method", method, ("both", *PEOPLE))
    check_whole("rounds", rounds, 1)
    alone = fit_one_coin if method == "one_coin" else fit_dawid_skene
    labels = alone(votes, random_state=random_state).labels
    for step in range(rounds):
        known = labels.hard().ids
        p = out_of_fold(x, known, n_classes=votes.n_classes, n_folds=n_folds, random_state=random_state)
        if step + 1 < rounds:
            labels = fit_with_classifier(votes, p, method=method, random_state=random_state).labels
    return p


@dataclass(eq=False)
class _Learnt:
    """One model of the annotators with the classifier as it scales it. prob: (P,) posteriors with votes counted in full."""

    votes: Prepared
    evidence: ItemEvidence
    people: People
    prob: np.ndarray
    trace: list[float]
    dependence: float = 0.0  # with which votes are best foretold
    weight: float = 1.0  # the power of the classifier with which they are

    def posterior(self, dependence: float, shared_error: float) -> tuple[np.ndarray, np.ndarray]:
        """(P,) and (N,). The likelihood of class k is that of an item that looks like k, but with probability `shared_error` that
        of one that looks like any other class."""
        votes, pairs, k = self.votes, self.evidence.pairs, self.votes.n_classes
        logs, left = self.evidence.log_prior(self.weight)
        worth = temper.power(temper.votes_per_item(votes), dependence)
        loglik, rest = worth[pairs.item] * self.people.loglik, worth * self.people.rest
        if shared_error and k > 1:
            with np.errstate(divide="ignore"):
                norm = log_sum(pairs, loglik, rest + np.log(self.evidence.n_rest))  # over all K classes
            loglik = np.log(_shared(np.exp(loglik - norm[pairs.item]), shared_error, k))
            rest = np.log(_shared(np.exp(rest - norm), shared_error, k))
        return pairs.softmax(logs + loglik, left + rest)[:2]

    def foretell_best(self, seed: int) -> None:
        """The dependence, and the power of the classifier, with which votes are best foretold, in turn."""
        from scipy.optimize import minimize_scalar

        votes = self.votes
        chosen = np.flatnonzero(votes.gold[votes.item] < 0)
        if len(chosen) > temper.SCORED:
            chosen = np.sort(np.random.default_rng(seed).choice(chosen, temper.SCORED, replace=False))
        if len(chosen) == 0:
            return
        people, evidence, item = self.people, self.evidence, votes.item[chosen]
        frame, entry, vote = temper.left_out(
            votes, evidence.pairs, chosen, evidence.prior, people.loglik, people.rest
        )  # fmt: skip
        frame = people.without(frame, entry, vote, chosen, self.prob)

        def at(log_weight: float) -> temper.LeftOut:
            logs, left = evidence.log_prior(np.exp(log_weight))
            return frame._replace(log_prior=logs[entry], rest_log_prior=left[item])

        def loss(log_weight: float) -> float:  # with a standard normal density that is worth one vote
            return 0.5 * log_weight**2 / len(chosen) - temper.score(at(log_weight), self.dependence)

        log_weight = 0.0
        for _ in range(3):
            self.dependence = temper.best_dependence(at(log_weight))
            log_weight = float(
                minimize_scalar(loss, bounds=(-3.0, 2.0), method="bounded", options={"xatol": 1e-2}).x
            )  # fmt: skip
        self.weight = float(np.exp(log_weight))

    def vote_prob(self, items: np.ndarray, annotators: np.ndarray) -> np.ndarray:
        """(n, K), see `Fit`."""
        return temper.foretell(self._foretold, self.people.confusion)(items, annotators)

    @cached_property
    def _labels(self) -> SoftLabels:
        return _soft(self.votes, self.evidence, *self.posterior(self.dependence, 0.0))

    def _foretold(self) -> SoftLabels:
        return self._labels


def _shared(likelihood: np.ndarray, error: float, k: int) -> np.ndarray:
    return np.asarray((1 - error) * likelihood + error * np.maximum(1 - likelihood, 0) / (k - 1))


def _learn(votes: Prepared, evidence: ItemEvidence, name: str, rescaled: bool, max_iter: int, tol: float) -> _Learnt:
    """EM: the objective is the log-likelihood of the votes and what the annotators and the scaling add."""
    pairs = evidence.pairs
    people: People = Confusions(votes, pairs) if name == "dawid_skene" else Coins(votes, pairs)
    prob, rest = _first(votes, evidence)
    trace: list[float] = []
    for _ in range(max_iter):
        evidence.prior = _shares(evidence, prob, rest)
        if rescaled:
            evidence.refit(prob, rest)
        penalty = people.learn(prob)
        logs, left = evidence.log_prior()
        prob, rest, norm = pairs.softmax(logs + people.loglik, left + people.rest)
        trace.append(float(norm.sum() + penalty + evidence.penalty + np.log(evidence.prior).mean()))
        if settled(trace, tol):
            break
    people.learn(prob)
    return _Learnt(votes, evidence, people, prob, trace)


def _together(
    models: list[_Learnt], names: tuple[str, ...], dependence: float | None, shared_error: float, notes: list[str]
) -> Fit:
    """The mean of what the models believe."""
    votes, evidence = models[0].votes, models[0].evidence
    used = [max(m.dependence, temper.USUAL) if dependence is None else dependence for m in models]
    believed = [m.posterior(d, shared_error) for m, d in zip(models, used)]
    prob, rest = (np.mean([b[part] for b in believed], 0) for part in (0, 1))
    own = np.mean([m.prob for m in models], 0)[evidence.pairs.own]
    longest = max(len(m.trace) for m in models)
    details: dict[str, Any] = {"dependence": float(np.mean(used)), "shared_error": shared_error}
    details |= {
        name: {
            "dependence": d, "dependence_of_votes": m.dependence, "weight": m.weight,
            "scale": m.evidence.scale, "bias": m.evidence.bias,
        }
        for name, m, d in zip(names, models, used)
    }  # fmt: skip
    return Fit(
        "with_classifier", _soft(votes, evidence, prob, rest), _shares(evidence, prob, rest),
        *skills(votes, own, usual_accuracy(votes)),
        lambda annotator: np.asarray(np.mean([m.people.confusion(annotator) for m in models], 0)),
        lambda items, annotators: np.asarray(np.mean([m.vote_prob(items, annotators) for m in models], 0)),
        trace=[sum(m.trace[min(step, len(m.trace) - 1)] for m in models) for step in range(longest)],
        notes=notes, details=details,
    )  # fmt: skip


def _first(votes: Prepared, evidence: ItemEvidence) -> tuple[np.ndarray, np.ndarray]:
    """Where EM begins: halfway between the vote shares and the classifier; vote shares where it is silent."""
    share, unlisted, _ = share_posterior(votes, evidence.pairs)
    pairs, half = evidence.pairs, np.where(evidence.seen, 0.5, 0.0)
    logs, left = evidence.log_prior()
    prob = (1 - half[pairs.item]) * share + half[pairs.item] * np.exp(logs)
    rest = (1 - half) * unlisted + half * np.exp(left)
    known = pairs.gold >= 0
    prob[known[pairs.item]], rest[known] = 0.0, 0.0
    prob[pairs.gold[known]] = 1.0
    return prob, rest


def _shares(evidence: ItemEvidence, prob: np.ndarray, rest: np.ndarray) -> np.ndarray:
    count = class_counts(evidence.pairs, prob, rest, evidence.prior)
    return np.asarray(count / count.sum())


def _notes(seen: np.ndarray, rescaled: bool) -> list[str]:
    missing, notes = int((~seen).sum()), []
    if missing:
        notes.append(f"{missing:,} items have no prediction: the shares of the classes stand in")
    if not rescaled:
        notes.append(f"fewer than {ENOUGH} items have several votes: the probabilities are taken to mean what they say")
    return notes


def _soft(votes: Prepared, evidence: ItemEvidence, prob: np.ndarray, rest: np.ndarray) -> SoftLabels:
    """As soft labels; an item with a prediction is known even without a vote."""
    labels = evidence.pairs.soft(votes, prob, rest, evidence.prior, SURE)
    alone = evidence.seen & ~labels.known
    if not alone.any():
        return labels
    left = np.where(alone, np.maximum(1 - labels.prob.sum(1), 0), labels.rest).astype(np.float32)
    left[alone & (evidence.n_rest == 0) & ((labels.index >= 0).sum(1) == len(labels.space))] = 0
    return replace(labels, rest=left, known=labels.known | alone)
