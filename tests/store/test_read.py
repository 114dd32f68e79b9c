"""Every format gives the same table, and every broken file an error that says where and how to mend it."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, LabelwrightError, LabelwrightWarning, OptionError
from labelwright.store.read import read_items, read_matrix, read_reviews

TABLE = pa.table(
    {"text": ["a, b", 'say "hi"', "two\nlines", "ü"], "label": ["cat", "dog", None, "cat"], "n": [1, 2, 3, 4]}
)
CSV = 'text,label,n\n"a, b",cat,1\n"say ""hi""",dog,2\n"two\nlines",,3\nü,cat,4\n'


def put(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def write_ipc(path: Path, table: pa.Table, *, stream: bool) -> Path:
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(path, table.schema) as writer:
        writer.write_table(table)
    return path


def test_every_format_gives_the_same_table(tmp_path):
    lines = "\n".join(json.dumps(r) for r in TABLE.to_pylist())
    put(tmp_path / "a.csv", CSV)
    put(tmp_path / "bom.csv", b"\xef\xbb\xbf" + CSV.encode())
    put(
        tmp_path / "crlf.csv",
        CSV.replace("two\nlines", "two lines").replace("\n", "\r\n").replace("two lines", "two\nlines"),
    )
    put(tmp_path / "semicolon.csv", 'text;label;n\na, b;cat;1\n"say ""hi""";dog;2\n"two\nlines";;3\nü;cat;4')
    put(tmp_path / "a.csv.gz", gzip.compress(CSV.encode()))
    put(tmp_path / "a.TSV", 'text\tlabel\tn\na, b\tcat\t1\n"say ""hi"""\tdog\t2\n"two\nlines"\t\t3\nü\tcat\t4\n')
    put(tmp_path / "a.jsonl", lines)
    put(tmp_path / "b.ndjson.gz", gzip.compress(b"\xef\xbb\xbf" + lines.encode() + b"\n\n"))
    pq.write_table(TABLE, tmp_path / "a.parquet")
    write_ipc(tmp_path / "a.arrow", TABLE, stream=False)
    write_ipc(tmp_path / "stream.arrow", TABLE, stream=True)
    pyarrow.feather.write_feather(TABLE, tmp_path / "a.feather")
    shards = tmp_path / "shards"
    shards.mkdir()
    pq.write_table(TABLE.slice(0, 3), shards / "part-0.parquet")
    pq.write_table(TABLE.slice(3), shards / "part-1.parquet")
    put(shards / "_SUCCESS", "")
    put(shards / ".part-0.parquet.crc", "x")
    paths = sorted(tmp_path.iterdir())
    assert len(paths) == 13
    for path in paths:
        assert read_items(path).equals(TABLE), path.name


def test_parquet_keeps_its_types(tmp_path):
    table = pa.table(
        {
            "label": pa.array(["a", "b"]).dictionary_encode(),
            "x": pa.array([1, 2], pa.int8()),
            "e": pa.array([[1.0], [2.0]], pa.list_(pa.float32())),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    assert read_items(tmp_path / "t.parquet").schema.types == table.schema.types


def test_csv_guesses_no_more_than_it_can_take_back(tmp_path):
    text = "zip,na,version,big,int,float,mixed,words\n"
    text += "007,NA,1.10,12345678901234567890,-3,1e3,1,NA\n08,cat,1.1,2,0,.5,2.5,1\n,None,2,3,,-2.,,2\n"
    with pytest.warns(LabelwrightWarning, match="'words' holds numbers and 'NA'.*leave those cells empty"):
        table = read_items(put(tmp_path / "t.csv", text))
    assert table.to_pydict() == {
        "zip": ["007", "08", None],  # not 7
        "na": ["NA", "cat", "None"],  # a class may be called so
        "version": ["1.10", "1.1", "2"],  # two spellings of one number are two classes
        "big": ["12345678901234567890", "2", "3"],  # an id beyond int64, not a float
        "int": [-3, 0, None],
        "float": [1000.0, 0.5, -2.0],
        "mixed": [1.0, 2.5, None],
        "words": ["NA", "1", "2"],
    }


def test_csv_of_one_column_blank_lines_and_long_cells(tmp_path):
    assert read_items(put(tmp_path / "t.csv", 'label\na\n\n""\nb\n'))["label"].to_pylist() == ["a", None, "b"]
    long = "x" * 3_000_000  # longer than Arrow's default block and than the csv module's default limit
    table = read_items(put(tmp_path / "u.csv", f'text,y\n"{long}\n",1\n5" disk,2\n'))
    assert table["text"].to_pylist() == [long + "\n", '5" disk']


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.csv", "", "0 bytes"),
        ("a.csv", "a,b\n", "0 rows"),
        ("a.csv", "\n", "no header"),
        ("a.csv", "a,b,a\n1,2,3", "column name 'a' more than once.*rename"),
        ("a.csv", 'a,b\n1,2\n"x\ny",2\n\n3,4,5\n', "3 cells on line 6 .*header has 2.*mend line 6"),
        ("a.csv", "a,b\n1\n", "1 cells on line 2"),
        ("a.csv", 'a,b\n1,"x\n2,y\n3,z\n', "begins on line 2 is not closed.*close every quote"),
        ("a.csv", b"a,b\n1,caf\xe9\n", r"byte 9 \(0xe9, line 2\) is not UTF-8.*iconv"),
        ("a.csv", "a,b\n1,2\n".encode("utf-16"), "UTF-16"),
        ("a.csv", b"PK\x03\x04rest", "zip archive"),
        ("a.csv", b"PAR1\x15\x04", "Parquet"),
        ("a.csv", b"a,b\n\0\0", "binary data"),
        ("a.csv", gzip.compress(b"a,b\n1,2", mtime=0), "gzip.*rename"),
        ("a.csv.gz", "a,b\n1,2", "holds text"),
        ("a.csv.gz", gzip.compress(b"a,b\n1,2" * 99, mtime=0)[:-9], "cannot be read as gzip"),
        ("a.csv.gz", gzip.compress(b"PK\x03\x04", mtime=0), "unpacks to a zip"),
        ("a.csv.gz", gzip.compress(b"", mtime=0), "unpacks to nothing"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', 'line 2 of a.jsonl.*not JSON.*mend line 2'),
        ("a.jsonl", '[{"a": 1}]', "line 1.*a list, not an object.*one object per line"),
        ("a.jsonl", '{"a": 1}\n\n{"a": "x"}', "several types in column 'a'.*a number, and line 3 has text"),
        ("a.jsonl", '{"a": 1, "a": 2}', "'a' stands twice"),
        ("a.jsonl", "[" * 100_000, "not JSON"),
        ("a.jsonl", '{"a": "\\ud800"}', "several types|surrogates"),
        ("a.jsonl", "{}\n", "0 columns"),
        ("a.jsonl", b'{"a": "\xff"}', "byte 7"),
        ("a.parquet", "text,label\nx,y", "a.parquet, which holds text"),
        ("a.parquet", b"PAR1\x15junk", "cannot be read as Parquet"),
        ("a.parquet", "version https://git-lfs.github.com/spec/v1", "git lfs pull"),
        ("a.parquet", "<!DOCTYPE html><html>", "HTML"),
        ("a.arrow", b"ARROW1\0\0junk", "cannot be read as Arrow"),
        ("a.arrow", b"\xff\xff\xff\xff\x10\0\0\0junk", "cannot be read as Arrow"),
        ("a.pkl", pickle.dumps([1]), "a pickle can run code"),
        ("a.npy", b"\x93NUMPY", "check that it is whole"),
        ("a.json", "[]", "one JSON object per line"),
        ("a.xlsx", b"PK\x03\x04", "save the sheet as CSV"),
        ("a.parquet.gz", gzip.compress(b"x", mtime=0), "'.parquet.gz'"),
        ("a", "x", "name the file by what it holds"),
    ],
)  # fmt: skip
def test_broken_files(tmp_path, name, content, message):
    with pytest.raises(DataError, match=f"(?s){message}"):
        read_items(put(tmp_path / name, content))


def test_what_is_no_data(tmp_path):
    with pytest.raises(DataError, match="no file or folder.*check the path"):
        read_items(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="no file or folder|cannot be read as a path"):
        read_items("a\0.csv")
    with pytest.raises(DataError, match="device or a pipe"):
        read_items("/dev/null")
    with pytest.raises(OptionError, match="it is one file"):
        read_items(put(tmp_path / "a.csv", "a\n1"), split="train")
    (tmp_path / "x.labels" / "audits").mkdir(parents=True)
    put(tmp_path / "x.labels" / "labels.json", "{}")
    with pytest.raises(DataError, match="is a label repository"):
        read_items(tmp_path / "x.labels")


def test_duplicate_columns_in_parquet(tmp_path):
    pq.write_table(pa.table([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"'a' more than once|Duplicate"):
        read_items(tmp_path / "a.parquet")


def test_shards_of_splits_and_of_different_tables(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "test-00000-of-00001"):
        pq.write_table(pa.table({"split": [name]}), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match="splits 'test', 'train'.*pass split="):
        read_items(tmp_path)
    assert read_items(tmp_path, split="train")["split"].to_pylist() == ["train-00000-of-00002", "train-00001-of-00002"]
    with pytest.raises(OptionError, match="did you mean 'train'"):
        read_items(tmp_path, split="trian")
    pq.write_table(pa.table({"other": [1]}), tmp_path / "train-00002-of-00002.parquet")
    with pytest.raises(DataError, match="columns.*keep the shards of one data set alone"):
        read_items(tmp_path, split="train")


HF_FEATURES = {
    "text": {"dtype": "string", "_type": "Value"},
    "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
    "tags": {"feature": {"names": ["x", "y", "z"], "_type": "ClassLabel"}, "_type": "List"},
}
HF_TABLE = pa.table({"text": list("abcd"), "label": [0, 1, -1, None], "tags": [[0, 2], [], None, [1]]})
HF_DECODED = {"text": list("abcd"), "label": ["neg", "pos", None, None], "tags": [["x", "z"], [], None, ["y"]]}


def write_hf(folder: Path, table: pa.Table = HF_TABLE, features: object = HF_FEATURES, **state: object) -> Path:
    """What `Dataset.save_to_disk` writes (the next test compares with the real one)."""
    folder.mkdir(parents=True)
    names = []
    for i in range(2):
        names.append(f"data-0000{i}-of-00002.arrow")
        write_ipc(folder / names[-1], table.slice(2 * i, 2), stream=True)
    put(folder / "dataset_info.json", json.dumps({"features": features}))
    put(folder / "state.json", json.dumps({"_data_files": [{"filename": n} for n in names], "_split": None, **state}))
    return folder


def test_hugging_face_folder(tmp_path):
    assert read_items(write_hf(tmp_path / "ds")).to_pydict() == HF_DECODED
    put(tmp_path / "dataset_dict.json", json.dumps({"splits": ["ds", "other"]}))
    assert read_items(tmp_path, split="ds").num_rows == 4
    with pytest.raises(DataError, match="splits 'ds', 'other'.*pass split='ds'"):
        read_items(tmp_path)
    with pytest.raises(DataError, match="no split|file or folder|cannot be read"):
        read_items(tmp_path, split="other")
    with pytest.raises(OptionError, match="leave split out"):
        read_items(tmp_path / "ds", split="train")


def test_real_hugging_face_folder(tmp_path):
    datasets = pytest.importorskip("datasets")
    image = io.BytesIO()
    pytest.importorskip("PIL.Image").new("RGB", (2, 2)).save(image, "PNG")
    label = datasets.ClassLabel(names=["neg", "pos"])
    tags = datasets.Sequence(datasets.ClassLabel(names=["x", "y", "z"]))
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": label, "tags": tags, "image": datasets.Image()}
    )
    data = datasets.Dataset.from_dict(
        {**HF_TABLE.to_pydict(), "image": [{"bytes": image.getvalue(), "path": None}] * 4}, features=features
    )
    datasets.disable_progress_bars()
    datasets.DatasetDict(train=data, test=data.select([3, 0])).save_to_disk(tmp_path / "dict")
    data.to_parquet(tmp_path / "data.parquet")
    for table in (read_items(tmp_path / "dict", split="train"), read_items(tmp_path / "data.parquet")):
        assert table.drop(["image"]).to_pydict() == HF_DECODED
        assert table["image"][0].as_py() == {"bytes": image.getvalue(), "path": None}
    assert read_items(tmp_path / "dict", split="test")["label"].to_pylist() == [None, "neg"]


def test_hostile_or_broken_hugging_face_folders(tmp_path):
    with pytest.raises(DataError, match="class number 5 in column 'label'.*names 2 classes"):
        read_items(write_hf(tmp_path / "a", HF_TABLE.set_column(1, "label", [[0, 1, 5, 0]])))
    with pytest.raises(DataError, match="points outside of its folder"):
        read_items(write_hf(tmp_path / "b", _data_files=[{"filename": "../a/data-00000-of-00002.arrow"}]))
    with pytest.raises(DataError, match="without gone.arrow.*not complete"):
        read_items(write_hf(tmp_path / "c", _data_files=[{"filename": "gone.arrow"}]))
    with pytest.raises(DataError, match="cannot be read as the state"):
        read_items(write_hf(tmp_path / "d", _data_files=3))
    with pytest.raises(DataError, match="flatten_indices"):
        read_items(write_hf(tmp_path / "e", _indices_data_files=[{"filename": "i.arrow"}]))
    put(tmp_path / "dataset_dict.json", '{"splits": ["../x"]}')
    with pytest.raises(DataError, match="points outside of its folder"):
        read_items(tmp_path)
    put(tmp_path / "dataset_dict.json", "{")
    with pytest.raises(DataError, match="cannot be read as a JSON object"):
        read_items(tmp_path)


def image_folder(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        put(root / name, b"\x89PNG\r\n")
    return root


def test_image_folder(tmp_path):
    root = image_folder(tmp_path / "r", "dog/1.PNG", "cat/deep/2.jpg", "cat/1.png", "cat/.hidden.png", ".git/x/3.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_items(root)
    assert table.to_pydict() == {"image": ["cat/1.png", "cat/deep/2.jpg", "dog/1.PNG"], "label": ["cat", "cat", "dog"]}
    image_folder(root, "cat/notes.txt", "loose.png")
    image_folder(tmp_path / "secret", "s.png")
    (root / "cat" / "out.png").symlink_to(tmp_path / "secret" / "s.png")
    (root / "cat" / "dead.png").symlink_to(tmp_path / "nothing.png")
    (root / "cat" / "in.png").symlink_to(root / "dog" / "1.PNG")
    (root / "up").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root)
    with pytest.warns(LabelwrightWarning) as caught:
        table = read_items(root)
    assert table["image"].to_pylist() == ["cat/1.png", "cat/deep/2.jpg", "cat/in.png", "dog/1.PNG"]
    said = str(caught[0].message)
    for part in (
        "1 files that are no pictures",
        "1 pictures in no class",
        "2 symlinks that leave",
        "2 symlinks to folders",
    ):
        assert part in said


def test_image_folder_with_splits(tmp_path):
    image_folder(tmp_path, "train/cat/1.png", "test/cat/2.png", "test/dog/3.png")
    assert read_items(tmp_path, split="test").to_pydict() == {
        "image": ["test/cat/2.png", "test/dog/3.png"],
        "label": ["cat", "dog"],
    }
    with pytest.raises(DataError, match="splits 'test', 'train'"):
        read_items(tmp_path)
    with pytest.raises(OptionError, match="it has none"):
        read_items(tmp_path / "test", split="dog")


def test_file_names_that_are_not_utf8(tmp_path):
    (tmp_path / "cat").mkdir()
    try:
        open(os.fsencode(tmp_path / "cat") + b"/\xff.png", "wb").close()
    except OSError:
        pytest.skip("this disk takes UTF-8 names only")
    with pytest.raises(DataError, match="not UTF-8.*rename the file"):
        read_items(tmp_path)


def test_nothing_heavy_is_imported():
    code = "import sys, labelwright.store.read, labelwright.store.repository; print('pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_folders_without_data(tmp_path):
    with pytest.raises(DataError, match="nothing in it.*ROOT/CLASS/picture.png"):
        read_items(tmp_path)
    put(tmp_path / "a.csv", "a\n1")
    with pytest.raises(DataError, match="1 files that are no pictures.*pass the file itself"):
        read_items(tmp_path)


SUFFIXES = [".csv", ".tsv", ".jsonl", ".parquet", ".arrow", ".feather", ".csv.gz", ".jsonl.gz", ".npy", ".npz"]
HEADS = [b"", b"PAR1\x15", b"ARROW1\0\0", b"\xff\xff\xff\xff", b"\x93NUMPY\x01\0", b"PK\x03\x04", b'{"a":', b"a,b\n1,"]


@given(st.sampled_from(SUFFIXES), st.sampled_from(HEADS), st.binary(max_size=200), st.booleans())
def test_random_bytes_never_raise_anything_else(tmp_path_factory, suffix, head, body, packed):
    path = tmp_path_factory.getbasetemp() / f"fuzz{suffix}"
    path.write_bytes(gzip.compress(head + body, mtime=0) if packed and suffix.endswith(".gz") else head + body)
    for read in (read_items, read_matrix, read_reviews):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LabelwrightWarning)
            try:
                read(path)
            except LabelwrightError as err:
                assert err.fix


@given(st.sampled_from(["parquet", "arrow", "stream", "npy", "npz"]), st.data())
def test_damaged_files_never_raise_anything_else(tmp_path_factory, kind, data):
    folder = tmp_path_factory.getbasetemp()
    whole = {"parquet": "w.parquet", "arrow": "w.arrow", "stream": "ws.arrow", "npy": "w.npy", "npz": "w.npz"}[kind]
    if not (folder / whole).exists():
        pq.write_table(TABLE, folder / "w.parquet")
        write_ipc(folder / "w.arrow", TABLE, stream=False)
        write_ipc(folder / "ws.arrow", TABLE, stream=True)
        np.save(folder / "w.npy", np.eye(3))
        np.savez_compressed(folder / "w.npz", x=np.eye(3))
    content = bytearray((folder / whole).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(len(content) // 2, len(content))) :]
    path = put(folder / f"damaged-{whole}", bytes(content))
    try:
        table = read_matrix(path) if kind.startswith("np") else read_items(path)
        table.tolist() if kind.startswith("np") else table.to_pylist()
    except LabelwrightError as err:
        assert err.fix


def test_class_ids_from_an_array_file(tmp_path: Path):
    np.save(tmp_path / "ids.npy", np.array([2, 0, 1], np.int16))
    assert read_items(tmp_path / "ids.npy").to_pydict() == {"label": [2, 0, 1]}
    np.save(tmp_path / "matrix.npy", np.ones((3, 2)))
    with pytest.raises(DataError, match="features or pred_probs"):
        read_items(tmp_path / "matrix.npy")
