"""Labels of crops on disk: what is read is what the teacher said within the stated error; a killed run goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.annotators.crops import calibrate, crop_coords, quantise
from labelwright.errors import DataError, OptionError, ProbabilityError
from labelwright.labels.space import LabelSpace
from labelwright.store import CropPlan, open_soft_labels
from labelwright.store.crop_label_files import draw_crops, write_crop_labels

N, M, K = 7, 4, 12
PLAN = CropPlan(n_crops=M, seed=3)


def teacher(n: int = N, seed: int = 0) -> np.ndarray:
    z = np.random.default_rng(seed).normal(0, 2, (n, M, K))
    p = np.exp(z)
    return p / p.sum(-1, keepdims=True)


def write(path: Path, p: np.ndarray, **options: Any) -> Path:
    return write_crop_labels(path, lambda items: p[items], len(p), plan=PLAN, batch_size=3, **options)


@pytest.mark.parametrize("precision", ["float16", "uint8", "float32"])
def test_rows_come_back_within_the_stated_error(tmp_path: Path, precision: str) -> None:
    p = teacher()
    file = open_soft_labels(write(tmp_path / "a", p, k=3, precision=precision, teacher="net", temperature=1.0))
    exact = quantise(p.reshape(-1, K), "marginal_smoothing", 3).dense()
    rows = [27, 0, 13, 13]
    stored = file.dense(rows)
    assert np.abs(stored - exact[rows]).max() <= file.head["errors"]["max_abs"] + 1e-6 <= 0.004
    np.testing.assert_allclose(stored.sum(1), 1, atol=1e-5)
    assert file.item_rows([2]).tolist() == [[8, 9, 10, 11]] and file.n_items == N
    assert file.head["provenance"]["teacher"] == "net"
    file.verify()


def test_the_head_says_what_the_cut_costs(tmp_path: Path) -> None:
    p = teacher()
    file = open_soft_labels(write(tmp_path / "a", p, k=3))
    full = p.reshape(-1, K)
    wanted = np.mean([sum(a * np.log(a / b) for a, b in zip(r, s)) for r, s in zip(full, quantise(full, k=3).dense())])
    cut = file.head["provenance"]["mean_kl_of_cut"]
    assert cut == pytest.approx(wanted, rel=1e-4)
    read = (full * np.log(full / file.dense())).sum(1).mean()
    assert read == pytest.approx(cut + file.head["errors"]["mean_kl"], rel=1e-3)  # the two losses add up


def test_all_classes_and_a_teacher_that_is_sure(tmp_path: Path) -> None:
    p = np.zeros((2, M, K))
    p[..., 5] = 1
    file = open_soft_labels(write(tmp_path / "a", p, k=K))
    assert (file.dense() == p.reshape(-1, K)).all() and file.head["provenance"]["mean_kl_of_cut"] == 0


def test_a_killed_run_goes_on_where_it_stood(tmp_path: Path) -> None:
    p, asked = teacher(), []

    def teach(items: np.ndarray) -> np.ndarray:
        if len(asked) == 2:
            raise KeyboardInterrupt
        asked.append(items.tolist())
        return p[items]

    with pytest.raises(KeyboardInterrupt):
        write_crop_labels(tmp_path / "a", teach, N, plan=PLAN, k=3, batch_size=3)
    assert not (tmp_path / "a").exists()
    with pytest.raises(DataError, match="to begin anew"):
        write(tmp_path / "a", p, k=2)
    again: list[Any] = []
    write_crop_labels(
        tmp_path / "a", lambda i: again.append(i.tolist()) or p[i], N, plan=PLAN, k=3, batch_size=3  # type: ignore[func-returns-value]
    )  # fmt: skip
    assert asked == [[0, 1, 2], [3, 4, 5]] and again == [[6]]
    write(tmp_path / "b", p, k=3)
    a, b = open_soft_labels(tmp_path / "a"), open_soft_labels(tmp_path / "b")
    assert (a.dense() == b.dense()).all()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "b"]


KILLED = """
import os, sys
import numpy as np
from labelwright.store import CropPlan
from labelwright.store.crop_label_files import write_crop_labels
def teach(items):
    if items[0] == 4 and sys.argv[2] == "die":
        os._exit(9)
    print(items[0])
    return np.full((len(items), 2, 4), 0.25)
