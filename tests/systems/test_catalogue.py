"""The catalogue is the one list: complete, consistent with the files beside it, and quick."""

from __future__ import annotations

import subprocess
import sys
import time
from importlib import resources

import pytest

from labelwright.errors import OptionError
from labelwright.systems import MEANING, catalogue, find, registered, state

FAMILIES = {
    *("audit", "aggregate", "infer", "relabel", "pseudo-label", "soft-label", "distill", "shrink", "robust", "mix"),
    *("multilabel", "extreme", "dense", "graph", "adapt", "llm", "trust"),
}
STRUCTURES = {"nominal", "ordered", "multi-label", "hierarchy", "metric", "score"}
INFRASTRUCTURE = {
    "__init__",
    "catalogue",
    "contract",
    "data",
    "meter",
    "proof",
    "runner",
    "search",
    "page",
    "_datasets",
}
WITH_CODE = [s for s in catalogue() if s.registered]


def test_all_132_are_there_once() -> None:
    numbered = [s for s in catalogue() if s.number]
    assert [s.number for s in numbered] == list(range(1, 133))
    assert len({s.name for s in catalogue()}) == len(catalogue())


@pytest.mark.parametrize("system", catalogue(), ids=lambda s: s.name)
def test_entries_use_the_words_of_the_house(system) -> None:
    assert set(system.family) <= FAMILIES and system.family
    assert set(system.structure) <= STRUCTURES and system.structure
    assert system.evidence and system.data and system.about
    assert 30 < len(system.line) <= 130 and system.line.endswith(".")
    assert system.state in MEANING


def test_every_file_of_a_system_is_in_the_list() -> None:
    names = [f.name for f in resources.files("labelwright.systems").iterdir()]
    files = {name[:-3] for name in names if name.endswith(".py") and not name.startswith("_")}
    assert files - INFRASTRUCTURE <= {s.module for s in catalogue()}


@pytest.mark.parametrize("system", WITH_CODE, ids=lambda s: s.name)
def test_registered_code_says_its_parts_and_proofs(system) -> None:
    import importlib

    module = registered(system)
    assert module.PROOFS and module.PARTS
    for dotted in module.PARTS.values():
        where, name = dotted.rsplit(".", 1)
        assert callable(getattr(importlib.import_module(where), name))
    for proof in module.PROOFS:
        assert proof.arms[0].role == "method"
        assert any(arm.role == "baseline" for arm in proof.arms)
        assert len({arm.name for arm in proof.arms}) == len(proof.arms)


@pytest.mark.parametrize("system", WITH_CODE, ids=lambda s: s.name)
def test_recorded_states_follow_from_the_recorded_numbers(system) -> None:
    record = system.record
    if record is None:
        pytest.skip("no recorded proof yet")
    assert record["state"] == state(record["proofs"]) == system.state
    assert record["system"] == system.name and record["number"] == system.number
    assert {p["name"] for p in record["proofs"]} == {p.name for p in registered(system).PROOFS}
    assert record["versions"]["labelwright"] and record["command"].startswith("labelwright prove")


def test_systems_are_found_by_name_number_and_beginning() -> None:
    assert find("toptwo") is find("12") is find(12) is find("TopTwo") is find("topt")
    assert find("nutrition").number == 26
    with pytest.raises(OptionError, match="did you mean toptwo"):
        find("toptow")
    with pytest.raises(OptionError, match="part of several names"):
        find("la")
    with pytest.raises(OptionError, match="labelwright systems QUERY"):
        find("999")


def test_a_system_without_code_says_so() -> None:
    without = next(s for s in catalogue() if not s.registered)
    with pytest.raises(OptionError, match="no code yet"):
        registered(without)


def test_listing_needs_no_extra_and_no_heavy_package() -> None:
    code = (
        "import sys, labelwright.systems as s; [s.registered(x) for x in s.catalogue() if x.registered];"
        "[x.summary() for x in s.catalogue()];"
        "print(sorted({'torch', 'sklearn', 'scipy', 'pyarrow', 'pandas', 'transformers', 'ray'} & set(sys.modules)))"
    )
    start = time.process_time()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert time.process_time() - start < 5
