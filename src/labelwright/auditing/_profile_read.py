"""Any table as Arrow columns, the type of each, and the arrays that stand for it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from labelwright.errors import DataError
from labelwright.labels import as_arrow

if TYPE_CHECKING:
    import pyarrow as pa

NUMBERS = 0.8  # share of the cells that must be numbers for a text column to be one of numbers with text in it
_LOOK = 2000  # distinct values looked at when guessing
_MOST_BYTES = 256 << 20  # of images that are compared with each other
_NONE = {"", "na", "n/a", "nan", "null", "?"}  # missing in any column
_NO_NUMBER = _NONE | {"none", "missing", "-", ".", "unknown", "<na>"}  # missing where numbers are expected
_IMAGE = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")
_ID = re.compile(r"(?:^|[_\W])(?:id|ids|uuid|guid|key|index|idx|rowid)$|[a-z]I[dD]$", re.I)
_CODE = re.compile(r"(?:^|[_\W])(?:zip|zipcode|zip_code|postcode|postal|plz|fips|phone|code)(?:$|[_\W])", re.I)
_DAY = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?)?Z?$")
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(?:,\d{3})+(?:\.\d+)?$")
_MAGIC = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"BM": "bmp", b"II*\0": "tiff", b"MM\0*": "tiff"}


class Guess(NamedTuple):
    """type, and the order of the values where the column itself says one."""

    type: str
    order: list[str] | None = None


class Encoded(NamedTuple):
    """The arrays of `Column`; None where the type has none."""

    values: np.ndarray | None = None
    codes: np.ndarray | None = None
    names: Sequence[str] = ()
    unparsed: np.ndarray | None = None
    detail: dict[str, Any] | None = None


# ------------------------------------------------------------------------------------------------------- the table
def read_table(table: Any) -> pa.Table:
    """Arrow columns of any data frame; columns of mixed kinds become text.

    Raises:
        DataError: no rows, no columns, two columns of one name, or text with half characters.
    """
    import pyarrow as pa

    try:
        arrow = as_arrow(table)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError):
        arrow = pa.table(_one_by_one(table))
    except UnicodeError as error:
        raise DataError(
            found=f"text that has no UTF-8 form ({error})",
            expected="readable text",
            fix="read the file with the encoding it was written in",
        ) from None
    twice = sorted(name for name, n in Counter(arrow.column_names).items() if n > 1)
    if twice:
        raise DataError(
            found=f"two columns named {twice[0]!r}", expected="distinct column names", fix="rename one of them"
        )
    if not arrow.num_columns or not arrow.num_rows:
        raise DataError(
            found=f"a table of {arrow.num_rows} rows and {arrow.num_columns} columns",
            expected="at least one row and one column",
            fix="pass the table that holds the data",
        )
    return arrow


def _one_by_one(table: Any) -> dict[str, Any]:
    """Columns by name, each converted for itself."""
    if isinstance(table, Mapping):
        return {str(name): _mixed(values) for name, values in table.items()}
    import narwhals.stable.v1 as nw

    return {str(s.name): _mixed(s) for s in nw.from_native(table, eager_only=True).iter_columns()}


def _mixed(values: Any) -> pa.Array:
    """One column as Arrow has it; as text, or as lists with None for what is none, where it is of mixed kinds."""
    import pyarrow as pa

    wrong = (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError)
    try:
        return values.to_arrow() if hasattr(values, "to_arrow") else pa.array(values)
    except wrong:
        cells = [v.tolist() if isinstance(v, np.ndarray) else v for v in values]
    if any(isinstance(v, list) for v in cells):
        try:
            return pa.array([v if isinstance(v, list) else None for v in cells])
        except wrong:
            return pa.array([str(v) for v in cells], pa.string())
    return pa.array([None if v is None or v != v else str(v) for v in cells], pa.string())


# ------------------------------------------------------------------------------------------------------- the type
def infer(name: str, data: pa.ChunkedArray) -> Guess:
    """The type of a column from its name, its Arrow type and its values."""
    import pyarrow as pa

    kind, t = data.type, pa.types
    if t.is_dictionary(kind):
        plain = data.combine_chunks()
        first = plain.chunk(0) if isinstance(plain, pa.ChunkedArray) else plain
        if kind.ordered:
            return Guess("ordinal", [str(v) for v in first.dictionary.to_pylist()])
        kind, data = kind.value_type, data.cast(kind.value_type)
    if t.is_boolean(kind):
        return Guess("nominal")
    if t.is_integer(kind):
        return Guess(_whole(name, data))
    if t.is_floating(kind) or t.is_decimal(kind):
        values = _floats(data)
        known = values[np.isfinite(values)]
        return Guess(_whole(name, data) if len(known) and (known == np.round(known)).all() else "continuous")
    if t.is_date(kind) or t.is_timestamp(kind):
        return Guess("date")
    if t.is_string(kind) or t.is_large_string(kind) or str(kind) == "string_view":
        return Guess(_words(name, data))
    if t.is_binary(kind) or t.is_large_binary(kind):
        return Guess("image" if _format(next((v.as_py() for v in data if v.is_valid), b"")) else "other")
    if t.is_struct(kind) and {f.name for f in kind} == {"bytes", "path"}:
        return Guess("image")
    if t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind):
        inner = kind.value_type
        return Guess("vector" if t.is_floating(inner) or t.is_integer(inner) else "other")
    return Guess("other")


def _whole(name: str, data: pa.ChunkedArray) -> str:
    values = _floats(data)
    known = values[~np.isnan(values)]
    unique = len(np.unique(known))
    if unique <= 2 or _CODE.search(name):
        return "nominal"
    if unique == len(known) and len(known) >= 20 and (_ID.search(name) or (np.diff(known) == 1).all()):
        return "identifier"
    return "nominal" if _ID.search(name) else "discrete"


def _words(name: str, data: pa.ChunkedArray) -> str:
    codes, distinct = _distinct(data)
    look = [v for v in distinct.slice(0, _LOOK).to_pylist() if v.strip().lower() not in _NONE]
    n, unique = int((codes >= 0).sum()), len(distinct)
    if not look:
        return "nominal"
    if sum(v.lower().endswith(_IMAGE) for v in look) >= 0.95 * len(look):
        return "image"
    if sum(_DAY.match(v.strip()) is not None for v in look) >= 0.95 * len(look):
        return "date"
    padded = any(re.match(r"0\d", v.strip()) for v in look)  # leading zeros: codes, not numbers
    if not padded and not _CODE.search(name) and sum(_number(v) is not None for v in look) >= 0.4 * len(look):
        numbers = [_number(v) for v in distinct.to_pylist()]
        if np.array([x is not None for x in numbers])[codes[codes >= 0]].mean() >= NUMBERS:
            finite = [x for x in numbers if x is not None and np.isfinite(x)]
            return "discrete" if all(x == round(x) for x in finite) else "continuous"
    words = float(np.mean([len(v.split()) for v in look]))
    if words >= 4 and unique >= 0.3 * n and unique > 10:
        return "text"
    return "identifier" if unique >= 0.95 * n and n >= 20 else "nominal"


def _number(text: str) -> float | None:
    """The number a cell holds, NaN where it says that there is none, None where it is no number."""
    text = text.strip()
    if text.lower() in _NO_NUMBER:
        return float("nan")
    try:
        return float(text.replace(",", "") if _THOUSANDS.match(text) else text) if "_" not in text else None
    except ValueError:
        return None


def _format(head: bytes) -> str:
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


# ------------------------------------------------------------------------------------------------------- the arrays
def _distinct(data: pa.ChunkedArray) -> tuple[np.ndarray, pa.Array]:
    """(codes, -1 = missing; distinct values in the order of their first row)."""
    import pyarrow as pa

    if pa.types.is_dictionary(data.type):
        data = data.cast(data.type.value_type)
    plain = data.combine_chunks()
    plain = plain.chunk(0) if isinstance(plain, pa.ChunkedArray) else plain
    encoded = plain.dictionary_encode()
    return encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64), encoded.dictionary


def _dictionary(data: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """The same, the values spelled out."""
    codes, values = _distinct(data)
    return codes, [_spelled(v) for v in values.to_pylist()]


def _spelled(value: Any) -> str:
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def _floats(data: pa.ChunkedArray) -> np.ndarray:
    import pyarrow as pa

    return data.cast(pa.float64(), safe=False).to_numpy().astype(np.float64, copy=True)


def _encode_numbers(data: pa.ChunkedArray, order: Sequence[str] | None) -> Encoded:
    import pyarrow as pa

    kind = data.type.value_type if pa.types.is_dictionary(data.type) else data.type
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        values = _floats(data.cast(kind))
        return Encoded(np.where(np.isfinite(values), values, np.nan))
    codes, names = _dictionary(data)
    if pa.types.is_boolean(kind):
        names = [str(int(n == "True")) for n in names]
    parsed = [_number(v) for v in names]
    table = np.array([np.nan if x is None or not np.isfinite(x) else x for x in parsed] + [np.nan])
    bad = np.array([x is None for x in parsed] + [False])
    return Encoded(table[codes], unparsed=bad[codes])


def _encode_dates(data: pa.ChunkedArray, order: Sequence[str] | None) -> Encoded:
    import pyarrow as pa

    if pa.types.is_date(data.type) or pa.types.is_timestamp(data.type):
        stamps = data.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
        return Encoded(_floats(stamps) / 86400.0)
    codes, names = _dictionary(data)
    text = [v.strip().rstrip("Z") for v in names]
    fits = [bool(_DAY.match(v)) for v in text]
    table = np.full(len(text) + 1, np.nan)
    for i, (value, ok) in enumerate(zip(text, fits)):
        if ok:
            try:
                table[i] = np.datetime64(value.replace(" ", "T"), "s").astype(np.int64) / 86400.0
            except ValueError:
                continue
    bad = np.array([np.isnan(x) and v.lower() not in _NO_NUMBER for x, v in zip(table, text)] + [False])
    return Encoded(table[codes], unparsed=bad[codes])


def _encode_names(data: pa.ChunkedArray, order: Sequence[str] | None) -> Encoded:
    """Codes of distinct values, sorted (numbers as numbers) or in the given order; other values then count as missing."""
    codes, names = _dictionary(data)
    missing = np.array([v.strip().lower() in _NONE for v in names] + [True])
    if order is None:
        keep = [i for i in range(len(names)) if not missing[i]]
        numbers = [_number(names[i]) for i in keep]
        if all(x is not None and not np.isnan(x) for x in numbers):
            keep = [i for _, i in sorted(zip(numbers, keep))]
        else:
            keep = sorted(keep, key=lambda i: names[i])
        final = [names[i] for i in keep]
    else:
        final = list(order)
        place = {name: i for i, name in enumerate(names)}
        keep = [place.get(name, -1) for name in final]
    table = np.full(len(names) + 1, -1, dtype=np.int64)
    for new, old in enumerate(keep):
        if old >= 0:
            table[old] = new
    return Encoded(codes=table[codes], names=final)


def _encode_ordinal(data: pa.ChunkedArray, order: Sequence[str] | None) -> Encoded:
    encoded = _encode_names(data, order)
    assert encoded.codes is not None
    return encoded._replace(values=np.where(encoded.codes < 0, np.nan, encoded.codes.astype(np.float64)))


def _encode_text(data: pa.ChunkedArray, order: Sequence[str] | None) -> Encoded:
    """Codes without names: the texts themselves are never told."""
    import pyarrow as pa
    import pyarrow.compute as pc

    codes, values = _distinct(data)
    values = (
        values if pa.types.is_string(values.type) else pa.array([_spelled(v) for v in values.to_pylist()], pa.string())
    )
    empty = pc.equal(pc.utf8_trim_whitespace(values), "").to_numpy(zero_copy_only=False).astype(bool)
    known = np.where(np.append(empty, True)[codes], -1, codes)
    rows = known[known >= 0]
    if not len(rows):
        return Encoded(codes=known)
    characters = pc.utf8_length(values).to_numpy()[rows]
    look = np.unique(rows)[:_LOOK]
    words = [len(v.split()) for v in values.take(pa.array(look)).to_pylist()]
    detail = {"median_characters": float(np.median(characters)), "median_words": float(np.median(words))}
    return Encoded(codes=known, detail=detail)


def _encode_other(data: pa.ChunkedArray, order: Sequence[str] | None) -> Encoded:
    null = data.is_null().to_numpy()
    return Encoded(codes=np.where(null, -1, 0), detail={"arrow_type": str(data.type)[:60]})


def _encode_image(data: pa.ChunkedArray, order: Sequence[str] | None) -> Encoded:
    """Sizes and formats; pixels are never decoded. Equal files get equal codes, unless there are too many bytes to compare."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_struct(data.type):
        inside = pc.struct_field(data, "bytes")
        data = inside if inside.null_count < len(inside) else pc.struct_field(data, "path")
    small = data.nbytes <= _MOST_BYTES
    codes = _distinct(data)[0] if small else np.where(data.is_null().to_numpy(), -1, 0)
    heads = [v.as_py() for v in data.slice(0, 200) if v.is_valid]
    if any(isinstance(v, str) for v in heads):
        return Encoded(
            codes=codes, detail={"stored": "file names", "formats": _tally(v.rsplit(".")[-1] for v in heads)}
        )
    sizes = pc.binary_length(data).drop_null().to_numpy()
    detail: dict[str, Any] = {"stored": "bytes", "formats": _tally(_format(v) or "unknown" for v in heads)}
    if len(sizes):
        detail |= {"median_bytes": float(np.median(sizes))}
    return Encoded(codes=codes, detail=detail)


