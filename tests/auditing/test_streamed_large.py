"""A file of 5 GB is audited by a process that may hold 512 MiB of data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

N, K = 1_280_000, 1000

AUDIT = """
import json, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (512 << 20, 512 << 20))
import numpy as np
import labelwright as lw
folder = sys.argv[1]
result = lw.audit(np.load(folder + "/labels.npy"), folder + "/probs.npy", checkpoint=folder + "/kept")
result.write_items(folder + "/items.parquet")
cpu = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps({
    "estimate": result.error_rate.estimate, "low": result.error_rate.low, "high": result.error_rate.high,
    "issues": int(result.is_issue.sum()), "rows": np.flatnonzero(result.is_issue).tolist()[:100_000],
    "cpu_s": cpu.ru_utime + cpu.ru_stime,
}))
"""


def draw(folder: Path, n: int, k: int, seed: int = 0) -> np.ndarray:
    """Probabilities of a model that is right four times in five, and labels of which 8 % are wrong; the wrong ones."""
    rng = np.random.default_rng(seed)
    p = np.lib.format.open_memmap(folder / "probs.npy", mode="w+", dtype=np.float32, shape=(n, k))
    given, wrong = np.empty(n, np.int64), np.empty(n, bool)
    for at in range(0, n, 10_000):
        part = slice(at, min(n, at + 10_000))
        m = part.stop - at
        truth, row = rng.integers(k, size=m), np.arange(m)
        z = rng.standard_normal((m, k), np.float32) * np.float32(1.2)
        z[row, truth] += 7 + rng.normal(0, 2.5, m)
        z.reshape(m, k // 10, 10)[row, truth // 10] += 2.5  # classes come in tens that resemble each other
        np.exp(z, out=z)
        p[part] = z / z.sum(1, keepdims=True)
        other = np.where(rng.random(m) < 0.7, truth // 10 * 10 + rng.integers(10, size=m), rng.integers(k, size=m))
        given[part] = np.where(rng.random(m) < 0.08, other, truth)
        wrong[part] = given[part] != truth
    p.flush()
    np.save(folder / "labels.npy", given)
    return wrong


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mapped memory on Linux only")
def test_five_gigabytes_under_512_mib(tmp_path: Path):
    import pyarrow.parquet as pq

    wrong = draw(tmp_path, N, K)
    assert (tmp_path / "probs.npy").stat().st_size > 5e9
    # Arrow's own allocator and glibc's arenas set aside far more than they use, which the limit would count
    quiet = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "MALLOC_MMAP_THRESHOLD_": "4194304"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", AUDIT, str(tmp_path)],
        env={**os.environ, **quiet, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    said = json.loads(done.stdout)
    print({name: value for name, value in said.items() if name != "rows"}, "true rate", wrong.mean())
    # without reviews nothing tells all of the model's own mistakes (on 4 % of the items) from wrong labels
    assert wrong.mean() < said["estimate"] < 1.4 * wrong.mean()
    flagged = np.zeros(N, bool)
    flagged[said["rows"]] = True
    assert wrong[flagged].mean() > 0.75
    assert pq.ParquetFile(tmp_path / "items.parquet").metadata.num_rows == N
