"""Dense rows by NumPy, by the loops as Python runs them, and by the loops compiled: the same bits."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright import compiled
from labelwright.errors import DataError, MissingExtra, OptionError
from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace
from labelwright.store import _soft_kernel
from labelwright.store._soft_kernel import fill_all, fill_top
from labelwright.store._soft_spread import Tail
from labelwright.store.soft_labels import open_soft_labels, write_soft_labels


def teacher(n: int, k: int, seed: int = 0) -> np.ndarray:
    p = np.random.default_rng(seed).dirichlet(np.full(k, 0.3), n)
    return p.astype(np.float32)


@pytest.fixture(params=["loop", "numba"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The loop as Python runs it, which needs no Numba; and the loop compiled."""
    if request.param == "numba":
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(_soft_kernel, "compiled", lambda loop, kind: loop)
    return "numba"


def same_bits(path: Path, engine: str, rows: Any = slice(None)) -> np.ndarray:
    plain, fast = open_soft_labels(path, engine="numpy"), open_soft_labels(path, engine=engine)
    expected, found = plain.dense(rows), fast.dense(rows)
    assert fast._records._loop is not None and plain._records._loop is None
    np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32))
    return found


@pytest.mark.parametrize("tail", ["even", "shared", "class"])
@pytest.mark.parametrize(("n_classes", "k"), [(2, 1), (12, 4), (12, 11), (300, 40)])
def test_top_k_records(tmp_path: Path, engine: str, tail: str, n_classes: int, k: int) -> None:
    p = teacher(40, n_classes)
    path = write_soft_labels(tmp_path / "a", p, k=k, tail=tail)
    np.testing.assert_allclose(same_bits(path, engine).sum(1), 1, atol=1e-5)
    same_bits(path, engine, [39, 0, 0, -1])
    same_bits(path, engine, slice(30, 2, -3))
    same_bits(path, engine, np.arange(40)[::-2])
    assert same_bits(path, engine, []).shape == (0, n_classes)


@pytest.mark.parametrize("precision", ["uint8", "uint16"])
def test_dense_records(tmp_path: Path, engine: str, precision: str) -> None:
    p = teacher(30, 70).astype(np.float64)
    p[3] = np.nan
    soft = SoftLabels.from_dense(p)
    out = same_bits(write_soft_labels(tmp_path / "a", soft, k=None, precision=precision), engine)
    assert (out[3] == np.float32(1 / 70)).all()
    exact = np.delete(np.arange(30), 3)
    np.testing.assert_allclose(out[exact], p[exact], atol=0.01 if precision == "uint8" else 1e-4)


@pytest.mark.parametrize("tail", [None, [1, 2, 3, 4, 0]])
def test_rows_out_of_the_ordinary(tmp_path: Path, engine: str, tail: list[float] | None) -> None:
    soft = SoftLabels.from_topk(
        [[3, -1, -1], [2, 0, 4], [-1, -1, -1], [0, 1, 2], [3, 2, 1]],
        [[0.6, 0, 0], [1, 0, 0], [0, 0, 0], [0.5, 0.2, 0.1], [0.4, 0.3, 0.2]],
        LabelSpace(range(5)),
        tail=tail,
    )  # a short row, zeros, no evidence, an ordinary row, a row that leaves little of the tail
    out = same_bits(write_soft_labels(tmp_path / "a", soft, k=3), engine, [4, 3, 2, 1, 0, -1])
    np.testing.assert_allclose(out[:5], soft.dense()[::-1], atol=0.003)


def test_a_thin_tail_is_spread_in_float64(tmp_path: Path, engine: str) -> None:
    soft = SoftLabels.from_topk([[0, 1], [2, 3]], [[0.5, 0.3], [0.5, 0.3]], LabelSpace(range(4)), tail=[1, 1, 1e-5, 0])
    out = same_bits(write_soft_labels(tmp_path / "a", soft, k=2), engine)
    np.testing.assert_allclose(out, [[0.5, 0.3, 0.2, 0], [0.1, 0.1, 0.5, 0.3]], atol=0.003)


def test_what_is_refused_by_one_is_refused_by_the_other(tmp_path: Path, engine: str) -> None:
    path = write_soft_labels(tmp_path / "a", teacher(3, 10), k=2)
    file = open_soft_labels(path, engine=engine)
    for rows in ([3], [0, -4], [2**62]):
        with pytest.raises(IndexError, match="out of bounds"):
            file.dense(rows)
    with pytest.raises(IndexError, match="whole numbers"):
        file.dense([0.5])
    with pytest.raises(TypeError):
        file.dense(np.array([2**64 - 1], dtype=np.uint64))
    raw = bytearray(path.read_bytes())
    raw[64] = 200
    path.write_bytes(raw)
    with pytest.raises(DataError, match="names class 200 of 10"):
        open_soft_labels(path, engine=engine).dense([0, 1])


def test_a_class_tail_with_empty_places_is_not_used(tmp_path: Path, engine: str) -> None:
    path = write_soft_labels(tmp_path / "a", teacher(9, 4), k=2, tail="class")
    raw = bytearray(path.read_bytes())
    raw[open_soft_labels(path).head["sections"]["tail"][0] + 5] = 0
    path.write_bytes(raw)
    for each in ("numpy", engine):
        with pytest.raises(DataError, match="empty places.*copy it again"):
            open_soft_labels(path, engine=each).dense()