def _tally(formats: Any) -> list[str]:
    return sorted({str(f).lower()[:10] for f in formats})


def _encode_vector(data: pa.ChunkedArray, order: Sequence[str] | None) -> Encoded:
    import pyarrow.compute as pc

    codes = np.where(data.is_null().to_numpy(), -1, 0)
    lengths = pc.list_value_length(data).drop_null().to_numpy()
    numbers = _floats(pc.list_flatten(data))
    detail: dict[str, Any] = {}
    if len(lengths) and lengths.sum():
        row, bad = np.repeat(np.arange(len(lengths)), lengths), ~np.isfinite(numbers)
        place = np.arange(len(numbers)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        filled = np.where(bad, 0.0, numbers)
        key = np.bincount(row, filled * np.random.default_rng(0).random(int(lengths.max()))[place], len(lengths))
        codes[codes == 0] = np.unique(key, return_inverse=True)[1]  # equal vectors have equal random projections
        norms = np.sqrt(np.bincount(row, filled**2, len(lengths)))
        detail = {"lengths": sorted(set(lengths.tolist()))[:5], "median_norm": float(np.median(norms))}
        detail |= {"zero_vectors": int((norms == 0).sum()), "numbers_missing": int(bad.sum())}
    return Encoded(codes=codes, detail=detail)


ENCODERS: Mapping[str, Callable[[Any, Sequence[str] | None], Encoded]] = {
    "continuous": _encode_numbers,
    "discrete": _encode_numbers,
    "date": _encode_dates,
    "ordinal": _encode_ordinal,
    "nominal": _encode_names,
    "identifier": _encode_text,
    "text": _encode_text,
    "image": _encode_image,
    "vector": _encode_vector,
    "other": _encode_other,
}
