"""From items and teachers on disk to soft labels, label maps or crop labels in a label repository."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.annotators.relabelling import Relabelling, check_classes, relabel
from labelwright.annotators.teachers import LoadedTeacher, load_teacher
from labelwright.errors import DataError, OptionError
from labelwright.features.content import default_repository
from labelwright.features.item_file import ItemFile, read_item_file
from labelwright.labels import HardLabels, LabelSpace

if TYPE_CHECKING:
    from labelwright.store import Repository

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class FileRelabelling:
    """result: what the teachers said, None for maps and crops.   repository: where it is.   path: the new file.
    head: what the file says of itself (errors of truncation and rounding, provenance)."""

    result: Relabelling | None
    repository: Repository
    path: Path
    head: dict[str, Any]


def relabel_file(
    data: str | os.PathLike[str],
    teachers: Sequence[Any],
    *,
    label: str | None = None,
    topk: int | None = None,
    ensemble: str | Sequence[float] = "equal",
    temperature: float | str = "auto",
    class_map: dict[str, Any] | None = None,
    regions: bool = False,
    crops: int | None = None,
    size: int | None = None,
    batch_size: int = 64,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    device: str = "cpu",
    progress: Progress | None = None,
    **columns: Any,
) -> FileRelabelling:
    """Ask teachers about every item of a data set, and keep what they say beside the other labels.

    The soft labels go into `soft/NNNN.soft` of the repository, with the items' keys; the likeliest class of each item goes
    into its events as a suggestion. Maps and crops go into `soft/NNNN.maps` and `soft/NNNN.crops`. A run that is cut off goes
    on where it stood when it is called again with the same arguments.

    Args:
        data: as in `read_item_file`; `columns` are its options id, text, image, features, split.
        teachers: what `load_teacher` takes.   label: column of labels that the teachers have not seen, to calibrate them by.
        topk, ensemble, temperature, class_map, batch_size: as in `relabel`; topk is 5 for maps and crops.
        regions: label maps of images, from one convolutional or patch-token teacher.   size: side at which it sees them.
        crops: so many random crops of each image, drawn from `seed`, each with its own soft label.
        out: repository; default: DATA's name with ".labels", here.

    Raises:
        LabelwrightError: what is wrong with data, teacher, classes or repository, before the first item is asked about.
    """
    from labelwright.store import Repository, fingerprint

    if regions and crops is not None:
        raise OptionError(found="regions and crops", expected="one of both", fix="run relabel twice")
    file = read_item_file(data, label=label, **columns)
    loaded = [load_teacher(t, kind=file.kind, device=device) for t in teachers]
    given = None if label is None else HardLabels.from_values(file.given)
    where = Path(out or default_repository(data))
    space = _classes(where, given, loaded)
    check_classes(loaded, space, class_map)
    known = None if given is None else HardLabels.from_values(file.given, space)
    repo = Repository.open_or_create(
        where, fingerprint=fingerprint(file.table), source=Path(data).name, space=_plain_space(where, space)
    )
    folder = repo.path / "soft"
    folder.mkdir(exist_ok=True)
    if regions or crops is not None:
        return _of_images(
            file, loaded, space, repo, folder, regions, crops, size, topk or 5, batch_size, seed, progress
        )
    from labelwright.store.crop_label_files import Parts
    from labelwright.store.soft_labels import open_soft_labels, write_soft_labels

    path = _next(folder, ".soft")
    asked = {
        "teachers": [t.name for t in loaded],
        "files": [_files(t) for t in teachers],
        "classes": list(map(str, space.classes)),
        "class_map": class_map,
    }
    parts = Parts(path, asked, len(file), batch_size)
    found = relabel(
        file.items, loaded, labels=known, classes=space, class_map=class_map, ensemble=ensemble, temperature=temperature,
        topk=topk, batch_size=batch_size, kind=file.kind, parts=parts, progress=progress,
    )  # fmt: skip
    write_soft_labels(
        path, found.labels, topk, keys=[str(k) for k in file.keys], tail="even" if topk else "auto",
        teacher=", ".join(found.teachers), weights=found.weights.tolist(), temperatures=found.temperatures.tolist(),
    )  # fmt: skip
    parts.remove()
    _record(repo, file, found, path.stem)
    return FileRelabelling(found, repo, path, dict(open_soft_labels(path).head))


def _files(teacher: Any) -> list[list[Any]]:
    """Sizes and times of a teacher's files, so that a run does not go on with another teacher of the same name."""
    if not isinstance(teacher, str | os.PathLike) or not Path(teacher).exists():
        return []
    files = Path(teacher).rglob("*") if Path(teacher).is_dir() else [Path(teacher)]
    return [[p.name, p.stat().st_size, p.stat().st_mtime_ns] for p in sorted(files) if p.is_file()]


def _classes(where: Path, given: HardLabels | None, teachers: list[LoadedTeacher]) -> LabelSpace:
    """Of the repository where there is one, else of the labels, else of the first teacher that knows its own."""
    import json

    from labelwright.store import Repository

    if os.path.lexists(where):
        return LabelSpace.from_json(json.dumps(Repository.open(where).head["space"]))
    if given is not None:
        return given.space
    named = next((t.classes for t in teachers if t.classes is not None), None)
    if named is None:
        raise DataError(
            found="no names of classes, neither in the data nor from a teacher",
            expected="names for the teacher's columns",
            fix="name a column of labels with --label, or give the teacher its class names",
        )
    return LabelSpace(named)


