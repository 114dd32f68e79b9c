"""The document: nine modules whatever is given, JSON there and back, diffs, the page, and the golden figures of five tables."""

from __future__ import annotations

import importlib.util
import json
import time
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from labelwright.auditing._nutrition_page import bars, heat
from labelwright.auditing._nutrition_schema import KINDS, MODULES, ORIGINS, STATES, check_document
from labelwright.auditing.nutrition import (
    NutritionLabel,
    nutrition_html,
    nutrition_label,
    nutrition_questions,
    nutrition_schema,
)
from labelwright.errors import ColumnError, DataError, OptionError

GOLDEN = Path(__file__).with_name("nutrition_golden.json")
_spec = importlib.util.spec_from_file_location("report_helpers", Path(__file__).with_name("test_report.py"))
assert _spec is not None and _spec.loader is not None
report = importlib.util.module_from_spec(_spec)  # its made-up audits and its reader of pages
_spec.loader.exec_module(report)
PAYLOADS, Page, make, make_multi = report.PAYLOADS, report.Page, report.make, report.make_multi
N = 90


def table(n: int = N, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    return {
        "x": x,
        "y": x + rng.normal(size=n),
        "colour": rng.choice(["red", "green", "blue"], n).astype(object),
        "region": rng.choice([f"region {k}" for k in range(6)], n).astype(object),
        "text": [f"some words about row number {i}" for i in range(n)],
        "picture": [b"\x89PNG" + bytes([i % 250, i // 250]) for i in range(n)],
        "vector": [rng.normal(size=4).tolist() for _ in range(n)],
        "label": np.where(x > 0, "yes", "no").astype(object),
    }


@pytest.fixture(scope="module")
def made() -> NutritionLabel:
    return nutrition_label(table(), label="label", name="made up", answers={"metadata": {"license": "CC BY 4.0"}})


# ------------------------------------------------------------------------------------------------------- the document
def test_every_module_is_there_and_says_its_state(made: NutritionLabel) -> None:
    assert tuple(m.name for m in made.modules) == MODULES
    for m in made.modules:
        assert m.kind in KINDS and m.origin in ORIGINS and m.status in STATES and (m.status == "ok" or m.why)
    states = {m.name: m.status for m in made.modules}
    assert states == {
        "metadata": "partial", "provenance": "missing", "variables": "missing", "statistics": "ok", "pair_plots": "ok",
        "probabilistic_model": "ok", "reference_correlations": "missing", "label_quality": "partial",
        "label_provenance": "missing",
    }  # fmt: skip
    bare = nutrition_label({"text": ["a b c d e"] * 3})
    assert (
        bare["label_quality"].status
        == bare["pair_plots"].status
        == bare["probabilistic_model"].status
        == "not applicable"
    )


def test_json_there_and_back(made: NutritionLabel) -> None:
    again = NutritionLabel.from_json(made.to_json())
    assert again == made and again.to_json() == made.to_json() and again.diff(made) == []
    check_document(json.loads(made.to_json()))


def test_the_same_data_give_the_same_text_and_frames_agree(made: NutritionLabel) -> None:
    t = table()
    again = nutrition_label(t, label="label", name="made up", answers={"metadata": {"license": "CC BY 4.0"}})
    assert again.to_json() == made.to_json()
    frame = nutrition_label(
        pd.DataFrame(t), label="label", name="made up", answers={"metadata": {"license": "CC BY 4.0"}}
    )
    assert frame.diff(made) == []


def test_diff_names_what_changed(made: NutritionLabel) -> None:
    t = table()
    t["x"] = np.where(np.arange(N) < 60, t["x"], np.nan)
    newer = nutrition_label(t, label="label", name="made up", answers={"metadata": {"license": "CC0"}})
    changes = {c.place: (c.before, c.after) for c in newer.diff(made)}
    assert changes["metadata.content.license"] == ("CC BY 4.0", "CC0")
    assert changes["statistics.content.columns.x.missing"] == (0, 30)
    assert "statistics.warnings.missing.x" in changes and "statistics.content.columns.colour.count" not in changes
    assert changes["statistics.warnings.missing.x"][0] is None


def test_a_document_of_another_form_is_refused(made: NutritionLabel) -> None:
    document = json.loads(made.to_json())
    for change, message in (
        (lambda d: d.pop("header"), "no 'header' in label"),
        (lambda d: d.update(version=2), "label.version"),
        (lambda d: d["modules"][3].update(status="fine"), r"label.modules\[3\].status"),
        (lambda d: d["modules"].pop(), "in this order"),
        (lambda d: d["modules"][0].update(content=[]), "object at"),
        (lambda d: d["header"].update(rows=True), "integer at"),
    ):
        wrong = json.loads(json.dumps(document))
        change(wrong)
        with pytest.raises(DataError, match=message):
            NutritionLabel.from_json(json.dumps(wrong))
    with pytest.raises(DataError, match="pass what to_json wrote"):
        NutritionLabel.from_json("{")
    assert json.loads(json.dumps(nutrition_schema())) == nutrition_schema()


# ------------------------------------------------------------------------------------------------------- answers
def test_the_template_filled_in_is_read_back() -> None:
    t = table()
    questions = nutrition_questions(t)
    assert nutrition_label(t, answers=questions).completeness == 0
    questions["metadata"]["license"]["answer"] = "CC BY 4.0"
    questions["variables"]["sensitive"]["answer"] = "none"
    questions["variables"]["columns"]["x"]["description"]["answer"] = "a length"
    questions["variables"]["columns"]["x"]["max"]["answer"] = 1.5
    made = nutrition_label(t, label="label", answers=questions)
    assert made["metadata"].content["license"] == "CC BY 4.0" and made["variables"].content["sensitive"] == []
    assert made.header["completeness"]["answered"] == 3
    assert made.header["completeness"]["asked"] == 7 + 6 + 1 + 4 + len(t)
    assert [(w.code, w.columns) for w in made.warnings] == [("out_of_range", ("x",))]


@pytest.mark.parametrize(
    ("answers", "error", "message"),
    [
        ({"metadata": {"licence": "CC0"}}, OptionError, "did you mean 'license'"),
        ({"meta": {}}, OptionError, "did you mean 'metadata'"),
        ({"variables": {"columns": {"xx": {}}}}, ColumnError, "nearest: x"),
        ({"variables": {"columns": {"x": {"units": "m"}}}}, OptionError, "did you mean 'unit'"),
        ({"variables": {"columns": {"x": {"min": "low"}}}}, OptionError, "write a number"),
        ({"variables": {"sensitive": ["age"]}}, ColumnError, "no column 'age'"),
        ({"metadata": "CC0"}, DataError, "fill in that template"),
    ],
)
def test_answers_that_are_none(answers: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        nutrition_label(table(), answers=answers)


# ------------------------------------------------------------------------------------------------------- modules
def test_a_file_is_told_by_name_size_and_checksum(tmp_path: Path) -> None:
    file = tmp_path / "data.csv"
    file.write_bytes(b"a,b\n1,2\n")
    facts = nutrition_label(table(), source=file)["metadata"].content["facts"]
    assert (facts["file"], facts["format"], facts["bytes"]) == ("data.csv", "csv", 8)
    assert facts["sha256"].startswith("ccb8bb6a") or len(facts["sha256"]) == 64
    assert str(tmp_path) not in nutrition_label(table(), source=file).to_json()
    assert nutrition_label(table(), source="a survey")["metadata"].content["facts"]["source"] == "a survey"


def test_a_reference_is_joined_by_its_key() -> None:
    t = table(600)
    level = {f"region {k}": float(k) for k in range(6)}
    t["x"] = np.array([level[r] for r in t["region"]]) + 0.1 * t["x"]
    reference = {"region": list(level), "income": [2 * v + 1 for v in level.values()], "area": [5.5, 1, 2, 8, 1, 3]}
    module = nutrition_label(t, reference=reference)["reference_correlations"]
    top = module.content["correlations"][0]
    assert (top["column"], top["reference"], top["n"]) == ("x", "income", 6) and top["correlation"] > 0.99
    assert top["low"] < top["correlation"] <= top["high"] <= 1 and top["p_adjusted"] >= top["p_value"]
    assert module.status == "partial" and "source and date" in module.why
    told = {"table": reference, "key": "region", "source": "census", "date": "2020"}
    assert nutrition_label(t, reference=told)["reference_correlations"].status == "ok"
    with pytest.raises(DataError, match="aggregate it first"):
        nutrition_label(t, reference={"region": ["region 0"] * 2, "income": [1.5, 2]})
    with pytest.raises(DataError, match="pass reference="):
        nutrition_label(t, reference={"other": [1.5, 2]})
    with pytest.raises(ColumnError, match="pass key="):
        nutrition_label(t, reference=told | {"key": "land"})


def test_an_audit_fills_the_label_module() -> None:
    t = table()
    content = nutrition_label(t, label="label", audit=make(N, n_reviewed=10))["label_quality"].content
    assert content["noise_rate"]["estimate"] == 0.0821 and content["review"] == {"reviewed": 10, "debiased": True}
    assert content["conflicting_duplicates"] == 1 and all(m["count"] >= 5 for m in content["mistakes"])
    assert nutrition_label(t, label="label", audit=make(N))["label_quality"].status == "partial"
    multi = nutrition_label(table(40), audit=make_multi())
    assert multi["label_quality"].content["labels_per_item"] > 0
    assert "Wrong labels" in nutrition_html(multi)
    with pytest.raises(DataError, match="pass the table that was audited"):
        nutrition_label(t, audit=make(50))
    with pytest.raises(OptionError, match="pass that, or None"):
        nutrition_label(t, audit={"error_rate": 0.1})


def test_a_label_of_few_whole_numbers_is_one_of_classes() -> None:
    t = table() | {"digit": np.random.default_rng(1).integers(0, 10, N)}
    assert nutrition_label(t)["statistics"].content["columns"]["digit"]["type"] == "discrete"
    assert nutrition_label(t, label="digit")["statistics"].content["columns"]["digit"]["type"] == "nominal"
    told = nutrition_label(t, label="digit", types={"digit": "discrete"})
    assert told["statistics"].content["columns"]["digit"]["type"] == "discrete" and told.header["types"] == {
        "digit": "discrete"
    }


def test_large_tables_are_sampled_and_say_so() -> None:
    t = {k: v for k, v in table(3000).items() if k in ("x", "y", "colour")}
    made = nutrition_label(t, sample=500, random_state=3)
    assert made.header["sample"] == {"rows": 500, "of": 3000} and made.header["random_state"] == 3
    assert made["statistics"].content["columns"]["x"]["count"] == 500
    assert "500 of 3,000 rows" in nutrition_html(made)
    repeated = {k: np.concatenate([v, v[:100]]) for k, v in t.items()}
    (duplicates,) = nutrition_label(repeated, sample=500).warnings
    assert "100 of 3,100 rows" in duplicates.message  # counted on all rows


def test_nothing_is_told_of_few_rows() -> None:
    t = table(200)
    t["colour"][:3] = "the only pink one"
    t["x"][0] = 987.654321
    made = nutrition_label(t, label="label")
    assert "pink" not in made.to_json() and "987" not in made.to_json()
    assert "987" in nutrition_label(t, label="label", min_cell=1).to_json()


# ------------------------------------------------------------------------------------------------------- the page
def test_the_page_is_a_sound_fragment(made: NutritionLabel) -> None:
    html = nutrition_html(made)
    page = Page(html)
    assert html.lstrip().startswith("<section>") and html.rstrip().endswith("</section>")
    tags = {tag for tag, _ in page.elements}
    assert not tags & {"script", "style", "link", "iframe", "html", "body", "h1", "h4"}
    assert not any(k in ("src", "href") or k.startswith("on") for _, a in page.elements for k in a)
    for m in made.modules:
        assert m.title in page.text
    assert page.text.count("Missing:") >= 3
    sheet = resources.files("labelwright.auditing").joinpath("report.html.j2").read_text("utf-8")
    for _, attributes in page.elements:
        for name in attributes.get("class", "").split():
            assert f".{name}" in sheet, name


def test_what_the_data_say_is_never_markup() -> None:
    payloads = [p for p in PAYLOADS if p.encode(errors="ignore").decode() == p]
    names = {f"{p} {i}": [p] * 20 + [p + "2"] * 20 for i, p in enumerate(payloads)}
    html = nutrition_html(nutrition_label(names, name=PAYLOADS[0], answers={"metadata": {"license": PAYLOADS[0]}}))
    tags = {tag for tag, _ in Page(html).elements}
    assert not tags & {"script", "img", "iframe", "style", "a"}


def test_the_page_stays_small() -> None:
    rng = np.random.default_rng(0)
    wide = {'"&' * 40 + f"<{j}>": rng.choice(["'" * 70, "&" * 70, '"' * 70], 60) for j in range(300)}
    html = nutrition_html(nutrition_label(wide))
    assert len(html.encode()) < 300_000 and "Showing" in html
    Page(html)


def test_charts() -> None:
    assert bars([4, None, 0, 8], "rows").count("M") == 3 and bars([], "rows")
    assert heat([[9, None], [0, 3]]).count("<rect") == 2 and heat([[9, None]]).count("<circle") == 1


def test_ten_thousand_rows_take_seconds() -> None:
    rng = np.random.default_rng(0)
    t = {f"x{j}": rng.normal(size=10_000) for j in range(30)}
    start = time.process_time()
    nutrition_label(t)
    assert time.process_time() - start < 10


# ------------------------------------------------------------------------------------------------------- refusals
def test_what_is_refused() -> None:
    with pytest.raises(DataError, match="pass the table that holds the data"):
        nutrition_label({"x": []})
    with pytest.raises(DataError, match="rename one of them"):
        nutrition_label(pa.table([[1], [2]], names=["x", "x"]))
    with pytest.raises(ColumnError, match="nearest: label"):
        nutrition_label(table(), label="lable")
    with pytest.raises(ColumnError, match="nearest: "):
        nutrition_label(table(), split="part")
    with pytest.raises(DataError, match="with the encoding it was written in"):
        nutrition_label({"x": ["\ud800", "b"]})
    with pytest.raises(OptionError, match="pass min_cell=1 or more"):
        nutrition_label(table(), min_cell=0)


# ------------------------------------------------------------------------------------------------------- golden figures
def summary(label: NutritionLabel) -> dict[str, Any]:
    """What a golden file keeps: states, warnings, types, and three figures per column."""
    columns = label["statistics"].content["columns"]
    kept = ("type", "count", "missing", "unique", "median", "mean")
    return {
        "header": {k: label.header[k] for k in ("rows", "columns", "label", "sample", "completeness")},
        "states": {m.name: m.status for m in label.modules},
        "warnings": [[w.code, list(w.columns)] for w in label.warnings],
        "columns": {c: {k: v for k, v in told.items() if k in kept} for c, told in columns.items()},
        "strongest": [
            [p["a"], p["b"], p["measure"], round(p["strength"], 3)] for p in label["pair_plots"].content["pairs"][:3]
        ],
    }


def golden(folder: Path | None) -> dict[str, Any]:
    from labelwright.systems.dataset_nutrition_label import clean_table, tables

    out = {}
    for data in tables(folder):
        if data.name != "abalone":
            t = clean_table(data, np.random.default_rng(0))
            out[data.name] = summary(
                nutrition_label({k: v for k, v in t.items() if k not in ("sex", "split")}, label="label")
            )
    return out


def assert_same(found: Any, kept: Any, place: str) -> None:
    """Equal up to the last figures of a number."""
    if isinstance(kept, dict):
        assert list(found) == list(kept), place
        for key in kept:
            assert_same(found[key], kept[key], f"{place}.{key}")
    elif isinstance(kept, list):
        assert len(found) == len(kept), place
        for i, (f, k) in enumerate(zip(found, kept)):
            assert_same(f, k, f"{place}[{i}]")
    else:
        assert found == (pytest.approx(kept, rel=1e-4) if isinstance(kept, float) else kept), place


def test_golden_figures(real_data: Path) -> None:
    assert_same(json.loads(json.dumps(golden(real_data))), json.loads(GOLDEN.read_text()), "golden")
