"""What is known of items beside their labels: a text, the name of an image and its size; and how an item is called."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from labelwright.errors import ColumnError, DataError
from labelwright.labels import as_arrow

FIELDS = ("text", "image", "width", "height")
_KEYS = ("item", "id", "item_id", "uid", "uuid", "key")  # names under which other tools' data holds an item's key


class Content(dict[str, dict[str, Any]]):
    """By item, any of text, image (a name or an address, never opened), width and height in pixels."""

    @classmethod
    def of(cls, content: Any) -> Content:
        """From None, a mapping of items to texts, or a table with the column `item` and any of `FIELDS`.

        Raises:
            ColumnError: no column `item`.
        """
        if content is None or isinstance(content, Content):
            return cls(content or {})
        if isinstance(content, Mapping) and "item" not in content:
            return cls({str(item): {"text": text} for item, text in content.items()})
        table = as_arrow(content)
        if "item" not in table.column_names:
            raise ColumnError(
                found=f"content with the columns {', '.join(table.column_names)}",
                expected="a column item, and any of " + ", ".join(FIELDS),
                fix="rename the column that holds the items' keys to 'item'",
            )
        fields = [name for name in FIELDS if name in table.column_names]
        rows = zip(table["item"].to_pylist(), *(table[name].to_pylist() for name in fields))
        return cls({str(row[0]): {n: v for n, v in zip(fields, row[1:]) if v is not None} for row in rows})

    def add_items(self, items: Iterable[str]) -> None:
        """Items of which nothing else is known."""
        for item in items:
            if item not in self:
                self[item] = {}

    def told(self, item: str, **fields: Any) -> None:
        """Add what is known of an item."""
        self.setdefault(item, {}).update({name: value for name, value in fields.items() if value is not None})

    def size(self, item: str) -> tuple[float, float] | None:
        """Width and height in pixels, where they are known."""
        known = self.get(item, {})
        width, height = known.get("width"), known.get("height")
        if not all(isinstance(v, int | float) and 0 < v < 2**31 for v in (width, height)):
            return None
        return float(width), float(height)  # type: ignore[arg-type]

    def needed_size(self, item: str, why: str) -> tuple[float, float]:
        """`size`.

        Raises:
            DataError: it is not known.
        """
        size = self.size(item)
        if size is None:
            raise DataError(
                found=f"no width and height of the image {item!r:.100}",
                expected=f"the size of every image, since {why}",
                fix="pass content= (--content FILE): a table with the columns item, width and height",
            )
        return size


def item_of(data: Mapping[str, Any], field: str | None, where: str) -> str:
    """The key of an item in another tool's data: the given field, else an id, else the image's name, else a hash of the text.

    The hash is that of `item_keys` for a data set whose only content is the text.

    Raises:
        DataError: none of them is there.
    """
    for name in [field] if field else _KEYS:
        value = data.get(name)
        if (isinstance(value, str) and value) or (isinstance(value, int) and not isinstance(value, bool)):
            return str(value)
    if field is None:
        for name in ("image", "path"):
            value = data.get(name)
            if isinstance(value, str) and value and not value.startswith("data:"):
                return value
        if isinstance(data.get("text"), str):
            return text_key(data["text"])
    raise DataError(
        found=f"{where} without {field or 'an id, image or text'!r}; it has {', '.join(map(str, list(data)[:8]))}",
        expected="a field that holds the item's key as text or a whole number",
        fix="name it: item='...' (--item)",
    )


@lru_cache(maxsize=4096)
def text_key(text: str) -> str:
    """The key of an item that has only this text."""
    import pyarrow as pa

    from labelwright.store._keys import item_keys

    return str(item_keys(pa.table({"text": [text]}), None, ["text"])[0])
