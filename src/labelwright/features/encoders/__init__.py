"""Encoders: pre-trained models that turn texts or images into vectors, from this disk, an installed package or the hub."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.errors import DataError, OptionError, check_option, check_whole
from labelwright.features.encoders.cache import KEY, VectorStore, content_key
from labelwright.features.encoders.folder import folder_encoder, onnx_encoder
from labelwright.features.encoders.hub import NAME, hub_folder
from labelwright.features.encoders.packages import (
    PACKAGES,
    installed_packages,
    package_folder,
    package_model,
    package_version,
)
from labelwright.features.encoders.parts import Model, fingerprint
from labelwright.features.images import Progress
from labelwright.features.items import as_list, kind_of
from labelwright.features.vectors import _clean_texts

KINDS = ("text", "image")
CHUNK = 32  # batches of texts that are cut into tokens at a time, then sorted by their number of tokens


@dataclass(frozen=True, eq=False)
class Encoder:
    """What turns texts or images into vectors. Made by `load_encoder`.

    name: as it was asked for.   kind: "text" or "image".   fingerprint: 32 hexadecimal digits that name the model, its
    version and how its output is pooled, for cache keys.   load: gives the model; called when the first item is encoded.
    """

    name: str
    kind: str
    fingerprint: str
    load: Callable[[], Model] = field(repr=False)

    @cached_property
    def model(self) -> Model:
        """The loaded model."""
        return self.load()

    @cached_property
    def dim(self) -> int:
        """D, the length of a vector; loads the model."""
        probe = ["a"] if self.kind == "text" else [np.zeros((32, 32, 3), np.uint8)]
        return int(self.encode(probe).shape[1])

    def encode(self, items: Any, *, batch_size: int | None = None, progress: Progress | None = None) -> np.ndarray:
        """The vectors of all items.

        Args:
            items: N strings (None is an empty text), or N images: paths, open files, bytes, uint8 arrays.
            batch_size: items in one pass of the model; None is what suits the model and the device.
            progress: called with (done, total) after every batch.

        Returns:
            (N, D) float32.

        Raises:
            OptionError: items of the other kind.   DataError: items that cannot be read, vectors that are not finite.
        """
        items = self.checked(items)
        out = np.empty((0, 0), np.float32)
        done = 0
        for index, vectors in self.batches(items, np.arange(len(items)), batch_size=batch_size):
            if not done:
                out = np.empty((len(items), vectors.shape[1]), np.float32)
            out[index] = vectors
            done += len(index)
            if progress:
                progress(done, len(items))
        return out if len(items) else np.empty((0, self.dim), np.float32)

    def checked(self, items: Any) -> Any:
        """The items as a sequence of strings, or of images.

        Raises:
            OptionError: items of another kind than the encoder's.
        """
        if isinstance(items, str | bytes | Path) or hasattr(items, "read"):
            raise DataError(found="one item", expected="a sequence of items", fix="pass [item]")
        entries = items if isinstance(items, np.ndarray) else as_list(items)
        kind = kind_of(items) if any(entry is not None for entry in entries) else self.kind
        if kind != self.kind:
            raise wrong_kind(self, kind)
        return _clean_texts(list(entries)) if self.kind == "text" else entries

    def batches(
        self, items: Any, rows: np.ndarray, *, batch_size: int | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(row numbers, their vectors), batch by batch, of `rows` of checked items. Long texts come first, and texts of
        like length together, so that little is padded."""
        if batch_size is not None:
            check_whole("batch_size", batch_size, 1)
        size = self.model.batch_size if batch_size is None else batch_size
        texts = self.kind == "text"
        if texts:
            rows = rows[np.argsort([-len(items[row]) for row in rows], kind="stable")]
        step = size * CHUNK if texts else size  # decoded images take memory
        for start in range(0, len(rows), step):
            chunk = rows[start : start + step]
            ready = self.model.prepare([items[row] for row in chunk], chunk)
            order = np.argsort([-len(r) for r in ready], kind="stable") if texts else np.arange(len(chunk))
            for part in np.split(order, range(size, len(order), size)):
                vectors = self.model.forward([ready[i] for i in part])
                self._check_finite(vectors, chunk[part])
                yield chunk[part], vectors

    def _check_finite(self, vectors: np.ndarray, rows: np.ndarray) -> None:
        bad = rows[~np.isfinite(vectors).all(1)]
        if len(bad):
            raise DataError(
                found=f"NaN or infinite values in the vector that encoder {self.name!r} makes of row {bad[0]}",
                expected="finite vectors",
                fix="drop that item or choose another encoder; weights that were damaged do this too",
            )


