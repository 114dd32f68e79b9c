"""Audit of token labels: which tags of which sentences to look at first, and what seems wrong with them.

What the model and the given tag say of a token alone becomes a distribution of its true tag: by `error_model`, or, where the
tags are BIO, by a noise model with one rate per kind of mistake. Then the tags beside it are heard (`_chain.marginals`).

A sentence is ranked by the probability that at least one of its tags is wrong. Errors in one sentence have common causes, so
1 - prod(right) overstates it in long sentences, and the least quality alone (perfect dependence) is deaf to the second error.
Between the two stands Gumbel's copula: P(all right) = exp(-(sum_S h_S^theta)^(1/theta)), h = -log p(right), theta = 2
(Kendall's tau 1/2). The tokens of one entity are one decision, so S runs over spans, with h_S the mean of its tokens' h, each
weighing its own h (Lehmer's mean); tokens outside entities are spans by themselves.
Source: Gumbel 1960; McNeil, Frey & Embrechts 2015, section 7.4.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from labelwright.auditing._inputs import look_at_predictions
from labelwright.auditing._stacking import PROB_FLOOR
from labelwright.auditing.error_model import error_model
from labelwright.auditing.flags import expected_f1_cut
from labelwright.auditing.parts import PartAudit
from labelwright.auditing.tokens.chain import Forced, forced_mistakes, marginals, pair_lift, scheme_transition
from labelwright.auditing.tokens.inputs import Sentences, read_sentences
from labelwright.auditing.tokens.tags import (
    BEGIN,
    INSIDE,
    OUTSIDE,
    Scheme,
    first_of_sentence,
    illegal_tokens,
    scheme_of,
    span_ids,
)
from labelwright.errors import DataError, check_whole

THETA = 2.0
PLAIN_COUPLING = 1.0  # of neighbouring tags without a scheme
SPAN_COUPLING = 0.3  # in a BIO scheme, whose tags B and I repeat each other
SHARPER = 1.08  # what is calibrated to given tags is too blunt for the true ones: with 1, no mistake is left to explain
STRENGTH, EPOCHS = 10.0, 15  # LogisticRegression's C and passes; chosen on held-out log-loss of unspoilt tags


def audit_tokens(
    tags: Any,
    pred_probs: Any = None,
    *,
    tokens: Any = None,
    space: Any = None,
    items: Any = None,
    groups: Any = None,
    n_folds: int = 5,
    random_state: int = 0,
    progress: Any = None,
) -> PartAudit:
    """Audit the tags of N sentences: which tokens and which sentences to look at first, and what seems wrong.

    Args:
        tags: N sequences of T_i tag names, or of class ids of `space` (lists, a list column); None = a token without a tag.
        pred_probs: N arrays (T_i, K), or all of them as one (sum T_i, K), out-of-sample probabilities of the tags. None: a
            tagger without download (`features.tokens`, logistic regression) predicts them out of fold from `tokens`.
        tokens: N sequences of T_i strings. At least one of pred_probs and tokens is needed.
        space: the tags in the order of the columns (LabelSpace, or a list of names); default: those that occur, sorted.
        items: N distinct keys of the sentences; default: positions.
        groups: (N,) sentences of one group (and sentences with the same tokens) never stand on both sides of a fold.
        n_folds, random_state: of the tagger.
        progress: called as progress(step, done, total).

    Returns:
        PartAudit with what="tokens". quality: (N,) P(all tags of a sentence are right), NaN without a tag. parts: one row per
        tagged token: item, row (sentence), position (token in the sentence), token (where given), given, suggested (the
        likeliest tag; where flagged, the likeliest other one), quality = P(the tag is right), problem, is_issue. problem of
        a flagged token is "wrong tag", or with BIO tags "missed entity", "spurious entity", "wrong type", "wrong boundary" or
        "illegal sequence" (I-x after no x: flagged whatever the model says).

    Raises:
        LabelError, ProbabilityError, DataError: what is wrong in which sentence, and how to mend it.
        OptionError: n_folds or random_state out of range.

    >>> tags = [["DET", "NOUN"] for _ in range(20)]
    >>> tags[4][1] = "DET"
    >>> audit = audit_tokens(tags, np.tile([[0.95, 0.05], [0.1, 0.9]], (20, 1)))
    >>> audit.issues.select(["row", "position", "suggested"]).to_pylist()
    [{'row': 4, 'position': 1, 'suggested': 'NOUN'}]
    """
    check_whole("n_folds", n_folds, 2)
    check_whole("random_state", random_state, 0)
    read = read_sentences(tags, pred_probs, tokens=tokens, space=space, items=items)
    inputs, given, lengths = read.inputs, read.given, read.lengths
    p = inputs.pred_probs
    if p is None:
        p = _predict(read, groups, n_folds, random_state, progress or _silent)
    look_at_predictions(inputs, p)
    scheme = _scheme(read)
    belief = tag_belief(given, p, lengths, scheme)
    right = np.where(given >= 0, belief[np.arange(len(given)), given], np.nan)
    wrong = _wrong(belief, given)
    illegal = np.zeros(len(given), bool) if scheme is None else illegal_tokens(given, lengths, scheme)
    is_issue = expected_f1_cut(wrong) | illegal
    suggested = _suggest(belief, given, lengths, is_issue, illegal, scheme)
    problem = np.where(is_issue, "wrong tag", "").astype(object)
    if scheme is not None:
        problem[is_issue] = _problems(given, suggested, lengths, is_issue, scheme)[is_issue]
        problem[illegal] = "illegal sequence"
    quality = sentence_quality(_log_right(right, wrong), lengths, span_ids(given, lengths, scheme))
    settings = {
        "pred_probs": "given" if inputs.pred_probs is not None else f"out of fold, {n_folds} folds, logistic regression",
        "scheme": None if scheme is None else "BIO", "n_folds": n_folds, "random_state": random_state, "goal": "expected F1",
    }  # fmt: skip
    parts = _parts(read, suggested, right, problem, is_issue)
    return PartAudit("tokens", inputs.items, quality, parts, inputs.notes, settings)


def _silent(step: str, done: int, total: int) -> None:
    """No progress wanted."""


# ---------------------------------------------------------------------------------------------------------------- the tagger
def _predict(read: Sentences, groups: Any, n_folds: int, random_state: int, progress: Any) -> np.ndarray:
    """(sum T, K) float32 out-of-fold probabilities; sentences of one group, or with the same tokens, share a fold."""
    from sklearn.linear_model import LogisticRegression

    from labelwright.features import out_of_fold
    from labelwright.features.logistic import Scaler
    from labelwright.features.tokens import tag_vectors

    assert read.tokens is not None
    x = tag_vectors(read.tokens)
    together = _together(read.tokens, groups)
    if len(np.unique(together[read.lengths > 0])) < 2:
        raise DataError(
            found="sentences that all are alike or in one group",
            expected="at least two different sentences, so that a model can be tried on what it has not seen",
            fix="pass pred_probs of a model trained elsewhere, or leave `groups` out",
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the passes are few on purpose: more gain nothing on held-out tokens
        return out_of_fold(
            Scaler().fit(x)(x), read.given, n_classes=len(read.inputs.space),
            estimator=LogisticRegression(C=STRENGTH, solver="saga", max_iter=EPOCHS),
            groups=np.repeat(together, read.lengths), n_folds=n_folds, random_state=random_state,
            progress=lambda done, total: progress("out-of-fold predictions", done, total),
        )  # fmt: skip


def _together(tokens: list[list[str]], groups: Any) -> np.ndarray:
    """(N,) what must share a fold: sentences with the same lower-cased tokens, or of the same group, or linked by both."""
    number: dict[tuple[str, ...], int] = {}
    text = np.array([number.setdefault(tuple(t.lower() for t in sentence), len(number)) for sentence in tokens])
    if groups is None:
        return text
    given = np.asarray(groups.to_pylist() if hasattr(groups, "to_pylist") else groups)
    if given.shape != text.shape:
        raise DataError(
            found=f"`groups` of shape {given.shape} for {len(text)} sentences",
            expected="one group per sentence",
            fix="pass the group of each sentence, not of each token",
        )
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    _, group = np.unique(given.astype(str), return_inverse=True)
    nodes = int(text.max()) + 1
    size = nodes + int(group.max()) + 1
    link = coo_matrix((np.ones(len(text)), (text, nodes + group)), shape=(size, size))
    return np.asarray(connected_components(link, directed=False)[1][text])


# -------------------------------------------------------------------------------------------------- how far a tag is believed
def tag_belief(given: np.ndarray, pred_probs: np.ndarray, lengths: np.ndarray, scheme: Scheme | None) -> np.ndarray:
    """(n, K) float64 p(true tag | x, all given tags of the sentence), sentence after sentence.

    Args:
        given: (n,) class ids, -1 = missing.   pred_probs: (n, K).   lengths: (N,) tokens per sentence, summing to n.
    """
    from labelwright.features.calibration import fit_scaling

    known, n_classes = np.flatnonzero(given >= 0), pred_probs.shape[1]
    forced: Forced | None = None
    if scheme is None:
        alone = error_model(given, pred_probs).label_dist.astype(np.float64)
        coupling = PLAIN_COUPLING
    else:
        temperature = fit_scaling(pred_probs, given).temperature
        alone = np.maximum(pred_probs, PROB_FLOOR, dtype=np.float64) ** (SHARPER / temperature)
        alone /= alone.sum(1, keepdims=True)
        transition = scheme_transition(alone[known], given[known], scheme)
        alone[known] *= transition.T[given[known]]
        alone /= alone.sum(1, keepdims=True)
        forced, coupling = forced_mistakes(given, lengths, scheme, transition), SPAN_COUPLING
    return marginals(alone, lengths, pair_lift(given, lengths, n_classes, scheme, coupling), forced)


def _wrong(belief: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(n,) P(the given tag is wrong), NaN without one; a sum, not 1 - p: tiny ones keep their order."""
    other = belief.copy()
    other[np.arange(len(given)), given] = 0
    return np.where(given >= 0, np.clip(other.sum(1), 0, 1), np.nan)


