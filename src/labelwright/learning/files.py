"""From files on disk to a model in a folder, and to what it is worth."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import ColumnError, DataError, LabelError, OptionError, nearest
from labelwright.features.item_file import ItemFile, read_item_file
from labelwright.labels import HardLabels, LabelSpace, MultiLabels, SoftLabels
from labelwright.learning.checkpoint import read_tree, write_tree
from labelwright.learning.data import TrainData
from labelwright.learning.evaluation import Evaluation, evaluate
from labelwright.learning.model import HEAD, TrainedModel
from labelwright.learning.networks.pretrained import Pretrained, is_pretrained
from labelwright.learning.readers import PIXELS, Reader
from labelwright.learning.recipe import Recipe, load_recipe
from labelwright.learning.report import render
from labelwright.learning.verb import train

READER = "reader"
CHOSEN = (
    "the weights were chosen by the items set apart, so their figures flatter a little: evaluate on items of their own"
)
LEAST_STEPS = 1000  # of a training without a recipe
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, eq=False)
class FileModel:
    """model: the student.   reader: what it sees of an item.   folder: where both are.
    held_out: how good it is on the items that were set apart.   told: what was read, sentences for people."""

    model: TrainedModel
    reader: Reader
    folder: Path
    held_out: Evaluation | None
    told: tuple[str, ...]


def train_file(
    source: str | os.PathLike[str],
    *,
    data: str | os.PathLike[str] | None = None,
    labels: str | None = None,
    student: str | None = None,
    recipe: str | os.PathLike[str] | Recipe | None = None,
    encoder: str | None = None,
    size: int = PIXELS,
    valid: float = 0.1,
    out: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
    changes: dict[str, Any] | None = None,
    **columns: Any,
) -> FileModel:
    """Train a student on any version of the labels of a data set.

    Args:
        source: a label repository NAME.labels, or a data file whose own labels are taken.
        data: the items, where `source` is a repository; default: the file that the repository was made from, beside it.
        labels: "current" (what the repository says now: the given or imported label, or what a reviewer said later;
            default for a repository), "given" (the column of the file; default for a file), "relabel" (the newest soft
            labels that `relabel` wrote), a commit or tag of the repository, or a soft-label file.
        student: "linear", "mlp", "cnn", "resnet", "vit"; default: "cnn" for pixels, else "mlp"; or the folder of a
            pre-trained model of transformers, for texts or images.
        recipe: name, YAML file or `Recipe`; default: cross-entropy with AdamW for 30 epochs, more where that is less than
            1,000 steps, and the weights that are best on the items set apart.   changes: entries to change.
        encoder, size: how items are read, see `Reader`.
        valid: share of the labelled items that is set apart, looked at while training, and evaluated; 0 = none.
        out: folder of the model; default: NAME.model here.   columns: label, id, text, image, features, multi, split.

    Raises:
        LabelwrightError: what is wrong with files, labels, recipe or folder, before training starts.
    """
    path, folder = Path(source), Path(out or _default_folder(source))
    if (folder / HEAD).exists():
        raise DataError(
            found=f"{folder}, which holds a finished model", expected="a new folder", fix="pass another --out"
        )
    repo = _repository(path)
    file = read_item_file(_items_of(path, repo, data), **columns)
    found, said = labels_of(file, repo, labels)
    changes = changes or {}
    known = known_rows(found)
    held = _held_out(known, valid, seed)
    learning = np.setdiff1d(np.arange(len(file)), held)
    pretrained = student if is_pretrained(student) else None
    reader, inputs = Reader.fit(file, encoder=encoder, size=size, seed=seed, tokenizer=pretrained)
    kept = TrainData(_inputs(inputs, learning), found[learning])
    apart = TrainData(_inputs(inputs, held), found[held]) if len(held) else None
    if recipe is None:
        changes = _enough(len(known) - len(held), apart is not None, changes) | changes
    made = load_recipe(recipe).but(seed=seed, **changes)
    if isinstance(found, MultiLabels):
        made = made.but(loss=_for_several(made))
    name: Any = student or ("cnn" if reader.kind == "pixels" else "mlp")
    if pretrained is not None:
        name = Pretrained(pretrained, kept.n_classes, kind="image" if reader.kind == "pixels" else "text")
    write_reader(folder, reader)
    model = train(kept, recipe=made, student=name, valid=apart, out=folder, progress=progress)
    result = None if apart is None else evaluate(model, _inputs(inputs, held), _plain(found[held]), random_state=seed)
    if result is not None:
        text = json.dumps(result.summary(), indent=1, allow_nan=True)
        (folder / "held_out.json").write_text(text, encoding="utf-8")
    (folder / "report.html").write_text(render(model, result, title=f"A student of {path.name}"), encoding="utf-8")
    told = [said, f"{len(learning):,} items to learn from, {len(held):,} set apart"]
    if result is not None and model.recipe["keep"] == "best":
        told.append(CHOSEN)
    return FileModel(model, reader, folder, result, tuple(told))


def evaluate_file(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    labels: str | None = None,
    seed: int = 0,
    **columns: Any,
) -> Evaluation:
    """How good a model in a folder is on a data file, or on the labels of its repository (`labels`, as in `train_file`).

    Raises:
        DataError: no model, or items it cannot read.   LabelError: classes that the model does not know.
    """
    folder = Path(model)
    found, reader = TrainedModel.load(folder), read_reader(folder)
    path = Path(data)
    repo = _repository(path)
    file = read_item_file(_items_of(path, repo, None), **columns)
    given, _ = labels_of(file, repo, labels)
    return evaluate(found, reader.read(file), _plain(in_classes(given, found.space)), random_state=seed)


def predict_file(
    model: str | os.PathLike[str], data: str | os.PathLike[str], **columns: Any
) -> tuple[np.ndarray, np.ndarray, LabelSpace]:
    """(item keys, probabilities (N, K), classes) of a data file by a model in a folder."""
    folder = Path(model)
    found, reader = TrainedModel.load(folder), read_reader(folder)
    file = read_item_file(data, **columns)
    return file.keys, found.predict_proba(reader.read(file)), found.space


# ------------------------------------------------------------------------------------------------------------- labels
def labels_of(file: ItemFile, repo: Any, which: str | None) -> tuple[Any, str]:
    """(labels of the items, one sentence about them): `HardLabels`, `MultiLabels` or `SoftLabels`."""
    which = which or ("given" if repo is None else "current")
    if which == "given":
        if file.given is None:
            raise ColumnError(
                found=f"no column of labels in {file.path.name}", expected="one", fix="name it with --label"
            )
        space = None if repo is None else LabelSpace.from_json(json.dumps(repo.head["space"]))
        if file.columns.multi:
            return MultiLabels.from_sets(file.given.to_pylist(), space), "labels: those in the file, several per item"
        return HardLabels.from_values(file.given, space), f"labels: column {file.columns.label!r}"
    if which.endswith(".soft") or which == "relabel":
        return _soft(file, repo, which)
    if repo is None:
        raise OptionError(
            found=f"labels={which!r} with a data file",
            expected="a repository NAME.labels",
            fix="pass the repository, and --data",
        )
    version = None if which == "current" else int(which) if which.isdigit() else which
    return _current(file, repo, version)


def _where_labels_are(repo: Any, n: int) -> dict[str, str]:
    """What to expect, and the fix, where none of the n labels of a repository is of an item of the data."""
    if n == 0 and any((repo.path / "soft").glob("*.soft")):
        return {
            "expected": "labels that were given or reviewed; this repository holds those of teachers",
            "fix": "pass --labels relabel for them, or --labels given for those in the file",
        }
    return {
        "expected": "the data from which the repository was made",
        "fix": "pass it with --data, with the same columns (--id, --text, ...)",
    }


def _current(file: ItemFile, repo: Any, version: Any) -> tuple[Any, str]:
    """What the events say: the last word on each item."""
    from labelwright.store.events import CANT_TELL, NONE_FITS

    table = repo.labels(version)
    said = {item: json.loads(value) if value is not None else None
            for item, value in zip(table["item"].to_pylist(), table["label"].to_pylist())}  # fmt: skip
    values = [said.get(str(key)) for key in file.keys]
    values = [None if v in (CANT_TELL, NONE_FITS) else v for v in values]
    if all(v is None for v in values):
        raise LabelError(
            found=f"no label in {repo.path.name} for any of the {len(values):,} items of {file.path.name}",
            **_where_labels_are(repo, len(table)),
        )
    space = LabelSpace.from_json(json.dumps(repo.head["space"]))
    at = f"commit {repo.version(version)}"
    if any(isinstance(v, list) for v in values):
        known = [v if isinstance(v, list) or v is None else [v] for v in values]
        return MultiLabels.from_sets(
            [v or [] for v in known], space
        ), f"labels: several per item, {at} of {repo.path.name}"
    values = [v if v is None or v in space.classes else None for v in values]  # a class that a reviewer made up
    return HardLabels.from_values(values, space), f"labels: {at} of {repo.path.name}"


def _soft(file: ItemFile, repo: Any, which: str) -> tuple[Any, str]:
    from labelwright.store import open_soft_labels

    if which == "relabel":
        found = sorted((repo.path / "soft").glob("*.soft")) if repo is not None else []
        if not found:
            raise DataError(
                found="no soft labels in the repository",
                expected="those of `labelwright relabel`",
                fix="run it first, or pass labels=current",
            )
        path = found[-1]
    else:
        path = Path(which)
    stored = open_soft_labels(path)
    keys = stored.keys
    if keys is None:
        if len(stored) != len(file):
            raise LabelError(
                found=f"{len(stored):,} soft labels for {len(file):,} items",
                expected="one for each item: the file has no keys to match them by",
                fix="write the soft labels with keys=, or for exactly these items",
            )
        return stored[:], f"labels: {path.name}"
    place = {str(key): row for row, key in enumerate(keys)}
    at = np.array([place.get(str(key), -1) for key in file.keys])
    if (at < 0).all():
        raise LabelError(
            found=f"no item of {file.path.name} in {path.name}", expected="the same items", fix="check --id"
        )
    chosen = stored[np.maximum(at, 0)]
    labels = SoftLabels(chosen.index, chosen.prob, chosen.rest, chosen.tail, chosen.known & (at >= 0), chosen.space)
    return labels, f"labels: {path.name}, {int((at >= 0).sum()):,} of {len(file):,} items"


def in_classes(labels: Any, space: LabelSpace) -> Any:
    """The same labels in the order of other classes, by name.

    Raises:
        LabelError: classes that are not there.
    """
    own, wanted = [str(c) for c in labels.space.classes], [str(c) for c in space.classes]
    strange = [c for c in own if c not in wanted]
    if strange:
        raise LabelError(
            found=f"classes that the model does not know: {', '.join(strange[:5])}",
            expected=f"{', '.join(wanted[:8])}",
            fix=f"rename them ({strange[0]!r} to {nearest(strange[0], wanted)[0]!r}?), or train on these classes",
        )
    place = np.array([wanted.index(c) for c in own], np.int64)
    if isinstance(labels, HardLabels):
        return HardLabels(np.where(labels.ids < 0, -1, place[labels.ids]), space)
    if isinstance(labels, SoftLabels):
        dense = np.zeros((len(labels), len(wanted)), np.float32)
        dense[:, place] = labels.dense()
        return SoftLabels.from_dense(dense, space, known=labels.known)
    dense = np.full((len(labels), len(wanted)), 0, np.int8)
    dense[:, place] = labels.dense()
    return MultiLabels.from_dense(dense, space)


def known_rows(labels: Any) -> np.ndarray:
    """Items that have a label."""
    if isinstance(labels, HardLabels):
        return np.flatnonzero(labels.ids >= 0)
    if isinstance(labels, SoftLabels):
        return np.flatnonzero(labels.known)
    return np.flatnonzero((labels.dense() >= 0).any(1))


def _inputs(inputs: Any, at: np.ndarray) -> Any:
    return {name: x[at] for name, x in inputs.items()} if isinstance(inputs, dict) else inputs[at]


def _plain(labels: Any) -> Any:
    """Labels as `evaluate` takes them."""
    return labels.dense() if isinstance(labels, MultiLabels) else labels


def _held_out(known: np.ndarray, share: float, seed: int) -> np.ndarray:
    if not 0 <= share < 1:
        raise OptionError(found=f"valid={share!r}", expected="a share, 0 <= valid < 1", fix="pass valid=0.1")
    if not len(known):
        raise DataError(found="no labelled item", expected="labels to learn from", fix="check the column of the labels")
    n = round(share * len(known))
    return np.sort(np.random.default_rng([seed, 5]).permutation(known)[:n])


def _enough(n: int, watched: bool, changes: dict[str, Any]) -> dict[str, Any]:
    """Without a recipe: so many epochs that few items make enough steps too, and the weights that were best set apart."""
    plain = Recipe()
    steps = -(-n // int(changes.get("batch_size", plain.batch_size)))
    epochs = min(300, max(plain.epochs, -(-LEAST_STEPS // max(steps, 1))))
    return {"epochs": epochs} | ({"keep": "best", "validate_every": max(1, epochs // 30)} if watched else {})


def _for_several(recipe: Recipe) -> Any:
    """The recipe's loss, told that items have several classes."""
    from labelwright.learning.parts import Spec

    return tuple(
        Spec(part.name, {**part.options, "multi_label": True}) if isinstance(part, Spec) else part
        for part in recipe.loss
    )


