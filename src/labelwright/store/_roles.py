"""What can be told about a column from its type, its name and its values; measured once, on demand."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import rows
from labelwright.store._kinds import IMAGE_SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLE = 10_000  # rows looked at where a part tells as much as the whole


class Facts:
    """Questions about the columns of one table. Answers are kept, since the same column is asked for several roles."""

    def __init__(self, table: pa.Table):
        self.table = table
        self.n_distinct = cache(self._n_distinct)
        self.is_image = cache(self._is_image)
        self.mean_length = cache(self._mean_length)

    def _value_type(self, name: str) -> Any:
        import pyarrow.types as t

        kind = self.table.schema.field(name).type
        return kind.value_type if t.is_dictionary(kind) else kind

    def is_string(self, name: str) -> bool:
        import pyarrow.types as t

        kind = self._value_type(name)
        return bool(t.is_string(kind) or t.is_large_string(kind) or t.is_string_view(kind))

    def is_number(self, name: str) -> bool:
        import pyarrow.types as t

        kind = self._value_type(name)
        return bool(t.is_integer(kind) or t.is_floating(kind) or t.is_decimal(kind))

    def is_list(self, name: str) -> bool:
        import pyarrow.types as t

        kind = self.table.schema.field(name).type
        return bool(t.is_list(kind) or t.is_large_list(kind) or t.is_fixed_size_list(kind))

    def is_vector(self, name: str) -> bool:
        """A list of floats (a list of integers is more likely a set of classes or tokens)."""
        import pyarrow.types as t

        return self.is_list(name) and bool(t.is_floating(self.table.schema.field(name).type.value_type))

    def _n_distinct(self, name: str) -> int:
        import pyarrow.compute as pc

        column = self.table[name]
        if self.is_list(name):
            column = pc.list_flatten(column)
        return len(pc.unique(column).drop_null())

    def can_be_label(self, name: str) -> bool:
        import pyarrow.types as t

        kind = self.table.schema.field(name).type
        if self.is_list(name):
            inner = kind.value_type
            return (
                bool(t.is_string(inner) or t.is_large_string(inner) or t.is_integer(inner))
                and self.n_distinct(name) > 0
            )
        return bool(self.is_string(name) or self.is_number(name) or t.is_boolean(kind)) and self.n_distinct(name) > 0

    def looks_like_label(self, name: str) -> bool:
        """Few distinct words, small integers or booleans, at least two of them, each four times or more on average."""
        import pyarrow.types as t

        kind = self._value_type(name)
        if not (self.is_string(name) or t.is_integer(kind) or t.is_boolean(kind)) or self.is_image(name):
            return False
        n = self.table.num_rows - self.table[name].null_count
        if self.is_string(name) and self.mean_length(name) > 30:
            return False
        return 2 <= self.n_distinct(name) <= min(1000, n // 4)

    def can_be_id(self, name: str) -> bool:
        import pyarrow.types as t

        whole = self.is_string(name) or t.is_integer(self._value_type(name))
        return whole and not self.table[name].null_count and self.n_distinct(name) == self.table.num_rows

    def can_be_group(self, name: str) -> bool:
        return not self.is_list(name) and 1 < self.n_distinct(name) < self.table.num_rows

    def counts_rows(self, name: str) -> bool:
        """Whether the column is 0, 1, 2, ... or 1, 2, 3, ...: the index that a data frame left behind."""
        import pyarrow.types as t

        column = self.table[name]
        if not t.is_integer(column.type) or column.null_count or len(column) < 3:
            return False
        return bool(column[0].as_py() in (0, 1) and np.all(np.diff(column.to_numpy()) == 1))

    def _is_image(self, name: str) -> bool:
        import pyarrow.compute as pc
        import pyarrow.types as t

        kind = self.table.schema.field(name).type
        if t.is_struct(kind):
            return {f.name for f in kind} == {"bytes", "path"}
        values = self.table[name].slice(0, _SAMPLE).drop_null()
        if t.is_binary(kind) or t.is_large_binary(kind):
            heads = [v.as_py()[:12] for v in values[:20]]
            return bool(heads) and all(
                re.match(rb"\x89PNG|\xff\xd8\xff|GIF8|BM|RIFF....WEBP|II\*|MM\0", h, re.S) for h in heads
            )
        if not self.is_string(name) or not len(values):
            return False
        pattern = r"(?i)\.(" + "|".join(s[1:] for s in IMAGE_SUFFIXES) + r")$"
        return bool(pc.mean(pc.match_substring_regex(pc.cast(values, "string"), pattern)).as_py() >= 0.9)

    def _mean_length(self, name: str) -> float:
        import pyarrow.compute as pc

        lengths = pc.utf8_length(pc.cast(self.table[name].slice(0, _SAMPLE), "string"))
        return float(pc.mean(lengths).as_py() or 0.0)

    def is_text(self, name: str) -> bool:
        return self.is_string(name) and not self.is_image(name) and self.n_distinct(name) > 0

    def is_long_text(self, name: str) -> bool:
        """Strings of 20 characters or more on average, most of them different."""
        n = self.table.num_rows - self.table[name].null_count
        return self.is_text(name) and self.mean_length(name) >= 20 and 2 * self.n_distinct(name) > n

    def is_tabular(self, name: str) -> bool:
        import pyarrow.types as t

        if self.is_number(name) or t.is_boolean(self.table.schema.field(name).type):
            return self.n_distinct(name) > 0
        return self.is_string(name) and 0 < self.n_distinct(name) <= max(20, min(1000, self.table.num_rows // 20))

    def count_substring(self, name: str, text: str) -> int:
        import pyarrow.compute as pc

        return int(pc.sum(pc.match_substring(pc.cast(self.table[name], "string"), text)).as_py() or 0)

    def sums(self, names: Sequence[str]) -> tuple[float, float, np.ndarray]:
        """Smallest value, largest value, and row sums of number columns (or one list column), on the first rows."""
        head = self.table.select(list(names)).slice(0, _SAMPLE)
        if self.is_list(names[0]):
            cells = [np.asarray(v, float) for v in head[names[0]].to_pylist() if v is not None]
            flat, sums = np.concatenate([*cells, np.empty(0)]), np.array([c.sum() for c in cells])
        else:
            flat = np.column_stack([head[n].to_numpy().astype(float) for n in names])
            sums = flat.sum(axis=1)
        return (float(flat.min()), float(flat.max()), sums) if flat.size else (np.nan, np.nan, sums)

    def problem(self, role: str, names: Sequence[str]) -> tuple[str, str, str] | None:
        """Why columns cannot play a role: found, expected, fix; None where they can."""
        first = names[0]
        kind = self.table.schema.field(first).type
        if role == "label" and not self.can_be_label(first):
            return f"type {kind}", "text, integers, booleans, or lists of text or integers", "name another column"
        if role == "id" and not self.can_be_id(first):
            return self.id_problem(first)
        if role == "text":
            wrong = [n for n in names if not self.is_string(n)]
            if wrong:
                kinds = ", ".join(f"{n!r} is {self.table.schema.field(n).type}" for n in wrong)
                return kinds, "text", "name text columns"
        if role == "image" and not (self.is_image(first) or self.is_string(first)):
            return f"type {kind}", "paths, {bytes, path} structs or the bytes of pictures", "name another column"
        if role in ("features", "pred_probs"):
            return self._numbers_problem(role, names)
        return None

    def id_problem(self, name: str) -> tuple[str, str, str]:
        from labelwright.store._keys import repeated

        column = self.table[name]
        expected, fix = "a different key for each item", "leave id out: keys are then made from the content"
        if column.null_count:
            import pyarrow.compute as pc

            return f"missing in {rows(np.flatnonzero(pc.is_null(column).to_numpy()))}", expected, fix
        twice = repeated(column.to_pylist())
        return (twice or f"type {column.type}"), (expected if twice else "text or integers"), fix

    def _numbers_problem(self, role: str, names: Sequence[str]) -> tuple[str, str, str] | None:
        fix = f"name numeric columns for {role}"
        if len(names) == 1 and self.is_list(names[0]):
            import pyarrow.types as t

            inner = self.table.schema.field(names[0]).type.value_type
            if not (t.is_floating(inner) or t.is_integer(inner)):
                return f"lists of {inner}", "lists of numbers", fix
            lengths = self._list_lengths(names[0])
            if len(lengths) != 1:
                return f"lists of {_few(lengths)} numbers", "lists of one length, none missing", "mend the lists"
        else:
            wrong = [n for n in names if not self.is_number(n)]
            if wrong:
                kinds = ", ".join(f"{n!r} is {self.table.schema.field(n).type}" for n in wrong[:5])
                return kinds, "numbers, or one column of lists of numbers", fix
        if role == "pred_probs":
            low, high, _ = self.sums(names)
            if not (low >= -1e-6 and high <= 1 + 1e-6):
                return f"values from {low:.4g} to {high:.4g}", "probabilities in [0, 1], none missing", fix
        return None

    def _list_lengths(self, name: str) -> list[int | None]:
        import pyarrow.compute as pc

        return list(pc.unique(pc.list_value_length(self.table[name])).to_pylist())

    def describe(self, role: str, names: Sequence[str]) -> str:
        """A few words on the values, for the explanation."""
        n = self.table.num_rows
        if role == "label":
            missing = self.table[names[0]].null_count
            return f"{self.n_distinct(names[0]):,} distinct values over {n:,} rows" + f", {missing:,} missing" * bool(
                missing
            )
        if role in ("id", "group"):
            return f"{self.n_distinct(names[0]):,} distinct values over {n:,} rows"
        if role == "text":
            return "mean length " + ", ".join(f"{self.mean_length(name):.0f}" for name in names) + " characters"
        if role == "image":
            return "paths of pictures" if self.is_string(names[0]) else "the pictures themselves"
        if role == "pred_probs":
            sums = self.sums(names)[2]
            one = bool(len(sums)) and float(np.mean(np.abs(sums - 1) < 0.02)) >= 0.99
            return "values in [0, 1], rows sum to 1" if one else "values in [0, 1], rows do not sum to 1"
        if role == "tabular":
            numeric = sum(self.is_number(name) for name in names)
            return f"{numeric} numeric, {len(names) - numeric} categorical"
        return "a list of numbers per item" if self.is_list(names[0]) else f"{len(names)} numbers per item"


def _few(lengths: Sequence[int | None]) -> str:
    return ", ".join("missing" if n is None else str(n) for n in lengths[:5]) + (", …" if len(lengths) > 5 else "")
