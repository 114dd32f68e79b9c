"""With Numba, without it, and where it cannot keep what it compiled."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from labelwright import compiled
from labelwright.auditing import _row_kernel
from labelwright.auditing.fast import confident_core
from labelwright.errors import MissingExtra

eq = np.testing.assert_array_equal


def random_case(seed: int, n: int = 150, k: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-1, k, n), rng.dirichlet(np.full(k, 0.4), n)


@pytest.fixture
def numba_is(monkeypatch):
    """Have another module, or none, in the place of Numba."""

    def put(module):
        def load(name):
            if module is None:
                raise ImportError(name)
            return module

        _row_kernel.compiled.cache_clear()
        monkeypatch.setattr(compiled, "import_module", load)

    yield put
    _row_kernel.compiled.cache_clear()


def test_without_numba_auto_goes_on_and_a_wish_for_it_is_answered(numba_is, monkeypatch):
    numba_is(None)
    monkeypatch.setattr(_row_kernel, "WORTH_COMPILING", 1)
    labels, p = random_case(13)
    assert confident_core(labels, p).is_issue.any()
    with pytest.raises(MissingExtra, match=r"pip install \"labelwright\[fast\]\""):
        confident_core(labels, p, engine="numba")


@pytest.mark.parametrize("stage", ["choosing a folder", "keeping the code"])
def test_where_compiled_code_cannot_be_kept_it_is_made_anew(numba_is, stage):
    made = []

    def njit(nogil, cache=False):
        def compile_(function):
            if cache and stage == "choosing a folder":
                raise RuntimeError("no locator available")

            def call(*arguments):
                if cache:
                    raise PermissionError("read-only file system")
                made.append(len(arguments[0]))
                return function(*arguments)

            return call

        return compile_

    numba_is(SimpleNamespace(njit=njit))
    labels, p = random_case(14)
    eq(confident_core(labels, p, engine="numba").top, confident_core(labels, p, engine="numpy").top)
    assert made == [1, len(p)]


def test_auto_compiles_for_large_arrays_only(numba_is, monkeypatch):
    used = []
    numba_is(SimpleNamespace(njit=lambda **_: lambda f: lambda *a: (used.append(1), f(*a))[1]))
    labels, p = random_case(15)
    confident_core(labels, p)
    assert not used
    monkeypatch.setattr(_row_kernel, "WORTH_COMPILING", p.size)
    confident_core(labels, p)
    assert used
