"""Whatever describes the items, as the two matrices an audit needs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labelwright.errors import DataError, OptionError
from labelwright.features.vectors import Progress, check_features, image_vectors, reduced, table_vectors, text_vectors
from labelwright.labels import as_columns


class ItemVectors(NamedTuple):
    """`model` (N, D) dense or CSR, for a classifier; `search` (N, d) dense float32, for neighbours; `kind` of the items:
    "vectors", "text", "table" or "image"."""

    model: Any
    search: np.ndarray
    kind: str


def item_vectors(
    features: Any,
    *,
    encoder: Any = None,
    cache: str | os.PathLike[str] | None = None,
    random_state: int = 0,
    progress: Progress | None = None,
) -> ItemVectors:
    """The matrices of any description of the items.

    features: a numeric matrix (N, D), dense or SciPy sparse (used as vectors); N strings (texts); a data frame or a dict of
        columns (a table); N paths (`pathlib.Path`), open files, or uint8 arrays (H, W[, 3]) (images).
    encoder: what turns texts or images into vectors, an `Encoder` or what `load_encoder` takes; None is the built-in
        descriptor. Then `model` is (N, D) float32.
    cache: folder where the encoder's vectors are kept, by content.

    Raises:
        DataError: nothing of the kind, NaN or infinite values.
        OptionError: an encoder for vectors or tables, or one of the other kind.
    """
    kind = kind_of(features)
    if encoder is not None:
        vectors = _encoded(features, kind, encoder, cache, progress)
        return ItemVectors(vectors, _search(vectors, "image", random_state), kind)
    if kind == "text":
        model: Any = text_vectors(as_list(features))
    elif kind == "image":
        model = image_vectors(features, progress=progress)
    elif kind == "table":
        model = table_vectors(as_columns(features))
    else:
        model = check_features(features, name="features")
    return ItemVectors(model, _search(model, kind, random_state), kind)


def _encoded(features: Any, kind: str, encoder: Any, cache: Any, progress: Progress | None) -> np.ndarray:
    from labelwright.features.encoders import Encoder, encoded, load_encoder

    if kind not in ("text", "image"):
        raise OptionError(
            found=f"encoder {getattr(encoder, 'name', encoder)!r} for {kind if kind == 'vectors' else 'a table'}",
            expected="texts or images to encode; vectors and tables are used as they are",
            fix="leave the encoder out, or name the column of the texts or images",
        )
    found = encoder if isinstance(encoder, Encoder) else load_encoder(encoder, kind=kind)
    return encoded(found, features, cache=cache, progress=progress)


def kind_of(features: Any) -> str:
    """ "vectors", "text", "table" or "image". Raises DataError for what is none of them."""
    if hasattr(features, "tocsr"):
        return "vectors"
    if isinstance(features, np.ndarray):
        if features.ndim == 1 and len(features) and isinstance(features[0], str | None):
            return "text"
        return "image" if features.dtype == np.uint8 and features.ndim in (3, 4) else "vectors"
    if isinstance(features, Mapping) or _is_frame(features):
        return "table"
    first = next((v for v in as_list(features) if v is not None), None)
    if isinstance(first, str):
        return "text"
    if isinstance(first, Path) or hasattr(first, "read") or (isinstance(first, np.ndarray) and first.dtype == np.uint8):
        return "image"
    raise DataError(
        found=f"features of type {type(features).__name__}, entries {type(first).__name__}",
        expected="a numeric matrix, texts, a data frame, or images (paths as pathlib.Path, or uint8 arrays)",
        fix="wrap a list of vectors with numpy.array; wrap file names with pathlib.Path",
    )


def _is_frame(features: Any) -> bool:
    return hasattr(features, "columns") or hasattr(features, "column_names")


def as_list(features: Any) -> list[Any]:
    """The entries of any column or sequence; [] for what has none."""
    if hasattr(features, "to_pylist"):
        return list(features.to_pylist())
    try:
        return list(features)
    except TypeError:
        return []


DIFFERENT_UNITS = 10.0  # a column that spreads this many times the median column is measured in other units


def _search(model: Any, kind: str, random_state: int) -> np.ndarray:
    """Dense float32 rows whose cosine says how alike two items are.

    Dense rows are centred, since only differences mean something, and divided by the columns' deviations where these are
    in different units. Vectors and tables get one more coordinate, a constant as long as a typical row: with it two rows
    of the same direction but different lengths are no copies, which matters the more the fewer columns there are. Image
    descriptors and the vectors of encoders have no lengths that mean anything. Wide sparse rows keep their first singular
    directions.
    """
    if hasattr(model, "tocsr"):
        return reduced(model, random_state=random_state)
    dense = np.asarray(model, dtype=np.float32)
    dense = dense - dense.mean(0)
    spread = dense.std(0)
    varied = spread[spread > 0]
    if len(varied) and varied.max() > DIFFERENT_UNITS * np.median(varied):
        dense /= np.where(spread > 0, spread, 1)
    if kind == "image":
        return dense
    typical = np.sqrt((dense.astype(np.float64) ** 2).sum(1).mean())
    return np.column_stack([dense, np.full(len(dense), typical, dtype=np.float32)])
