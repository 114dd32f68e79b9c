"""The report of an audit: seconds beyond the audit, and size, for 50,000 items with features and a million with probabilities.

    python benchmarks/report_speed.py

CPU seconds of this process, one thread: `Audit.report` writes the page alone, `Audit.save` the page, the same content as JSON,
and every item in Parquet. 2 % of the labels are wrong.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np

import labelwright as lw

RESULT = Path(__file__).resolve().parent / "results" / "report.json"
CLASSES = 10


def labels(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Given labels and true ones."""
    truth = rng.integers(0, CLASSES, n)
    return np.where(rng.random(n) < 0.02, rng.integers(0, CLASSES, n), truth), truth


def measured(audit: lw.Audit) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        page, start = Path(folder) / "page.html", time.process_time()
        audit.report(page)
        middle = time.process_time()
        audit.save(Path(folder) / "audit")
        saved = time.process_time() - middle
        return {"report_s": middle - start, "saved_s": saved, "report_mb": page.stat().st_size / 1e6}


def main() -> None:
    rng = np.random.default_rng(0)
    given, truth = labels(50_000, rng)
    features = rng.normal(size=(50_000, 20)) + 3 * rng.normal(size=(CLASSES, 20))[truth]
    found = {"50,000 items with features": measured(lw.audit(given, features=features))}
    given, truth = labels(1_000_000, rng)
    p = rng.dirichlet(np.ones(CLASSES), 1_000_000).astype(np.float32) * 0.3
    p[np.arange(len(p)), truth] += 0.7
    found["1,000,000 items with probabilities"] = measured(lw.audit(given, p))
    for name, row in found.items():
        print(name, *(f"{k} {v:.2f}" for k, v in row.items()))
    RESULT.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
