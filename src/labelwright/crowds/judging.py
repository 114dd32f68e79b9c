"""Which candidate label of an item is the best, by a judge who compares two at a time and is asked in both orders.

The judge is any callable: a vision-language model, a person, a learnt classifier. Pairs that are nearly alike are not judged. A
verdict counts only if it survives the swap of the two; the winner meets the next candidate, and what stays undecided goes to
people. Every answer is logged as it came, and a log that is passed back is not asked again.

Source: Label Critic (ISBI 2025): gate by disagreement, dual confirmation, best label by rounds. The audit of pairs
that were taken for alike is ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.crowds._judge_answers import TEMPLATE, confirmed, expected_confirmation, read_answer
from labelwright.crowds._verdicts import Verdicts, better_annotation
from labelwright.errors import DataError, LabelError, OptionError, check_whole
from labelwright.labels import Comparisons, LabelSpace

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TEMPLATE", "Judging", "confirmed", "dice", "expected_confirmation", "judge_candidates", "read_answer"]

CAP, FEWEST, MOST = 0.8, 100, 10_000  # of the gate: largest similarity, fewest and most pairs to compare; the paper's
LOG = ("judge", "item", "first", "second", "attempt", "answer", "raw", "shown")
Judge = Callable[[Any, Any, Any], Any]


@dataclass(frozen=True, eq=False)
class Judging:
    """What a judge made of N items.

    best: a row per item: item, best (name of the candidate), settled (no comparison that it rests on is open).
    pairs: a row per pair that met: item, a, b, similarity, answer_1 (a shown first), answer_2 (b shown first; 1 and 2 name the
        place, null neither), better (null where undecided), reason ("alike", "decided", "undecided", "same place twice",
        "budget").
    queue: the pairs for people: item, a, b, reason; with reason "audit" the drawn sample of pairs that were taken for alike.
    log: a row per question: judge, item, first, second, attempt, answer, raw (as it came), shown (hash of what was shown).
        Items are logged by `str(key)`.
    threshold: similarity from which two candidates are taken for alike.   names: all candidates' names, sorted.
    asked: questions put to the judge now; those of an older log not counted.
    """

    best: pa.Table
    pairs: pa.Table
    queue: pa.Table
    log: pa.Table
    threshold: float
    names: list[str]
    asked: int
    conservative: bool = False

    @property
    def coverage(self) -> float:
        """Share of the judged pairs that are decided; NaN where none was judged."""
        reasons = [r for r in self.pairs["reason"].to_pylist() if r not in ("alike", "budget")]
        return reasons.count("decided") / len(reasons) if reasons else float("nan")

    def accuracy(self, truth: Callable[[Any, str, str], str | None]) -> float:
        """Share of the decided pairs whose verdict is truth(item, a, b), the better one's name; None leaves the pair out."""
        rows = [row for row in self.pairs.to_pylist() if row["reason"] == "decided"]
        right = [(row["better"], truth(row["item"], row["a"], row["b"])) for row in rows]
        known = [a == b for a, b in right if b is not None]
        return float(np.mean(known)) if known else float("nan")

    def comparisons(self) -> Comparisons:
        """The answers as `Comparisons` of the candidates' names, `a` being shown first: `fit_bradley_terry` ranks them.

        Raises:
            LabelError: no pair was judged.
        """
        last = _last_answers(self.log)
        if not last:
            raise LabelError(
                found="no judged pair", expected="at least one", fix="raise `threshold`: all pairs were taken for alike"
            )
        item, first, second, judge, answer = zip(*((i, a, b, j, w) for (j, i, a, b), w in last.items()))
        chosen = [None if w is None else (a, b)[w - 1] for a, b, w in zip(first, second, answer)]
        return Comparisons.from_columns(item, judge, first, second, chosen, LabelSpace(self.names))

    def verdicts(self) -> Verdicts:
        """`better_annotation` of these answers: probability of each verdict, and in `judges` the bias towards a place and the
        accuracy that the contradictions imply, without any truth."""
        return better_annotation(self.comparisons(), confirm=not self.conservative, conservative=self.conservative)


