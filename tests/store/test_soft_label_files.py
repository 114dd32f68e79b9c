"""Soft-label files: the head, keys, crops and maps; nothing damaged is trusted, nothing half-written is left."""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, LabelError, MissingExtra, OptionError
from labelwright.labels.maps import LabelMap
from labelwright.labels.soft import SoftLabels
from labelwright.labels.space import LabelSpace
from labelwright.store._soft_crops import philox
from labelwright.store.soft_labels import CropPlan, open_soft_labels, write_soft_labels


def teacher(n: int, k: int, seed: int = 0, groups: int = 1) -> np.ndarray:
    """(n, k) float32; with groups, the classes of the likeliest one's group share most of the tail."""
    rng = np.random.default_rng(seed)
    top = rng.integers(0, k, n)
    z = rng.normal(0, 1, (n, k)) + 3.0 * (np.arange(k) % groups == (top % groups)[:, None])
    z[np.arange(n), top] += 7
    p = np.exp(z - z.max(1, keepdims=True))
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


# -- head, keys, crops, maps -------------------------------------------------------------------------------------
def test_the_head_says_where_the_labels_come_from(tmp_path: Path) -> None:
    path = write_soft_labels(tmp_path / "a", teacher(9, 4), k=2, teacher="net", temperature=2, augmentation={"seed": 5})
    head = open_soft_labels(str(path)).head
    assert head["provenance"] == {"teacher": "net", "temperature": 2, "augmentation": {"seed": 5}}
    assert head["format"] == "labelwright.soft-labels" and head["truncation"]["k"] == 2
    kept = np.sort(teacher(9, 4), 1)[:, -2:].sum(1).mean()
    assert head["truncation"]["mean_kept"] == pytest.approx(kept, abs=1e-6)


def test_the_bytes_are_as_documented(tmp_path: Path) -> None:
    path = write_soft_labels(tmp_path / "a", np.array([[0.64, 0.36, 0, 0.0]]), k=2, tail="even")
    raw = path.read_bytes()
    magic, version, zero, at, length, total = struct.unpack("<8sIIQQQ", raw[:40])
    assert (magic, version, zero, total) == (b"LWSOFT\r\n", 1, 0, len(raw))
    assert json.loads(raw[at : at + length])["rows"] == 1
    # classes 0 and 1; 0.64 is the largest: root 254 of 254; 0.36: 0.75 * 254 = 190.5 -> 190; rest 0
    assert list(raw[64 : 64 + 5]) == [0, 1, 255, 191, 1]


@pytest.mark.parametrize("keys", [["x", "ü", "", "long key"], [5, -1, 2**40, 0]])
def test_items_are_found_by_key(tmp_path: Path, keys: list[object]) -> None:
    p = teacher(4, 3)
    file = open_soft_labels(write_soft_labels(tmp_path / "a", p, k=2, keys=keys))
    assert file.keys == keys and file.find(keys[::-1]).tolist() == [3, 2, 1, 0]
    with pytest.raises(DataError, match="look at file.keys"):
        file.find(["no such"])
    file.verify()


