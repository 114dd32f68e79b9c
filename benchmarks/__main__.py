"""Run a benchmark by its subject; everything behind the subject goes to its script.

python -m benchmarks                      # lists the subjects
python -m benchmarks audit --peer cleanlab    # in an environment of its own, made on first use; or --peer-python PYTHON

Libraries of linear algebra get one thread on both sides, unless the variables below say otherwise: threads that wait for each
other burn CPU time.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

SUBJECTS = {
    "audit": "audit_speed",
    "structures": "audit_structures",
    "tokens": "audit_tokens",
    "values": "audit_values",
    "boxes": "audit_boxes",
    "masks": "audit_masks",
    "errors": "error_model_cases",
    "count": "count_with_reviews",
    "kinds": "kinds_apart",
    "confident": "confident_learning_vs_cleanlab",
    "neighbours": "neighbours_speed",
    "encoders": "encoder_throughput",
    "report": "report_speed",
    "store": "store_speed",
    "kills": "store_kills",
    "soft": "soft_label_files",
    "crowd": "crowd_models",
    "auto": "crowd_auto",
    "votes": "crowd_streamed",
    "classifier": "crowd_with_classifier",
    "agreement": "crowd_agreement",
    "rules": "label_model",
    "desk": "review_desk",
    "losses": "losses",
    "training": "training",
    "page": "page",
    "review": "review_latency",
}


THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main() -> None:
    """Hand the command line to the script."""
    here = Path(__file__).resolve().parent
    if len(sys.argv) < 2 or sys.argv[1] not in SUBJECTS:
        asked = f"no subject {sys.argv[1]!r}\n" if len(sys.argv) > 1 and sys.argv[1] not in ("-h", "--help") else ""
        lines = []
        for subject, name in SUBJECTS.items():
            head = (here / f"{name}.py").read_text().lstrip('"').splitlines()[0].rstrip('"')
            lines.append(f"  {subject:<11} {head}")
        print(f"{asked}python -m benchmarks SUBJECT [options of its script; --help tells them]\n" + "\n".join(lines))
        sys.exit(2 if asked else 0)
    script = here / f"{SUBJECTS[sys.argv[1]]}.py"
    sys.path.insert(0, str(here))
    from peers import with_peer

    for name in THREADS:
        os.environ.setdefault(name, "1")
    sys.argv = [str(script), *with_peer(sys.argv[2:])]
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
