"""Run proofs: every arm on every data set and seed, with its time and memory, and the state that follows."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import labelwright
from labelwright.errors import OptionError
from labelwright.systems.meter import Meter
from labelwright.systems.proof import Arm, Dataset, Proof, paired

Progress = Callable[[str, int, int], None]
STATES = ("works", "no gain here", "partly", "not yet")


def run_proofs(
    name: str,
    proofs: Iterable[Proof],
    *,
    folder: Path | None = None,
    data: Dataset | None = None,
    seeds: int | None = None,
    progress: Progress | None = None,
    journal: Path | None = None,
) -> dict[str, Any]:
    """The recorded result of a system: every proof on every data set, and the state computed from them.

    Args:
        name: of the system.   proofs: its proofs.
        folder: where the real data sets lie; None: bundled data only.
        data: one data set of the user's own, instead of all others.
        seeds: instead of each proof's own number.
        progress: called as progress(step, done, total).
        journal: a file of finished runs, one JSON line each; runs that stand in it are not repeated, so that a long proof
            that was stopped goes on where it was.

    Returns:
        plain dictionaries, lists, strings and numbers, ready for JSON.
    """
    if seeds is not None and seeds < 1:
        raise OptionError(found=f"seeds={seeds}", expected="at least 1", fix="leave it out for the proof's own number")
    done = _read_journal(journal)
    told = [_run_proof(proof, folder, data, seeds, progress or (lambda *_: None), journal, done) for proof in proofs]
    return {
        "system": name,
        "state": state(told),
        "versions": versions(),
        "machine": f"{platform.machine()}, {os.cpu_count()} processors, {platform.system()}",
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
        "proofs": told,
    }


def _run_proof(
    proof: Proof,
    folder: Path | None,
    data: Dataset | None,
    seeds: int | None,
    progress: Progress,
    journal: Path | None,
    done: dict[str, Any],
) -> dict[str, Any]:
    if data is not None:
        proof.check(data)
    n = seeds or proof.seeds
    sets: list[dict[str, Any]] = []
    for dataset in proof.datasets(folder) if data is None else [data]:
        proof.check(dataset)
        sets.append(_run_dataset(proof, dataset, n, progress, journal, done))
    return {
        "name": proof.name,
        "question": proof.question,
        "metric": proof.metric,
        "higher_is_better": proof.higher_is_better,
        "interval": proof.interval,
        "seeds": n,
        "note": proof.note,
        "needs_real": proof.needs_real,
        "datasets": sets,
        "differences": _pooled(proof, sets),
    }


def _run_dataset(
    proof: Proof, data: Dataset, n: int, progress: Progress, journal: Path | None, done: dict[str, Any]
) -> dict[str, Any]:
    step, fingerprint = f"{proof.name}: {data.name}", data.fingerprint
    runs: dict[str, list[dict[str, Any]]] = {arm.name: [] for arm in proof.arms}
    for seed in range(n):
        progress(step, seed, n)
        keys = {arm.name: f"{proof.name}|{data.name}|{fingerprint}|{arm.name}|{seed}" for arm in proof.arms}
        prepared = None if all(key in done for key in keys.values()) else proof.prepare(data, seed)
        for arm in proof.arms:
            key = keys[arm.name]
            if key not in done:
                done[key] = _run_arm(proof, arm, prepared, seed)
                _write_journal(journal, key, done[key])
            runs[arm.name].append(done[key])
    progress(step, n, n)
    method = np.array([r[proof.metric] for r in runs[proof.arms[0].name]])
    return {
        "name": data.name,
        "n": len(data),
        "real": data.real,
        "fingerprint": fingerprint,
        "arms": [_told_arm(arm, runs[arm.name], proof) for arm in proof.arms],
        "differences": [
            _difference(arm, method, np.array([r[proof.metric] for r in runs[arm.name]]), proof)
            for arm in proof.arms[1:]
        ],
    }


def _run_arm(proof: Proof, arm: Arm, prepared: Any, seed: int) -> dict[str, float]:
    with Meter() as meter:
        found = arm.run(prepared, seed)
    values = dict(found) if isinstance(found, Mapping) else {proof.metric: found}
    if proof.metric not in values:
        raise KeyError(f"arm {arm.name!r} returned {sorted(values)}, without the metric {proof.metric!r}")
    return {k: float(v) for k, v in values.items()} | {"cpu_seconds": meter.cpu, "peak_mib": meter.peak_mib}


def _told_arm(arm: Arm, runs: list[dict[str, float]], proof: Proof) -> dict[str, Any]:
    values = [r[proof.metric] for r in runs]
    others = [k for k in runs[0] if k not in (proof.metric, "cpu_seconds", "peak_mib")]
    return {
        "name": arm.name,
        "role": arm.role,
        "mean": values[0] if proof.interval == "bootstrap" else float(np.mean(values)),
        "values": values if proof.interval == "t" else values[:1],
        "also": {k: float(np.mean([r[k] for r in runs])) for k in others},
        "cpu_seconds": float(np.mean([r["cpu_seconds"] for r in runs])),
        "peak_mib": float(np.max([r["peak_mib"] for r in runs])),
    }


def _difference(arm: Arm, method: np.ndarray, other: np.ndarray, proof: Proof) -> dict[str, Any]:
    mean, low, high = paired(method, other, proof.interval, proof.higher_is_better)
    return {"arm": arm.name, "role": arm.role, "mean": mean, "low": low, "high": high}


def _pooled(proof: Proof, sets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Differences averaged over the data sets, each weighing the same. The interval is that of seeds, on these data sets;
    bootstrap intervals of single data sets are combined as those of independent samples."""
    if not sets:
        return []
    out = []
    for i, arm in enumerate(proof.arms[1:]):
        if proof.interval == "t":
            sign = 1 if proof.higher_is_better else -1
            d = np.mean([np.subtract(s["arms"][0]["values"], s["arms"][i + 1]["values"]) * sign for s in sets], axis=0)
            mean, low, high = paired(d, np.zeros(len(d)), "t")
        else:
            one = [s["differences"][i] for s in sets]
            mean = float(np.mean([d["mean"] for d in one]))
            low = mean - float(np.sqrt(np.sum([(d["mean"] - d["low"]) ** 2 for d in one]))) / len(one)
            high = mean + float(np.sqrt(np.sum([(d["high"] - d["mean"]) ** 2 for d in one]))) / len(one)
        out.append({"arm": arm.name, "role": arm.role, "mean": mean, "low": low, "high": high})
    return out


