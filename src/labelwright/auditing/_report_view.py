"""The parts of a report as plain values, ready to be printed; what there is too much of is cut here."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.auditing._report_items import Look, look, short
from labelwright.labels import MultiLabels

if TYPE_CHECKING:
    from labelwright.auditing.result import Audit

TOP = 60  # issues shown with their evidence
NEAR = 5  # neighbours shown of each
FEW = 12  # entries of the smaller sections
CLASSES = 1000  # rows of the class table
ITEM_BYTES = 3_000_000  # of texts and images; what is left of 5 MB is for tables and charts
_ISSUE_BYTES = 4_000  # the frame of one issue
_NAME, _LONG = 32, 200  # characters of a class name in print, and when pointed at


class Budget:
    """What the items look like, as long as there is room on the page."""

    def __init__(self, content: Any):
        self.content, self.left, self._seen = content, ITEM_BYTES, dict[int, Look | None]()

    def look(self, row: int) -> Look | None:
        if row not in self._seen:
            self._seen[row] = look(self.content, row)
        shown = self._seen[row]
        self.left -= shown.size if shown else 0
        return shown


class Page:
    """The parts of the page as plain values: names are (short, full or None), rows are numbers of items."""

    def __init__(self, audit: Audit, budget: Budget):
        self.audit, self.budget = audit, budget
        self.names = [self.name(c) for c in audit.space.classes]
        self.positions = audit.items.dtype.kind in "iu" and bool((audit.items == np.arange(len(audit.items))).all())

    @staticmethod
    def name(value: Any) -> tuple[str, str | None]:
        printed, full = short(value, _NAME), short(value, _LONG)
        return printed, full if full != printed else None

    def key(self, row: int) -> tuple[str, str | None] | None:
        """The item's key, unless it is but its position."""
        return None if self.positions else self.name(self.audit.items[row])

    def given(self, row: int) -> list[tuple[str, str | None]]:
        """The given label, or the given set; nothing where it is missing."""
        labels = self.audit.labels
        if isinstance(labels, MultiLabels):
            return [self.names[k] for k in np.flatnonzero(labels[[row]].dense()[0] == 1)[:FEW]]
        return [self.names[labels.ids[row]]] if labels.ids[row] >= 0 else []

    def issues(self, rows: np.ndarray, most: int, spare: int) -> dict[str, Any]:
        """The first of `rows` with their evidence; fewer than `most` where it would leave less than `spare` bytes."""
        shown: list[dict[str, Any]] = []
        for row in rows[:most]:
            if self.budget.left <= spare:
                break
            shown.append(self.issue(int(row)))
            self.budget.left -= _ISSUE_BYTES
        return {"total": len(rows), "shown": shown}

    def of_kind(self, kind: str, score: np.ndarray) -> dict[str, Any]:
        rows = np.flatnonzero(self.audit.kind == kind)
        return self.issues(rows[np.argsort(-score[rows], kind="stable")], FEW, ITEM_BYTES // 10)

    def issue(self, row: int) -> dict[str, Any]:
        """One item with its labels and why they are doubted."""
        audit = self.audit
        view = {
            "row": row, "key": self.key(row), "look": self.budget.look(row), "given": self.given(row),
            "wrong": float(audit.error_prob[row]), "kind": str(audit.kind[row]), "reviewed": bool(audit.reviewed[row]),
            "ambiguity": float(audit.ambiguity[row]), "novelty": float(audit.novelty[row]),
            "dynamics": None if audit.dynamics is None else float(audit.dynamics.quality[row]),
        }  # fmt: skip
        view |= self._changes(row) if audit.multi else self._suggestion(row)
        return view | self._neighbours(row)

    def _suggestion(self, row: int) -> dict[str, Any]:
        """The likeliest class, and the probabilities of the likeliest three and of the given one."""
        labels = self.audit.labels
        assert not isinstance(labels, MultiLabels)
        dist, given = self.audit.distributions([row])[0], int(labels.ids[row])
        order = np.argsort(-dist, kind="stable")
        listed = list(dict.fromkeys([*order[:3].tolist(), *([given] if given >= 0 else [])]))
        return {
            "suggested": [self.names[order[0]]],
            "agrees": order[0] == given,
            "bars": self._bars(row, dist, listed, {given}),
        }

    def _changes(self, row: int) -> dict[str, Any]:
        """Classes to add and to remove, or the most doubtful one where no change is likelier than not."""
        labels = self.audit.labels
        assert isinstance(labels, MultiLabels)
        present, given = self.audit.distributions([row])[0], labels[[row]].dense()[0]
        doubt = np.where(given == 1, 1 - present, np.where(given == 0, present, -1))
        doubted = np.argsort(-doubt, kind="stable")[:FEW]
        change = [
            int(k) for k in doubted if (given[k] == 1 and present[k] < 0.5) or (given[k] == 0 and present[k] >= 0.5)
        ]
        listed = list(dict.fromkeys([*change[:6], *doubted[:2].tolist()]))
        return {
            "add": [self.names[k] for k in change if given[k] == 0],
            "remove": [self.names[k] for k in change if given[k] == 1],
            "agrees": not change,
            "bars": self._bars(row, present, listed, set(np.flatnonzero(given == 1).tolist())),
        }

    def _bars(self, row: int, dist: np.ndarray, listed: list[int], given: set[int]) -> list[dict[str, Any]]:
        audit = self.audit
        return [
            {"name": self.names[k], "all": float(dist[k]), "given": k in given,
             "model": None if audit.pred_probs is None else float(audit.pred_probs[row, k])}
            for k in listed
        ]  # fmt: skip

    def _neighbours(self, row: int) -> dict[str, Any]:
        """The labels of the nearest items, counted, and the first of them shown."""
        if self.audit.neighbours is None:
            return {"votes": [], "near": [], "n_near": 0}
        index, similarity = self.audit.neighbours.index[row], self.audit.neighbours.similarity[row]
        votes: list[tuple[tuple[str, str | None], int]] = []
        if not isinstance(self.audit.labels, MultiLabels):
            ids = self.audit.labels.ids[index]
            votes = [(self.names[k], n) for k, n in Counter(ids[ids >= 0].tolist()).most_common(3)]
        near = [
            {"row": int(i), "key": self.key(int(i)), "look": self.budget.look(int(i)), "given": self.given(int(i)),
             "similarity": float(s)}
            for i, s in zip(index[:NEAR], similarity)
        ]  # fmt: skip
        return {"votes": votes, "near": near, "n_near": len(index)}

    def classes(self) -> list[dict[str, Any]]:
        """One row per class, those with most wrong labels first."""
        audit, rate = self.audit, self.audit.error_rate.per_class
        joint, labels, k = audit.confident_joint, audit.labels, len(self.names)
        if isinstance(labels, MultiLabels):
            count = np.asarray((labels.value == 1).sum(0)).ravel()
            weight = np.asarray(joint.sum((1, 2)), dtype=float)
            extra: list[dict[str, Any]] = [{"remove": int(j[1, 0]), "add": int(j[0, 1])} for j in joint]
        else:
            count = np.bincount(labels.ids[labels.known], minlength=k)
            flags = np.bincount(labels.ids[audit.is_issue & labels.known], minlength=k)
            weight = count.astype(float)
            off = np.where(np.eye(k, dtype=bool), 0, joint)
            best = off.argmax(1)
            extra = [
                {"flagged": int(flags[i]), "instead": self.names[best[i]] if off[i, best[i]] else None}
                for i in range(k)
            ]
        order = np.argsort(-np.nan_to_num(rate.estimate * weight, nan=-1.0), kind="stable")[:CLASSES]
        return [
            {"name": self.names[i], "count": int(count[i]), "estimate": float(rate.estimate[i]),
             "low": float(rate.low[i]), "high": float(rate.high[i]), **extra[i]}
            for i in order
        ]  # fmt: skip

    def mistakes(self) -> list[dict[str, Any]]:
        """The pairs of given and likelier class that are counted most often (single-label audits)."""
        if self.audit.multi:
            return []
        off = self.audit.confident_joint.astype(np.int64).copy()
        np.fill_diagonal(off, 0)
        flat = np.argsort(-off, axis=None, kind="stable")[:FEW]
        pairs = [(int(g), int(t), int(off[g, t])) for g, t in zip(*np.unravel_index(flat, off.shape))]
        return [{"given": self.names[g], "true": self.names[t], "count": n} for g, t, n in pairs if n]

    def duplicates(self) -> dict[str, Any]:
        """Groups of near-duplicates whose labels conflict, the first members of each."""
        table = self.audit.duplicates
        shown: list[dict[str, Any]] = []
        for group in table.slice(0, FEW).to_pylist():
            if self.budget.left <= 0:
                break
            rows = group["rows"]
            members = [
                {"row": r, "key": self.key(r), "look": self.budget.look(r), "given": self.given(r)} for r in rows[:4]
            ]
            shown.append({"members": members, "more": len(rows) - len(members)})
        return {"total": table.num_rows, "shown": shown}

    def overlap(self) -> dict[str, Any]:
        table = self.audit.overlap
        pairs = [
            {**pair, "class_a": self.name(pair["class_a"]), "class_b": self.name(pair["class_b"])}
            for pair in table.slice(0, FEW).to_pylist()
        ]
        return {"total": table.num_rows, "shown": pairs}