write_crop_labels(sys.argv[1], teach, 8, plan=CropPlan(2, 0), k=2, batch_size=2)
"""


def test_a_process_that_dies_loses_one_batch(tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "a")]
    died = subprocess.run([*command, "die"], capture_output=True, text=True)
    assert died.returncode == 9 and not (tmp_path / "a").exists()
    lived = subprocess.run([*command, "live"], capture_output=True, text=True, check=True)
    assert lived.stdout.split() == ["4", "6"] and len(open_soft_labels(tmp_path / "a")) == 16


@given(seed=st.integers(0, 10_000), n_crops=st.integers(1, M))
def test_crops_are_drawn_without_replacement(tmp_path_factory: pytest.TempPathFactory, seed: int, n_crops: int) -> None:
    p, folder = teacher(), tmp_path_factory.mktemp("crops")
    file = open_soft_labels(write(folder / "a", p, k=K, precision="float32"))
    items, heights, widths = [5, 0, 5], [30, 40, 30], [50, 20, 50]
    batch = draw_crops(file, items, n_crops, heights, widths, seed=seed)
    assert batch.item.tolist() == np.repeat(items, n_crops).tolist()
    assert all(len(set(c)) == n_crops for c in batch.crop.reshape(3, n_crops).tolist())
    np.testing.assert_allclose(batch.labels, p[batch.item, batch.crop], atol=1e-6)
    coords, flip = crop_coords(PLAN, items, heights, widths)
    at = np.repeat(np.arange(3), n_crops)
    assert (batch.coords == coords[at, batch.crop]).all() and (batch.flip == flip[at, batch.crop]).all()
    again = draw_crops(file, items, n_crops, heights, widths, seed=seed)
    assert (again.crop == batch.crop).all()


def test_dropped_crops_are_not_drawn(tmp_path: Path) -> None:
    p = teacher()
    file = open_soft_labels(write(tmp_path / "a", p, k=3))
    confidence = file[:].prob[:, 0].reshape(N, M)
    np.testing.assert_allclose(confidence, p.max(-1), atol=1e-3)
    calibration = calibrate(confidence, low=0.5, middle=0.6, by="quantile")
    items = np.arange(N)
    batch = draw_crops(file, items, 3, 20, 20, seed=0, allowed=calibration.kept)
    assert calibration.kept[batch.item, batch.crop].all()
    for item, crops in zip(items, batch.crop.reshape(N, 3)):
        assert len(set(crops)) == min(3, calibration.kept[item].sum())  # fewer than wanted repeat


def test_errors(tmp_path: Path) -> None:
    p = teacher()
    file = open_soft_labels(write(tmp_path / "a", p, k=3))
    for number, (error, match, call) in enumerate((
        (DataError, "choose another path", lambda at: write(tmp_path / "a", p)),
        (DataError, "make the folder", lambda at: write(tmp_path / "no" / "a", p)),
        (DataError, "reshape the teacher", lambda at: write(at, p.reshape(-1, K))),
        (DataError, "reshape the teacher", lambda at: write(at, p, space=LabelSpace(range(3)))),
        (OptionError, "smaller k", lambda at: write(at, p, k=K + 1)),
        (OptionError, "k=1 or more", lambda at: write(at, p, k=0)),
        (OptionError, "str\\(value\\)", lambda at: write(at, p, note=at)),
        (ProbabilityError, "Fix", lambda at: write(at, p * 2)),
        (OptionError, "n_crops=4", lambda at: draw_crops(file, [0], 5, 9, 9, seed=0)),
        (DataError, "calibration.kept", lambda at: draw_crops(file, [0], 1, 9, 9, seed=0, allowed=np.zeros((1, M)))),
    )):  # fmt: skip
        with pytest.raises(error, match=match):
            call(tmp_path / str(number))
