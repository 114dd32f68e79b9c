"""A teacher's labels of many random crops per image, made once, and drawn from in training.

    plan = CropPlan(n_crops=50, seed=0)
    write_crop_labels("train.crops", teach, n_items=len(images), plan=plan, teacher="resnet50")
    draw_crops(open_soft_labels("train.crops"), items, 4, heights, widths, seed=epoch)

The file is a soft-label file (docs/soft-label-files.md) with N * M rows. The teacher runs batch by batch, and what it said
is kept beside the file until that is whole: killed at any moment, the same call goes on where it stood.

Source: Shen & Xing 2022 (FKD), marginal smoothing.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import DataError, OptionError, check_whole
from labelwright.labels.check import check_pred_probs
from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace
from labelwright.store._atomic import new_name, write
from labelwright.store._soft_crops import CropPlan
from labelwright.store._soft_rows import cut
from labelwright.store._soft_write import plain_head
from labelwright.store.soft_labels import SoftLabelFile, write_soft_labels

Part = dict[str, np.ndarray]


def write_crop_labels(
    path: str | os.PathLike[str],
    teach: Callable[[np.ndarray], Any],
    n_items: int,
    *,
    plan: CropPlan,
    k: int = 5,
    precision: str = "float16",
    space: LabelSpace | None = None,
    keys: Iterable[Any] | None = None,
    batch_size: int = 64,
    teacher: str | None = None,
    temperature: float | None = None,
    **provenance: Any,
) -> Path:
    """Ask a teacher for the labels of every crop of a plan, and write their k largest entries and their rest.

    Args:
        teach: gets (b,) int64 items, gives (b, M, K) probabilities of their crops 0 to M-1. It cuts them with
            `labelwright.annotators.crops` and changes nothing else at random.
        n_items: N images.   plan: which crops; the file keeps the plan, not the boxes.
        k: classes kept per crop; the rest is spread evenly (marginal smoothing).
        precision: "float16", "uint8", "uint16" or "float32", as in `write_soft_labels`.
        batch_size: images per call of `teach`; a killed run loses at most this much.
        space, keys, teacher, temperature, provenance: as in `write_soft_labels`. They go into the head.

    Returns:
        `path`. The head's `errors` are those of rounding; `provenance.mean_kl_of_cut` is what keeping k entries costs: the
        mean over all crops, in nats, from the full rows to those read with exact numbers. The two add up.

    Raises:
        OptionError, ProbabilityError, DataError: an option, an answer or a path that will not do; or finished parts of a
            run with other arguments.
    """
    path = Path(path)
    check_whole("k", k, 1)
    told = {"teacher": teacher, "temperature": temperature, **provenance}
    plain_head(told)  # says now, not after hours, what JSON cannot hold
    asked = {"crops": plan.to_json(), "k": k, "space": None if space is None else space.to_json(), **told}
    parts = Parts(path, asked, n_items, batch_size)
    parts.finish(lambda items: _cut_answer(teach(items), len(items), plan.n_crops, k, space))
    told["mean_kl_of_cut"] = sum(float(part["kl"]) for part in parts) / (n_items * plan.n_crops)
    n_classes = int(next(iter(parts))["n_classes"])
    classes = space or LabelSpace(range(n_classes))
    soft = (SoftLabels.from_topk(p["index"], p["prob"], classes, rest=p["rest"]) for p in parts)
    write_soft_labels(path, soft, k, precision=precision, tail="even", keys=keys, crops=plan, **told)
    parts.remove()
    return path


class CropBatch(NamedTuple):
    """n crops: item, crop (n,) int64 numbers; coords (n, 4) float64 top, left, height, width as fractions of the image;
    flip (n,) bool; labels (n, K) float32."""

    item: np.ndarray
    crop: np.ndarray
    coords: np.ndarray
    flip: np.ndarray
    labels: np.ndarray


def draw_crops(
    file: SoftLabelFile,
    items: Any,
    n_crops: int,
    heights: Any,
    widths: Any,
    *,
    seed: int | np.random.Generator,
    allowed: np.ndarray | None = None,
) -> CropBatch:
    """`n_crops` stored crops of each item, without replacement, those of one item one after the other.

    Args:
        items: (b,) item numbers.   heights, widths: (b,) or one number, pixels of their images.
        n_crops: at most 8 keeps the statistics of batch normalisation sound.
        allowed: (b, M) bool, crops that may be drawn (`Calibration.kept`); an item with fewer than n_crops repeats them.

    Raises:
        DataError: a file without crops, `allowed` of another shape or with an item that has none.
        OptionError: more crops than the file has.
    """
    item, stored = np.atleast_1d(np.asarray(items, dtype=np.int64)), file.per_item
    check_whole("n_crops", n_crops, 1)
    if n_crops > stored:
        raise OptionError(
            found=f"n_crops={n_crops} of {stored} stored", expected=f"at most {stored}", fix=f"pass n_crops={stored}"
        )
    order = np.random.default_rng(seed).random((len(item), stored))
    count = np.full(len(item), stored)
    if allowed is not None:
        allowed = np.asarray(allowed, dtype=bool)
        if allowed.shape != order.shape or not allowed.any(1).all():
            raise DataError(
                found=f"allowed of shape {allowed.shape}, or an item without any crop",
                expected=f"({len(item)}, {stored}) bool, at least one crop per item",
                fix="pass calibration.kept[items]: calibrate() leaves every item one crop",
            )
        order[~allowed], count = 2.0, allowed.sum(1)
    crop = np.take_along_axis(order.argsort(1), np.arange(n_crops) % count[:, None], axis=1).ravel()
    high, wide = (np.repeat(np.broadcast_to(np.asarray(a, np.int64), len(item)), n_crops) for a in (heights, widths))
    item = np.repeat(item, n_crops)
    at = item * stored + crop
    boxes, flip = file.boxes(at, high, wide)
    return CropBatch(item, crop, boxes / np.stack([high, wide, high, wide], axis=1), flip, file.dense(at))


@dataclass
class Parts:
    """Results of batches of items, an .npz each, in a folder beside `path`, from which a killed run goes on.

    Raises:
        DataError: something is at `path` already, or the folder holds parts of another plan.
    """

    path: Path
    plan: dict[str, Any]
    n_items: int
    batch_size: int

    def __post_init__(self) -> None:
        check_whole("n_items", self.n_items, 1)
        check_whole("batch_size", self.batch_size, 1)
        taken = os.path.lexists(self.path)
        if taken or not self.path.parent.is_dir():
            raise DataError(
                found=f"something at {self.path} already" if taken else f"no folder {self.path.parent}",
                expected="a new name in a folder: label files are never overwritten",
                fix="choose another path, or remove the old file yourself" if taken else "make the folder",
            )
        self.folder = self.path.with_name(f".{self.path.name}.parts")
        self.folder.mkdir(exist_ok=True)
        plan = {**self.plan, "n_items": self.n_items, "batch_size": self.batch_size}
        text, kept = json.dumps(plan, sort_keys=True, default=str).encode(), self.folder / "plan.json"
        if not kept.exists():
            self._put(kept, text)
        elif kept.read_bytes() != text:
            raise DataError(
                found=f"finished parts in {self.folder} of a run with other arguments",
                expected="the arguments of the run that is to go on",
                fix=f"pass the same arguments as before, or remove the folder {self.folder.name} to begin anew",
            )

    def finish(self, work: Callable[[np.ndarray], Part]) -> None:
        """Do every batch that is not there yet."""
        for number in range(self._n):
            if not self._name(number).exists():
                self._do(number, work)

    def results(self, work: Callable[[np.ndarray], Part]) -> Iterator[Part]:
        """Every batch in order: read where it is there, else done and kept."""
        for number in range(self._n):
            yield self._read(number) if self._name(number).exists() else self._do(number, work)

    def __iter__(self) -> Iterator[Part]:
        return (self._read(number) for number in range(self._n))

    @property
    def _n(self) -> int:
        return -(-self.n_items // self.batch_size)

    def _do(self, number: int, work: Callable[[np.ndarray], Part]) -> Part:
        start, buffer = number * self.batch_size, io.BytesIO()
        part = work(np.arange(start, min(start + self.batch_size, self.n_items)))
        np.savez(buffer, **part)  # type: ignore[arg-type]
        self._put(self._name(number), buffer.getvalue())
        return part

    def _read(self, number: int) -> Part:
        with np.load(self._name(number), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}

    def remove(self) -> None:
        """The folder is no longer needed."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _name(self, number: int) -> Path:
        return self.folder / f"part-{number:07d}.npz"

    def _put(self, path: Path, data: bytes) -> None:
        hidden = path.with_name(new_name())
        write(hidden, data)
        os.replace(hidden, path)


