"""The proof runner: pairing, intervals, state, journal, meter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwright.errors import DataError, OptionError
from labelwright.systems import Arm, Dataset, Proof, paired, read_dataset, run_proofs, state
from labelwright.systems.meter import Meter


def coin_proof(bias: float = 0.2, calls: list[Any] | None = None, **changes: Any) -> Proof:
    """The method adds `bias` to noise that both arms share."""

    def prepare(data: Dataset, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=3) + data["x"].mean()

    def method(prepared: np.ndarray, seed: int) -> dict[str, float]:
        if calls is not None:
            calls.append(seed)
        return {"score": prepared.mean() + bias + 0.01 * seed, "size": 3}

    def baseline(prepared: np.ndarray, seed: int) -> float:
        return float(prepared.mean())

    def datasets(folder: Path | None) -> list[Dataset]:
        real = Dataset("zeros", {"x": np.zeros(4)}, real=True)
        return [real, Dataset("ones", {"x": np.ones(5)})] if folder else [Dataset("ones", {"x": np.ones(5)})]

    options: dict[str, Any] = {
        "name": "coin",
        "question": "Is the bias seen?",
        "metric": "score",
        "keys": {"x|text": "numbers", "y?": "nothing"},
        "datasets": datasets,
        "prepare": prepare,
        "arms": (Arm("biased", method, "method"), Arm("fair", baseline)),
    }
    return Proof(**(options | changes))


def test_differences_are_paired_and_averaged_by_hand() -> None:
    told = run_proofs("coin", [coin_proof()], folder=Path("."))
    d = 0.2 + 0.01 * np.arange(5)
    half = 2.776445 * d.std(ddof=1) / np.sqrt(5)  # Student's t, 4 degrees of freedom
    for found in (*(s["differences"][0] for s in told["proofs"][0]["datasets"]), told["proofs"][0]["differences"][0]):
        assert found["mean"] == pytest.approx(0.22)
        assert found["low"] == pytest.approx(0.22 - half, abs=1e-6)
        assert found["high"] == pytest.approx(0.22 + half, abs=1e-6)
    assert told["state"] == "works"
    assert json.loads(json.dumps(told)) == told
    arm = told["proofs"][0]["datasets"][0]["arms"][0]
    assert arm["also"] == {"size": 3.0} and len(arm["values"]) == 5 and arm["cpu_seconds"] >= 0


def test_lower_may_be_better() -> None:
    mean, low, high = paired(np.array([1.0, 2.0]), np.array([3.0, 5.0]), "t", higher_is_better=False)
    assert mean == 2.5 and low < 2.5 < high


def test_bootstrap_takes_the_sample_itself_as_estimate() -> None:
    d = np.r_[7.0, np.linspace(0, 100, 101)]
    assert paired(d, np.zeros(102), "bootstrap") == (7.0, 2.5, 97.5)
    assert np.isnan(paired(d[:5], np.zeros(5), "bootstrap")[1])


@pytest.mark.parametrize(
    ("bias", "folder", "seeds", "wanted"),
    [(0.2, True, 5, "works"), (0.2, False, 5, "partly"), (-0.2, True, 5, "no gain here"), (0.2, True, 1, "not yet")],
)
def test_state_follows_the_numbers(bias: float, folder: bool, seeds: int, wanted: str) -> None:
    told = run_proofs("coin", [coin_proof(bias)], folder=Path(".") if folder else None, seeds=seeds)
    assert told["state"] == wanted


def test_one_lost_proof_makes_it_partly_and_none_run_is_not_yet() -> None:
    told = run_proofs("coin", [coin_proof(0.2), coin_proof(-0.2, name="other")], folder=Path("."))
    assert told["state"] == "partly"
    assert state([]) == "not yet"
    empty = run_proofs("coin", [coin_proof(datasets=lambda folder: [])])
    assert empty["state"] == "not yet" and empty["proofs"][0]["differences"] == []


def test_a_stopped_proof_goes_on_where_it_was(tmp_path: Path) -> None:
    journal, calls = tmp_path / "journal", list[Any]()
    whole = run_proofs("coin", [coin_proof()], folder=Path("."), journal=journal)
    lines = journal.read_text().splitlines()
    assert len(lines) == 20
    journal.write_text("\n".join(lines[:13]) + '\n{"run": "cut o')
    again = run_proofs("coin", [coin_proof(calls=calls)], folder=Path("."), journal=journal)
    assert calls == [2, 3, 4]  # of the second data set; 13 runs were done
    assert [s["differences"] for s in again["proofs"][0]["datasets"]] == [
        s["differences"] for s in whole["proofs"][0]["datasets"]
    ]


def test_other_data_are_not_taken_from_the_journal(tmp_path: Path) -> None:
    one, two = Dataset("same", {"x": np.zeros(3)}), Dataset("same", {"x": np.full(3, 2.0)})
    assert one.fingerprint != two.fingerprint == Dataset("same", {"x": np.full(3, 2.0)}).fingerprint
    run_proofs("coin", [coin_proof()], data=one, journal=tmp_path / "j")
    told = run_proofs("coin", [coin_proof()], data=two, journal=tmp_path / "j")
    assert told["proofs"][0]["datasets"][0]["arms"][1]["mean"] > 1


def test_data_of_the_wrong_kind_names_the_expected_keys() -> None:
    with pytest.raises(DataError, match=r"without x\|text.*x\|text: numbers"):
        run_proofs("coin", [coin_proof()], data=Dataset("mine", {"z": np.zeros(3)}))
    coin_proof().check(Dataset("mine", {"text": np.array(["a"])}))


def test_seeds_below_one_are_refused() -> None:
    with pytest.raises(OptionError, match="leave it out"):
        run_proofs("coin", [coin_proof()], seeds=0)


def test_an_arm_must_return_the_metric() -> None:
    broken = coin_proof(arms=(Arm("biased", lambda prepared, seed: {"other": 1.0}, "method"),))
    with pytest.raises(KeyError, match="without the metric 'score'"):
        run_proofs("coin", [broken])


def test_own_data_from_npz_and_parquet(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    x = np.arange(6.0).reshape(3, 2)
    np.savez(tmp_path / "mine.npz", x=x, y=np.array(["a", "b", "a"]))
    got = read_dataset(tmp_path / "mine.npz")
    np.testing.assert_array_equal(got["x"], x)
    assert got["y"].tolist() == ["a", "b", "a"] and len(got) == 3 and not got.real
    pq.write_table(pa.table({"x": x.tolist(), "text": ["p", "q", None]}), tmp_path / "mine.parquet")
    got = read_dataset(tmp_path / "mine.parquet")
    np.testing.assert_array_equal(got["x"], x)
    assert got["text"].tolist() == ["p", "q", None]


def test_own_data_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    for path, found in ((tmp_path / "a.csv", "neither .npz nor Parquet"), (tmp_path / "b.csv", "nothing at")):
        with pytest.raises(DataError, match=found):
            read_dataset(path)
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="nothing is unpickled"):
        read_dataset(tmp_path / "objects.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(DataError, match=r"numpy\.savez"):
        read_dataset(tmp_path / "text.npz")


def test_meter_sees_memory_and_time() -> None:
    with Meter() as meter:
        block = np.ones(8_000_000)  # 61 MiB
        for _ in range(5):
            block = np.sqrt(block)
    assert 55 < meter.peak_mib < 400
    assert 0 < meter.cpu < 30
