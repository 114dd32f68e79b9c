"""Two processes by accelerate do what one does with a batch of twice the size."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import sys
import numpy as np, torch
torch.set_num_threads(1)
from labelwright.learning import Recipe, TrainData
from labelwright.learning.driver import fit

rng = np.random.default_rng(0)
x, y = rng.normal(size=(256, 8)).astype("float32"), rng.integers(0, 3, 256)
student = {"student": {"model": "mlp", "hidden": [16]}}
recipe = Recipe(epochs=3, batch_size=int(sys.argv[1]), networks=student, schedule="constant", optimizer={"sgd": {"lr": 0.1}})
run, log = fit(recipe, TrainData(x, y, classes=3))
weights = torch.cat([p.detach().flatten() for p in run.bare("student").parameters()]).numpy()
if run.accelerator.is_main_process:
    np.save(sys.argv[2], weights)
    print(run.accelerator.num_processes, run.step)
"""


@pytest.mark.slow
def test_two_processes(tmp_path):
    (tmp_path / "go.py").write_text(SCRIPT)
    one = [sys.executable, str(tmp_path / "go.py"), "64", str(tmp_path / "one.npy")]
    two = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2",
           str(tmp_path / "go.py"), "32", str(tmp_path / "two.npy")]  # fmt: skip
    cpu = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    told = [
        subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=cpu)
        for command in (one, two)
    ]
    assert all(t.returncode == 0 for t in told), told[-1].stderr[-2000:]
    assert [t.stdout.split()[-2:] for t in told] == [["1", "12"], ["2", "12"]]
    assert np.allclose(np.load(tmp_path / "one.npy"), np.load(tmp_path / "two.npy"), atol=1e-5)
