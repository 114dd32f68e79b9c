"""Items -> float32 matrices without a neural network: texts and table columns, images (from images.py); and the check
every matrix passes. Good enough for a linear model and for neighbours; where an encoder is at hand, its embeddings are
better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, rows
from labelwright.features.images import Progress as Progress
from labelwright.features.images import image_vectors as image_vectors
from labelwright.features.threads import one_blas_thread

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix


def check_features(x: Any, *, name: str = "x") -> Any:
    """`x` as a finite float matrix (N, D): float32 or float64, an array, or CSR when sparse. Copied only if it must be.

    Raises:
        DataError: not a numeric matrix, or rows with NaN or infinite values (their numbers are shown).
    """
    if len(np.shape(x)) == 2 and np.shape(x)[1] == 0:
        raise DataError(
            found=f"`{name}` without any column", expected="at least one feature", fix="pass (N, D) with D > 0"
        )
    if hasattr(x, "tocsr"):
        x = x.tocsr()
        x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
        if not x.has_canonical_format:
            x = x.copy()  # the caller's matrix stays as it is
            x.sum_duplicates()
        bad = np.unique(np.repeat(np.arange(x.shape[0]), np.diff(x.indptr))[~np.isfinite(x.data)])
    else:
        x = np.asarray(x)
        if x.ndim != 2 or x.dtype.kind not in "biuf":
            raise DataError(
                found=f"`{name}` with shape {x.shape} and dtype {x.dtype}",
                expected="a numeric matrix (N items, D features)",
                fix="make one with text_vectors, table_vectors or image_vectors",
            )
        x = x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)
        finite = [np.isfinite(x[s : s + 4096]).all(axis=1) for s in range(0, len(x), 4096)]
        bad = np.flatnonzero(~np.concatenate(finite)) if finite else np.arange(0)
    if len(bad):
        raise DataError(
            found=f"NaN or infinite values in {len(bad)} of {x.shape[0]} rows of `{name}`: {rows(bad)}",
            expected="finite features",
            fix="drop those rows or impute them (table_vectors does)",
        )
    return x


# --- texts ---------------------------------------------------------------------------------------------------------


def text_vectors(texts: Sequence[Any], *, max_features: int = 32_768, char_budget: int = 10_000_000) -> csr_matrix:
    """TF-IDF of words, word pairs and character 3- to 5-grams, as a sparse float32 matrix.

    Hashed, so memory does not grow with the vocabulary, then cut to the n-grams in most texts. Missing texts are rows
    of zeros, the others have length 1 (words and characters weigh the same).

    Args:
        texts: N strings; None and NaN count as empty.
        max_features: most columns, half for words, half for characters.
        char_budget: characters that are cut into n-grams in all. Texts are read up to char_budget / N characters (at
            least 100) for the character n-grams; words are always read in full.

    Returns:
        (N, D) CSR float32, D <= max_features.
    """
    from scipy.sparse import csr_matrix, hstack
    from sklearn.feature_extraction.text import HashingVectorizer

    clean = _clean_texts(texts)
    limit = max(100, char_budget // max(1, len(clean)))
    options = {"alternate_sign": False, "norm": None, "dtype": np.float32, "n_features": 2**18}
    words = HashingVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\b\w+\b", **options)
    chars = HashingVectorizer(analyzer="char_wb", ngram_range=(3, 5), **options)
    if not any(clean):
        return csr_matrix((len(clean), 1), dtype=np.float32)
    blocks = [words.transform(clean), chars.transform(text[:limit] for text in clean)]
    if not any(b.nnz for b in blocks):  # nothing but blanks
        return csr_matrix((len(clean), 1), dtype=np.float32)
    return csr_matrix(_unit_rows(hstack([_tf_idf(b, max_features // 2) for b in blocks if b.nnz], format="csr")))


def dense_text_vectors(texts: Sequence[Any], *, dim: int = 128, random_state: int = 0) -> np.ndarray:
    """Dense text vectors for neighbours: TF-IDF, its first `dim` singular directions, rows of length 1 (empty texts 0).

    Returns:
        (N, min(dim, N, D)) float32.

    Source: latent semantic analysis, Deerwester et al. 1990.
    """
    return np.asarray(_unit_rows(reduced(text_vectors(texts), dim=dim, random_state=random_state)), np.float32)


def reduced(x: Any, *, dim: int = 128, random_state: int = 0) -> np.ndarray:
    """The first `dim` singular directions of sparse rows, (N, min(dim, N, D)) float32; zeros (N, 1) where all is empty."""
    from sklearn.decomposition import TruncatedSVD

    if x.nnz == 0:
        return np.zeros((x.shape[0], 1), np.float32)
    if x.shape[1] == 1:
        return np.asarray(x.toarray(), np.float32)
    with one_blas_thread():
        svd = TruncatedSVD(min(dim, *x.shape), n_iter=2, random_state=random_state)
        return np.asarray(svd.fit_transform(x), np.float32)


def _clean_texts(texts: Sequence[Any]) -> list[str]:
    if isinstance(texts, str):
        raise DataError(found="one string as `texts`", expected="a sequence of strings", fix="pass [text]")
    clean = ["" if t is None or (isinstance(t, float) and t != t) else t for t in texts]
    bad = [i for i, t in enumerate(clean) if not isinstance(t, str)]
    if bad:
        raise DataError(
            found=f"{len(bad)} of {len(clean)} texts that are no strings: {rows(bad)} ({type(clean[bad[0]]).__name__})",
            expected="strings, None for a missing text",
            fix="convert them with str() first",
        )
    return clean


def _tf_idf(counts: Any, max_features: int) -> Any:
    """Counts (N, D) -> weights of the `max_features` columns in most texts (from 1,000 texts on: in at least two)."""
    n = counts.shape[0]
    df = np.bincount(counts.indices, minlength=counts.shape[1])
    keep = np.flatnonzero(df >= (2 if n >= 1000 else 1))
    keep = np.sort(keep[np.argsort(-df[keep], kind="stable")[:max_features]])
    x = counts[:, keep]
    x.data = (1 + np.log(x.data)).astype(np.float32)  # the tenth occurrence says less than the first
    idf = 1 + np.log((1 + n) / (1 + df[keep]))
    x.data *= idf.astype(np.float32)[x.indices]
    return _unit_rows(x)


def _unit_rows(x: Any) -> Any:
    from sklearn.preprocessing import normalize

    return normalize(x, copy=False)


# --- tables --------------------------------------------------------------------------------------------------------


def table_vectors(
    columns: Mapping[str, np.ndarray], *, max_categories: int = 100, min_count: int | None = None
) -> np.ndarray:
    """Columns of a table as one float32 matrix.

    Numbers and dates: standardised, gaps filled with the mean, and a 0/1 column that says where. Everything else: one
    0/1 column per value, gaps are a value too, rare values share a column. Columns that say nothing (all equal) are
    left out.

    Args:
        columns: name -> (N,) array of numbers, bools, strings, datetime64, or objects (None and NaN are gaps).
        max_categories: most values of a column with their own 0/1 column.
        min_count: a value in fewer items is rare; None is max(2, N / 1000).

    Returns:
        (N, D) float32; one column of zeros if no column says anything.

    Raises:
        DataError: columns of different length or more than one dimension, infinite numbers.

    >>> table_vectors({"age": np.array([20.0, np.nan, 40.0]), "town": np.array(["Ulm", "Rom", "Ulm"])}, min_count=1)
    array([[-1.,  0.,  0.],
           [ 0.,  1.,  1.],
           [ 1.,  0.,  0.]], dtype=float32)
    """
    arrays = {name: np.asarray(column) for name, column in columns.items()}
    sizes = {name: a.shape for name, a in arrays.items()}
    if not arrays or len(set(sizes.values())) > 1 or any(len(s) != 1 for s in sizes.values()):
        raise DataError(
            found=f"columns of shapes {sizes}",
            expected="at least one column, all of shape (N,)",
            fix="pass flat columns",
        )
    n = next(iter(sizes.values()))[0]
    parts: list[np.ndarray] = []
    for name, column in arrays.items():
        numbers = _numbers(column)
        if numbers is None:
            parts += _categories(column, max_categories, max(2, n // 1000) if min_count is None else min_count)
        else:
            parts += _standardised(name, numbers)
    informative = [p for p in parts if n and p.min() < p.max()]
    return np.stack(informative, axis=1) if informative else np.zeros((n, 1), np.float32)


def _numbers(column: np.ndarray) -> np.ndarray | None:
    """The column as float64 with NaN for gaps (dates as days since 1970), or None if it holds categories."""
    if column.dtype.kind in "iuf":
        return column.astype(np.float64)
    if column.dtype.kind in "mM":
        unit = "datetime64[us]" if column.dtype.kind == "M" else "timedelta64[us]"
        micros = column.astype(unit)
        return np.where(np.isnat(micros), np.nan, micros.astype(np.int64) / 8.64e10)
    if column.dtype.kind != "O":
        return None
    import datetime
    import decimal

    present = [v for v in column if not _is_gap(v)]
    if present and all(
        isinstance(v, (int, float, np.integer, np.floating, decimal.Decimal)) and not isinstance(v, bool)
        for v in present
    ):
        return np.array([np.nan if _is_gap(v) else float(v) for v in column])
    if present and all(isinstance(v, (datetime.date, np.datetime64)) for v in present):
        zone_free = [
            v.astimezone(datetime.UTC).replace(tzinfo=None) if getattr(v, "tzinfo", None) else v for v in present
        ]
        days = np.full(len(column), np.nan)
        days[[not _is_gap(v) for v in column]] = np.array(zone_free, "datetime64[us]").astype(np.int64) / 8.64e10
        return days
    return None


def _is_gap(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or bool(value != value)  # pandas.NA; NaN, NaT


def _standardised(name: str, numbers: np.ndarray) -> Iterator[np.ndarray]:
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise DataError(
            found=f"infinite values in column {name!r}: {rows(infinite)}",
            expected="finite numbers, NaN for gaps",
            fix="replace them with NaN or a bound",
        )
    gap = np.isnan(numbers)
    if gap.all():
        return
    known = numbers[~gap]
    scale = np.abs(known).max() or 1.0  # first to [-1, 1]: the square of 1e200 is infinite
    known = known / scale
    z = np.zeros(len(numbers), np.float32)
    z[~gap] = (known - known.mean()) / (known.std() or 1.0)
    yield z
    yield gap.astype(np.float32)


def _categories(column: np.ndarray, max_categories: int, min_count: int) -> Iterator[np.ndarray]:
    text = np.array(["\0gap" if _is_gap(v) else str(v) for v in column.tolist()], dtype=object)
    _, code, count = np.unique(text, return_inverse=True, return_counts=True)
    common = np.argsort(-count, kind="stable")
    common = np.sort(common[count[common] >= min_count][:max_categories])
    parts = [code == value for value in common]
    if len(common) < len(count):
        parts.append(~np.isin(code, common))
    for part in parts[:1] if len(parts) == 2 else parts:  # of two columns the second says the same
        yield part.astype(np.float32)
