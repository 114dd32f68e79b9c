"""A classifier trained on what rules said, so that items on which every rule is silent get an answer too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelwright.errors import LabelError, OptionError, check_whole
from labelwright.labels import LabelSpace, SoftLabels

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # LogisticRegression's C, for rows of length about 1
SEARCH_ROWS = 2_000  # the best C moves little with N, so it is searched on this many items at most


@dataclass(frozen=True, eq=False)
class EndModel:
    """Logistic regression trained on soft labels.

    space: the classes, in the order of the columns.   C: the strength that was chosen.   log_loss: C -> mean cross-entropy to
    the soft labels out of fold, in nats.   n_trained: items it learned from.
    """

    space: LabelSpace
    C: float
    log_loss: dict[float, float]
    n_trained: int
    scale: Any
    weights: np.ndarray

    @property
    def classes_(self) -> np.ndarray:
        """(K,) names of the classes, as scikit-learn calls them."""
        return np.array(self.space.classes)

    def predict_proba(self, x: Any) -> np.ndarray:
        """(N, K) float64, rows sum to 1."""
        from labelwright.features.vectors import check_features

        return _softmax(self.scale(check_features(x)), self.weights)

    def predict(self, x: Any) -> np.ndarray:
        """(N,) names of the likeliest classes."""
        return np.asarray(self.classes_[self.predict_proba(x).argmax(1)])

    def soft_labels(self, x: Any) -> SoftLabels:
        """The same as `predict_proba`, as soft labels."""
        return SoftLabels.from_dense(self.predict_proba(x), self.space)


def train_end_model(
    x: Any,
    soft_labels: SoftLabels | Any,
    *,
    covered: Any = None,
    strengths: Sequence[float] = STRENGTHS,
    n_folds: int = 5,
    random_state: int = 0,
) -> EndModel:
    """A classifier of all items, trained on the soft labels of those that rules, people or models spoke of.

    Multinomial logistic regression on cross-entropy to the soft labels: the same as every item once per class, weighted by
    the probability of that class. The strength C is the one with the least cross-entropy out of fold.

    Args:
        x: (N, D) features, dense or sparse.
        soft_labels: `SoftLabels` of the same items, such as those of a label model; or (N, K) probabilities, rows of
            NaN where nothing is known.
        covered: (N,) bool, the items to learn from. Default: those that are `known`. Some label models call an item of
            which no rule spoke known, with the shares of the classes: pass `(rule_votes.matrix >= 0).any(1)`.
        strengths: values of C to choose among.   n_folds: at least 2.   random_state: seed of the folds.

    Raises:
        DataError: features that are no finite matrix.
        LabelError: another number of soft labels, or fewer than two items or classes to learn from.
        OptionError: no strengths, one that is not above 0, fewer than 2 folds.

    Source: Ratner et al. 2016 (data programming), section 3: the noise-aware loss.

    >>> x = np.array([[0.0], [0.1], [0.9], [1.0], [0.05]])
    >>> soft = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.2, 0.8], [np.nan, np.nan]])
    >>> train_end_model(x, soft, n_folds=2).predict(x).tolist()
    [0, 0, 1, 1, 0]
    """
    from labelwright.features.logistic import Scaler
    from labelwright.features.threads import one_blas_thread
    from labelwright.features.vectors import check_features

    check_whole("n_folds", n_folds, 2)
    check_whole("random_state", random_state, 0)
    if not len(strengths) or not all(c > 0 for c in strengths):
        raise OptionError(found=f"strengths={strengths!r}", expected="numbers above 0", fix="leave it out")
    x = check_features(x)
    soft = soft_labels if isinstance(soft_labels, SoftLabels) else SoftLabels.from_dense(soft_labels)
    learn = _covered(soft, covered, x.shape[0])
    p = np.asarray(soft.dense(), dtype=np.float64)[learn]
    if len(learn) < 2 or (p.argmax(1) == p[0].argmax()).all():
        raise LabelError(
            found=f"{len(learn)} items to learn from, whose likeliest classes are all the same",
            expected="items of two classes at least",
            fix="add rules for the other classes",
        )
    scale = Scaler().fit(x[learn])
    scaled = scale(x[learn])
    with one_blas_thread():
        loss = {float(c): 0.0 for c in strengths}
        if len(loss) > 1:
            some = np.random.default_rng(random_state).permutation(len(learn))[:SEARCH_ROWS]
            loss = _out_of_fold(scaled[some], p[some], tuple(loss), n_folds, random_state)
        best = min(loss, key=lambda c: loss[c])
        weights = _fit(scaled, p, best)
    return EndModel(soft.space, best, loss, len(learn), scale, weights)


def _covered(soft: SoftLabels, covered: Any, n: int) -> np.ndarray:
    """Row numbers to learn from."""
    mask = soft.known if covered is None else np.asarray(covered)
    if len(soft) != n or mask.shape != (n,) or mask.dtype != bool:
        raise LabelError(
            found=f"{len(soft)} soft labels and `covered` of shape {mask.shape} and type {mask.dtype} for {n} items",
            expected=f"{n} soft labels, and one bool per item",
            fix="pass the features and labels of the same items in the same order",
        )
    return np.flatnonzero(mask & soft.known)


def _out_of_fold(
    x: Any, p: np.ndarray, strengths: Sequence[float], n_folds: int, random_state: int
) -> dict[float, float]:
    """C -> mean cross-entropy (nats) to the soft labels of held-out items; weak strengths first, each the start of the next."""
    from labelwright.features.folds import fold_ids

    fold = fold_ids(p.argmax(1), n_folds=n_folds, random_state=random_state)
    total = dict.fromkeys(strengths, 0.0)
    for f in range(int(fold.max()) + 1):
        train, held = np.flatnonzero(fold != f), np.flatnonzero(fold == f)
        weights = None
        for c in sorted(strengths):
            weights = _fit(x[train], p[train], c, start=weights)
            q = _softmax(x[held], weights)
            total[c] -= float((p[held] * np.log(np.maximum(q, 1e-12))).sum()) / len(p)
    return total


def _fit(x: Any, p: np.ndarray, strength: float, start: np.ndarray | None = None) -> np.ndarray:
    """(D + 1, K) weights, the last row the biases: the minimum of

        sum over items of cross-entropy(p, softmax(x w + b)) + |w|^2 / (2 C),

    which is what scikit-learn's LogisticRegression minimises on every item once per class with the probability of the class as
    its weight, for a K-th of the time and memory. Stops at the same gradient, 1e-4 per item.
    """
    from scipy.optimize import minimize

    n, width = x.shape
    k = p.shape[1]
    turned = x.T if isinstance(x, np.ndarray) else x.T.tocsr()

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(width + 1, k)
        score = _scores(x, weights)
        top = score.max(1, keepdims=True)
        log_z = top[:, 0] + np.log(np.exp(score - top).sum(1))
        error = np.exp(score - log_z[:, None]) - p
        value = (log_z - (p * score).sum(1)).sum() + (weights[:-1] ** 2).sum() / (2 * strength)
        slope = np.vstack([turned @ error.astype(x.dtype) + weights[:-1] / strength, error.sum(0)])
        return float(value) / n, slope.ravel() / n

    first = np.zeros((width + 1, k)) if start is None else start
    found = minimize(loss, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 200, "gtol": 1e-4})
    return np.asarray(found.x).reshape(width + 1, k)


def _scores(x: Any, weights: np.ndarray) -> np.ndarray:
    return np.asarray(x @ weights[:-1].astype(x.dtype), np.float64) + weights[-1]


def _softmax(x: Any, weights: np.ndarray) -> np.ndarray:
    score = _scores(x, weights)
    out = np.exp(score - score.max(1, keepdims=True))
    return np.asarray(out / out.sum(1, keepdims=True))
