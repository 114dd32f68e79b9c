"""The list of benchmarks names scripts that are there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_subject_has_its_script_and_a_wrong_one_is_told():
    listed = subprocess.run([sys.executable, "-m", "benchmarks"], cwd=ROOT, capture_output=True, text=True)
    assert listed.returncode == 0 and "store" in listed.stdout
    named = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"__main__", "__init__", "peers"}
    from_list = (ROOT / "benchmarks" / "__main__.py").read_text()
    assert all(f'"{name}"' in from_list for name in named), named
    wrong = subprocess.run([sys.executable, "-m", "benchmarks", "speed"], cwd=ROOT, capture_output=True, text=True)
    assert wrong.returncode == 2 and "no subject 'speed'" in wrong.stdout


def test_a_peer_is_installed_once_and_becomes_its_interpreter(tmp_path: Path):
    home = tmp_path / "snorkel"
    (home / "bin").mkdir(parents=True)
    (home / "installed").write_text("snorkel\n")
    code = (
        f"import os, sys; os.environ['LABELWRIGHT_PEERS'] = {str(tmp_path)!r}; sys.path.insert(0, 'benchmarks')\n"
        "from peers import with_peer; print(with_peer(['--a', '1', '--peer', 'snorkel', '--big']), with_peer(['--peer=snorkel']))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    python = str(home / "bin" / "python")
    assert done.stdout.strip() == f"{['--a', '1', '--peer-python', python, '--big']} {['--peer-python', python]}"
    wrong = subprocess.run(
        [sys.executable, "-m", "benchmarks", "rules", "--peer", "nobody"], cwd=ROOT, capture_output=True, text=True
    )
    assert wrong.returncode and "no peer 'nobody'; there are cleanlab, crowd-kit, snorkel" in wrong.stderr
