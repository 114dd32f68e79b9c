"""What Labelwright raises. Every message says what was found, what was expected and how to mend it.

LabelwrightError
├── LabelError(ValueError)          labels, votes or a label space that cannot be what they claim
├── ProbabilityError(ValueError)    pred_probs that are no distributions over the classes
├── DataError(ValueError)           items, features or files that cannot be read as described
├── ColumnError(KeyError)           a column that is not there
├── OptionError(ValueError)         an option with a value we do not know
├── TrainingError(ArithmeticError)  a training that cannot go on
├── RepositoryError(OSError)        a label repository that exists, is foreign, or is damaged
└── MissingExtra(ImportError)       an optional package that is not installed

LabelwrightWarning(UserWarning)     going on is right, but you should know
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LabelwrightError(Exception):
    """Root of the tree. `found`, `expected` and `fix` are kept as attributes.

    >>> str(LabelError(found="2 of 5 labels are NaN", expected="a class per item", fix="pass None for missing labels"))
    'found 2 of 5 labels are NaN; expected a class per item. Fix: pass None for missing labels'
    """

    def __init__(self, *, found: str, expected: str, fix: str):
        self.found, self.expected, self.fix = found, expected, fix
        super().__init__(f"found {found}; expected {expected}. Fix: {fix}")

    def __str__(self) -> str:  # KeyError would show the repr of the message
        return str(self.args[0])


class LabelError(LabelwrightError, ValueError):
    """Labels, votes or a label space that cannot be what they claim."""


class ProbabilityError(LabelwrightError, ValueError):
    """pred_probs that are no distributions over the classes."""


class DataError(LabelwrightError, ValueError):
    """Items, features or files that cannot be read as described."""


class ColumnError(LabelwrightError, KeyError):
    """A column that is not there."""


class OptionError(LabelwrightError, ValueError):
    """An option with a value we do not know."""


class TrainingError(LabelwrightError, ArithmeticError):
    """A training that cannot go on."""


class RepositoryError(LabelwrightError, OSError):
    """A label repository that exists, is foreign, or is damaged."""


class MissingExtra(LabelwrightError, ImportError):
    """An optional package that is not installed."""


class LabelwrightWarning(UserWarning):
    """Going on is right, but you should know."""


def nearest(name: str, choices: Iterable[str]) -> list[str]:
    """`choices`, the ones most like `name` first.

    >>> nearest("margn", ["entropy", "margin"])
    ['margin', 'entropy']
    """
    return sorted(choices, key=lambda c: (-difflib.SequenceMatcher(None, str(name).lower(), c.lower()).ratio(), c))


def check_option(name: str, value: str, choices: Iterable[str]) -> None:
    """Raise `OptionError` unless `value` is one of `choices`.

    >>> check_option("score", "margn", ["entropy", "margin"])
    Traceback (most recent call last):
    ...
    labelwright.errors.OptionError: found score='margn'; expected one of 'margin', 'entropy'. Fix: ...
    """
    choices = list(choices)
    if value not in choices:
        order = nearest(value, choices)
        raise OptionError(
            found=f"{name}={value!r}",
            expected="one of " + ", ".join(map(repr, order)),
            fix=f"did you mean {order[0]!r}?",
        )


def check_whole(name: str, value: object, least: int) -> None:
    """Raise `OptionError` unless `value` is a whole number of at least `least`.

    >>> check_whole("n_folds", 1, 2)
    Traceback (most recent call last):
    ...
    labelwright.errors.OptionError: found n_folds=1; expected a whole number of at least 2. Fix: pass n_folds=2 or more
    """
    whole = hasattr(value, "__index__") and not isinstance(value, bool)
    if not whole or int(value) < least:  # type: ignore[call-overload]
        raise OptionError(
            found=f"{name}={value!r}",
            expected=f"a whole number of at least {least}",
            fix=f"pass {name}={least} or more",
        )


def rows(index: Iterable[int], limit: int = 5) -> str:
    """Row numbers for a message.

    >>> rows([3, 7]), rows(range(20))
    ('row 3, 7', 'row 0, 1, 2, 3, 4, …')
    """
    index = list(index)
    shown = ", ".join(str(i) for i in index[:limit])
    return f"row {shown}" + (", …" if len(index) > limit else "")