def load_encoder(name_or_path: str | os.PathLike[str], *, kind: str | None = None, device: str = "cpu") -> Encoder:
    """The encoder of that name. The model itself is read when the first item is encoded.

    Args:
        name_or_path: one of these, tried in this order: a package that holds a model (`available_encoders` lists the
            installed ones); a folder of transformers or sentence-transformers, an .onnx file or a folder with one
            (tokenizer.json or preprocessor_config.json beside it); a model of the hub. Code that comes with a model is
            never run, pickled objects are never loaded.
        kind: "text" or "image", for models that do both; None takes what the model does.
        device: "cpu", or "auto" for an accelerator where there is one.

    Raises:
        OptionError: nothing of that name, a model of another kind, or one that works in a way we do not know.
        DataError: a path where nothing is, or files that cannot be used.
        MissingExtra: a package that runs the model is not installed.
    """
    if kind is not None:
        check_option("kind", kind, KINDS)
    check_option("device", device, ("cpu", "auto"))
    name = os.fspath(name_or_path)
    known = name.lower().replace("_", "-")
    path = Path(name).expanduser()
    if isinstance(name_or_path, str) and known in PACKAGES:
        found = _package_encoder(known, kind, device)
    elif path.is_dir():
        found = folder_encoder(name, path, kind, device)
    elif path.is_file():
        found = onnx_encoder(name, path, path.parent, kind, device)
    elif (
        not isinstance(name_or_path, str)
        or not NAME.fullmatch(name)
        or re.search(r"\.(onnx|bin|safetensors|pt)$", name)
    ):
        raise DataError(
            found=f"nothing at {name!r}",
            expected="a model folder, an .onnx file, or the name of an encoder",
            fix="check the path; without an encoder the built-in descriptor is used",
        )
    else:
        found = folder_encoder(name, hub_folder(name, available_encoders(kind)), kind, device)
    encoder = Encoder(name, *found)
    if kind is not None and kind != encoder.kind:
        raise wrong_kind(encoder, kind)
    return encoder


def available_encoders(kind: str | None = None) -> list[str]:
    """Names of encoders that are installed here and need no download, better ones first; of texts or of images only if
    `kind` says so."""
    return [name for name in installed_packages() if kind in (None, PACKAGES[name].kind)]


def _package_encoder(name: str, kind: str | None, device: str) -> tuple[str, str, Callable[[], Model]]:
    folder, package = package_folder(name), PACKAGES[name]
    if package.load is None:
        return folder_encoder(name, folder / package.inner, kind, device)
    version = fingerprint((name, package_version(name)), [])
    return package.kind, version, partial(package_model, name, folder, device)


def wrong_kind(encoder: Encoder, kind: str) -> OptionError:
    """The error for items of `kind` and an encoder of something else."""
    others = available_encoders(kind)
    return OptionError(
        found=f"encoder {encoder.name!r}, which encodes {encoder.kind}s, for {kind.rstrip('s')}s",
        expected=f"items of its kind, or an encoder of {kind.rstrip('s')}s",
        fix=f"choose one of {', '.join(map(repr, others)) or 'that kind'}, or none; file names of images are pathlib.Path",
    )


def encoded(
    encoder: Encoder,
    items: Any,
    *,
    cache: str | os.PathLike[str] | None = None,
    batch_size: int | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """The vectors of all items, each distinct item encoded once, and never again where `cache` has its vector.

    Args:
        encoder: from `load_encoder`.
        items: as in `Encoder.encode`.
        cache: folder for vectors, found again by a hash of an item's content: its text, the bytes of its file or its
            pixels. What is encoded is written every few thousand items or half a minute, so little is lost when a run
            is killed. Damaged files are made again, with a LabelwrightWarning.
        batch_size: as in `Encoder.encode`.
        progress: called with (done, total) of the distinct items.

    Returns:
        (N, D) float32.

    Raises:
        OptionError, DataError: as `Encoder.encode`.
    """
    items = encoder.checked(items)
    if not len(items):
        return np.empty((0, encoder.dim), np.float32)
    keys, first, code = np.unique(_keys(items), return_index=True, return_inverse=True)
    out = np.empty((0, 0), np.float32)
    known = np.zeros(len(keys), dtype=bool)

    def put(rows: np.ndarray, vectors: np.ndarray) -> None:
        nonlocal out
        out = out if len(out) else np.empty((len(items), vectors.shape[1]), np.float32)
        out[rows] = vectors

    store = None if cache is None else VectorStore(Path(cache), encoder.fingerprint)
    for position, vectors in store.read(keys) if store else ():
        put(first[position], vectors)
        known[position] = True
    done = int(known.sum())
    try:
        for rows, vectors in encoder.batches(items, first[~known], batch_size=batch_size) if done < len(keys) else ():
            put(rows, vectors)
            done += len(rows)
            if store:
                store.add(keys[code[rows]], vectors)
            if progress:
                progress(done, len(keys))
    finally:  # an interrupted run keeps what it has
        if store:
            store.flush()
    if progress and known.all():
        progress(done, done)
    again = np.flatnonzero(first[code] != np.arange(len(items)))
    out[again] = out[first[code[again]]]
    return out


def _keys(items: Any) -> np.ndarray:
    """(N,) content hashes."""
    keys = np.empty(len(items), KEY)
    for row, item in enumerate(items):
        try:
            keys[row] = content_key(item)
        except (OSError, TypeError, ValueError) as error:
            raise DataError(
                found=f"row {row}: {str(item)!r} cannot be read ({error})",
                expected="image files, or uint8 arrays (H, W) or (H, W, 3)",
                fix="repair or drop that item",
            ) from error
    return keys
