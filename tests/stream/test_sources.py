"""Every source delivers the same rows, from anywhere, in chunks of any size."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from stream_data import FORMATS, fixed_lists, random_case, write, write_shards

from labelwright.errors import ColumnError, DataError, OptionError
from labelwright.labels import LabelSpace, SoftLabels
from labelwright.stream import open_rows, with_dense, with_rows


def together(chunks):
    return np.concatenate([np.zeros((0, 4), np.float32), *(chunk.data for chunk in chunks)])


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    _, p = random_case()
    return p, {kind: open_rows(write_shards(tmp_path_factory.mktemp(kind) / "s", p, kind)) for kind in FORMATS}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_folder_of_shards_is_one_source(shards, kind):
    p, sources = shards
    rows = sources[kind]
    assert (len(rows), rows.shape, rows.dtype) == (60, (60, 4), np.float32)
    found = list(rows.chunks(9))
    assert together(found).tobytes() == p.tobytes()
    for chunk in found:
        assert len(chunk) <= 9
        np.testing.assert_array_equal(chunk.data, p[chunk.rows])
        start = {"8": 0, "9": 25, "10": 26, "11": 45}[chunk.shard.split("-")[1].split(".")[0]]
        assert chunk.first == start + chunk.first_in_shard


@pytest.mark.parametrize("kind", FORMATS)
def test_any_range_in_chunks_of_any_size(shards, kind):
    p, sources = shards

    @given(st.integers(0, 65), st.integers(0, 65), st.integers(1, 70))
    def holds(start, stop, size):
        chunks = list(sources[kind].chunks(size, start=start, stop=stop))
        np.testing.assert_array_equal(together(chunks), p[start:stop])
        assert all(len(chunk) <= size for chunk in chunks)

    if kind == "lance":  # a scan takes milliseconds
        for start, stop, size in [(0, 60, 7), (24, 27, 1), (30, 30, 5), (50, 99, 100)]:
            np.testing.assert_array_equal(
                together(sources[kind].chunks(size, start=start, stop=stop)), p[start : min(stop, 60)]
            )
    else:
        holds()


@pytest.mark.parametrize("kind", FORMATS)
def test_one_file_is_a_source(tmp_path, kind):
    _, p = random_case(dtype=np.float64)
    np.testing.assert_array_equal(np.concatenate([c.data for c in open_rows(write(tmp_path, 0, p, kind)).chunks(8)]), p)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("kind", ["npy", "parquet", "feather"])
def test_the_dtype_stays(tmp_path, kind, dtype):
    _, p = random_case(dtype=dtype)
    rows = open_rows(write_shards(tmp_path / "s", p, kind))
    assert rows.dtype == dtype and all(chunk.data.dtype == dtype for chunk in rows.chunks())


def test_shards_of_16_and_32_bits_come_as_32(tmp_path):
    _, p = random_case(dtype=np.float16)
    np.save(tmp_path / "a-0.npy", p[:30])
    np.save(tmp_path / "a-1.npy", p[30:].astype(np.float32))
    rows = open_rows(tmp_path)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(together(rows.chunks()), p.astype(np.float32))


def test_a_big_endian_and_a_fortran_array_and_an_empty_one(tmp_path):
    _, p = random_case()
    np.save(tmp_path / "a.npy", p.astype(">f4"))
    np.save(tmp_path / "b.npy", np.asfortranarray(p))
    np.save(tmp_path / "c.npy", p[:0])
    for name, wanted in (("a", p), ("b", p), ("c", p[:0])):
        np.testing.assert_array_equal(together(open_rows(tmp_path / f"{name}.npy").chunks(7)), wanted)
    assert open_rows(tmp_path / "a.npy").dtype.isnative


def test_columns_of_a_table(tmp_path):
    labels, p = random_case()
    table = pa.table(
        {
            "label": pa.array(labels, mask=labels < 0),
            "cat": p[:, 0],
            "dog": p[:, 1],
            "p": fixed_lists(p),
            "t": ["x"] * 60,
        }
    )
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=11)
    for source in (tmp_path / "t.parquet", table):
        rows = open_rows(source, columns=("label", ["cat", "dog"], "p"))
        found = list(rows.chunks(8))
        np.testing.assert_array_equal(np.concatenate([c.data[0] for c in found]), labels)  # null is -1
        np.testing.assert_array_equal(np.concatenate([c.data[1] for c in found]), p[:, :2])
        np.testing.assert_array_equal(np.concatenate([c.data[2] for c in found]), p)
        assert open_rows(source, columns=["cat", "dog"]).classes == ("cat", "dog")
        rows = open_rows(source)
        assert (
            pa.concat_tables(c.data for c in rows.chunks(8)).equals(table) and rows.schema.names == table.column_names
        )
    assert open_rows(table.select(["cat", "dog"])).shape == (60, 2)
    (chunk,) = open_rows((labels, tmp_path / "t.parquet"), columns="p").chunks()
    np.testing.assert_array_equal(chunk.data[1], p)
    with pytest.raises(ColumnError, match=r"no column 'ct'.*'cat'"):
        open_rows(table, columns="ct")
    with pytest.raises(DataError, match="encode class names as ids"):
        open_rows(table, columns="t")


def test_nulls_are_nan_or_missing_or_refused(tmp_path):
    values = pa.array([0.5, None, 0.25])
    (chunk,) = open_rows(pa.table({"p": values})).chunks()
    np.testing.assert_array_equal(chunk.data, [0.5, np.nan, 0.25])
    with pytest.raises(DataError, match="1 nulls in 'b' .* first in row 1"):
        list(open_rows(pa.table({"b": pa.array([True, None])})).chunks())
    lists = pa.array([[0.5, 0.5], None, [1.0, 0.0]], pa.list_(pa.float32()))
    pq.write_table(pa.table({"p": lists}), tmp_path / "p.parquet")
    with pytest.raises(DataError, match="first in row 1"):
        list(open_rows(pa.table({"p": lists})).chunks())
    with pytest.raises(DataError, match="1 nulls in 'p'"):
        list(open_rows(pa.table({"p": pa.array([[1, None]], pa.list_(pa.int32(), 2))})).chunks())


def test_lists_of_different_length_are_named(tmp_path):
    lists = pa.array([[0.5, 0.5], [1.0, 0.0], [1.0], [0.2, 0.3, 0.5]])  # 8 entries in 4 rows: only reading tells
    pq.write_table(pa.table({"p": lists}), tmp_path / "p.parquet")
    with pytest.raises(DataError, match=r"1 entries in row 2 of 'p' in p.parquet; expected 2"):
        list(open_rows(tmp_path / "p.parquet").chunks(1))
    pq.write_table(pa.table({"p": lists[:3]}), tmp_path / "p.parquet")
    with pytest.raises(DataError, match="5 entries in 3 lists"):
        open_rows(tmp_path / "p.parquet")


@given(st.integers(1, 13), st.integers(0, 59), st.integers(1, 60))
def test_sources_side_by_side_stay_in_step(size, start, stop):
    labels, p = random_case()
    rows = open_rows((labels, p, p.tolist()))
    for chunk in rows.chunks(size, start=start, stop=stop):
        assert [len(part) for part in chunk.data] == [len(chunk)] * 3
        np.testing.assert_array_equal(chunk.data[0], labels[chunk.rows])
        np.testing.assert_array_equal(chunk.data[1], p[chunk.rows])


def test_labels_beside_shards_of_another_cut(tmp_path):
    labels, p = random_case()
    write_shards(tmp_path / "p", p, "npy")
    write_shards(tmp_path / "y", labels, "npy", cuts=(10, 40))
    np.save(tmp_path / "p" / "labels-0.npy", labels)
    for rows in (open_rows((tmp_path / "y", tmp_path / "p"), columns="probs"),
                 open_rows(tmp_path / "p", columns=("labels", "probs"))):  # fmt: skip
        found = list(rows.chunks(16))
        np.testing.assert_array_equal(np.concatenate([c.data[0] for c in found]), labels)
        np.testing.assert_array_equal(np.concatenate([c.data[1] for c in found]), p)
        assert found[0].shard == "probs-8.npy" and [c.first for c in found] == sorted(c.first for c in found)
    with pytest.raises(DataError, match=r"'labels'.*'probs'.*pass columns="):
        open_rows(tmp_path / "p")
    with pytest.raises(DataError, match="has 59 rows.*select the rows that all of them have"):
        open_rows((labels[:59], tmp_path / "y"))


def test_generators():
    labels, p = random_case()

    def make():
        for a in range(0, 60, 25):
            yield labels[a : a + 25], p[a : a + 25]

    rows = open_rows(make)
    for _ in range(2):
        found = list(rows.chunks(10, start=5, stop=57))
        np.testing.assert_array_equal(np.concatenate([c.data[1] for c in found]), p[5:57])
        assert max(map(len, found)) == 10
    once = open_rows(make())
    assert sum(len(chunk) for chunk in once.chunks()) == 60
    with pytest.raises(DataError, match=r"open_rows\(make_chunks\)"):
        list(once.chunks())
    with pytest.raises(DataError, match="write them to .npy or Parquet"):
        len(rows)
    with pytest.raises(DataError, match="leave checkpoint out"):
        rows.fingerprint()
    with pytest.raises(DataError, match="same number of rows"):
        list(open_rows((lambda: [labels], lambda: [p[:50]])).chunks(20))


def test_top_k_rows(tmp_path):
    _, p = random_case(k=6)
    space = LabelSpace("abcdef")
    soft = SoftLabels.from_dense(p, space, k=3)
    folder = tmp_path / "npz"
    folder.mkdir()
    for i, part in enumerate([slice(0, 20), slice(20, 60)]):
        np.savez(folder / f"s-{i}.npz", index=soft.index[part], prob=soft.prob[part], classes=np.array(list("abcdef")))
    np.savez_compressed(tmp_path / "c.npz", index=soft.index, prob=soft.prob, rest=soft.rest, known=soft.known)
    table = pa.table({"index": fixed_lists(soft.index), "prob": fixed_lists(soft.prob)})
    table = table.replace_schema_metadata({"labelwright.classes": '["a", "b", "c", "d", "e", "f"]'})
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=9)
    for rows in (open_rows(folder), open_rows(tmp_path / "c.npz", classes="abcdef"), open_rows(tmp_path / "t.parquet"),
                 open_rows(table), open_rows(soft)):  # fmt: skip
        assert rows.shape == (60, 6) and rows.classes == tuple("abcdef")
        found = list(rows.chunks(7, start=3))
        assert all(isinstance(chunk.data, SoftLabels) for chunk in found)
        np.testing.assert_array_equal(np.concatenate([c.data.index for c in found]), soft.index[3:])
        np.testing.assert_allclose(np.concatenate([with_dense(c) for c in found]), soft.dense()[3:], atol=1e-6)
    with pytest.raises(DataError, match="pass classes="):
        open_rows(tmp_path / "c.npz")
    bad = soft.prob.copy()
    bad[30, 0] = 2
    np.savez(tmp_path / "b.npz", index=soft.index, prob=bad)
    with pytest.raises(DataError, match=r"first is row 2.*counted from row 28 of b.npz"):
        list(open_rows(tmp_path / "b.npz", classes=6).chunks(7))
    np.savez(tmp_path / "d.npz", p=p)
    with pytest.raises(DataError, match="save a dense array with numpy.save"):
        open_rows(tmp_path / "d.npz", classes=6)
    np.savez(tmp_path / "d.npz", index=soft.index, prob=soft.prob[:30])
    with pytest.raises(DataError, match="write the arrays of the same items"):
        open_rows(tmp_path / "d.npz", classes=6)
    np.savez(tmp_path / "d.npz", index=np.asfortranarray(soft.index), prob=soft.prob)
    with pytest.raises(DataError, match="ascontiguousarray"):
        open_rows(tmp_path / "d.npz", classes=6)


def test_what_chunks_say_and_count():
    labels, p = random_case()
    rows = open_rows((labels, p))
    chunk = next(rows.chunks(10, start=20))
    assert chunk.where(3) == "row 23" and with_rows(chunk)[0] == slice(20, 30)
    np.testing.assert_array_equal(chunk[2:4].data[1], p[22:24])
    rows = open_rows(p)
    assert [rows.passes, len(list(rows.chunks())), rows.passes, len(list(rows.chunks(7, stop=30))), rows.passes] == [
        0, 1, 1.0, 5, 1.5,
    ]  # fmt: skip
    assert repr(rows) == "Memory(an array in memory, shape (60, 4))" and open_rows(rows) is rows
    with pytest.raises(OptionError, match="pass rows=1 or more"):
        rows.chunks(0)


def test_what_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match="check the path"):
        open_rows(tmp_path / "none.npy")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(DataError, match="pass format='npy'"):
        open_rows(tmp_path / "a.txt")
    with pytest.raises(DataError, match="whose reading failed"):
        open_rows(tmp_path / "a.txt", format="npy")
    with pytest.raises(DataError, match="no shards in"):
        open_rows(tmp_path)
    with pytest.raises(DataError, match="no parquet shards"):
        open_rows(tmp_path, format="parquet")
    with pytest.raises(OptionError, match="'parquet'"):
        open_rows(tmp_path, format="parkett")
    np.save(tmp_path / "o.npy", np.array([{}, []], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="save numbers"):
        open_rows(tmp_path / "o.npy")
    np.save(tmp_path / "one.npy", np.array(3.0))
    with pytest.raises(DataError, match="save one row per item"):
        open_rows(tmp_path / "one.npy")
    with pytest.raises(DataError, match="pass one row per item"):
        open_rows(3.0)
    for source, option in (
        (np.zeros(3), "columns"), (np.zeros(3), "format"), (list, "classes"), (open_rows(np.zeros(3)), "classes"),
        (pa.table({"x": [1]}), "format"), (SoftLabels.from_dense([[1.0]]), "classes"), ((np.zeros(3),), "format"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=f"leave {option} out"):
            open_rows(source, **{option: "npy"})
    with pytest.raises(DataError, match="leave them out"):
        open_rows(tmp_path / "one.npy", columns="x")
    with pytest.raises(DataError, match="in the order of the columns"):
        np.save(tmp_path / "p.npy", np.eye(3))
        open_rows(tmp_path / "p.npy", classes="ab")


@pytest.mark.parametrize("package", ["pandas", "polars"])
def test_data_frames(package):
    frames = pytest.importorskip(package)
    _, p = random_case()
    rows = open_rows(frames.DataFrame({"cat": p[:, 0], "dog": p[:, 1], "t": ["x"] * 60}), columns=["dog", "cat"])
    np.testing.assert_array_equal(np.concatenate([c.data for c in rows.chunks(11)]), p[:, [1, 0]])


def test_tables_in_memory_are_told_apart_by_their_content():
    one, two = pa.table({"a": [1.0, 2.0], "b": ["x", "y"]}), pa.table({"a": [1.0, 2.0], "b": ["x", "z"]})
    assert open_rows(one).fingerprint() == open_rows(pa.table(one.to_pydict())).fingerprint()
    assert open_rows(one).fingerprint() != open_rows(two).fingerprint()