@given(st.integers(0, 2**31), st.integers(2, 9), st.sampled_from(["even", "shared", "class"]))
def test_fill_top_against_a_naive_loop_in_float64(seed: int, n_classes: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    k, n = int(rng.integers(1, n_classes)), 4
    index = rng.random((n, n_classes)).argsort(1)[:, :k]
    codes = rng.integers(1, 256, (n, k + 1))
    raw = np.column_stack([index, codes]).astype(np.uint8)
    shapes = {"even": np.ones(n_classes), "shared": rng.random(n_classes) + 0.01}.get(kind)
    tail = Tail.of(rng.integers(1, 64517, (n_classes, n_classes)) if shapes is None else shapes)
    rows = rng.integers(-n, n, 6)
    out, left = np.empty((6, n_classes), np.float32), np.zeros(6, bool)
    fill_top(raw, rows, k, 1, tail.table, False, tail.total, out, left)
    for i, r in enumerate(rows):
        value = (codes[r] - 1.0) ** 2
        if value.sum() == 0:
            assert left[i]
            continue
        value /= value.sum()
        shape = tail.table[index[r, 0] if kind == "class" else 0].astype(float)
        free = sum(shape[c] for c in range(n_classes) if c not in index[r])
        if left[i]:
            assert free <= 1.001e-3 * shape.sum()
            continue
        for c in range(n_classes):
            listed = np.flatnonzero(index[r] == c)
            expected = value[listed[0]] if len(listed) else value[k] * shape[c] / free
            assert out[i, c] == pytest.approx(expected, abs=1e-6)


@given(st.integers(0, 2**31), st.sampled_from([np.uint8, np.uint16]))
def test_fill_all_against_a_naive_loop_in_float64(seed: int, dtype: type) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, np.iinfo(dtype).max, (3, 7), endpoint=True).astype(dtype)
    codes[1] = rng.integers(0, 2, 7)  # no evidence, or only zeros
    out, left = np.empty((3, 7), np.float32), np.zeros(3, bool)
    fill_all(codes, np.arange(3)[::-1], dtype(1), out, left)
    assert left.tolist() == [False, True, False]
    value = np.maximum(codes[[2, 0]].astype(float) - 1, 0) ** 2
    np.testing.assert_allclose(out[[0, 2]], value / value.sum(1, keepdims=True), atol=1e-6)


# -- Numba: there, not there, without a folder ---------------------------------------------------------------------
@pytest.fixture
def numba_is(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Have another module, or none, in the place of Numba."""

    def put(module: Any) -> None:
        def load(name: str) -> Any:
            if module is None:
                raise ImportError(name)
            return module

        _soft_kernel.compiled.cache_clear()
        monkeypatch.setattr(compiled, "import_module", load)

    yield put
    _soft_kernel.compiled.cache_clear()


def test_without_numba_auto_goes_on_and_a_wish_for_it_is_answered(tmp_path: Path, numba_is: Any, monkeypatch) -> None:
    numba_is(None)
    monkeypatch.setattr(_soft_kernel, "WORTH_COMPILING", 1)
    path = write_soft_labels(tmp_path / "a", teacher(3, 4), k=2)
    assert open_soft_labels(path).dense().shape == (3, 4)
    with pytest.raises(MissingExtra, match=r"pip install \"labelwright\[fast\]\""):
        open_soft_labels(path, engine="numba").dense()
    with pytest.raises(OptionError, match="did you mean 'numba'"):
        open_soft_labels(path, engine="number")


def test_auto_compiles_for_large_files_only_and_workers_ask_for_the_same(tmp_path: Path, numba_is: Any, monkeypatch):
    used = []
    numba_is(SimpleNamespace(njit=lambda **_: lambda f: lambda *a: (used.append(f.__name__), f(*a))[1]))
    path = write_soft_labels(tmp_path / "a", teacher(3, 4), k=2)
    open_soft_labels(path).dense()
    assert not used
    assert pickle.loads(pickle.dumps(open_soft_labels(path, engine="numba"))).engine == "numba"  # noqa: S301
    monkeypatch.setattr(_soft_kernel, "WORTH_COMPILING", 12)
    open_soft_labels(path).dense()
    assert used == ["fill_top", "fill_top"]  # once to compile
    open_soft_labels(write_soft_labels(tmp_path / "b", teacher(3, 4), k=2, precision="float32")).dense()
    assert len(used) == 2  # NumPy reads floats


@pytest.mark.parametrize("stage", ["choosing a folder", "keeping the code"])
def test_where_compiled_code_cannot_be_kept_it_is_made_anew(tmp_path: Path, numba_is: Any, stage: str) -> None:
    made = []

    def njit(nogil: bool, error_model: str, cache: bool = False) -> Any:
        def compile_(function: Any) -> Any:
            if cache and stage == "choosing a folder":
                raise RuntimeError("no locator available")

            def call(*arguments: Any) -> Any:
                if cache:
                    raise PermissionError("read-only file system")
                made.append(len(arguments[1]))
                return function(*arguments)

            return call

        return compile_

    numba_is(SimpleNamespace(njit=njit))
    same_bits(write_soft_labels(tmp_path / "a", teacher(9, 4), k=2), "numba")
    assert made == [1, 9]
