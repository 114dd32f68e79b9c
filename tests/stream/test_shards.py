"""What shards must share, found from their heads before a row is read; damage, checksums, and URLs."""

from __future__ import annotations

import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from stream_data import FORMATS, random_case, write, write_shards

from labelwright.errors import DataError
from labelwright.stream import open_rows, write_checksums
from labelwright.stream._places import find_place

TABLES = [kind for kind in FORMATS if kind != "npy"]


@pytest.mark.parametrize("kind", FORMATS)
def test_another_number_of_classes_is_refused(tmp_path, kind):
    _, p = random_case()
    write(tmp_path, 0, p, kind)
    write(tmp_path, 1, p[:, :3], kind)
    with pytest.raises(DataError, match=r"probs-1.*3 entries per row|probs-1.*other columns"):
        open_rows(tmp_path)


@pytest.mark.parametrize("kind", ["npy", "parquet", "feather"])
def test_another_kind_of_numbers_is_refused(tmp_path, kind):
    _, p = random_case()
    write(tmp_path, 0, p, kind)
    write(tmp_path, 1, (p * 100).astype(np.int32), kind)
    with pytest.raises(DataError, match=r"probs-1.*whole numbers.*expected floats.*as in probs-0.*float32"):
        open_rows(tmp_path)


def test_other_class_names_are_refused(tmp_path):
    def shard(number, names, told=None):
        table = pa.table({name: [0.5, 0.5] for name in names})
        if told:
            table = pa.table({"p": pa.array([[0.5, 0.5]])}).replace_schema_metadata({"labelwright.classes": told})
        pq.write_table(table, tmp_path / f"s-{number}.parquet")

    shard(0, ["cat", "dog"])
    shard(1, ["cat", "bird"])
    with pytest.raises(
        DataError, match=r"s-1.parquet with other classes: 'bird' in column 1; expected 'dog', as in s-0"
    ):
        open_rows(tmp_path)
    shard(0, [], '["cat", "dog"]')
    shard(1, [], '["dog", "cat"]')
    with pytest.raises(DataError, match=r"'dog' in column 0; expected 'cat'"):
        open_rows(tmp_path)
    shard(1, [], '["cat", "dog"]')
    assert open_rows(tmp_path).classes == ("cat", "dog")
    pq.write_table(pa.table({"p": pa.array([[0.5, 0.5]])}), tmp_path / "s-1.parquet")
    with pytest.raises(DataError, match="no class name in column 0"):
        open_rows(tmp_path)
    pq.write_table(pa.table({"a": ["x"], "b": [1]}), tmp_path / "s-1.parquet")
    with pytest.raises(DataError, match="other columns.*a string, b int64.*same columns and types"):
        open_rows(tmp_path)


@pytest.mark.parametrize("kind", ["npy", "parquet", "arrow", "stream", "feather"])
@pytest.mark.parametrize("left", [0, 5, 0.5, 0.9])
def test_a_shard_that_was_cut_short_is_refused(tmp_path, kind, left):
    _, p = random_case()
    write(tmp_path, 0, p, kind)
    path = write(tmp_path, 1, p, kind)
    size = path.stat().st_size
    os.truncate(path, int(left if left in (0, 5) else size * left))
    with pytest.raises(DataError, match="probs-1"):
        open_rows(tmp_path)


