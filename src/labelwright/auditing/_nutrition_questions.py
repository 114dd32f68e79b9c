"""What only a person can say of a data set: the questions, and the answers in one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from labelwright.errors import DataError, OptionError, check_option
from labelwright.labels import need

QUESTIONS: dict[str, dict[str, str]] = {
    "metadata": {
        "description": "What is in the data set, in two sentences?",
        "domain": "Which field is it from?",
        "keywords": "Under which words would somebody look for it?",
        "url": "Where is it to be found?",
        "license": "Under which licence may it be used?",
        "released": "When was it released?",
        "range": "Which time and place does it cover?",
    },
    "provenance": {
        "source": "Where do the data come from?",
        "authors": "Who made the data set?",
        "contact": "Who answers questions?",
        "funding": "Who paid for it?",
        "collection": "How were the data collected, and who is not in them?",
        "versions": "Which versions were there, with dates?",
    },
    "variables": {"sensitive": 'Which columns are sensitive attributes? ("none" if there are none)'},
    "label_provenance": {
        "sources": "Which share of the labels is from experts, a crowd, a language model, another model, rules?",
        "instruction": "What were the annotators told?",
        "exemplars": "Which examples were they shown?",
        "conversions": "How were the labels changed since: merged classes, renamed ones, majority votes?",
    },
}
OF_A_COLUMN = {
    "description": "What is it?",
    "unit": "In which unit?",
    "min": "Least allowed value?",
    "max": "Greatest allowed value?",
    "values": "Allowed values, with their meaning?",
}


class Answers(NamedTuple):
    """fields: module -> field -> answer, None where there is none.   columns: column -> its answers.
    sensitive: names, None where nobody said.   allowed: column -> (least, greatest)."""

    fields: dict[str, dict[str, Any]]
    columns: dict[str, dict[str, Any]]
    sensitive: list[str] | None
    allowed: dict[str, tuple[float | None, float | None]]


def nutrition_questions(columns: Iterable[str] = ()) -> dict[str, Any]:
    """The questions of a nutrition label as a template to fill in: write each `answer`, and pass it as `answers`.

    columns: names of the columns to ask about.

    >>> nutrition_questions(["age"])["metadata"]["license"]
    {'question': 'Under which licence may it be used?', 'answer': None}
    """
    template: dict[str, Any] = {
        module: {name: {"question": question, "answer": None} for name, question in fields.items()}
        for module, fields in QUESTIONS.items()
    }
    template["variables"]["columns"] = {
        str(c): {name: {"question": question, "answer": None} for name, question in OF_A_COLUMN.items()}
        for c in columns
    }
    return template


def read_answers(answers: Mapping[str, Any] | None, columns: Iterable[str]) -> Answers:
    """The answers by module, each either plain or as the template has it.

    Raises:
        OptionError: a module or field that nobody asks for.   ColumnError: an answer about a column that is not there.
        DataError: an answer of the wrong kind.
    """
    known = dict.fromkeys(columns)
    given = _mapping("answers", answers or {})
    fields: dict[str, dict[str, Any]] = {module: dict.fromkeys(names) for module, names in QUESTIONS.items()}
    of_columns: dict[str, dict[str, Any]] = {name: dict.fromkeys(OF_A_COLUMN) for name in known}
    for module, told in given.items():
        check_option("answers module", module, QUESTIONS)
        for name, value in _mapping(f"answers[{module!r}]", told).items():
            if module == "variables" and name == "columns":
                for column, own in _mapping("answers of columns", value).items():
                    need(known, str(column))
                    for key, one in _mapping(f"answers of column {column!r}", own).items():
                        check_option(f"field of column {column!r}", key, OF_A_COLUMN)
                        of_columns[str(column)][key] = _answer(one)
            else:
                check_option(f"field of {module}", name, QUESTIONS[module])
                fields[module][name] = _answer(value)
    allowed = {c: (_number(c, a["min"]), _number(c, a["max"])) for c, a in of_columns.items()}
    sensitive = _sensitive(fields["variables"]["sensitive"], known)
    return Answers(fields, of_columns, sensitive, {c: ends for c, ends in allowed.items() if ends != (None, None)})


def _answer(value: Any) -> Any:
    """The answer, None where it is empty."""
    if isinstance(value, Mapping) and set(value) <= {"question", "answer"}:
        value = value.get("answer")
    if isinstance(value, str):
        value = value.strip()
    if isinstance(value, tuple | set):
        value = sorted(map(str, value)) if isinstance(value, set) else list(value)
    return None if value is None or (hasattr(value, "__len__") and len(value) == 0) else value


def _mapping(what: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise DataError(
            found=f"{what} of type {type(value).__name__}",
            expected="a mapping, as nutrition_questions() gives it",
            fix="fill in that template",
        )
    return value


def _sensitive(value: Any, known: Mapping[str, Any]) -> list[str] | None:
    if value is None:
        return None
    names = value if isinstance(value, list) else [v.strip() for v in str(value).split(",")]
    if [str(n).lower() for n in names] == ["none"]:
        return []
    for name in names:
        need(known, str(name))
    return [str(n) for n in names]


def _number(column: str, value: Any) -> float | None:
    if value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise OptionError(
            found=f"the answer {value!r} for an allowed end of {column!r}",
            expected="a number",
            fix="write a number, or leave it out",
        ) from None
