"""Files of the labels: one pair per part, whole or not there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from labelwright.crowds.aggregation import blockwise_entropy, more_votes, top_two
from labelwright.crowds.prepared import Prepared
from labelwright.labels import SoftLabels


def write_part(
    labels: SoftLabels, votes: Prepared, first: int, keys: Any, dependence: float, usual: float, folder: Path
) -> tuple[np.ndarray, np.ndarray]:
    """items/ and labels/part-FIRST.parquet of some items; returns their likeliest classes and these' probabilities.

    keys: of all items.   usual: nats that a vote of usual skill adds.
    """
    import pyarrow as pa

    best, second, p_best, p_second = top_two(labels)
    count, names = np.diff(votes.start), labels.space
    told = pa.table(
        {
            "item": keys.slice(first, votes.n_items),
            "label": names.decode(best).tolist(),
            "probability": p_best,
            "second": names.decode(second).tolist(),
            "second_probability": p_second,
            "votes": count,
            "entropy": blockwise_entropy(labels),
            "more_votes": pa.array(more_votes(p_best, count, usual, dependence), from_pandas=True).cast("int64"),
            "gold": pa.array(names.decode(votes.gold.astype(np.int64)).tolist(), pa.array(names.classes).type),
        }
    )
    rows = pa.table(
        {
            "index": pa.FixedSizeListArray.from_arrays(labels.index.ravel(), labels.index.shape[1]),
            "prob": pa.FixedSizeListArray.from_arrays(labels.prob.ravel(), labels.prob.shape[1]),
            "rest": labels.rest,
            "known": labels.known,
        }
    ).replace_schema_metadata({"labelwright.classes": json.dumps(list(names.classes))})
    name = f"part-{first:012}.parquet"
    _write(told, folder / "items" / name)
    _write(rows, folder / "labels" / name)
    return best, p_best


def _write(table: Any, path: Path) -> None:
    import pyarrow.parquet as pq

    temp = path.with_name(f".{path.name}.new")
    pq.write_table(table, temp, compression="zstd")
    temp.replace(path)
