"""Audit: the answer to the three questions, as data."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.auditing._ranking import largest
from labelwright.auditing.estimate import ErrorRate
from labelwright.auditing.flags import EffortCurve, effort_curve
from labelwright.auditing.review import ReviewDesign, review_design
from labelwright.labels import HardLabels, LabelSpace, MultiLabels, SoftLabels

if TYPE_CHECKING:
    import pyarrow as pa

_AT_A_TIME = 1 << 16  # rows of items.parquet that are in memory together


@dataclass(frozen=True, eq=False)
class Audit:
    """How many labels are wrong, which to look at, and what they are likelier to be.

    items: (N,) keys.   labels: the given labels.   space: the classes.
    error_prob: (N,) float64, probability that the given label is wrong, reviews included; NaN where there is no label.
    prior_error_prob: (N,) the same before any review; the review design rests on it, so that the probabilities with which
        items are drawn were fixed before the first answer.
    label_dist: (N, K) float32, p(true class | everything known); for multi-labels the probability of each class being
        present; of probabilities that were read in passes `SoftLabels` of the likeliest classes (see `distributions`).
    is_issue: (N,) bool, the flags.   kind: (N,) "ok", "error", "ambiguous", "novel", or "unlabelled".
    ambiguity, novelty: (N,) in [0, 1]: several classes fit; none fits.
    error_rate: estimate, low, high, per_class, assumption.
    transition: (K, K) [true, given] p(given | true), rows sum to 1.   confident_joint: (K, K) int [given, true].
        For multi-labels both are (K, 2, 2) over absent, present.
    duplicates: table of near-duplicate items whose labels conflict.   overlap: table of class pairs that overlap.
    pred_probs, neighbours, vectors, dynamics: the evidence used, None where there was none.
    expected_cost: (N,) `severity` where label_dist does not hold every class, else None.
    notes: what the user should know.
    settings: every option, default and seed.
    """

    items: np.ndarray
    labels: HardLabels | MultiLabels
    error_prob: np.ndarray
    prior_error_prob: np.ndarray
    label_dist: np.ndarray | SoftLabels
    is_issue: np.ndarray
    kind: np.ndarray
    ambiguity: np.ndarray
    novelty: np.ndarray
    error_rate: ErrorRate
    transition: np.ndarray
    confident_joint: np.ndarray
    duplicates: pa.Table
    overlap: pa.Table
    reviewed: np.ndarray
    pred_probs: np.ndarray | None = None
    neighbours: Any = None
    vectors: Any = None
    dynamics: Any = None
    expected_cost: np.ndarray | None = None
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    # -- reading -------------------------------------------------------------------------------------------------
    @property
    def space(self) -> LabelSpace:
        """The classes."""
        return self.labels.space

    @property
    def quality(self) -> np.ndarray:
        """(N,) in [0, 1]: probability that the given label is right; NaN where there is none."""
        return 1.0 - self.error_prob

    @property
    def multi(self) -> bool:
        """Whether items have sets of classes."""
        return isinstance(self.labels, MultiLabels)

    @cached_property
    def suggested(self) -> SoftLabels:
        """What each label is likelier to be, as a distribution (single-label audits)."""
        if self.multi:
            raise TypeError("multi-label audits have one probability per class: use label_dist, or corrected()")
        return (
            self.label_dist
            if isinstance(self.label_dist, SoftLabels)
            else SoftLabels.from_dense(self.label_dist, self.space)
        )

    def distributions(self, rows: Any) -> np.ndarray:
        """(n, K) float32 label_dist of some items, whatever form it has. rows: numbers, a mask or a slice."""
        found = self.label_dist[rows]
        return found.dense() if isinstance(found, SoftLabels) else found

    def corrected(self) -> HardLabels | MultiLabels:
        """The labels after the audit: the class of least expected cost given everything known, reviews included."""
        if self.multi:
            assert isinstance(self.label_dist, np.ndarray)
            return MultiLabels.from_dense((self.label_dist >= 0.5).astype(np.int8), self.space)
        return self.suggested.decide()

    @cached_property
    def severity(self) -> np.ndarray:
        """(N,) expected cost of the given label, sum over classes of p(true) * cost(given, true) under the structure of the
        space: the error probability for nominal classes, weighed by distance in a hierarchy or order (card 89's
        gold-to-prediction distance with soft predictions). NaN where there is no label."""
        if isinstance(self.labels, MultiLabels):
            assert isinstance(self.label_dist, np.ndarray)
            y = self.labels.dense()
            return np.where(y == 1, 1 - self.label_dist, np.where(y == 0, self.label_dist, 0)).sum(1)
        if isinstance(self.label_dist, SoftLabels):
            return self.error_prob if self.expected_cost is None else self.expected_cost
        cost = self.space.cost()
        expected = (self.label_dist * cost[self.labels.ids]).sum(1)
        return np.where(self.labels.known, expected, np.nan)

    @cached_property
    def ranking(self) -> np.ndarray:
        """(N,) positions of the items, the most suspicious first; items without a label last."""
        key = self.severity if self.settings.get("rank_by") == "cost" else self.error_prob
        return np.argsort(-np.nan_to_num(key, nan=-1.0), kind="stable")

    @cached_property
    def _rank(self) -> np.ndarray:
        """(N,) place of each item in `ranking`, from 1."""
        rank = np.empty(len(self.items), dtype=np.int64)
        rank[self.ranking] = np.arange(1, len(rank) + 1)
        return rank

    @cached_property
    def table(self) -> pa.Table:
        """Every item: item, row, given, suggested, distribution, error_prob, quality, kind, ambiguity, novelty, severity,
        is_issue, reviewed, rank (1 = look here first)."""
        return self._table(np.arange(len(self.items)))

    def likeliest(self, rows: np.ndarray, top: int = 5) -> tuple[np.ndarray, np.ndarray]:
        """Ids and probabilities (n, top) of the likeliest classes of some items."""
        if isinstance(self.label_dist, SoftLabels):
            return self.label_dist.index[rows, :top], self.label_dist.prob[rows, :top]
        return largest(self.label_dist[rows], top)

    @cached_property
    def issues(self) -> pa.Table:
        """The flagged items, the most suspicious first, with the columns of `table`."""
        return self._table(self.ranking[self.is_issue[self.ranking]])

    def _table(self, rows: np.ndarray) -> pa.Table:
        import pyarrow as pa

        if isinstance(self.labels, MultiLabels):
            present = self.distributions(rows)
            given: Any = self.labels[rows].sets()
            suggested: Any = MultiLabels.from_dense((present >= 0.5).astype(np.int8), self.space).sets()
            likeliest = largest(present, 5)
        else:
            given = self.space.decode(self.labels.ids[rows])
            likeliest = self.likeliest(rows)
            suggested = self.space.decode(likeliest[0][:, 0])
        columns = {
            "rank": self._rank[rows],
            "item": self.items[rows],
            "row": rows.astype(np.int64),
            "given": given,
            "suggested": suggested,
            "distribution": _distributions(*likeliest, self.space),
            "error_prob": self.error_prob[rows],
            "quality": self.quality[rows],
            "kind": self.kind[rows],
            "ambiguity": self.ambiguity[rows],
            "novelty": self.novelty[rows],
            "severity": self.severity[rows],
            "is_issue": self.is_issue[rows],
            "reviewed": self.reviewed[rows],
        }
        if self.dynamics is not None:
            columns["dynamics_quality"] = self.dynamics.quality[rows]
        return pa.table(columns)

    # -- reviewing -----------------------------------------------------------------------------------------------
    def review_sample(self, n: int, seed: int = 0) -> pa.Table:
        """Which items to review, and with which probability each was drawn: a table (item, probability, row, stratum) in
        the order to review them.

        The order is drawn beforehand within strata of suspicion and does not depend on n: the first m rows of a sample
        of n are the sample of m up to their probabilities, so a bigger sample contains the smaller one, and stopping
        early keeps the design known. Pass the answers as `reviews=` to a new audit of the same data.
        """
        import pyarrow as pa

        index, probability = self.design(seed).sample(n)
        stratum = self.design(seed).stratum[index]
        return pa.table({"item": self.items[index], "probability": probability, "row": index, "stratum": stratum})

    def design(self, seed: int = 0) -> ReviewDesign:
        """The strata of suspicion and the order of review within them."""
        return review_design(self.prior_error_prob, seed=seed)

    @cached_property
    def effort(self) -> EffortCurve:
        """What looking at the n most suspicious items is expected to find, for n up to N."""
        return effort_curve(self.error_prob)

    # -- telling -------------------------------------------------------------------------------------------------
    def summary(self) -> dict[str, Any]:
        """Every headline figure as plain numbers and strings, ready for JSON."""
        rate, names = self.error_rate, [str(c) for c in self.space.classes]
        kinds, counts = np.unique(self.kind[self.is_issue], return_counts=True)
        labelled = int((~np.isnan(self.error_prob)).sum())
        return {
            "items": len(self.items),
            "labelled": labelled,
            "classes": names,
            "multi": self.multi,
            "error_rate": {
                "estimate": rate.estimate,
                "low": rate.low,
                "high": rate.high,
                "level": rate.level,
                "assumption": rate.assumption,
                "n_reviewed": rate.n_reviewed,
            },
            "errors_estimated": rate.estimate * labelled,
            "per_class": [
                {"class": name, "estimate": e, "low": lo, "high": hi}
                for name, e, lo, hi in zip(
                    names, _plain(rate.per_class.estimate), _plain(rate.per_class.low), _plain(rate.per_class.high)
                )
            ],
            "issues": int(self.is_issue.sum()),
            "kinds": dict(zip(kinds.tolist(), counts.tolist())),
            "expected_precision": _mean(self.error_prob[self.is_issue]),
            "expected_recall": _share(self.error_prob, self.is_issue),
            "conflicting_duplicates": self.duplicates.num_rows,
            "overlapping_classes": self.overlap.slice(0, 5).to_pylist(),
            "notes": self.notes,
            "settings": self.settings,
        }

    def report(self, path: str | os.PathLike[str], *, content: Any = None) -> Path:
        """Write one self-contained HTML page (no script, no network). `content`: what the items look like, a sequence of N
        texts, rows or image paths, shown beside the top issues.

        Raises:
            FileExistsError: there is something at `path`.
        """
        from labelwright.auditing.companions import companions
        from labelwright.auditing.report import render

        path = Path(path)
        html = render(self, content=content, companions=companions(self, content=content))
        with path.open("x", encoding="utf-8") as file:
            file.write(html)
        return path

    def save(self, folder: str | os.PathLike[str], *, content: Any = None) -> Path:
        """Write what `files` names into a new folder.

        Raises:
            FileExistsError: the folder exists.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=False)
        for name, write in self.files(content=content).items():
            write(folder / name)
        return folder

    def files(
        self,
        *,
        content: Any = None,
        table: Any = None,
        label: str | None = None,
        name: str | None = None,
        root: str | os.PathLike[str] | None = None,
        n_review: int = 200,
        seed: int = 0,
    ) -> dict[str, Any]:
        """File name -> function that writes it: what a label repository keeps of an audit.

        content: as in `report`.   table, label, name: the data set's table, its label column and name, for the nutrition
        label.   root: the folder that image paths stand below.   n_review, seed: of the review sample.
        """
        import pyarrow.parquet as pq

        from labelwright.auditing.companions import companions
        from labelwright.auditing.material import review_files
        from labelwright.auditing.report import details, render

        sample = self.review_sample(n_review, seed)
        beside = companions(self, content=content, table=table, label=label, name=name)
        told = (
            beside.instructions.to_dict() if beside.instructions else {"classes": [], "notes": [beside.no_instructions]}
        )
        texts = {
            "summary.json": lambda: _json(self.summary()),
            "report.json": lambda: _json(details(self)),
            "instructions.json": lambda: _json(told),
            "nutrition.json": beside.nutrition.to_json,
            "report.html": lambda: render(self, content=content, companions=beside),
        }
        tables = {
            "issues.parquet": lambda: self.issues,
            "review_sample.parquet": lambda: sample,
        }
        return {
            **{
                file: lambda path, make=make: pq.write_table(make(), path, compression="zstd")
                for file, make in tables.items()
            },
            "items.parquet": self.write_items,
            "review_sample.csv": lambda path: self._write_form(sample, content, path),
            **{file: lambda path, make=make: path.write_text(make(), encoding="utf-8") for file, make in texts.items()},
            **review_files(self, content=content, root=root, seed=seed),
        }

    def write_items(self, path: str | os.PathLike[str]) -> None:
        """`table` as Parquet, some rows at a time in memory."""
        import pyarrow.parquet as pq

        n = len(self.items)
        parts = [np.arange(at, min(at + _AT_A_TIME, n)) for at in range(0, max(n, 1), _AT_A_TIME)]
        first = self._table(parts[0])
        with pq.ParquetWriter(path, first.schema, compression="zstd") as writer:
            writer.write_table(first)
            for part in parts[1:]:
                writer.write_table(self._table(part))

    def _write_form(self, sample: pa.Table, content: Any, path: Path) -> None:
        """The review sample as a form for a spreadsheet: fill in `label` and pass the file as reviews."""
        import pyarrow as pa
        import pyarrow.csv

        rows = sample["row"].to_pylist()
        columns: dict[str, Any] = {
            "item": sample["item"],
            "label": pa.array([""] * len(rows)),
            "given": self._given(rows),
        }
        if content is not None:
            columns["content"] = [_cell(content[i]) for i in rows]
        columns["probability"] = sample["probability"]
        pyarrow.csv.write_csv(pa.table(columns), path)

    def _given(self, rows: list[int]) -> list[str]:
        if isinstance(self.labels, MultiLabels):
            return [_cell("|".join(map(str, names))) for names in self.labels[rows].sets()]
        return [_cell(name) for name in self.labels.values()[rows]]

    @property
    def headline(self) -> str:
        """The error rate in words that say whether anybody has checked."""
        rate = self.error_rate
        verb = "are" if rate.n_reviewed else "look"
        return f"{rate.estimate:.1%} of the labels {verb} wrong ({rate.low:.1%} to {rate.high:.1%})"

    def __repr__(self) -> str:
        return f"Audit({len(self.items)} items, {len(self.space)} classes: {self.headline}, {int(self.is_issue.sum())} flagged)"

    def _repr_html_(self) -> str:
        from labelwright.auditing.report import notebook

        return notebook(self)


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)


