"""Where the probabilities of a data set are read."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelwright.auditing import audit_file
from labelwright.auditing._file_source import own_columns, read_source
from labelwright.errors import DataError, LabelwrightError

NAMES = ("ant", "bee", "cat", "dog")


def table(n=600, k=4, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    p = 0.6 * np.eye(k)[np.where(rng.random(n) < 0.1, (y + 1) % k, y)] + 0.4 * rng.dirichlet(np.ones(k), n)
    columns = {"id": [f"i{i}" for i in range(n)], "label": [NAMES[j] for j in y]}
    return pa.table(columns | {f"prob_{NAMES[j]}": p[:, j] for j in range(k)})


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    whole = table()
    for i in range(3):
        pq.write_table(whole.slice(200 * i, 200), folder / f"part-{i:03}.parquet", row_group_size=64)
    return folder


NOT_WANTED = {"label": None, "id": None, "text": None, "image": None, "group": None, "multi": False}


@pytest.mark.parametrize("named", ["prob_", "prob_*", None])
def test_columns_of_the_data_are_read_in_passes(shards: Path, named, tmp_path: Path):
    kwargs = {"id": "id", "label": "label", "pred_probs": named}
    passes = audit_file(shards, **kwargs, engine="serial", out=tmp_path / "a.labels")
    whole = audit_file(shards, **kwargs, out=tmp_path / "b.labels")
    assert any("4 columns from 'prob_ant', read in passes" in told for told in passes.columns.explanation)
    np.testing.assert_allclose(passes.audit.error_prob, whole.audit.error_prob, atol=1e-6)
    assert passes.audit.space == whole.audit.space
    assert passes.audit.pred_probs is None and whole.audit.pred_probs is not None
    assert passes.repository.head["fingerprint"] != whole.repository.head["fingerprint"]  # columns less


def test_the_table_is_read_without_them(shards: Path):
    source = read_source(shards, features=None, pred_probs="prob_", split=None, wanted=True, **NOT_WANTED)
    assert source.table.column_names == ["id", "label"] and source.in_passes
    assert source.rows is not None and source.rows.shape == (600, 4)
    assert source.rows.classes == ("prob_ant", "prob_bee", "prob_cat", "prob_dog")


def test_a_column_of_lists(tmp_path: Path):
    p = np.stack([table()[f"prob_{NAMES[j]}"].to_numpy() for j in range(4)], 1)
    data = pa.table({"label": table()["label"], "probs": pa.array(p.tolist(), pa.list_(pa.float32(), 4))})
    pq.write_table(data, tmp_path / "d.parquet")
    source = read_source(
        tmp_path / "d.parquet", features=None, pred_probs="probs", split=None, wanted=True, **NOT_WANTED
    )
    assert source.rows is not None and source.rows.shape == (600, 4) and source.table.column_names == ["label"]


def test_what_is_small_or_of_another_kind_is_read_whole(shards: Path, tmp_path: Path):
    assert own_columns(shards, "prob_", split=None, wanted=False, features=None, **NOT_WANTED) is None
    assert own_columns(shards, "prob_", split="train", wanted=True, features=None, **NOT_WANTED) is None
    (tmp_path / "d.csv").write_text("label,p_a,p_b\na,0.9,0.1\n")
    assert own_columns(tmp_path / "d.csv", "p_", split=None, wanted=True, features=None, **NOT_WANTED) is None
    pq.write_table(table(), shards / "part-10.parquet")  # numbers of two lengths: two orders of the shards
    assert own_columns(shards, "prob_", split=None, wanted=True, features=None, **NOT_WANTED) is None


def test_bad_rows_in_the_middle_are_named(shards: Path, tmp_path: Path):
    whole = table().slice(200, 200)
    column = whole["prob_bee"].to_numpy().copy()
    column[77] = np.nan
    pq.write_table(whole.set_column(3, "prob_bee", pa.array(column)), shards / "part-001.parquet")
    with pytest.raises(DataError, match=r"row 77 of part-001.parquet \(row 277 of all\)"):
        audit_file(shards, id="id", label="label", pred_probs="prob_", engine="serial", out=tmp_path / "a.labels")
    (shards / "part-001.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(DataError, match="part-001.parquet"):
        audit_file(shards, id="id", label="label", pred_probs="prob_", engine="serial", out=tmp_path / "a.labels")


def test_no_such_columns(shards: Path, tmp_path: Path):
    with pytest.raises(LabelwrightError, match="no column 'q_' for pred_probs"):
        audit_file(shards, id="id", label="label", pred_probs="q_", engine="serial", out=tmp_path / "a.labels")


# -- ordered classes ---------------------------------------------------------------------------------------------------
def ages(path, n=300):
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 3, n)
    stage = x.astype(int)
    names = np.array(["young", "grown", "old"])
    given = np.where(np.arange(n) < 20, (stage + 1 + (np.arange(n) % 2)) % 3, stage)
    pq.write_table(pa.table({"id": np.arange(n), "x": x, "y": x**2, "stage": names[given]}), path)
    return path


def test_ordered_classes_from_a_file(tmp_path):
    data = ages(tmp_path / "ages.parquet")
    options = {"label": "stage", "id": "id"}
    found = audit_file(data, **options, ordered="young,grown,old", out=tmp_path / "a.labels").audit
    assert found.space.classes == ("young", "grown", "old") and found.space.structure == "ordered"
    assert found.settings["rank_by"] == "cost"
    far = found.severity[:20].max()
    assert far > 1 and np.ptp(found.severity) > 1  # two classes away costs twice
    with pytest.raises(LabelwrightError, match="leave one of the two out"):
        audit_file(data, **options, ordered="sorted", multi=True, out=tmp_path / "b.labels")
    with pytest.raises(LabelwrightError, match="'old' that the order does not list"):
        audit_file(data, **options, ordered="young,grown", out=tmp_path / "c.labels")


@pytest.mark.parametrize("engine", [None, "serial"])
def test_probabilities_of_ordered_classes_are_told_by_their_names(tmp_path, engine):
    table = pq.read_table(ages(tmp_path / "ages.parquet"))
    near = np.exp(-2 * (table["x"].to_numpy()[:, None] - np.array([0.5, 1.5, 2.5])) ** 2)
    p = dict(zip(("young", "grown", "old"), (near / near.sum(1, keepdims=True)).T))
    found = []
    for name, order in (("a", ("young", "grown", "old")), ("b", ("old", "young", "grown"))):
        columns = {"id": table["id"], "stage": table["stage"]} | {f"p_{c}": p[c] for c in order}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
        options = {"label": "stage", "id": "id", "pred_probs": "p_", "ordered": "young,grown,old", "engine": engine}
        found.append(audit_file(tmp_path / f"{name}.parquet", **options, out=tmp_path / f"{name}.labels").audit)
    np.testing.assert_allclose(found[0].error_prob, found[1].error_prob)
    assert found[0].error_prob[:20].mean() > 0.5 > 10 * found[0].error_prob[20:].mean()