def state(proofs: list[dict[str, Any]]) -> str:
    """What the numbers say of a system.

    A proof is won where the method's pooled 95 % interval lies above zero against every baseline, with at least one real
    data set among them where such exist. All proofs won: "works". Some won, or won on bundled data only: "partly". None:
    "no gain here" (works as specified, no gain here). No proof run, or too few seeds for an interval: "not yet".
    """
    verdicts = {_verdict(p) for p in proofs if p["datasets"]}
    if not verdicts or verdicts == {"open"}:
        return "not yet"
    if verdicts == {"won"}:
        return "works"
    return "partly" if verdicts & {"won", "bundled"} else "no gain here"


def _verdict(proof: dict[str, Any]) -> str:
    low = [d["low"] for d in proof["differences"] if d["role"] == "baseline"]
    if not low or any(np.isnan(low)):
        return "open"
    if min(low) <= 0:
        return "lost"
    return "won" if not proof["needs_real"] or any(s["real"] for s in proof["datasets"]) else "bundled"


def versions() -> dict[str, str]:
    """Of Python, of this package, and of the packages that the numbers depend on."""
    found = {"python": platform.python_version(), "labelwright": labelwright.__version__}
    for package in ("numpy", "scipy", "scikit-learn", "torch", "transformers"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _read_journal(journal: Path | None) -> dict[str, Any]:
    done: dict[str, Any] = {}
    if journal is not None and journal.is_file():
        for line in journal.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                done[entry["run"]] = entry["found"]
            except (ValueError, KeyError, TypeError):
                continue  # the line that was being written when the last run was stopped
    return done


def _write_journal(journal: Path | None, key: str, found: dict[str, float]) -> None:
    if journal is not None:
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"run": key, "found": found}) + "\n")
