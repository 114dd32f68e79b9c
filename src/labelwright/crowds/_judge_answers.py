"""What a judge answered, and what two answers of swapped order say together."""

from __future__ import annotations

import re
from typing import Any

from labelwright.errors import DataError

TEMPLATE = "End with one line, exactly: ANSWER: 1 or ANSWER: 2"
"""What to ask a judge who answers in text; `read_answer` looks for that line first."""

_EXACT = re.compile(r"\banswer\s*[:=]\s*[\"'*\[(]*\s*(?:overlay|label|mask|image|candidate|option)?\s*#?([12])\b", re.I)
_NAMED = re.compile(r"\b(?:overlay|label|mask|image|candidate|option)s?\s*#?([12])\b", re.I)


def read_answer(answer: Any) -> tuple[int | None, bool]:
    """(1, 2 or None, whether it could be read) from what a judge returned.

    1, 2 and None are taken as they are. Of a text counts the line that `TEMPLATE` asks for, or a lone digit; else the only
    candidate that it names ("overlay 2", "label 1", …). A text that names none or both cannot be read.

    Raises:
        DataError: neither a text nor 1, 2 or None.

    >>> read_answer("The first leaks into the lung.\\nANSWER: 2"), read_answer("Overlay 1 is better"), read_answer("both fit")
    ((2, True), (1, True), (None, False))
    """
    if answer is None:
        return None, True
    if isinstance(answer, str):
        for found in (set(_EXACT.findall(answer)), set(_NAMED.findall(answer))):
            if len(found) == 1:
                return int(found.pop()), True
            if found:
                return None, False
        bare = answer.strip().strip(".*\"'")
        return (int(bare), True) if bare in ("1", "2") else (None, False)
    if not isinstance(answer, bool) and hasattr(answer, "__index__") and int(answer) in (1, 2):
        return int(answer), True
    raise DataError(
        found=f"a judge's answer {answer!r}",
        expected="1 (the first is better), 2, None (undecided) or a text",
        fix="let the judge return one of them",
    )


def confirmed(first: int | None, second: int | None, *, conservative: bool = False) -> int | None:
    """What is decided by the answer to the order (1, 2) and that to the swapped order: 1, 2 or None, in the first order.

    The same place twice decides nothing. One answer beside none counts, unless `conservative`.

    >>> confirmed(1, 2), confirmed(1, 1), confirmed(None, 1), confirmed(None, 1, conservative=True)
    (1, None, 2, None)
    """
    if first is None and second is None:
        return None
    if first is None or second is None:
        return None if conservative else first if second is None else 3 - int(second)
    return first if first != second else None


def expected_confirmation(accuracy_first: float, accuracy_second: float) -> tuple[float, float]:
    """(share of the pairs that are decided, accuracy of the decided ones) of a judge who is right with probability
    `accuracy_first` where the better candidate is shown first and `accuracy_second` where it is shown second, if the two
    answers err independently.

    >>> [round(x, 2) for x in expected_confirmation(0.8, 0.8)]
    [0.68, 0.94]
    """
    right, wrong = accuracy_first * accuracy_second, (1 - accuracy_first) * (1 - accuracy_second)
    return right + wrong, right / (right + wrong) if right + wrong else float("nan")