# ------------------------------------------------------------------------------------------------------------- places
def _repository(path: Path) -> Any:
    if path.is_dir() and (path / "labels.json").is_file():
        from labelwright.store import Repository

        return Repository.open(path)
    return None


def _items_of(path: Path, repo: Any, data: Any) -> Path:
    """Where the items are."""
    if data is not None:
        return Path(data)
    if repo is None:
        return path
    name = str(repo.head.get("source") or "")
    for folder in (path.resolve().parent, Path.cwd()):
        if name and (folder / name).exists():
            return folder / name
    raise DataError(
        found=f"no file {name!r} beside {path}",
        expected="the data of which the repository holds the labels",
        fix="pass it with --data",
    )


def _default_folder(source: Any) -> str:
    name = Path(source).resolve().name
    return (name.split(".")[0] or name) + ".model"


def write_reader(folder: Path, reader: Reader) -> None:
    """Keep the reader beside the model; one that is there already was fitted on the same items."""
    if (folder / READER).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / f".new-{READER}"
    new.mkdir(exist_ok=True)
    write_tree(new, {"kind": reader.kind, "state": reader.state})
    reader.save_tokenizer(new / "tokenizer")
    os.replace(new, folder / READER)


def read_reader(folder: Path) -> Reader:
    """The reader that `write_reader` kept.

    Raises:
        DataError: the model was trained on arrays, and has none.
    """
    if not (folder / READER).is_dir():
        raise DataError(
            found=f"a model in {folder} that was trained on arrays",
            expected="one trained on files, which knows how to read items",
            fix="load it with TrainedModel.load and pass arrays to evaluate(model, inputs, labels)",
        )
    found = read_tree(folder / READER)
    if found["kind"] == "tokens":  # the tokenizer lies in the model's own folder
        found["state"]["tokenizer"] = str(folder / READER / "tokenizer")
    return Reader(found["kind"], found["state"])


__all__ = ["FileModel", "evaluate_file", "labels_of", "predict_file", "train_file"]
