"""Loops that NumPy cannot fuse, compiled by Numba where it is installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np


def compile_loop(loop: Callable[..., None], example: tuple[Any, ...], **options: Any) -> Callable[..., None] | None:
    """`loop` compiled for arguments such as `example`, with which it is called once; None without Numba.

    The code is kept beside the module where that folder can be written. options: of `numba.njit`.
    """
    try:
        njit = import_module("numba").njit
    except ImportError:
        return None
    try:
        kept: Callable[..., None] = njit(nogil=True, cache=True, **options)(loop)
        kept(*example)
        return kept
    except Exception:  # no folder in which compiled code may be kept, or what lies there is damaged
        unkept: Callable[..., None] = njit(nogil=True, **options)(loop)
        unkept(*example)
        return unkept


def read_only(array: np.ndarray) -> np.ndarray:
    """A view that cannot be written: Numba compiles a second time for arrays that can."""
    view = array.view()
    view.flags.writeable = False
    return view
