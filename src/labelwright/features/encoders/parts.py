"""What the kinds of encoders share: the shape of a model, optional packages, JSON files, and hashes of files."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from labelwright.errors import DataError, MissingExtra

SCHEME = "1"  # changes when our own pooling or preparation changes, so that old cached vectors are not taken for new


class Model(Protocol):
    """A loaded network. `batch_size`: what suits it."""

    batch_size: int

    def prepare(self, items: list[Any], rows: np.ndarray) -> Sequence[Any]:
        """Tokens (sequences of ids) or pixels, one per item; `rows` are the items' numbers, for error messages."""

    def forward(self, ready: list[Any]) -> np.ndarray:
        """(B, D) float32 of one batch of prepared items."""


def require(module: str, extra: str, purpose: str) -> Any:
    """The imported module. Raises MissingExtra where it is not installed."""
    check_installed([module], extra, purpose)
    return importlib.import_module(module)


def check_installed(modules: Iterable[str], extra: str, purpose: str) -> None:
    """Raise `MissingExtra` unless all these can be imported; nothing is imported to find out."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingExtra(
            found=f"no package {missing[0]!r}, which {purpose} needs",
            expected=f"the extra {extra!r}",
            fix=f'pip install "labelwright[{extra}]"',
        )


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file, {} where there is no file."""
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(path, str(error)) from error
    if not isinstance(found, dict):
        raise damaged(path, f"a {type(found).__name__} instead of an object")
    return found


def damaged(path: Path, reason: str) -> DataError:
    """The error for a model file that cannot be used."""
    return DataError(
        found=f"{path}, which cannot be used as an encoder ({reason})",
        expected="a folder or file as its library saved it",
        fix="save or download the model again, or choose another encoder",
    )


def fingerprint(settings: Any, files: Iterable[Path]) -> str:
    """32 hexadecimal digits that change with the settings, with our own scheme, and with any byte of the files."""
    total = hashlib.blake2b(f"{SCHEME} {settings!r}".encode(), digest_size=16)
    for path in sorted(set(files)):
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "blake2b").digest())
    return total.hexdigest()


def unit_rows(x: np.ndarray) -> np.ndarray:
    """Rows of length 1; rows of zeros stay."""
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return np.asarray(x / np.where(length > 0, length, 1), np.float32)


def compute_threads() -> int:
    """How many threads linear algebra may use now: torch's setting where torch is loaded, else that of BLAS."""
    import sys

    if "torch" in sys.modules:
        return int(sys.modules["torch"].get_num_threads())
    from threadpoolctl import threadpool_info

    return max((pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"), default=1)
