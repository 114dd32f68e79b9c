"""The same rows written in every way that `open_rows` reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq

FORMATS = ("npy", "parquet", "list-parquet", "arrow", "stream", "ragged-stream", "feather", "lance")


def random_case(seed: int = 0, n: int = 60, k: int = 4, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(-1, k, n), rng.dirichlet(np.full(k, 0.4), n).astype(dtype)


def fixed_lists(p: np.ndarray) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(pa.array(p.ravel()), p.shape[1])


def ragged_lists(p: np.ndarray) -> pa.Array:
    return pa.ListArray.from_arrays(np.arange(0, p.size + 1, p.shape[1], dtype=np.int32), pa.array(p.ravel()))


def write(folder: Path, number: int, p: np.ndarray, kind: str) -> Path:
    """One shard of probabilities; tables in small pieces, so that reading has to begin within them."""
    name = f"probs-{number}"
    if kind == "npy":
        np.save(path := folder / f"{name}.npy", p)
        return path
    table = pa.table({"pred_probs": ragged_lists(p) if kind in ("list-parquet", "ragged-stream") else fixed_lists(p)})
    if kind.endswith("parquet"):
        pq.write_table(table, path := folder / f"{name}.parquet", row_group_size=7)
    elif kind == "feather":
        pyarrow.feather.write_feather(table, path := folder / f"{name}.feather", compression="lz4", chunksize=7)
    elif kind == "lance":
        import lance

        lance.write_dataset(table, path := folder / f"{name}.lance", max_rows_per_file=11)
    else:
        maker = pa.ipc.new_file if kind == "arrow" else pa.ipc.new_stream
        with pa.OSFile(str(path := folder / f"{name}.arrow"), "wb") as sink, maker(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=7)
    return path


def write_shards(folder: Path, p: np.ndarray, kind: str, cuts: tuple[int, ...] = (25, 26, 45)) -> Path:
    folder.mkdir()
    for number, part in enumerate(np.split(p, cuts), 8):  # probs-8 to probs-11: by number, not by letter
        write(folder, number, part, kind)
    return folder
