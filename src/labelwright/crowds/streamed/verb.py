"""`aggregate` for votes that do not fit into memory."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.crowds import temper
from labelwright.crowds._accelerate import State, climb
from labelwright.crowds._skills import Right
from labelwright.crowds._starts import unsettled
from labelwright.crowds.aggregation import entropy_bits, mutual_information, usual_evidence
from labelwright.crowds.choose import best_of, foretold
from labelwright.crowds.methods import METHODS
from labelwright.crowds.prepared import Prepared
from labelwright.crowds.streamed.models import MODELS, Crowd, Model
from labelwright.crowds.streamed.passes import Expectation, Expected, Totals, Writing, Written
from labelwright.crowds.streamed.sorted_votes import PIECE, SortedVotes, sort_votes
from labelwright.errors import DataError, check_option, check_whole
from labelwright.labels import LabelSpace
from labelwright.stream import open_rows, run

if TYPE_CHECKING:
    import pyarrow as pa

CHOOSE = 100_000
"""Votes by which `method="auto"` chooses."""

DOUBTFUL = 60
"""Least certain items that the result lists."""

_WORK = "work"


@dataclass(frozen=True, eq=False)
class StreamedAggregation:
    """What `aggregate_rows` found; the labels lie in `folder`.

    folder: items/ and labels/ with a Parquet file per part, annotators.parquet, summary.json. `items` has the columns of
        `Aggregation.items` less difficulty; `labels` holds the distributions of the same rows in the same order, as
        `stream.open_rows` and `audit` read them.
    annotators: as in `Aggregation`.   doubtful: the least certain items, as rows of `items`.
    method, trace, scores, notes, settings: as in `Aggregation`.   confusion: annotator number -> (K, K) [true, given].
    shares: (K,) of the classes.   counted: figures of all items, for `summary`.
    """

    folder: Path
    space: LabelSpace
    annotators: pa.Table
    doubtful: pa.Table
    method: str
    trace: list[float]
    confusion: Callable[[int], np.ndarray]
    shares: np.ndarray
    counted: dict[str, Any]
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def summary(self) -> dict[str, Any]:
        """Every headline figure, as `Aggregation.summary` has them."""
        return {
            "items": self.counted["items"],
            "annotators": self.annotators.num_rows,
            "classes": [str(name) for name in self.space.classes],
            "items_per_class": self.counted["items_per_class"],
            "method": self.method,
            "scores": self.scores,
            "expected_accuracy": self.counted["expected_accuracy"],
            "unsure_items": self.counted["unsure_items"],
            "spammers": int(np.asarray(self.annotators["spammer"]).sum()),
            "steps": len(self.trace),
            "notes": self.notes,
            "settings": self.settings,
        }

    def files(self) -> dict[str, Any]:
        """File name -> function that writes it: what a label repository keeps, the parts of the items and labels in one file
        each."""
        from labelwright.crowds.report import page

        told = self.summary()
        return {
            "items.parquet": lambda path: joined(self.folder / "items", path),
            "labels.parquet": lambda path: joined(self.folder / "labels", path),
            "annotators.parquet": (self.folder / "annotators.parquet").read_bytes(),
            "report.html": page(
                told, self.annotators, self.doubtful.to_pylist(), self.counted["items_per_class"], self.shares
            ).encode(),
            "summary.json": (self.folder / "summary.json").read_bytes(),
        }


def joined(folder: Path, path: Path) -> None:
    """The Parquet files of a folder as one, row group by row group."""
    import pyarrow.parquet as pq

    parts = sorted(folder.glob("part-*.parquet"))
    with pq.ParquetWriter(path, pq.read_schema(parts[0]), compression="zstd") as writer:
        for part in parts:
            writer.write_table(pq.read_table(part))


def aggregate_rows(
    votes: Any,
    folder: str | os.PathLike[str],
    *,
    item: str = "item",
    annotator: str = "annotator",
    label: str = "label",
    weight: str | None = None,
    method: str = "auto",
    gold: Mapping[Any, Any] | None = None,
    space: LabelSpace | None = None,
    costs: Mapping[Any, float] | None = None,
    engine: str = "threads",
    workers: int | None = None,
    max_iter: int = 200,
    tol: float = 1e-6,
    random_state: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> StreamedAggregation:
    """`aggregate` of any number of votes in bounded memory: the votes are sorted by item on disk, then each EM step is a pass.

    Memory holds about 100 MB, the annotators (24 bytes each, and with dawid_skene 24 K^2), and 12 bytes per item. The labels
    are those of `aggregate` with the same method up to rounding; above 10,000 votes another sample chooses the dependence.

    Args:
        votes: a path or URL of Parquet, Arrow or Lance files (or a folder of them), a table, or `stream.Rows` of tables.
        folder: new, for the result. An interrupted call goes on from its last pass when it is called again in the same way.
        item, annotator, label, weight: columns.   gold: {item: class}.   space, costs, random_state: as in `aggregate`.
        method: "one_coin", "dawid_skene" (up to 16 classes), or "auto": the better one on the votes of about 100,000.
        engine, workers: as in `stream.run`.   max_iter, tol: EM stops when the objective rises by less than this fraction.

    Raises:
        LabelError, DataError, ColumnError: votes that are none; what is wrong is told with shard and row.
        DataError: a folder that holds something else.   OptionError: an unknown method or engine.
    """
    check_option("method", method, ("auto", *MODELS))
    for name, value, least in (("random_state", random_state, 0), ("max_iter", max_iter, 1)):
        check_whole(name, value, least)
    folder = Path(folder)
    _check_folder(folder)
    work = folder / _WORK
    rows = open_rows(votes)
    _check_columns(rows, [name for name in (item, annotator, label, weight) if name is not None])
    read = sort_votes(
        rows, work / "votes", item=item, annotator=annotator, label=label, weight=weight, gold=gold, space=space,
        progress=progress,
    )  # fmt: skip
    go = partial(run, rows=read, engine=engine, workers=workers, chunk_entries=PIECE, progress=progress)
    crowd: Crowd = go(partial(Totals, read.n_annotators, len(read.space)))
    scores: dict[str, dict[str, float]] = {}
    chosen = method
    if method == "auto":
        chosen, scores = _choose(_sample(read, CHOOSE, random_state), crowd, random_state, read.notes)
    model = MODELS[chosen](crowd)
    trace, last, notes = _fit(model, go, work / f"{chosen}.npz", max_iter, tol)
    fitted = _dependence(model, read, last, random_state)
    used = max(fitted, temper.USUAL)
    skill, low, high = last.right.skills(crowd.usual)
    for name in ("items", "labels"):
        (folder / name).mkdir(exist_ok=True)
    usual = usual_evidence(skill, crowd.sizes, len(read.space))
    written: Written = go(partial(Writing, model, used, usual, read.keys("items"), folder, DOUBTFUL))
    confusion = model.confusions(last.counts)
    annotators = _annotators(
        read, crowd.sizes, written.agrees, skill, low, high, confusion, model.shares, _prices(costs, read)
    )
    settings = {
        "method": chosen, "chosen": "by held-out votes" if scores else "by the caller", "random_state": random_state,
        "votes": len(read), "repeats": read.repeats, "abstentions": read.abstentions, "gold": int((read.gold >= 0).sum()),
        "dependence": used, "dependence_of_votes": fitted, "doubt": temper.DOUBT, "passes": round(read.passes),
    }  # fmt: skip
    counted = {
        "items": read.n_items, "expected_accuracy": written.certain / max(read.n_items, 1),
        "unsure_items": written.unsure, "items_per_class": written.items.tolist(),
    }  # fmt: skip
    found = StreamedAggregation(
        folder, read.space, annotators, _doubtful(folder, written.doubtful), chosen, trace, confusion, model.shares, counted,
        scores, [*read.notes, *notes], settings,
    )  # fmt: skip
    _finish(found)
    return found


def _check_folder(folder: Path) -> None:
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / _WORK).is_dir())):
        raise DataError(
            found=f"{folder.name}, which holds something already",
            expected="a new folder, or one that an interrupted aggregation left",
            fix="pass another folder: nothing is written over",
        )


def _check_columns(rows: Any, names: list[str]) -> None:
    from labelwright.errors import ColumnError, nearest

    there = [] if rows.schema is None else rows.schema.names
    for name in names:
        if name not in there:
            close = nearest(name, there)[:5]
            raise ColumnError(
                found=f"no column {name!r} in {rows.name}",
                expected="columns of the item, the annotator and the label"
                + (f"; there are {', '.join(map(repr, there[:10]))}" if there else ", one of them not a float"),
                fix=f"name it, such as {close[0]!r}" if close else "pass a table of votes",
            )


def _sample(votes: SortedVotes, size: int, random_state: int) -> Prepared:
    """All votes on items drawn at random, about `size` votes; all where there are not more."""
    wanted = int(np.ceil(size * votes.n_items / max(len(votes), 1)))
    if wanted >= votes.n_items:
        return votes.some(np.arange(votes.n_items))
    drawn = np.random.default_rng(random_state).choice(votes.n_items, wanted, replace=False)
    return votes.some(np.sort(drawn))


def _choose(
    sample: Prepared, crowd: Crowd, random_state: int, notes: list[str]
) -> tuple[str, dict[str, dict[str, float]]]:
    from labelwright.crowds.dawid_skene import COMPLETE

    names = tuple(name for name in MODELS if name != "dawid_skene" or len(crowd.votes) <= COMPLETE)
    scores = foretold({name: METHODS[name] for name in names}, sample, random_state=random_state)
    if not scores:
        notes.append("too few items have two votes to tell models apart: one accuracy per annotator is taken")
        return "one_coin", {}
    return best_of(scores, names), scores


def _fit(
    model: Model, go: Callable[..., Any], state: Path, max_iter: int, tol: float
) -> tuple[list[float], Expected, list[str]]:
    """EM; after each pass what it found is kept, so that a killed run loses one pass."""
    begun = _kept(model, state)
    trace, last = begun or ([], go(partial(Expectation, model)))

    def step(begin: State) -> tuple[float, State]:
        nonlocal last
        penalty = model.learn(begin)
        last = go(partial(Expectation, model))
        return last.loglik + penalty, model.state(last.counts, last.classes)

    found = climb(
        step, model.state(last.counts, last.classes), model.leap, tol=tol, max_iter=max_iter, trace=trace,
        kept=lambda _, trace: _keep(model, trace, last, state),
    )  # fmt: skip
    model.finish(last.counts, last.classes)
    return found.trace, last, unsettled(found.trace, tol, found.steps)


def _keep(model: Model, trace: list[float], last: Expected, path: Path) -> None:
    temp = path.with_name(f"new-{path.name}")
    told: dict[str, Any] = {f"model_{name}": value for name, value in model.keep().items()}
    told |= {"trace": trace, "counts": last.counts, "classes": last.classes, "loglik": last.loglik}
    np.savez(temp, right=np.stack(last.right), **told)
    temp.replace(path)


def _kept(model: Model, path: Path) -> tuple[list[float], Expected] | None:
    if not path.is_file():
        return None
    with np.load(path, allow_pickle=False) as kept:
        model.restore({name[6:]: kept[name] for name in kept.files if name.startswith("model_")})
        last = Expected(kept["counts"], kept["classes"], Right(*kept["right"]), float(kept["loglik"]))
        return kept["trace"].tolist(), last


def _dependence(model: Model, votes: SortedVotes, last: Expected, random_state: int) -> float:
    sample = _sample(votes, temper.SCORED, random_state)
    left = model.left_out(sample, model.judge(sample), last.counts, random_state)
    return temper.best_dependence(left)


def _prices(costs: Mapping[Any, float] | None, votes: SortedVotes) -> np.ndarray:
    given = {str(name): float(cost) for name, cost in (costs or {}).items()}
    return np.array([given.get(str(key), 1.0) for key in votes.keys("annotators").to_pylist()])


def _annotators(
    votes: SortedVotes, count: np.ndarray, agrees: np.ndarray, skill: np.ndarray, low: np.ndarray, high: np.ndarray,
    confusion: Callable[[int], np.ndarray], prior: np.ndarray, cost: np.ndarray,
) -> pa.Table:  # fmt: skip
    """See `Aggregation.annotators`."""
    import pyarrow as pa

    many = len(prior) > 200 and len(count) > 200
    seen = np.zeros(0, np.int64) if many else np.flatnonzero(count)
    information = np.full(len(count), np.nan)
    for who in seen:
        information[who] = mutual_information(confusion(int(who)), prior)
    agreement = np.where(count > 0, agrees / np.maximum(count, 1), np.nan)
    columns = {"skill": skill, "low": low, "high": high, "agreement": agreement, "information": information}
    return pa.table(
        {
            "annotator": votes.keys("annotators"),
            "votes": count,
            **{name: pa.array(column, from_pandas=True) for name, column in columns.items()},
            "cost": cost,
            "information_per_cost": pa.array(information / cost, from_pandas=True),
            "spammer": (count >= 10) & (np.nan_to_num(information, nan=np.inf) < 0.05 * entropy_bits(prior)),
        }
    )


def _doubtful(folder: Path, numbers: np.ndarray) -> pa.Table:
    """Rows of items/ by their numbers."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = sorted((folder / "items").glob("part-*.parquet"))
    first = np.array([int(path.stem.removeprefix("part-")) for path in paths])
    part = np.searchsorted(first, numbers, "right") - 1
    parts = {int(p): pq.read_table(paths[p]) for p in np.unique(part)}
    return pa.concat_tables([parts[int(p)].slice(int(n - first[p]), 1) for p, n in zip(part, numbers)])


def _finish(found: StreamedAggregation) -> None:
    """The small files, then the work folder goes: what is left is the result."""
    import pyarrow.parquet as pq

    pq.write_table(found.annotators, found.folder / "annotators.parquet", compression="zstd")
    told = json.dumps(found.summary(), indent=1, ensure_ascii=False, allow_nan=False)
    (found.folder / "summary.json").write_text(told, encoding="utf-8")
    shutil.rmtree(found.folder / _WORK)