def judge_candidates(
    candidates: Mapping[Any, Mapping[str, Any]],
    judge: Judge,
    *,
    name: str = "judge",
    show: Callable[[Any, Any], Any] | None = None,
    similarity: Callable[[Any, Any], float] | None = None,
    threshold: float | None = None,
    conservative: bool = False,
    retries: int = 1,
    budget: int | None = None,
    audit: float = 0.05,
    log: Any = None,
    on_answer: Callable[[dict[str, Any]], None] | None = None,
    random_state: int = 0,
) -> Judging:
    """The best candidate of each item, and the pairs that people have to look at.

    Args:
        candidates: item -> {name of its source: candidate}, two or more each. A candidate is anything: a mask, a class, a text.
        judge: called as judge(item, first, second); returns 1 or 2 (the better one), None (undecided), or a text (see
            `read_answer` and `TEMPLATE`). What it raises is passed on; give `on_answer` to lose nothing then.
        name: of the judge, for the log.   show: show(item, candidate) is what the judge sees; default the candidate itself.
        similarity: of two candidates, in [0, 1]; default: `dice` for arrays, else 1 if equal and 0 if not.
        threshold: pairs at least as similar are not judged: the earlier one is kept. None: min(mean - sd, 0.8) over all pairs,
            with at least 100 pairs and at most 10,000 judged, for arrays; for other candidates 1, so all that differ are judged.
        conservative: an answer beside an undecided one decides nothing.   retries: of a text that cannot be read.
        budget: questions that may be put; what is left stays open with the reason "budget".
        audit: share of the pairs taken for alike that goes to people, because both may be wrong alike.
        log: of an earlier run, or a list of its rows: its answers to the same pairs of the same things shown are used.
        on_answer: called with each new row of the log.   random_state: decides the order of the first question and the audit.

    With three candidates or more the winner of the first two meets the next, and so on; an undecided pair keeps the earlier one,
    and the item is not settled.

    Raises:
        LabelError: an item with fewer than two candidates, masks of different sizes.   DataError: an answer that is none, a log
        of another form.   OptionError: a similarity, threshold, audit, retries or budget out of range.

    >>> found = judge_candidates({"t": {"a": "cat", "b": "dog"}}, lambda item, x, y: 1 if x == "dog" else 2)
    >>> found.best.to_pylist()
    [{'item': 't', 'best': 'b', 'settled': True}]
    """
    check_whole("retries", retries, 0)
    if budget is not None:
        check_whole("budget", budget, 0)
    for option, value in (("audit", audit), ("threshold", 0.0 if threshold is None else threshold)):
        if not 0 <= value <= 1:
            raise OptionError(found=f"{option}={value!r}", expected="a number in [0, 1]", fix=f"pass {option}=0.5")
    alike, limit = _similarities(candidates, similarity, threshold)
    asking = _Asking(judge, name, show, conservative, retries, budget, random_state, _rows_of(log), on_answer)
    rounds = [asking.best_of(item, choices, alike, limit) for item, choices in candidates.items()]
    met = [row for _, rows in rounds for row in rows]
    return _judging([best for best, _ in rounds], met, asking, candidates, limit, audit, random_state)


def dice(a: Any, b: Any) -> float:
    """2 |A and B| / (|A| + |B|) of the pixels of a class above 0, which have to carry the same class; 1.0 for two empty masks.

    Raises:
        LabelError: masks of different sizes.

    >>> dice([[1, 1]], [[1, 0]]).__round__(2), dice([[0]], [[0]])
    (0.67, 1.0)
    """
    a, b = np.asarray(a), np.asarray(b)
    if a.shape != b.shape:
        raise LabelError(
            found=f"candidates of shapes {a.shape} and {b.shape}",
            expected="masks of one size",
            fix="resample them to the same grid by nearest neighbour",
        )
    total = int((a > 0).sum()) + int((b > 0).sum())
    return 2.0 * int(((a == b) & (a > 0)).sum()) / total if total else 1.0


