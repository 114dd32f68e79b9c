"""The columns of one table while it is surveyed: which are still free, and what they hold."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.advising._words import plain

if TYPE_CHECKING:
    import pyarrow as pa

_MAGIC = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"RIFF", b"II*", b"MM\0")


class Free:
    """A table's columns, from which pieces of evidence are taken one after the other."""

    def __init__(self, table: pa.Table):
        self.table = table
        self.names: list[str] = list(table.column_names)
        self.array = cache(self._array)
        self.distinct = cache(self._distinct)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def take(self, names: Iterable[str]) -> None:
        gone = set(names)
        self.names = [n for n in self.names if n not in gone]

    def called(self, words: Iterable[str]) -> list[str]:
        """Free columns whose plain name, or that name without a final "_id", is one of `words`."""
        known = set(words)
        return [n for n in self.names if plain(n) in known or plain(n).removesuffix("_id") in known]

    def _type(self, name: str) -> Any:
        import pyarrow.types as t

        kind = self.table.schema.field(name).type
        return kind.value_type if t.is_dictionary(kind) else kind

    def is_list(self, name: str) -> bool:
        import pyarrow.types as t

        kind = self._type(name)
        return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))

    def is_vector(self, name: str) -> bool:
        """Whether the cells are lists of fractions."""
        import pyarrow.types as t

        return self.is_list(name) and bool(t.is_floating(self._type(name).value_type))

    def is_text(self, name: str) -> bool:
        import pyarrow.types as t

        kind = self._type(name)
        return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))

    def is_number(self, name: str) -> bool:
        import pyarrow.types as t

        kind = self._type(name)
        return bool(t.is_integer(kind) or t.is_floating(kind))

    def is_picture(self, name: str) -> bool:
        """Whether the cells are the bytes of pictures."""
        import pyarrow.types as t

        kind = self._type(name)
        if t.is_struct(kind):
            return {f.name for f in kind} == {"bytes", "path"}
        if not (t.is_binary(kind) or t.is_large_binary(kind)):
            return False
        heads = [v.as_py()[:4] for v in self.table[name].slice(0, 20) if v.is_valid]
        return bool(heads) and all(h.startswith(_MAGIC) for h in heads)

    def _array(self, name: str) -> np.ndarray:
        """Numbers with NaN for missing as float64, all else as objects."""
        column = self.table[name]
        if self.is_number(name):
            return np.asarray(column.to_numpy(), dtype=np.float64)
        out = np.empty(len(column), dtype=object)
        out[:] = column.to_pylist()
        return out

    def _distinct(self, name: str) -> int:
        import pyarrow.compute as pc

        column = self.table[name]
        if self.is_list(name):
            column = pc.list_flatten(column)
        return len(pc.unique(column).drop_null())

    def whole(self, name: str) -> bool:
        """Whether every number that is there is whole."""
        if not self.is_number(name):
            return False
        values = self.array(name)
        known = values[~np.isnan(values)]
        return bool(len(known)) and bool((known == np.round(known)).all())

    def inner_is_text(self, name: str) -> bool:
        import pyarrow.types as t

        return self.is_list(name) and bool(t.is_string(self._type(name).value_type))

    def lengths(self, name: str) -> np.ndarray:
        """(N,) entries of each list, 0 where missing."""
        import pyarrow.compute as pc

        return pc.fill_null(pc.list_value_length(self.table[name]), 0).to_numpy().astype(np.int64)

    def flat(self, name: str) -> list[Any]:
        """The entries of all lists, one after the other."""
        import pyarrow.compute as pc

        return list(pc.list_flatten(self.table[name]).to_pylist())

    def numbered(self, prefixes: Iterable[str]) -> list[list[str]]:
        """Groups of two or more free number or text columns: a known prefix and a number, or a known prefix, "_" and a word."""
        known, groups = set(prefixes), dict[str, list[tuple[int, str]]]()
        for name in self.names:
            if self.is_list(name) or not (self.is_number(name) or self.is_text(name)):
                continue
            match = re.fullmatch(r"(.*?)_?(\d{1,4})", plain(name))
            if match and match[1] in known:
                groups.setdefault(match[1], []).append((int(match[2]), name))
            elif "_" in plain(name) and plain(name).split("_")[0] in known:
                groups.setdefault(plain(name).split("_")[0] + "_", []).append((0, name))
        return [[n for _, n in sorted(g, key=lambda m: m[0])] for g in groups.values() if len(g) > 1]