def test_philox_gives_the_published_numbers() -> None:
    """Known answers of Philox4x32-10 (Random123's kat_vectors)."""
    counters = np.array([[0] * 4, [0xFFFFFFFF] * 4, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]])
    seeds = [0, 2**64 - 1, 0x299F31D0A4093822]
    expected = [
        [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8],
        [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD],
        [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
    ]
    for counter, seed, words in zip(counters, seeds, expected):
        assert philox(counter[None], seed).tolist() == [words]


def naive_crop(plan: CropPlan, item: int, crop: int, height: int, width: int) -> tuple[list[int], bool]:
    """torchvision's RandomResizedCrop.get_params, its draws taken from Philox one at a time."""

    def draw(attempt: int) -> list[int]:
        return philox(np.array([[attempt, crop, item % 2**32, item // 2**32]]), plan.seed)[0].tolist()

    flip = draw(10)[0] / 2**32 < plan.flip
    low, high = np.log(plan.ratio[0]), np.log(plan.ratio[1])
    for attempt in range(10):
        a, b, c, d = draw(attempt)
        area = height * width * (plan.scale[0] + a / 2**32 * (plan.scale[1] - plan.scale[0]))
        aspect = np.exp(low + b / 2**32 * (high - low))
        w, h = round(float(np.sqrt(area * aspect))), round(float(np.sqrt(area / aspect)))
        if 0 < w <= width and 0 < h <= height:
            return [c * (height - h + 1) // 2**32, d * (width - w + 1) // 2**32, h, w], flip
    if width / height < plan.ratio[0]:
        w, h = width, round(width / plan.ratio[0])
    elif width / height > plan.ratio[1]:
        w, h = round(height * plan.ratio[1]), height
    else:
        w, h = width, height
    return [(height - h) // 2, (width - w) // 2, h, w], flip


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.9, 1.0)])
def test_crops_are_made_again_as_torchvision_would(tmp_path: Path, scale: tuple[float, float]) -> None:
    plan = CropPlan(n_crops=3, seed=11, scale=scale)
    sizes = [(100, 100), (30, 400), (400, 30), (375, 500), (1, 1), (7, 8)]  # long ones need the central crop
    items = [0, 1, 2**33 + 5, 3, 4, 5]
    for crop in range(3):
        box, flip = plan.boxes(items, [crop] * 6, [s[0] for s in sizes], [s[1] for s in sizes])
        for i, (height, width) in enumerate(sizes):
            assert (box[i].tolist(), bool(flip[i])) == naive_crop(plan, items[i], crop, height, width)
    file = open_soft_labels(write_soft_labels(tmp_path / "a", teacher(12, 4), k=2, crops=plan, keys=list("wxyz")))
    rows = [10, 3, -1]  # item 3 crop 1, item 1 crop 0, item 3 crop 2
    box, flip = file.boxes(rows, 300, 200)
    expected = plan.boxes([3, 1, 3], [1, 0, 2], 300, 200)
    assert (box == expected[0]).all() and (flip == expected[1]).all()
    assert (file.boxes(np.isin(np.arange(12), rows), 300, 200)[0] == plan.boxes([1, 3], [0, 1], 300, 200)[0]).all()
    assert file.item_rows(file.find(["z", "w"])).tolist() == [[9, 10, 11], [0, 1, 2]] and file.n_items == 4
    assert len(file.boxes(slice(2, 5), 10, 10)[0]) == 3


def test_crop_plans_are_spread_over_the_image() -> None:
    plan = CropPlan(n_crops=1, seed=3)
    box, flip = plan.boxes(np.arange(4000), np.zeros(4000, int), 200, 200)
    share = box[:, 2] * box[:, 3] / 40000
    assert (
        abs(flip.mean() - 0.5) < 0.04 and 0.43 < share.mean() < 0.54
    )  # 0.54 before attempts that do not fit are drawn again
    assert abs((box[:, 1] + box[:, 3] / 2).mean() - 100) < 3


@given(st.integers(0, 10**6), st.integers(1, 65534), st.integers(1, 65534))
def test_stored_boxes_come_back_to_the_pixel(seed: int, height: int, width: int) -> None:
    from labelwright.store._soft_crops import decode_boxes, encode_boxes

    rng = np.random.default_rng(seed)
    h, w = rng.integers(1, height + 1, 5), rng.integers(1, width + 1, 5)
    box = np.column_stack([rng.integers(0, height - h + 1), rng.integers(0, width - w + 1), h, w])
    flips = rng.random(5) < 0.5
    back = decode_boxes(encode_boxes(box / [height, width, height, width], flips), height, width)
    assert (back[0] == box).all() and (back[1] == flips).all()


def test_stored_crops(tmp_path: Path) -> None:
    box = np.array([[0, 0, 1, 1], [0.25, 0.5, 0.5, 0.25]])
    file = open_soft_labels(write_soft_labels(tmp_path / "a", teacher(2, 3), k=2, boxes=box, flips=[True, False]))
    pixels, flips = file.boxes([1, 0], 100, [40, 60])
    assert pixels.tolist() == [[25, 20, 50, 10], [0, 0, 100, 60]] and flips.tolist() == [False, True]
    assert file.head["record"]["bytes"] == 2 + 3 + 9 and file.dense().shape == (2, 3)


def test_label_maps(tmp_path: Path) -> None:
    p = teacher(3 * 4 * 5, 7).reshape(3, 4, 5, 7).astype(float)
    p[1, 2, 3] = np.nan
    maps = LabelMap.from_dense(p, k=2)
    file = open_soft_labels(write_soft_labels(tmp_path / "a", maps, keys=["a", "b", "c"], precision="uint16"))
    back = file.label_map(file.find(["c", "b"]))
    assert (back.index == maps.index[[2, 1]]).all() and file.n_items == 3
    np.testing.assert_allclose(back.prob, maps.prob[[2, 1]], atol=1e-4)
    np.testing.assert_allclose(back.pooled().dense(), maps[[2, 1]].pooled().dense(), atol=1e-4)


def test_torch_view_and_pickled_file_object(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    file = open_soft_labels(write_soft_labels(tmp_path / "a", teacher(10, 4), k=2))
    data = pickle.loads(pickle.dumps(file)).torch()  # noqa: S301 - as a spawned loader would
    batches = list(torch.utils.data.DataLoader(data, batch_size=4))
    assert torch.cat(batches).numpy().tolist() == file.dense().tolist() and len(data) == 10
    assert data[3].shape == (4,) and data[[1, 2]].shape == (2, 4)
    assert torch.equal(torch.from_numpy(file.dense(torch.tensor([5, 6]))), data[torch.tensor([5, 6])])


def test_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = open_soft_labels(write_soft_labels(tmp_path / "a", teacher(3, 4), k=2))
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "labelwright.store._soft_torch", raising=False)
    with pytest.raises(MissingExtra, match=r"labelwright\[learn\]"):
        file.torch()


# -- trust -------------------------------------------------------------------------------------------------------
def test_opening_takes_milliseconds(tmp_path: Path) -> None:
    path = write_soft_labels(tmp_path / "a", teacher(3000, 1000), tail="class")
    took = []
    for _ in range(5):
        start = time.perf_counter()
        open_soft_labels(path)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.02


def test_a_changed_byte_is_found(tmp_path: Path) -> None:
    path = write_soft_labels(tmp_path / "a", (teacher(200, 300) for _ in range(20)), k=250, keys=range(4000))
    open_soft_labels(path).verify()
    raw = path.read_bytes()
    blocks = open_soft_labels(path).head["blocks"]
    assert blocks["digests"] == 3
    for at, found in (
        (70, "1 of 3 blocks; first are bytes 64 to 1,048,640"),
        (64 + (1 << 20), "first are bytes 1,048,640"),
        (blocks["to"] - 1, "1 of 3 blocks"),
        (blocks["to"] + 3, "list of digests"),
    ):
        (tmp_path / "b").write_bytes(raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :])
        with pytest.raises(DataError, match=found):
            open_soft_labels(tmp_path / "b").verify()
    (tmp_path / "b").write_bytes(raw[:-3] + bytes([raw[-3] ^ 1]) + raw[-2:])
    with pytest.raises(DataError, match="its head was changed.*copy it again"):
        open_soft_labels(tmp_path / "b")


def test_class_ids_out_of_range_are_not_used(tmp_path: Path) -> None:
    path = write_soft_labels(tmp_path / "a", teacher(3, 10), k=2)
    raw = bytearray(path.read_bytes())
    raw[64] = 200
    path.write_bytes(raw)
    with pytest.raises(DataError, match="names class 200 of 10"):
        open_soft_labels(path).dense()


def test_files_that_are_not_trusted(tmp_path: Path) -> None:
    path = write_soft_labels(tmp_path / "a", teacher(30, 4), k=2, space=LabelSpace("abcd"))
    raw = path.read_bytes()
    bad = tmp_path / "b"
    for content, match in (
        (raw[:-1], "shorter than the"),
        (raw + b"x", "longer than the"),
        (raw[:30], "ends after 30 bytes"),
        (raw[:8] + struct.pack("<I", 2) + raw[12:], "version 2 of the format.*upgrade"),
        (b"PK\x03\x04" + raw[4:], "zip archive"),
        (b"", "holds nothing"),
        (raw[:16] + struct.pack("<QQ", len(raw), 0) + raw[32:], "its head was changed"),
        (raw[:16] + struct.pack("<QQ", 2, len(raw) - 2) + raw[32:], "its head lies outside"),
    ):
        bad.write_bytes(content)
        with pytest.raises(DataError, match=match):
            open_soft_labels(bad)
    with pytest.raises(DataError, match="cannot be read"):
        open_soft_labels(tmp_path / "nothing")
    assert open_soft_labels(path, space=LabelSpace("abcd")).space.classes == tuple("abcd")
    for other, match in (("abdc", "class 2 is 'c', not 'd'"), ("abcde", "it has 4 classes, not 5")):
        with pytest.raises(DataError, match=match):
            open_soft_labels(path, space=LabelSpace(other))


def forged(tmp_path: Path, change: dict[str, object]) -> Path:
    """A file whose head was changed by someone who also made its digest anew."""
    from hashlib import blake2b

    path = tmp_path / "forged"
    path.unlink(missing_ok=True)
    raw = write_soft_labels(path, teacher(30, 4), k=2, keys=range(30)).read_bytes()
    at, length = struct.unpack("<QQ", raw[16:32])
    text = json.dumps(json.loads(raw[at : at + length]) | change).encode()
    tail = struct.pack("<QQQ", at, len(text), at + len(text)) + blake2b(text, digest_size=16).digest()
    path.write_bytes(raw[:16] + tail + raw[56:at] + text)
    return path


def test_a_head_with_another_number_of_classes(tmp_path: Path) -> None:
    space = open_soft_labels(forged(tmp_path, {})).head["space"]
    assert space["structure"] == "nominal"
    with pytest.raises(DataError, match="4 class names for 5 classes"):
        _ = open_soft_labels(forged(tmp_path, {"space": space | {"classes": 5}})).space


@pytest.mark.parametrize(
    "change",
    [
        {"rows": 31},
        {"format": "other"},
        {"sections": {"records": [64, 1 << 40]}},
        {"record": {"bytes": 7, "precision": "uint8", "boxes": False}},
        {"truncation": {}},
        {"space": {"classes": 0, "structure": "nominal", "blake2b": ""}},
        {"crops": {"generator": "mt19937"}},
    ],
)
def test_a_head_that_contradicts_the_file(tmp_path: Path, change: dict[str, object]) -> None:
    with pytest.raises((DataError, LabelError)):
        open_soft_labels(forged(tmp_path, change))


# -- writing -----------------------------------------------------------------------------------------------------
def test_what_cannot_be_written_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    p = teacher(6, 4)
    bad, nan = p.copy(), p.copy()
    bad[3] *= 2
    nan[4, 1] = np.nan
    soft = SoftLabels.from_dense(p, k=2)
    cases = [
        ({"soft_labels": bad}, LabelError, "1 of 6 rows of `soft_labels`.*row 3"),
        ({"soft_labels": iter([p, bad])}, LabelError, "chunk 1 of soft_labels"),
        ({"soft_labels": nan}, LabelError, "with NaN; first is row 4.*SoftLabels.from_dense"),
        ({"soft_labels": iter([p, teacher(6, 3)])}, LabelError, "the 4 classes.*in every chunk"),
        ({"soft_labels": iter([p, soft])}, LabelError, "another kind.*to the same k"),
        ({"soft_labels": p, "space": LabelSpace("ab")}, LabelError, "4 columns.*pass the space"),
        ({"soft_labels": soft, "space": LabelSpace("abcd")}, LabelError, "leave out space="),
        ({"soft_labels": iter([])}, DataError, "no chunk.*make it anew"),
        ({"soft_labels": iter([p[0]])}, DataError, "shape.*numpy.stack"),
        ({"soft_labels": 3}, DataError, "type int"),
        ({"soft_labels": "file"}, DataError, "type str"),
        ({"soft_labels": p, "k": 5}, OptionError, "k=5 with 4 classes.*k=None"),
        ({"soft_labels": soft, "k": 5}, OptionError, "k=5 with 4 classes"),
        ({"soft_labels": p, "k": 0}, OptionError, "k=1 or more"),
        ({"soft_labels": p, "precision": "int4"}, OptionError, "did you mean"),
        ({"soft_labels": p, "tail": "classes"}, OptionError, "did you mean 'class'"),
        ({"soft_labels": soft, "tail": "class"}, OptionError, "cut already.*tail='auto'"),
        ({"soft_labels": soft, "tail": "shared"}, OptionError, "cut already"),
        ({"soft_labels": np.full((1, 5000), 1 / 5000), "tail": "class"}, OptionError, "pass tail='shared'"),
        ({"soft_labels": p, "temperature": 0}, OptionError, "temperature=0"),
        ({"soft_labels": p, "note": {1, 2}}, OptionError, "pass str"),
        ({"soft_labels": p, "keys": ["a"] * 6}, DataError, "5 keys that stood before"),
        ({"soft_labels": p, "keys": ["a"]}, DataError, "1 keys for 6 items"),
        ({"soft_labels": p, "keys": ["a", 1, 2, 3, 4, 5]}, DataError, "all whole numbers or all strings"),
        ({"soft_labels": p, "crops": CropPlan(n_crops=4, seed=0)}, DataError, "6 rows of 4 crops per item"),
        ({"soft_labels": p, "boxes": np.zeros((6, 4))}, DataError, "boxes without flips"),
        ({"soft_labels": p, "boxes": np.zeros((7, 4)), "flips": [0] * 7}, DataError, "7 boxes for 6 rows"),
        ({"soft_labels": p, "boxes": np.ones((6, 4)), "flips": [0] * 6}, DataError, "divide pixels"),
        (
            {"soft_labels": p, "boxes": np.zeros((6, 4)), "flips": [0] * 6, "crops": CropPlan(1, 0)},
            OptionError,
            "one of them",
        ),
        ({"soft_labels": p, "path": tmp_path / "no" / "a"}, DataError, "make the folder"),
    ]
    for arguments, error, match in cases:
        with pytest.raises(error, match=match):
            write_soft_labels(**({"path": tmp_path / "a", "k": 2} | arguments))
        assert list(tmp_path.iterdir()) == [], arguments


def test_wrong_plans_and_questions(tmp_path: Path) -> None:
    for wrong in ({"seed": -1}, {"n_crops": 0}, {"scale": (0.5, 0.1)}, {"flip": 2}, {"ratio": (0, 1)}, {"seed": 2**64}):
        with pytest.raises(OptionError):
            CropPlan(**({"n_crops": 1, "seed": 0} | wrong))
    with pytest.raises(OptionError, match="one entry per crop"):
        CropPlan(1, 0).boxes([-1], [0], 10, 10)
    file = open_soft_labels(write_soft_labels(tmp_path / "a", teacher(6, 4), k=2))
    with pytest.raises(DataError, match="whose rows are no crops"):
        file.boxes([0], 10, 10)
    with pytest.raises(DataError, match="no label maps"):
        file.label_map([0])
    with pytest.raises(DataError, match="a file with keys"):
        file.find([3])


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("mine")
    with pytest.raises(DataError, match="never overwritten"):
        write_soft_labels(path, teacher(3, 4), k=2)

    def slow() -> object:
        yield teacher(3, 4)
        (tmp_path / "b").write_text("quicker")

    with pytest.raises(DataError, match="never overwritten"):
        write_soft_labels(tmp_path / "b", slow(), k=2)
    assert path.read_text() == "mine" and (tmp_path / "b").read_text() == "quicker"
    assert {p.name for p in tmp_path.iterdir()} == {"a", "b"}


def test_a_killed_writer_leaves_no_file(tmp_path: Path) -> None:
    script = (
        "import os, sys, numpy as np\n"
        "from labelwright.store.soft_labels import write_soft_labels\n"
        "def parts():\n"
        "    for i in range(5): yield np.full((1000, 10), 0.1)\n"
        "    os._exit(9)\n"
        "write_soft_labels(sys.argv[1], parts())\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], env=os.environ, timeout=60)
    assert done.returncode == 9 and not (tmp_path / "a").exists()
    left = list(tmp_path.iterdir())
    assert all(p.name.startswith(".new-") for p in left)
    os.utime(left[0], (0, 0))
    write_soft_labels(tmp_path / "a", teacher(3, 4), k=2)  # a later writer clears what is a day old
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_one_class_and_no_rows(tmp_path: Path) -> None:
    one = open_soft_labels(write_soft_labels(tmp_path / "one", np.ones((3, 1)), k=1))
    assert one.dense().tolist() == [[1]] * 3
    none = open_soft_labels(write_soft_labels(tmp_path / "none", np.empty((0, 4)), k=2, keys=[]))
    assert len(none) == 0 and none.dense().shape == (0, 4) and none.keys == []
    none.verify()
    with pytest.raises(IndexError):
        none[[0]]
