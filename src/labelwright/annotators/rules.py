"""Rules: a function of a row, words, a pattern or a model, that votes for a class or stays silent."""

from __future__ import annotations

import functools
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from labelwright.annotators._regex import check_pattern
from labelwright.errors import LabelError, OptionError

LONGEST = 100_000
"""Characters of a text that words and patterns read; what comes later is not looked at."""

Columns = Mapping[str, Sequence[Any]]


class Rule:
    """A named voter. `rule`, `keywords`, `pattern` and `model` make them; a subclass says how it `vote`s.

    name: unique among the rules that are applied together.   columns: those it reads, checked before a run; () = unknown.
    classes: those it can vote for, where known.
    """

    def __init__(self, name: str, columns: Iterable[str] = (), classes: Iterable[Any] = ()):
        self.name, self.columns, self.classes = str(name), tuple(columns), tuple(classes)

    def vote(self, row: Mapping[str, Any]) -> Any:
        """A class, or None to stay silent."""
        raise TypeError(f"{type(self).__name__} votes on whole columns")

    def vote_all(self, columns: Columns, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        """The votes on every row; an exception in place of a vote says that the rule failed there."""
        out: list[Any] = []
        for row in rows:
            try:
                out.append(self.vote(row))
            except Exception as error:
                out.append(error)
        return out

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"


class _Function(Rule):
    def __init__(self, function: Callable[..., Any], name: str, label: Any):
        super().__init__(name, classes=() if label is None else (label,))
        self.function, self.label = function, label
        functools.update_wrapper(self, function)

    def __call__(self, row: Mapping[str, Any]) -> Any:
        return self.vote(row)

    def vote(self, row: Mapping[str, Any]) -> Any:
        said = self.function(row)
        if self.label is None or said is None:
            return said
        if not isinstance(said, bool | np.bool_):
            raise LabelError(
                found=f"{said!r} from a rule for the class {self.label!r}",
                expected="True to vote, False or None to stay silent",
                fix="return a condition, or leave label=... out and return the class",
            )
        return self.label if said else None

    def __reduce__(self) -> str | tuple[Any, ...]:
        """By name where the decorator put the rule in the function's place, else as made of the function."""
        place: Any = sys.modules.get(self.__module__)
        path = str(getattr(self, "__qualname__", ""))
        for part in path.split("."):
            place = getattr(place, part, None)
        return path if place is self else (_Function, (self.function, self.name, self.label))


def rule(function: Callable[..., Any] | None = None, *, name: str | None = None, label: Any = None) -> Any:
    """Make a rule of a function of a row (a read-only mapping from column to value).

    Without `label` the function returns a class, or None to stay silent; with it, True to vote for that class.

    Args:
        function: what is decorated; any callable that takes a row.
        name: default: the function's own.   label: the one class that it votes for.

    >>> @rule(label="spam")
    ... def has_link(row):
    ...     return "http" in row["text"]
    >>> has_link({"text": "see http://x.y"}), has_link({"text": "nice"})
    ('spam', None)
    """
    if function is None:
        return functools.partial(rule, name=name, label=label)
    if not callable(function):
        raise OptionError(
            found=f"rule({function!r})", expected="a function of a row", fix="name the class as rule(label=...)"
        )
    return _Function(function, name or str(getattr(function, "__name__", type(function).__name__)), label)


class _Finder(Rule):
    """Votes for the one class whose pattern is found; silent where none is, or patterns of several classes are."""

    def __init__(self, name: str, column: str, finders: Mapping[Any, re.Pattern[str]]):
        super().__init__(name, (column,), finders)
        self.finders = dict(finders)

    def vote_all(self, columns: Columns, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        return [self._vote(text) for text in columns[self.columns[0]]]

    def _vote(self, text: Any) -> Any:
        if not isinstance(text, str):
            if text is None or text != text:
                return None
            return LabelError(
                found=f"a {type(text).__name__} in the column {self.columns[0]!r}",
                expected="texts",
                fix="convert the column to str",
            )
        text = text[:LONGEST]
        found = [label for label, finder in self.finders.items() if finder.search(text)]
        return found[0] if len(found) == 1 else None


def keywords(
    words: Mapping[Any, Iterable[str]],
    *,
    column: str,
    whole_words: bool = True,
    ignore_case: bool = True,
    name: str | None = None,
) -> Rule:
    """A rule that votes for the class of the words it finds, and is silent where it finds words of several classes.

    Args:
        words: class -> words or phrases, taken literally.   column: the texts.
        whole_words: "sub" is not found in "subscribe".   ignore_case: "Subscribe" is.
        name: default: "keywords: " and the first words.

    Raises:
        OptionError: no words; an empty word; one word for two classes.

    >>> keywords({"spam": ["subscribe", "check out"]}, column="text")
    _Finder('keywords: subscribe, check out')
    """
    lists = _lists("keywords", words)
    seen: dict[str, Any] = {}
    for label, entries in lists.items():
        for word in entries:
            key = word.casefold() if ignore_case else word
            if not word.strip() or seen.setdefault(key, label) != label:
                raise OptionError(
                    found=f"an empty word for class {label!r}"
                    if not word.strip()
                    else f"{word!r} for the classes {seen[key]!r} and {label!r}",
                    expected="words that stand for one class",
                    fix="remove it from the list" if not word.strip() else "keep it for one of them",
                )
    edge = (r"(?<!\w)", r"(?!\w)") if whole_words else ("", "")
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    finders = {
        # longest first, so that no word hides behind its own beginning
        label: re.compile(edge[0] + "(?:" + "|".join(map(re.escape, sorted(w, key=len, reverse=True))) + ")" + edge[1], flags)
        for label, w in lists.items()
    }  # fmt: skip
    return _Finder(name or "keywords: " + _shown(lists), column, finders)


def pattern(
    patterns: Mapping[Any, str | Iterable[str]], *, column: str, ignore_case: bool = True, name: str | None = None
) -> Rule:
    r"""A rule that votes for the class whose regular expression is found, and is silent where those of several classes are.

    Python's expressions can take exponential time. Refused are repetitions whose turns can be told apart in several ways,
    such as (a+)+, (\w+\s?)* or (a|a)*. Not refused are expressions of polynomial time (.*x.*y), so only the first 100,000
    characters of a text are read.

    Args:
        patterns: class -> expression, or several.   column: the texts.   ignore_case: "HTTP" is found by "http".
        name: default: "pattern: " and the first expressions.

    Raises:
        OptionError: no pattern; one that does not compile; one that can take exponential time.

    >>> pattern({"spam": r"https?://"}, column="text").classes
    ('spam',)
    """
    lists = _lists("patterns", patterns)
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    for label, entries in lists.items():
        for text in entries:
            check_pattern(text, label, flags)
    finders = {
        label: re.compile("|".join(f"(?:{text})" for text in entries) if len(entries) > 1 else entries[0], flags)
        for label, entries in lists.items()
    }
    return _Finder(name or "pattern: " + _shown(lists), column, finders)


class _Model(Rule):
    def __init__(
        self, name: str, columns: Sequence[str], single: bool, model: Any, threshold: float | None, classes: Any
    ):
        super().__init__(name, columns, [_plain(c) for c in classes])
        self.model, self.single, self.threshold = model, single, threshold

    def vote_all(self, columns: Columns, rows: Sequence[Mapping[str, Any]]) -> list[Any]:
        try:
            x = columns[self.columns[0]] if self.single else np.column_stack([columns[c] for c in self.columns])
            if self.threshold is None:
                return [_plain(said) for said in self.model.predict(x)]
            p = np.asarray(self.model.predict_proba(x), dtype=np.float64)
            best = p.argmax(1)
            sure = p[np.arange(len(p)), best] >= self.threshold
            return [self.classes[b] if s else None for b, s in zip(best, sure)]
        except Exception as error:  # the model answers for the whole batch, so it fails for the whole batch
            return [error] * len(rows)


def model(
    fitted: Any,
    *,
    column: str | None = None,
    columns: Sequence[str] | None = None,
    threshold: float | None = None,
    classes: Sequence[Any] | None = None,
    name: str | None = None,
) -> Rule:
    """A rule that votes what a fitted model predicts.

    Args:
        fitted: has `predict`, or with a threshold `predict_proba`.
        column: the model gets the list of this column's values; or columns: it gets an (n, columns) array of them.
        threshold: probability in [0, 1] from which it votes; below it is silent. None: it always votes.
        classes: order of the columns of `predict_proba`; default: the model's `classes_`.
        name: default: the model's type.

    Raises:
        OptionError: neither or both of column and columns; a threshold without predict_proba or classes, or outside [0, 1].
    """
    if (column is None) == (columns is None):
        raise OptionError(
            found=f"column={column!r}, columns={columns!r}",
            expected="one of the two",
            fix="pass column='text' for a model of texts, columns=[...] for a model of numbers",
        )
    if threshold is not None and not 0 <= threshold <= 1:
        raise OptionError(
            found=f"threshold={threshold!r}", expected="a probability in [0, 1]", fix="pass threshold=0.8 or the like"
        )
    needs = "predict" if threshold is None else "predict_proba"
    if not hasattr(fitted, needs):
        raise OptionError(
            found=f"a {type(fitted).__name__} without {needs}",
            expected=f"a fitted model with {needs}",
            fix="pass threshold=None if it has `predict` only, or wrap a function with @rule",
        )
    order = classes if classes is not None else getattr(fitted, "classes_", None)
    if order is None and threshold is not None:
        raise OptionError(
            found=f"a {type(fitted).__name__} without classes_",
            expected="the classes of its columns",
            fix="pass classes=[...] in the order of predict_proba",
        )
    read = [column] if column is not None else list(columns or ())
    return _Model(
        name or type(fitted).__name__, read, column is not None, fitted, threshold, () if order is None else order
    )


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _lists(what: str, given: Mapping[Any, str | Iterable[str]]) -> dict[Any, list[str]]:
    if not isinstance(given, Mapping) or not given:
        raise OptionError(
            found=f"{what}={given!r}", expected="class -> text or texts", fix="pass {'spam': ['subscribe']}"
        )
    out = {label: [texts] if isinstance(texts, str) else list(texts) for label, texts in given.items()}
    if not all(out.values()):
        empty = next(label for label, texts in out.items() if not texts)
        raise OptionError(
            found=f"no {what} for class {empty!r}", expected="at least one per class", fix="leave the class out"
        )
    return out


def _shown(lists: Mapping[Any, Sequence[str]]) -> str:
    texts = [t for entries in lists.values() for t in entries]
    return ", ".join(texts[:3]) + (", …" if len(texts) > 3 else "")