@dataclass(eq=False)
class _Asking:
    """The questions of one run, in order."""

    judge: Judge
    name: str
    show: Callable[[Any, Any], Any] | None
    conservative: bool
    retries: int
    budget: int | None
    random_state: int
    rows: list[dict[str, Any]]
    on_answer: Callable[[dict[str, Any]], None] | None
    asked: int = 0
    known: dict[tuple[str, ...], list[dict[str, Any]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for row in self.rows:
            key = (row["judge"], row["item"], row["first"], row["second"], row["shown"])
            self.known.setdefault(key, []).append(row)

    def best_of(
        self, item: Any, choices: Mapping[str, Any], alike: dict[tuple[Any, str, str], float], limit: float
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The rows of `best` and `pairs`."""
        names, met = list(choices), []
        best, settled = names[0], True
        for challenger in names[1:]:
            row: dict[str, Any] = {
                "item": item,
                "a": best,
                "b": challenger,
                "similarity": alike[item, best, challenger],
            }
            row |= {"answer_1": None, "answer_2": None, "better": None, "reason": "alike"}
            if row["similarity"] < limit:
                row |= self._compare(item, best, challenger, choices)
                settled &= row["better"] is not None
                best = row["better"] or best
            met.append(row)
        return {"item": item, "best": best, "settled": settled}, met

    def _compare(self, item: Any, a: str, b: str, choices: Mapping[str, Any]) -> dict[str, Any]:
        seen = {n: choices[n] if self.show is None else self.show(item, choices[n]) for n in (a, b)}
        swapped = _coin(self.random_state, item, a, b)
        orders = [(b, a), (a, b)] if swapped else [(a, b), (b, a)]
        found = {order: self._answer(item, *order, seen) for order in orders}
        if any(open_ for _, open_ in found.values()):
            return {"reason": "budget"}
        one, two = found[a, b][0], found[b, a][0]
        winner = confirmed(one, two, conservative=self.conservative)
        reason = "decided" if winner else "same place twice" if one is not None and one == two else "undecided"
        better = None if winner is None else (a, b)[winner - 1]
        return {"answer_1": one, "answer_2": two, "better": better, "reason": reason}

    def _answer(self, item: Any, first: str, second: str, seen: dict[str, Any]) -> tuple[int | None, bool]:
        """(answer, whether the budget left it open)."""
        shown = _digest(seen[first]) + _digest(seen[second])
        past = self.known.setdefault((self.name, str(item), first, second, shown), [])
        while True:
            if past and (read_answer(past[-1]["raw"])[1] or len(past) > self.retries):
                return past[-1]["answer"], False
            if self.budget is not None and self.asked >= self.budget:
                return None, True
            raw = self.judge(item, seen[first], seen[second])
            answer, _ = read_answer(raw)
            self.asked += 1
            row = {"judge": self.name, "item": str(item), "first": first, "second": second, "attempt": len(past) + 1}
            row |= {"answer": answer, "raw": raw if raw is None else str(raw), "shown": shown}
            past.append(row)
            self.rows.append(row)
            if self.on_answer is not None:
                self.on_answer(row)


def _similarities(
    candidates: Mapping[Any, Mapping[str, Any]], similarity: Callable[[Any, Any], float] | None, threshold: float | None
) -> tuple[dict[tuple[Any, str, str], float], float]:
    """Of every pair in the order of the candidates, and the similarity from which pairs are alike."""
    out: dict[tuple[Any, str, str], float] = {}
    arrays = False
    for item, choices in candidates.items():
        if len(choices) < 2:
            raise LabelError(
                found=f"{len(choices)} candidates of item {item!r}",
                expected="at least two to compare",
                fix="leave the item out, or send it to people",
            )
        for a, b in combinations(choices, 2):
            x, y = choices[a], choices[b]
            arrays |= np.ndim(x) > 0
            value = (dice(x, y) if np.ndim(x) else float(x == y)) if similarity is None else float(similarity(x, y))
            if not 0 <= value <= 1:
                raise OptionError(
                    found=f"a similarity of {value} of {a!r} and {b!r} of item {item!r}",
                    expected="numbers in [0, 1], 1 for the same",
                    fix="scale what `similarity` returns",
                )
            out[item, a, b] = out[item, b, a] = value
    values = np.sort(list(out.values())[::2])
    if threshold is not None or not (arrays or similarity) or not len(values):
        return out, 1.0 if threshold is None else float(threshold)
    limit = min(float(values.mean() - values.std()), CAP)
    few, many = (float(np.nextafter(values[min(n, len(values)) - 1], 2)) for n in (FEWEST, MOST))
    return out, min(max(limit, few), many, 1.0)  # candidates that are the same are never judged


def _judging(
    best: list[dict[str, Any]],
    met: list[dict[str, Any]],
    asking: _Asking,
    candidates: Mapping[Any, Mapping[str, Any]],
    limit: float,
    audit: float,
    random_state: int,
) -> Judging:
    import pyarrow as pa

    alike = [row for row in met if row["reason"] == "alike"]
    drawn = np.random.default_rng(random_state).permutation(len(alike))[: int(np.ceil(audit * len(alike)))]
    queue = [{k: r[k] for k in ("item", "a", "b", "reason")} for r in met if r["reason"] not in ("alike", "decided")]
    queue += [{k: alike[i][k] for k in ("item", "a", "b")} | {"reason": "audit"} for i in np.sort(drawn)]
    place = pa.int8()
    types = {"answer_1": place, "answer_2": place, "better": pa.string(), "similarity": pa.float64()}
    pairs = ("item", "a", "b", "similarity", "answer_1", "answer_2", "better", "reason")
    names = sorted({name for choices in candidates.values() for name in choices})
    return Judging(
        best=_table(best, ("item", "best", "settled"), {}),
        pairs=_table(met, pairs, types),
        queue=_table(queue, ("item", "a", "b", "reason"), {}),
        log=_table(asking.rows, LOG, {"answer": place, "raw": pa.string(), "attempt": pa.int64()}),
        threshold=limit,
        names=names,
        asked=asking.asked,
        conservative=asking.conservative,
    )


def _table(rows: Iterable[Mapping[str, Any]], columns: tuple[str, ...], types: Mapping[str, Any]) -> pa.Table:
    import pyarrow as pa

    rows = list(rows)
    return pa.table({c: pa.array([row[c] for row in rows], types.get(c)) for c in columns})


def _rows_of(log: Any) -> list[dict[str, Any]]:
    """Rows of an earlier log, copied."""
    rows = [] if log is None else log.to_pylist() if hasattr(log, "to_pylist") else list(log)
    if any(not isinstance(row, Mapping) or set(LOG) - set(row) for row in rows):
        raise DataError(
            found="a log with other columns",
            expected="the `log` of an earlier Judging, with " + ", ".join(LOG),
            fix="pass it as it was returned",
        )
    return [{column: row[column] for column in LOG} for row in rows]


def _last_answers(log: pa.Table) -> dict[tuple[str, str, str, str], int | None]:
    """(judge, item, first, second) -> the last answer."""
    return {(r["judge"], r["item"], r["first"], r["second"]): r["answer"] for r in log.to_pylist()}


def _coin(random_state: int, *key: Any) -> bool:
    """A fair coin for a key, whatever else is judged."""
    return bool(hashlib.blake2b(repr((random_state, *key)).encode(), digest_size=1).digest()[0] & 1)


def _digest(shown: Any) -> str:
    if isinstance(shown, np.ndarray) and not shown.dtype.hasobject:
        content = f"{shown.shape}{shown.dtype}".encode() + np.ascontiguousarray(shown).tobytes()
    else:
        content = shown if isinstance(shown, bytes) else repr(shown).encode()
    return hashlib.blake2b(content, digest_size=8).hexdigest()
