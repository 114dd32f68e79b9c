"""What a survey finds: the evidence about labels in one table or array file, each piece with the reason it was taken for that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

KINDS = (
    "hard labels", "multi-labels", "soft labels", "candidate labels", "votes", "comparisons", "label proportions", "scores",
    "spans", "boxes", "masks", "rules", "pred_probs", "features", "text", "images", "table", "graph", "split",
)  # fmt: skip
CONTENT = ("features", "text", "images", "table")  # what tells about the items besides their labels
LABELS = KINDS[:12]


@dataclass(frozen=True, eq=False)
class Evidence:
    """One piece of evidence.

    kind: one of `KINDS`.   name: the column or array, several joined by ", ".   how: how it was recognised, one sentence.
    n: items (for votes, spans and boxes: the items that have them).   classes: names by class id, () where it has none.
    role: "given", "true" (trusted, by its name), "predicted" (by a model) or "other".
    data: by kind:
        hard labels (N,) int64 ids, -1 missing;  multi-labels sparse (N, K) 0/1;  soft labels (N, K) counts or shares;
        votes (item, annotator, label), each (V,) int64, label -1 for an abstention;  rules (N, R) int64, -1 abstains;
        scores (N,) float64, NaN missing;  pred_probs (N, K), or ranked class ids (N, k) with detail["ranked"];
        features (N, D) dense or sparse;  text N strings;  images N arrays, paths or open files;  table a pyarrow table;
        graph (2, E) edges, or the sparse (E, N) incidence of hyperedges;  split (N,) of str.
    detail: further numbers a measure may use.
    """

    kind: str
    name: str
    how: str
    n: int
    data: Any = None
    classes: tuple[Any, ...] = ()
    role: str = "given"
    detail: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For JSON: without the data."""
        return {
            "kind": self.kind, "name": self.name, "role": self.role, "items": self.n, "classes": len(self.classes),
            "how": self.how,
        }  # fmt: skip


@dataclass
class Survey:
    """All evidence of one source. path: what a command line names, None for data in memory; options: which of `--label`,
    `--text`, `--image` the command needs; auditable: `labelwright audit` reads the path; keys: names of columns or arrays; notes:
    what was not recognised; unclear: columns of which each could be the label."""

    source: str
    path: str | None
    evidence: list[Evidence] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    auditable: bool = False
    keys: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    unclear: tuple[str, ...] = ()

    def of(self, *kinds: str) -> list[Evidence]:
        """The evidence of these kinds, in the order found."""
        return [e for e in self.evidence if e.kind in kinds]

    def first(self, *kinds: str, n: int | None = None) -> Evidence | None:
        """The first evidence of these kinds, with `n` items where given."""
        return next((e for e in self.of(*kinds) if n is None or e.n == n), None)

    @property
    def main(self) -> Evidence | None:
        """The labels that the advice is about: what the caller named, else what was given, else what is held for true."""
        found = self.of("hard labels", "multi-labels", "scores")
        named = next((e for e in found if e.detail.get("chosen")), None)
        return named or next((e for role in ("given", "true") for e in found if e.role == role), None)

    @property
    def split(self) -> Evidence | None:
        return self.first("split")

    @property
    def data(self) -> set[str]:
        """What the items are, in the catalogue's words: text, images, vectors, tables, graphs, detection, segmentation."""
        words = {
            "text": "text", "images": "images", "features": "vectors", "table": "tables", "graph": "graphs",
            "boxes": "detection", "masks": "segmentation", "spans": "text",
        }  # fmt: skip
        return {words[e.kind] for e in self.evidence if e.kind in words}

    def add(self, kind: str, name: str, how: str, n: int, data: Any = None, **more: Any) -> Evidence:
        self.evidence.append(Evidence(kind, name, how, n, data, **more))
        return self.evidence[-1]


def codes(values: Any) -> tuple[np.ndarray, tuple[Any, ...]]:
    """Class ids (N,) int64, -1 for missing (None, NaN, ""), and the class names, sorted: numbers by value, words by alphabet.

    >>> codes(["b", None, "a", "b"])
    (array([ 1, -1,  0,  1]), ('a', 'b'))
    """
    array = np.asarray(values) if not isinstance(values, list) else np.array(values, dtype=object)
    if array.dtype.kind in "iub":
        classes, ids = np.unique(array, return_inverse=True)
        return ids.reshape(-1).astype(np.int64), tuple(classes.tolist())
    array = array.astype(object)
    known = np.array([v is not None and v == v and v != "" for v in array], dtype=bool)
    out = np.full(len(array), -1, dtype=np.int64)
    if not known.any():
        return out, ()
    numeric = all(isinstance(v, int | float | np.number) for v in array[known])
    part = np.array([int(v) if numeric and float(v).is_integer() else v for v in array[known]], dtype=object)
    if not numeric:
        part = np.array([str(v) for v in part])
    classes, ids = np.unique(part, return_inverse=True)
    out[known] = ids.reshape(-1)
    return out, tuple(classes.tolist())


def alike(a: Evidence, b: Evidence) -> bool:
    """Whether two label sets are about the same items and, four in five, the same classes."""
    both = len(set(a.classes) & set(b.classes))
    return a.n == b.n and both >= 0.8 * max(len(a.classes), len(b.classes), 1)


def matched(e: Evidence, classes: tuple[Any, ...]) -> np.ndarray:
    """The ids of `e` among other `classes`, by name: -1 missing, -2 not among them."""
    place = {c: i for i, c in enumerate(classes)}
    return np.array([place.get(c, -2) for c in e.classes] + [-1], dtype=np.int64)[e.data]