def _plain_space(where: Path, space: LabelSpace) -> Any:
    import json

    from labelwright.store import Repository

    return Repository.open(where).head["space"] if os.path.lexists(where) else json.loads(space.to_json())


def _next(folder: Path, suffix: str) -> Path:
    """The first number whose file is not there; one that is begun goes on."""
    number = 1
    while any((folder / f"{number:04d}{end}").exists() for end in (".soft", ".maps", ".crops")):
        number += 1
    return folder / f"{number:04d}{suffix}"


def _record(repo: Repository, file: ItemFile, found: Relabelling, name: str) -> None:
    """The likeliest class of each item as a suggestion."""
    import pyarrow as pa

    from labelwright.store.events import event_ids, json_values

    hard, source = found.labels.hard(), f"relabel {name}"
    item = pa.array([str(k) for k in file.keys], pa.string())
    p = np.where(found.labels.known, found.labels.prob[:, 0], np.nan).astype(np.float64)
    n = len(item)
    events = pa.table(
        {
            "event_id": event_ids(source, item),
            "item": item,
            "source": pa.repeat(source, n),
            "kind": pa.repeat("suggestion", n),
            "value": json_values(found.labels.space.classes).take(pa.array(hard.ids, mask=hard.ids < 0)),
            "probability": pa.array(p, pa.float64(), from_pandas=True),
        }
    )
    repo.append(events, message=f"{source}: {n:,} items by {', '.join(found.teachers)}", source=source)


def _of_images(
    file: ItemFile, teachers: list[LoadedTeacher], space: LabelSpace, repo: Repository, folder: Path, regions: bool,
    crops: int | None, size: int | None, k: int, batch_size: int, seed: int, progress: Progress | None,
) -> FileRelabelling:  # fmt: skip
    """Label maps or crop labels by one teacher that is a network of images."""
    teacher = teachers[0]
    if len(teachers) != 1 or file.kind != "image" or teacher.module is None or teacher.pixels is None:
        raise OptionError(
            found=f"{len(teachers)} teachers for items of kind {file.kind}",
            expected="one network of transformers for image classification, and images",
            fix="pass the folder of such a network, and name the column with --image",
        )
    if teacher.classes is not None and list(map(str, teacher.classes)) != list(map(str, space.classes)):
        raise OptionError(
            found=f"labels in other classes than those of {teacher.name!r}", expected="the same classes in the same order",
            fix="write maps and crops into a repository of the teacher's own classes: pass another --out",
        )  # fmt: skip
    keys, k = [str(key) for key in file.keys], min(k, len(space))
    told: dict[str, Any] = {"space": space, "keys": keys, "batch_size": batch_size, "teacher": teacher.name}
    step = _Step(len(file), progress)
    if regions:
        from labelwright.store.label_map_files import open_label_maps, write_label_maps

        path = _next(folder, ".maps")
        write_label_maps(path, step(_map_annotator(file, teacher, size, k)), len(file), **told)
        return FileRelabelling(None, repo, path, dict(open_label_maps(path).head))
    from labelwright.store.crop_label_files import write_crop_labels
    from labelwright.store.soft_labels import CropPlan, open_soft_labels

    assert crops is not None
    plan, path = CropPlan(n_crops=crops, seed=seed), _next(folder, ".crops")
    write_crop_labels(path, step(_crop_annotator(file, teacher, plan, size)), len(file), plan=plan, k=k, **told)
    return FileRelabelling(None, repo, path, dict(open_soft_labels(path).head))


class _Step:
    """Tells of progress around a function of item numbers."""

    def __init__(self, n: int, progress: Progress | None):
        self.n, self.progress = n, progress

    def __call__(self, work: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
        def told(items: np.ndarray) -> Any:
            found = work(items)
            if self.progress:
                self.progress("asking the teacher", int(items[-1]) + 1, self.n)
            return found

        return told


def _chosen(file: ItemFile, items: np.ndarray) -> list[Any]:
    return [file.items[int(i)] for i in items]


def _map_annotator(file: ItemFile, teacher: LoadedTeacher, size: int | None, k: int) -> Callable[[np.ndarray], Any]:
    from labelwright.annotators.label_maps import dense_head, top_cells

    assert teacher.pixels is not None
    see = teacher.pixels
    head = dense_head(teacher.module, see(_chosen(file, np.arange(min(4, len(file)))), size))
    return lambda items: top_cells(head(see(_chosen(file, items), size)), k)


def _crop_annotator(file: ItemFile, teacher: LoadedTeacher, plan: Any, size: int | None) -> Callable[[np.ndarray], Any]:
    import torch

    from labelwright.annotators.crops import crop_and_resize, crop_coords

    assert teacher.pixels is not None
    see = teacher.pixels

    @torch.no_grad()
    def teach(items: np.ndarray) -> np.ndarray:
        x = see(_chosen(file, items), size)
        high, wide = np.full(len(items), x.shape[-2]), np.full(len(items), x.shape[-1])
        coords, flips = crop_coords(plan, items, high, wide)
        m = coords.shape[1]
        shown = crop_and_resize(
            x.repeat_interleave(m, 0),
            torch.from_numpy(coords.reshape(-1, 4)),
            torch.from_numpy(flips.ravel()),
            x.shape[-1],
        )
        logits = teacher.module(pixel_values=shown).logits.float()
        return logits.softmax(-1).cpu().numpy().reshape(len(items), m, -1)

    return teach
