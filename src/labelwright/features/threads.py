"""How many threads the linear algebra may use."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any


def one_blas_thread() -> AbstractContextManager[Any]:
    """A context in which BLAS uses one thread. For many small products only: threads that wait for each other between them
    take up to a hundred times as long on a busy machine, and gain nothing on an idle one."""
    from threadpoolctl import threadpool_limits

    limits: AbstractContextManager[Any] = threadpool_limits(1, user_api="blas")
    return limits
