"""Files of labels: JSON read and written strictly, new files and folders that are there whole or not at all."""

from __future__ import annotations

import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from labelwright.errors import DataError
from labelwright.store._atomic import new_name, sync, sync_folder
from labelwright.store._kinds import existing, parsing

NEVER = "files of labels are never overwritten"


def load_json(path: str | os.PathLike[str]) -> Any:
    """The JSON value in a file; NaN, infinite numbers, a key twice and nesting of thousands of levels are refused."""
    found = existing(path)
    if not found.is_file():
        raise DataError(found=f"the folder {found}", expected="a JSON file", fix="pass the file in it")
    with parsing(found, "strict JSON (no NaN, no key twice)"):
        return loads(found.read_bytes())


def load_jsonl(path: str | os.PathLike[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of each line that is not blank."""
    found = existing(path)
    with parsing(found, "a file"):
        data = found.read_bytes()
    for number, line in enumerate(io.BytesIO(data.removeprefix(b"\xef\xbb\xbf")), 1):
        if line.strip():
            with parsing(found, f"one strict JSON object per line (line {number})"):
                record = loads(line)
                if not isinstance(record, dict):
                    raise ValueError(f"a {type(record).__name__}")
            yield number, record


def loads(data: bytes) -> Any:
    return _DECODER.decode(data.decode("utf-8-sig"))


def dumps(content: Any) -> bytes:
    """Strict JSON: UTF-8, no NaN."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False).encode()


def new_file(path: str | os.PathLike[str], data: bytes) -> Path:
    """A file with `data` at `path`, where nothing may be."""

    def fill(temp: Path) -> None:
        with temp.open("xb") as f:
            f.write(data)
            sync(f)

    return new_by(path, fill)


def new_folder(path: str | os.PathLike[str], files: dict[str, bytes]) -> Path:
    """A folder with `files` (by relative name) at `path`, where nothing may be."""

    def fill(temp: Path) -> None:
        temp.mkdir()
        for name, data in files.items():
            (temp / name).parent.mkdir(parents=True, exist_ok=True)
            with (temp / name).open("xb") as f:
                f.write(data)
                sync(f)

    return new_by(path, fill)


def new_by(path: str | os.PathLike[str], fill: Callable[[Path], None]) -> Path:
    """What `fill` makes under a hidden name, at `path`; nothing is left behind when it fails.

    Raises:
        DataError: something is at `path`, or nothing can be made there.
    """
    target = Path(path)
    if os.path.lexists(target):
        raise _taken(target)
    temp = target.parent / new_name()
    try:
        fill(temp)
        _name(temp, target)
        sync_folder(target.parent)
    except OSError as err:
        raise DataError(
            found=f"that {target} cannot be made ({err.strerror or err})",
            expected="a folder in which you may write, with room left",
            fix=f"make the folder {target.parent}, and see that you may write there; nothing was written",
        ) from err
    finally:
        if temp.is_dir():
            shutil.rmtree(temp, ignore_errors=True)
        else:
            temp.unlink(missing_ok=True)
    return target


def safe_name(name: Any, where: str) -> str:
    """`name` if it is a relative path that stays in its folder, or a URL; nothing is opened here in any case.

    Raises:
        DataError: it is no text, absolute, or leads out through "..".
    """
    ok = isinstance(name, str) and name != "" and "\0" not in name
    steps = name.replace("\\", "/").split("/") if ok else []
    if not ok or steps[0] == "" or ".." in steps or (len(steps[0]) == 2 and steps[0][1] == ":"):
        raise DataError(
            found=f"the file name {name!r:.100} in {where}",
            expected="a name inside the folder of the data",
            fix="do not use this file before you know who wrote it: the name leads out of its folder",
        )
    return str(name)


def number(value: Any, where: str) -> float:
    """A finite number.

    Raises:
        DataError: something else, or one too large for a float.
    """
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value)
    except OverflowError:
        pass
    raise DataError(found=f"{value!r:.60} in {where}", expected="a finite number", fix="mend this number in the file")


def need(record: Any, name: str, kind: Any, where: str) -> Any:
    """`record[name]`, which is of type `kind`.

    Raises:
        DataError: `record` is no object, has no such key, or something of another type there.
    """
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        wanted = getattr(kind, "__name__", None) or " or ".join(k.__name__ for k in kind.__args__)
        raise DataError(
            found=f"{where} with {name!r} = {value!r:.60}" if isinstance(record, dict) else f"{where}: {record!r:.60}",
            expected=f"an object in which {name!r} is a {wanted}",
            fix="mend this entry, or export the file again from the tool that made it",
        )
    return value


def _name(temp: Path, target: Path) -> None:
    try:
        if temp.is_dir():
            if os.path.lexists(target):  # a rename would take the place of an empty folder
                raise _taken(target)
            os.rename(temp, target)
        else:
            os.link(temp, target)  # unlike a rename, never replaces what another process put there meanwhile
    except FileExistsError:
        raise _taken(target) from None
    except OSError:
        if os.path.lexists(target):
            raise _taken(target) from None
        os.rename(temp, target)  # a disk without links


def _taken(path: Path) -> DataError:
    return DataError(found=f"something at {path} already", expected=f"a new name: {NEVER}", fix="choose another path")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice[:40]!r} stands twice in one object")
    return record


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_finite, parse_constant=_constant)