def _log_right(right: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """log p(right), exact at both ends."""
    with np.errstate(invalid="ignore"):
        return np.where(wrong < 0.5, np.log1p(-np.minimum(wrong, 0.5)), np.log(np.maximum(right, 1e-300)))


def sentence_quality(log_right: np.ndarray, lengths: np.ndarray, span: np.ndarray) -> np.ndarray:
    """(N,) P(all tags of a sentence are right), dependence tempered (see the head of this file); NaN without a tag.

    Args:
        log_right: (sum T,) log p(the tag is right), NaN = no tag.   lengths: (N,) T of each sentence.
        span: (sum T,) number of the span of each token, growing by one from 0; none crosses a sentence.

    >>> sentence_quality(np.log([0.9, 0.8]), np.array([2]), np.array([0, 1])).round(3)
    array([0.781])
    """
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    hazard = np.nan_to_num(-log_right)
    n_spans = int(span[-1]) + 1 if len(span) else 0
    total, square = (np.bincount(span, hazard**power, minlength=n_spans) for power in (1, 2))
    of_span = np.divide(square, total, out=np.zeros(n_spans), where=total > 0)
    first = np.searchsorted(span, np.arange(n_spans))
    joined = np.bincount(sentence[first], of_span**THETA, minlength=len(lengths)) ** (1 / THETA)
    tagged = np.bincount(sentence, ~np.isnan(log_right), minlength=len(lengths)) > 0
    return np.where(tagged, np.exp(-joined), np.nan)


# ------------------------------------------------------------------------------------------------------------ what is wrong
def _scheme(read: Sentences) -> Scheme | None:
    """The BIO scheme of the tags; None without one, and where entities begin with I-, which is another scheme (IOB1)."""
    scheme = scheme_of(read.inputs.space)
    if scheme is None:
        return None
    begins = int((scheme.part[read.given[read.given >= 0]] == BEGIN).sum())
    illegal = int(illegal_tokens(read.given, read.lengths, scheme).sum())
    if illegal > begins:
        read.inputs.note(
            f"{illegal} entities begin with I- and {begins} with B-: these look like IOB1 or IO tags, so they are audited as "
            "plain tags. For words on missed entities and boundaries, let every entity begin with B-"
        )
        return None
    if illegal:
        read.inputs.notes.append(
            f"{illegal} tags continue an entity that is not there (I-x after no x); all are flagged"
        )
    return scheme


def _suggest(
    belief: np.ndarray,
    given: np.ndarray,
    lengths: np.ndarray,
    is_issue: np.ndarray,
    illegal: np.ndarray,
    scheme: Scheme | None,
) -> np.ndarray:
    """(n,) the likeliest tag; where flagged, the likeliest other one, for an illegal tag one that may follow the tag before."""
    open_to = belief.copy()
    flagged = np.flatnonzero(is_issue)
    open_to[flagged, given[flagged]] = -1
    if scheme is not None and illegal.any():
        rows = np.flatnonzero(illegal)
        starts = first_of_sentence(lengths)[rows]
        may = np.where(starts[:, None], scheme.part != INSIDE, scheme.legal()[given[rows - 1]])
        open_to[rows] = np.where(may, open_to[rows], -1)
    return np.asarray(open_to.argmax(1))


def _problems(
    given: np.ndarray, suggested: np.ndarray, lengths: np.ndarray, is_issue: np.ndarray, scheme: Scheme
) -> np.ndarray:
    """(n,) in words, from the given and the suggested tag; a tag that turns to or from O beside a token of the same entity
    that stays in it is a matter of the boundary."""
    kind, told = scheme.type, np.where(given >= 0, given, 0)
    mended = np.where(is_issue, suggested, told)
    was, now = kind[told], kind[mended]
    stays = np.where((given >= 0) & (was == now), was, -1)
    first = first_of_sentence(lengths)
    left = np.where(first, -1, np.roll(stays, 1))
    right = np.where(np.roll(first, -1), -1, np.roll(stays, -1))
    right[-1] = -1
    entity = np.maximum(was, now)  # the type in question where one of the two is O
    beside = (left == entity) | (right == entity)
    missed, spurious = scheme.part[told] == OUTSIDE, scheme.part[mended] == OUTSIDE
    one_out = np.where(beside, "wrong boundary", np.where(missed, "missed entity", "spurious entity"))
    inside = np.where(was == now, "wrong boundary", "wrong type")
    return np.where(missed | spurious, one_out, inside)


def _parts(
    read: Sentences, suggested: np.ndarray, quality: np.ndarray, problem: np.ndarray, is_issue: np.ndarray
) -> Any:
    """The pyarrow table of `PartAudit.parts`."""
    import pyarrow as pa

    given, lengths, names = read.given, read.lengths, read.inputs.space
    rows = np.flatnonzero(given >= 0)
    sentence = np.repeat(np.arange(len(lengths)), lengths)
    position = np.arange(len(given)) - (np.cumsum(lengths) - lengths)[sentence]
    columns: dict[str, Any] = {
        "item": read.inputs.items[sentence[rows]],
        "row": sentence[rows],
        "position": position[rows],
    }
    if read.tokens is not None:
        flat = [token for tokens in read.tokens for token in tokens]
        columns["token"] = [flat[i] for i in rows]
    columns |= {
        "given": names.decode(given[rows]), "suggested": names.decode(suggested[rows]), "quality": quality[rows],
        "problem": problem[rows].astype(str), "is_issue": is_issue[rows],
    }  # fmt: skip
    return pa.table({name: pa.array(column) for name, column in columns.items()})