def _cut_answer(answer: Any, n: int, n_crops: int, k: int, space: LabelSpace | None) -> Part:
    p = np.asarray(answer)
    if p.ndim != 3 or p.shape[:2] != (n, n_crops) or (space is not None and p.shape[2] != len(space)):
        raise DataError(
            found=f"labels of shape {p.shape} for {n} items",
            expected=f"({n}, {n_crops}, {len(space) if space else 'K'}): items, crops of the plan, classes",
            fix="reshape the teacher's rows: probs.reshape(len(items), n_crops, K)",
        )
    n_classes = p.shape[2]
    if k > n_classes:
        raise OptionError(
            found=f"k={k} of {n_classes} classes", expected=f"at most {n_classes}", fix="pass a smaller k"
        )
    full = np.maximum(check_pred_probs(p.reshape(-1, n_classes)), 0).astype(np.float64)
    full /= full.sum(1, keepdims=True)
    index, prob, rest = cut(full, k)
    np.put_along_axis(full, index, 0, axis=1)
    logs = np.log(full, out=np.zeros_like(full), where=full > 0)
    even = np.log(rest / max(n_classes - k, 1), out=np.zeros_like(rest), where=rest > 0)
    kl = float(
        (full * logs).sum() - (rest * even).sum()
    )  # of the tails from even ones, which is all that the cut loses
    return {"index": index, "prob": prob, "rest": rest, "kl": np.array(kl), "n_classes": np.array(n_classes)}