def _cell(value: Any) -> str:
    """What a spreadsheet shows of an item; a leading sign that would make it a formula is disarmed."""
    if isinstance(value, np.ndarray | bytes) or hasattr(value, "getbuffer"):
        return "(image)"
    text = json.dumps(value, ensure_ascii=False, default=str) if isinstance(value, dict) else str(value)
    return ("'" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else "") + text[:1000]


def _distributions(index: np.ndarray, prob: np.ndarray, space: LabelSpace) -> pa.Array:
    """The likeliest classes of each row as a list of (label, probability); both (n, k)."""
    import pyarrow as pa

    names = pa.array(list(space.classes), type=pa.string() if _text(space) else pa.int64())
    pairs = pa.StructArray.from_arrays(
        [names.take(pa.array(index.ravel())), pa.array(prob.ravel().astype(np.float32))], ["label", "probability"]
    )
    return pa.ListArray.from_arrays(np.arange(0, index.size + 1, index.shape[1], dtype=np.int32), pairs)


def _text(space: LabelSpace) -> bool:
    return isinstance(space.classes[0], str)


def _plain(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(v) else float(v) for v in values]


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _share(error_prob: np.ndarray, flagged: np.ndarray) -> float | None:
    total = np.nansum(error_prob)
    return float(error_prob[flagged].sum() / total) if total > 0 else None


def transition(given: np.ndarray, label_dist: np.ndarray) -> np.ndarray:
    """(K, K) [true, given] p(given | true): expected counts under the label distributions, rows normalised. A class that no
    item seems to have keeps its own label."""
    k = label_dist.shape[1]
    counts = np.zeros((k, k))
    known = given >= 0
    np.add.at(counts, given[known], label_dist[known].astype(np.float64))
    total = counts.sum(0)
    return np.where(total[:, None] > 0, counts.T / np.where(total > 0, total, 1)[:, None], np.eye(k))
