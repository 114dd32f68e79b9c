"""Roles are given to columns one after the other: first the caller's choices, then what the columns look like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from labelwright.errors import DataError, OptionError
from labelwright.store._names import (
    GROUP_NAMES,
    ID_NAMES,
    IMAGE_NAMES,
    LABEL_NAMES,
    SPLIT_NAMES,
    TEXT_NAMES,
    numbered_groups,
)
from labelwright.store._roles import Facts


class Roles:
    """The roles given so far, why, and which columns are still free."""

    def __init__(self, facts: Facts):
        self.facts = facts
        self.free = list(facts.table.column_names)
        self.taken: dict[str, list[str]] = {
            r: [] for r in ("label", "id", "group", "pred_probs", "features", "image", "text", "tabular")
        }
        self.left: list[str] = []
        self.say: list[str] = []

    def one(self, role: str) -> str | None:
        return self.taken[role][0] if self.taken[role] else None

    def take(self, role: str, names: list[str], why: str) -> None:
        self.taken[role] = names
        self.free = [n for n in self.free if n not in names]
        self.say.append(f"{role}: {why}")

    def leave(self, names: Iterable[str], why: str) -> None:
        names = [n for n in names if n in self.free]
        if names:
            self.left += names
            self.free = [n for n in self.free if n not in names]
            self.say.append(f"left out: {_list(names)} ({why})")

    def choose(self, role: str, names: list[str]) -> None:
        if not names:
            return
        twice = [n for n in names if n not in self.free]
        if twice or len(set(names)) < len(names):
            name = twice[0] if twice else next(n for n in names if names.count(n) > 1)
            other = next((r for r, taken in self.taken.items() if name in taken), role)
            raise OptionError(
                found=f"column {name!r} as {other} and as {role}",
                expected="one role for each column",
                fix=f"name another column for {role}, or leave {role} out",
            )
        problem = self.facts.problem(role, names)
        if problem:
            raise DataError(found=f"{_list(names)} as {role}: {problem[0]}", expected=problem[1], fix=problem[2])
        self.take(role, names, f"{_list(names)}, as you said ({self.facts.describe(role, names)})")

    def by_name(self, names: Sequence[str], fits: Any) -> list[str]:
        """Free columns that bear one of `names` and fit, in the order of `names`."""
        lower = {n.lower().strip(): n for n in reversed(self.free)}
        return [lower[n] for n in names if n in lower and fits(lower[n])]

    def guess_rest(self) -> None:
        """Every role that the caller left open, what leaks before what could be mistaken for content."""
        self.leave(self.by_name(SPLIT_NAMES, lambda n: not self.facts.is_list(n)), "a split, not content")
        guesses = {
            "label": self.guess_label,
            "id": self.guess_id,
            "group": self.guess_group,
            "pred_probs": self.guess_pred_probs,
            "features": self.guess_features,
            "image": self.guess_image,
            "text": self.guess_text,
            "tabular": self.guess_tabular,
        }
        for role, guess in guesses.items():
            guess(chosen=bool(self.taken[role]))

    def guess_label(self, chosen: bool) -> None:
        named = self.by_name(LABEL_NAMES, self.facts.can_be_label)
        named += [n for n in self.free if n not in named and re.search(r"(^|_)labels?(_|$)", n.lower())]
        named = [n for n in named if self.facts.can_be_label(n)]
        if named and not chosen:
            self.take("label", named[:1], f"column {named[0]!r} ({self.facts.describe('label', named[:1])})")
        self.leave(named, "could be labels too; as content they would give the answer away")
        if self.taken["label"]:
            return
        known = {*ID_NAMES, *GROUP_NAMES}
        candidates = [n for n in self.free if n.lower() not in known and self.facts.looks_like_label(n)]
        if len(candidates) == 1:
            why = f"column {candidates[0]!r}, the only one with few values ({self.facts.describe('label', candidates)})"
            self.take("label", candidates, why)
        elif candidates:
            self.say.append(f"label: not clear, it could be {_list(candidates[:8])}; say which")
        else:
            self.say.append("label: no column looks like one; say which")

    def guess_id(self, chosen: bool) -> None:
        counting = [n for n in self.free if self.facts.counts_rows(n)]
        self.leave(
            [n for n in counting if n.lower().strip() not in ID_NAMES or n.lower() in ("index", "idx")],
            "counting the rows",
        )
        named = self.by_name(ID_NAMES, lambda n: True)
        named += [n for n in self.free if n not in named and re.search(r"(^|_)(id|uid|uuid|key)$", n.lower())]
        named = [n for n in named if n.lower() not in GROUP_NAMES]
        unique = [n for n in named if self.facts.can_be_id(n)]
        if unique and not chosen:
            self.take("id", unique[:1], f"column {unique[0]!r} (unique, none missing)")
        elif not chosen:
            why = f"column {named[0]!r} cannot be it ({self.facts.id_problem(named[0])[0]})" if named else "none found"
            self.say.append(f"id: {why}; keys are made from the content")
        self.leave(named, "a key, not content")

    def guess_group(self, chosen: bool) -> None:
        named = self.by_name(GROUP_NAMES, self.facts.can_be_group)
        if named and not chosen:
            self.take("group", named[:1], f"column {named[0]!r} ({self.facts.describe('group', named[:1])})")

    def guess_pred_probs(self, chosen: bool) -> None:
        groups = numbered_groups(self.free, self.facts, probabilities=True)
        groups = [g for g in groups if not self.facts.problem("pred_probs", g)]
        if groups and not chosen:
            best = groups[0]
            self.take("pred_probs", best, f"{_list(best)} ({self.facts.describe('pred_probs', best)})")
        self.leave([n for g in groups for n in g], "other predictions, not content")

    def guess_features(self, chosen: bool) -> None:
        lists = [n for n in self.free if self.facts.is_vector(n)]
        groups = [[n] for n in lists] or numbered_groups(self.free, self.facts, probabilities=False)
        groups = [g for g in groups if not self.facts.problem("features", g)]
        if groups and not chosen:
            best = max(groups, key=len)
            self.take("features", best, f"{_list(best)} ({self.facts.describe('features', best)})")
        self.leave([n for g in groups for n in g], "other features; name them to use them")

    def guess_image(self, chosen: bool) -> None:
        named = self.by_name(IMAGE_NAMES, self.facts.is_image)
        found = named + [n for n in self.free if n not in named and self.facts.is_image(n)]
        found = sorted(found, key=self.facts.is_string)  # the pictures themselves before paths
        if found and not chosen:
            self.take("image", found[:1], f"column {found[0]!r} ({self.facts.describe('image', found[:1])})")
        self.leave(found, "pictures too, but one column is used")

    def guess_text(self, chosen: bool) -> None:
        named = self.by_name(TEXT_NAMES, self.facts.is_text)
        long = [n for n in self.free if self.facts.is_long_text(n)]
        if (named or long) and not chosen:
            names = [n for n in self.free if n in named] if named else long
            self.take("text", names, f"{_list(names)} ({self.facts.describe('text', names)})")
        self.leave(named + long, "text too; name it to use it")

    def guess_tabular(self, chosen: bool) -> None:
        names = [n for n in self.free if self.facts.is_tabular(n)]
        if names:
            self.take("tabular", names, f"{_list(names)} ({self.facts.describe('tabular', names)})")
        self.leave(self.free, "neither numbers nor few categories")


def _list(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"column {names[0]!r}"
    if len(names) <= 4:
        return "columns " + ", ".join(map(repr, names))
    return f"{len(names)} columns {names[0]!r} … {names[-1]!r}"
