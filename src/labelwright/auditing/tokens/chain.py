"""What the tags beside a token say about its tag: error probabilities along a sentence.

p(tags | x, given) ∝ prod_t u_t(y_t) * prod_t pair(y_t-1, y_t)

u_t(y) is what the model and the given tag say of token t alone; pair is the lift of two tags in a row,
(share of the pair / product of the shares)^coupling from the given tags, 1e-6 where the scheme forbids the pair. The marginals
come from forward and backward messages, as in a hidden Markov model; a message counts as its power HEARD, because the model
has read the neighbours too and repeats part of what they say.
Source: Rabiner 1989 (forward-backward); Heskes 2003 (fractional messages). Every step is one product (sentences, K) x (K, K)
over all sentences that are long enough.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from labelwright.auditing.tokens.tags import INSIDE, OUTSIDE, Scheme, first_of_sentence

HEARD = 0.5
FORBIDDEN = 1e-6
START_RATES = (0.1, 0.01, 0.1, 0.05, 0.01)  # of the kinds of mistake below, before the first step
MISSED, SPURIOUS, TYPE, EDGE, BOTH = range(5)


def pair_lift(
    given: np.ndarray, lengths: np.ndarray, n_classes: int, scheme: Scheme | None, coupling: float
) -> np.ndarray:
    """(K, K) [tag, next tag] from the pairs of given tags, smoothed with K pairs of independent ones."""
    known = given[given >= 0]
    shares = (np.bincount(known, minlength=n_classes) + 1.0) / (len(known) + n_classes)
    right = np.flatnonzero(~first_of_sentence(lengths) & (given >= 0) & (np.roll(given, 1) >= 0))
    count = np.bincount(given[right - 1] * n_classes + given[right], minlength=n_classes**2).reshape(n_classes, -1)
    joint = count + n_classes * np.outer(shares, shares)
    lift = joint * joint.sum() / np.outer(joint.sum(1), joint.sum(0))
    lift **= coupling
    if scheme is not None:
        lift[~scheme.legal()] = FORBIDDEN
    return np.asarray(lift)


class Forced(NamedTuple):
    """Where a mistake forces the next one. A stray B-x before an entity makes its own B-x an I-x; an entity whose first token was
    overlooked begins one later, its I-x written as B-x.

    tag: (n,) the true tag that was rewritten so, -1 where nothing was forced.   gain: (n,) the odds of this over a mistake of
    its own, 1 / T[tag, given].   after: (n, K) bool, the true tags of the token before with which the mistake is forced.
    """

    tag: np.ndarray
    gain: np.ndarray
    after: np.ndarray


def forced_mistakes(given: np.ndarray, lengths: np.ndarray, scheme: Scheme, transition: np.ndarray) -> Forced:
    """`Forced` of every token of the given tags (n,), -1 = missing."""
    before = np.where(first_of_sentence(lengths), -1, np.roll(given, 1))
    kind, last = np.where(given >= 0, scheme.type[given], -1), np.where(before >= 0, scheme.type[before], -1)
    inside = scheme.part[given] == INSIDE
    can = (given >= 0) & (before >= 0) & (kind >= 0) & (scheme.twin[given] >= 0) & (inside == (kind == last))
    tag = np.where(can, scheme.twin[given], -1)
    gain = np.where(can, 1 / transition[tag, given], 1.0)
    same = scheme.type[None, :] == kind[:, None]
    return Forced(tag, gain, (same ^ inside[:, None]) & can[:, None])


def marginals(
    u: np.ndarray, lengths: np.ndarray, pair: np.ndarray, forced: Forced | None = None, heard: float = HEARD
) -> np.ndarray:
    """(n, K) p(true tag | x, all given tags of the sentence).

    Args:
        u: (n, K) what each token says alone, sentence after sentence, rows that sum to 1.
        lengths: (N,) tokens per sentence.   pair: (K, K) from `pair_lift`.   heard: power of a message, 1 = chain rule.
    """
    from_left, from_right = np.ones((2, *u.shape))
    steps, both = _steps(lengths), u.copy()
    for rows in steps[1:]:
        before = both[rows - 1]
        message = before @ pair
        if forced is not None:
            at, tag, extra = _forced_rows(forced, rows)
            message[at, tag] += extra * (before[at] * pair[:, tag].T * forced.after[rows[at]]).sum(1)
        from_left[rows] = _power(message, heard)
        both[rows] = _normal(from_left[rows] * u[rows])
    for rows in steps[:0:-1]:
        after = from_right[rows] * u[rows]
        message = after @ pair.T
        if forced is not None:
            at, tag, extra = _forced_rows(forced, rows)
            message[at] += (extra * after[at, tag])[:, None] * pair[:, tag].T * forced.after[rows[at]]
        from_right[rows - 1] = _power(message, heard)
    return _normal(u * from_left * from_right)


def _steps(lengths: np.ndarray) -> list[np.ndarray]:
    """For t = 0, 1, ...: the rows of the t-th tokens of all sentences that have one."""
    start, order = np.cumsum(lengths) - lengths, np.argsort(-lengths, kind="stable")
    longest = lengths[order]
    count = [int(np.searchsorted(-longest, -t)) for t in range(int(longest.max(initial=0)))]
    return [start[order[:m]] + t for t, m in enumerate(count)]


def _forced_rows(forced: Forced, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    at = np.flatnonzero(forced.tag[rows] >= 0)
    return at, forced.tag[rows[at]], forced.gain[rows[at]] - 1


def _power(message: np.ndarray, heard: float) -> np.ndarray:
    return np.asarray((message / message.max(1, keepdims=True)) ** heard)


def _normal(p: np.ndarray) -> np.ndarray:
    return np.asarray(p / p.sum(1, keepdims=True))


# ---------------------------------------------------------------------------------------------- mistakes in a BIO scheme
def kinds_of_mistake(scheme: Scheme) -> np.ndarray:
    """(K, K) [true, given]: MISSED, SPURIOUS, TYPE (same part), EDGE (same type), BOTH, and -1 on the diagonal."""
    outside = scheme.part == OUTSIDE
    part, kind = scheme.part[:, None] == scheme.part, scheme.type[:, None] == scheme.type
    out = np.where(part, TYPE, np.where(kind, EDGE, BOTH))
    out[:, outside] = MISSED
    out[outside] = SPURIOUS
    np.fill_diagonal(out, -1)
    return out


def scheme_transition(q: np.ndarray, given: np.ndarray, scheme: Scheme, *, max_iter: int = 100) -> np.ndarray:
    """(K, K) [true, given] with one rate per kind of mistake, spread evenly over the tags it leads to.

    The K^2 rates of a full transition cannot be told from the entities that the model overlooks; five can, though not well. So
    each is fitted by EM from p(true | x) and the given tags, and the result is halved, in logs, with one rate for all mistakes.

    Args:
        q: (n, K) p(true | x).   given: (n,) tags, all known.
    """
    kinds, n_classes = kinds_of_mistake(scheme), len(scheme.part)
    rates = _fit_rates(q, given, kinds, scheme, max_iter)
    fitted = _spread(rates, kinds)
    shares = (np.bincount(given, minlength=n_classes) + 1.0) / (len(given) + n_classes)
    one_rate = float(shares @ (1 - fitted.diagonal())) / (n_classes - 1)
    out = np.sqrt(np.maximum(fitted, 1e-8) * max(one_rate, 1e-8))
    np.fill_diagonal(out, 0)
    np.fill_diagonal(out, 1 - out.sum(1))
    return np.asarray(out)


def _fit_rates(q: np.ndarray, given: np.ndarray, kinds: np.ndarray, scheme: Scheme, max_iter: int) -> np.ndarray:
    """(5,) by EM. Only the mass of each kind matters, so that a step costs six columns, not K."""
    n, n_classes = q.shape
    ways = np.maximum([(kinds == kind).sum(1) for kind in range(5)], 1)  # (5, K): tags that a mistake may lead to
    mass = np.empty((n, 6))
    mass[:, 5] = q[np.arange(n), given]
    for kind in range(5):
        per_given = (kinds == kind) / ways[kind][:, None]
        for g in range(n_classes):
            mass[given == g, kind] = q[given == g] @ per_given[:, g]
    outside = scheme.part[given] == OUTSIDE
    entity = np.array([True, False, True, True, True])  # kinds of mistake whose true tag is an entity
    rates = np.array(START_RATES) * [(kinds == kind).any() for kind in range(5)]
    for _ in range(max_iter):
        right = np.where(outside, 1 - rates[~entity].sum(), 1 - rates[entity].sum())
        weight = mass * np.column_stack([np.broadcast_to(rates, (n, 5)), right])
        weight /= weight.sum(1, keepdims=True)
        found = weight[:, :5].sum(0)
        true_entity = found[entity].sum() + weight[~outside, 5].sum()
        new = found / np.maximum(np.where(entity, true_entity, n - true_entity), 1e-9)
        done, rates = np.abs(new - rates).max() < 1e-6, new
        if done:
            break
    return rates


def _spread(rates: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    out = np.zeros(kinds.shape)
    for kind, rate in enumerate(rates):
        here = kinds == kind
        out += rate * here / np.maximum(here.sum(1, keepdims=True), 1)
    np.fill_diagonal(out, 1 - out.sum(1))
    return out
