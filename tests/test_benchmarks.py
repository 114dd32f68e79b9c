"""The list of benchmarks names scripts that are there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_subject_has_its_script_and_a_wrong_one_is_told():
    listed = subprocess.run([sys.executable, "-m", "benchmarks"], cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 0 and "store" in listed.stdout
    named = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__main__", "__init__"}
    from_list = (ROOT / "benchmarks" / "__main__.py").read_text()
    assert all(f'"{name}"' in from_list for name in named), named
    wrong = subprocess.run([sys.executable, "-m", "benchmarks", "speed"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and "no subject 'speed'" in wrong.stdout
