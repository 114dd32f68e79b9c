"""Labels on disk: reading data sets and reviews, and the label repository."""

from labelwright.store.read import (
    Columns,
    fingerprint,
    guess_columns,
    item_keys,
    label_lists,
    read_arrays,
    read_items,
    read_matrix,
    read_reviews,
)
from labelwright.store.repository import Repository

__all__ = [
    "Columns",
    "Repository",
    "fingerprint",
    "guess_columns",
    "item_keys",
    "label_lists",
    "read_arrays",
    "read_items",
    "read_matrix",
    "read_reviews",
]
