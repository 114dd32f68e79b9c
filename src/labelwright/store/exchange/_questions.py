"""Answers to the questions of a labelling tool: which question is the label, and whether it is a class or a set."""

from __future__ import annotations

from collections.abc import Iterable

from labelwright.errors import DataError, check_option
from labelwright.store.exchange._said import Said


class Answers:
    """Collects, while a file is read, which question each label of a whole item answers."""

    def __init__(self) -> None:
        self.questions: dict[str, bool] = {}  # name -> whether somebody gave not exactly one class
        self._asked: dict[
            int, tuple[Said, str, bool]
        ] = {}  # by id of the label, which is held so that the id stays its own

    def add(self, said: Said, native: Said, question: str) -> Said:
        """Remember the question of a label as the file has it (`native`, a list of classes for a whole item). `said` is the
        same, or its exact form where the file tells that too."""
        if native.part is None and isinstance(native.value, list):
            open_ = said is native
            several = open_ and len(native.value) != 1
            self.questions[question] = self.questions.get(question, False) or several
            self._asked[id(said)] = (said, question, open_)
        return said

    def resolved(self, said: Iterable[Said], question: str | None) -> list[Said]:
        """Labels of parts, and those of whole items that answer `question`. A question to which everybody gave exactly one
        class asks for a class, another one for a set."""
        out = []
        for s in said:
            _, asked, open_ = self._asked.get(id(s), (s, None, False))
            if asked is None or (asked == question and not open_):
                out.append(s)
            elif asked == question:
                out.append(s if self.questions[asked] else s._replace(value=s.value[0]))
        return out


def one_question(questions: Iterable[str], wanted: str | None, path_name: str) -> str | None:
    """The question that is the label.

    Raises:
        DataError: there are several and none is wanted.   OptionError: the wanted one is not there.
    """
    questions = list(questions)
    if wanted is not None:
        check_option("question", wanted, questions or ["(none)"])
        return wanted
    if len(questions) > 1:
        raise DataError(
            found=f"answers to {len(questions)} questions in {path_name}: {', '.join(map(repr, questions[:8]))}",
            expected="labels of one question at a time: each has classes of its own",
            fix=f"name it: question={questions[0]!r} (--question)",
        )
    return questions[0] if questions else None