def test_an_npz_that_was_cut_short_and_files_that_are_none(tmp_path):
    np.savez(tmp_path / "a.npz", index=np.zeros((5, 1), int), prob=np.ones((5, 1)))
    os.truncate(tmp_path / "a.npz", 300)
    with pytest.raises(DataError, match="a.npz, whose reading failed"):
        open_rows(tmp_path / "a.npz", classes=2)
    for name in ("b.parquet", "c.npy", "d.arrow", "e.feather"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(DataError, match=name):
            open_rows(tmp_path / name)
    (tmp_path / "f.arrow").write_bytes(b"not an Arrow file at all")
    with pytest.raises(DataError, match="no Arrow file"):
        open_rows(tmp_path / "f.arrow")
    (tmp_path / "g.lance").mkdir()
    with pytest.raises(DataError, match="g.lance, whose reading failed"):
        open_rows(tmp_path / "g.lance")


def test_categories_in_a_stream_are_refused(tmp_path):
    table = pa.table({"p": [0.5], "c": pa.array(["a"]).dictionary_encode()})
    with pa.OSFile(str(tmp_path / "s.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(DataError, match="write Parquet, or cast"):
        open_rows(tmp_path / "s.arrow", columns="p")


def test_files_that_change_under_the_reader(tmp_path):
    _, p = random_case()
    rows = open_rows(write(tmp_path, 0, p, "parquet"))
    write(tmp_path, 0, p[:20], "parquet")
    with pytest.raises(DataError, match="probs-0.parquet, "):
        list(rows.chunks())
    rows = open_rows(write(tmp_path, 0, p, "lance"))
    import lance

    lance.dataset(tmp_path / "probs-0.lance").delete("true")  # a new version; the one that was opened is still there
    assert sum(map(len, rows.chunks())) == 60
    rows = open_rows(tmp_path / "probs-0.parquet")
    (tmp_path / "probs-0.parquet").unlink()
    with pytest.raises(DataError, match="no probs-0.parquet; expected a file that is there"):
        list(rows.chunks())


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may read everything")
def test_no_permission(tmp_path):
    path = write(tmp_path, 0, random_case()[1], "npy")
    path.chmod(0)
    with pytest.raises(DataError, match="may not be read"):
        open_rows(path)


def test_mixed_formats_and_other_files(tmp_path):
    _, p = random_case()
    write(tmp_path, 0, p, "npy")
    (tmp_path / "README.md").write_text("hello")
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / ".probs-1.npy").write_text("unfinished")
    assert len(open_rows(tmp_path)) == 60
    write(tmp_path, 0, p, "parquet")
    with pytest.raises(DataError, match="npy, parquet.*pass format='npy'"):
        open_rows(tmp_path)
    assert open_rows(tmp_path, format="parquet").name == tmp_path.name


@pytest.mark.parametrize("kind", ["npy", "parquet"])
def test_checksums_tell_a_changed_shard(tmp_path, kind):
    _, p = random_case()
    folder = write_shards(tmp_path / "s", p, kind)
    write_checksums(folder)
    assert sum(map(len, open_rows(folder).chunks())) == 60
    path = sorted(folder.iterdir())[-2]
    data = bytearray(path.read_bytes())
    data[150] ^= 1
    path.write_bytes(bytes(data))
    rows = open_rows(folder)  # heads are whole
    with pytest.raises(DataError, match=rf"checksum .* of {path.name}.*copy it again"):
        list(rows.chunks())
    write_checksums(folder)
    path.unlink()
    with pytest.raises(DataError, match=f"1 shards listed but not there.*first {path.name}"):
        open_rows(folder)
    write_checksums(folder)
    write(folder, 99, p, kind)
    with pytest.raises(DataError, match=r"there but not listed.*probs-99"):
        open_rows(folder)
    (folder / "checksums.json").write_text("[]")
    with pytest.raises(DataError, match="write it again with labelwright.stream.write_checksums"):
        open_rows(folder)
    with pytest.raises(DataError, match="pass a local folder"):
        write_checksums(path)


def test_checksums_beside_lance_are_refused(tmp_path):
    write(tmp_path, 0, random_case()[1], "lance")
    (tmp_path / "checksums.json").write_text(json.dumps({}))
    with pytest.raises(DataError, match="remove checksums.json"):
        open_rows(tmp_path)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_fingerprint_follows_the_data(tmp_path, kind):
    _, p = random_case()
    path = write(tmp_path, 0, p, kind)
    first = open_rows(path).fingerprint()
    assert open_rows(path).fingerprint() == first
    if kind == "lance":
        import shutil

        shutil.rmtree(path)
    write(tmp_path, 0, p[::-1], kind)
    os.utime(path, ns=(1, 1))
    assert open_rows(path).fingerprint() != first


def test_fingerprints_of_memory_and_of_checksums(tmp_path):
    labels, p = random_case()
    q = p.copy()
    q[59, 3] += 1e-3
    prints = [
        open_rows(x).fingerprint() for x in (p, q, p[:59], (labels, p), (p, labels), labels, pa.table({"p": labels}))
    ]
    assert len(set(prints)) == len(prints)
    assert open_rows(p.copy()).fingerprint() == prints[0]
    folder = write_shards(tmp_path / "s", p, "npy")
    write_checksums(folder)
    first = open_rows(folder).fingerprint()
    for path in folder.glob("*.npy"):
        os.utime(path, ns=(1, 1))
    assert open_rows(folder).fingerprint() == first  # checksums tell content, not time


@pytest.mark.parametrize("kind", ["npy", "parquet", "list-parquet", "arrow", "stream", "feather"])
def test_urls(tmp_path, kind):
    fsspec = pytest.importorskip("fsspec")
    _, p = random_case()
    folder = write_shards(tmp_path / "my shards", p, kind)
    write_checksums(folder)
    memory = fsspec.filesystem("memory")
    memory.put(str(folder), f"/{kind}", recursive=True)
    local = open_rows("file://" + str(folder).replace(" ", "%20"))
    for rows in (
        local,
        open_rows(f"memory:///{kind}"),
        open_rows(f"memory:///{kind}/{next(folder.glob('*-8.*')).name}"),
    ):
        found = np.concatenate([c.data for c in rows.chunks(9)])
        np.testing.assert_array_equal(found, p[: len(rows)])
        assert rows.fingerprint()
    with pytest.raises(DataError, match="check the path"):
        open_rows("memory:///nowhere")


def test_top_k_pairs_behind_a_url(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    np.savez_compressed(tmp_path / "a.npz", index=np.arange(6).reshape(6, 1), prob=np.full((6, 1), 0.9))
    fsspec.filesystem("memory").put(str(tmp_path / "a.npz"), "/pairs/a.npz")
    (chunk,) = open_rows("memory:///pairs/a.npz", classes=6).chunks(start=4)
    assert chunk.data.index.ravel().tolist() == [4, 5] and chunk.where(1) == "row 5 of a.npz (row 5 of all)"


def test_fortran_order_is_for_this_machine(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    np.save(tmp_path / "f.npy", np.asfortranarray(np.eye(3)))
    fsspec.filesystem("memory").put(str(tmp_path / "f.npy"), "/f.npy")
    with pytest.raises(DataError, match="ascontiguousarray"):
        open_rows("memory:///f.npy")


def test_urls_that_lead_nowhere():
    with pytest.raises(DataError, match="nosuch://.*fsspec"):
        find_place("nosuch://bucket/x")
    with pytest.raises(DataError) as err:
        find_place("s3://key:secret@bucket name/x y")
    assert "secret" not in str(err.value)


def test_remote_places_hold_what_pyarrow_opens(tmp_path):
    from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

    from labelwright.stream._folder import open_place
    from labelwright.stream._places import Place

    _, p = random_case()
    folder = write_shards(tmp_path / "s", p, "npy")
    place = Place("s", SubTreeFileSystem(str(tmp_path), LocalFileSystem()))
    rows = open_place(place, "bucket://s", None, None, None)
    np.testing.assert_array_equal(np.concatenate([c.data for c in rows.chunks(9, start=3)]), p[3:])
    assert [place.kind(), (place / "none").kind(), (place / "probs-8.npy").kind()] == ["folder", "", "file"]
    path = folder / "probs-11.npy"
    os.truncate(path, path.stat().st_size - 1)
    with pytest.raises(DataError, match="bytes too early"):
        list(rows.chunks())
