"""Soft-label files: what is read is what was written, within the stated error."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError
from labelwright.labels.soft import SoftLabels, top_k
from labelwright.labels.space import LabelSpace
from labelwright.store._soft_codec import Roots, codec
from labelwright.store._soft_spread import Tail, spread
from labelwright.store._soft_tails import Sample, TailStatistic
from labelwright.store.soft_labels import open_soft_labels, write_soft_labels


def teacher(n: int, k: int, seed: int = 0, groups: int = 1) -> np.ndarray:
    """(n, k) float32; with groups, the classes of the likeliest one's group share most of the tail."""
    rng = np.random.default_rng(seed)
    top = rng.integers(0, k, n)
    z = rng.normal(0, 1, (n, k)) + 3.0 * (np.arange(k) % groups == (top % groups)[:, None])
    z[np.arange(n), top] += 7
    p = np.exp(z - z.max(1, keepdims=True))
    return (p / p.sum(1, keepdims=True)).astype(np.float32)


def kl(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    p, q = p.astype(float), q.astype(float)
    return np.where(p > 0, p * (np.log(np.where(p > 0, p, 1)) - np.log(np.where(p > 0, q, 1))), 0).sum(1)


def naive_dense(soft: SoftLabels, tail: np.ndarray | None) -> np.ndarray:
    """Row by row in float64: listed probabilities, the rest by the tail of the likeliest class over the open ones."""
    k = len(soft.space)
    out = np.zeros((len(soft), k))
    for i in range(len(soft)):
        if not soft.known[i]:
            out[i] = 1 / k
            continue
        shape = np.ones(k) if tail is None else np.array(tail[soft.index[i, 0]] if tail.ndim == 2 else tail, float)
        for c in soft.index[i]:
            if c >= 0:
                shape[c] = 0
        for c in range(k):
            if shape.sum() > 0:
                out[i, c] = soft.rest[i] * shape[c] / shape.sum()
        for c, p in zip(soft.index[i], soft.prob[i]):
            if c >= 0:
                out[i, c] = p
    return out / out.sum(1, keepdims=True)


# -- what is read ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("tail", ["class", "shared", "even"])
@pytest.mark.parametrize("precision", ["uint8", "uint16", "float16", "float32"])
def test_dense_agrees_with_the_naive_loop_and_the_stated_error(tmp_path: Path, tail: str, precision: str) -> None:
    p = teacher(60, 12, groups=3)
    file = open_soft_labels(write_soft_labels(tmp_path / "a.soft", p, k=4, tail=tail, precision=precision))
    soft = file[:]
    assert file.head["tail"] == tail and len(file) == 60
    np.testing.assert_allclose(file.dense(), naive_dense(soft, file.tail), atol=2e-7)
    np.testing.assert_allclose(file.dense().sum(1), 1, atol=1e-6)
    exact = SoftLabels.from_dense(p, k=4)
    assert (soft.index == exact.index).all()
    both = np.column_stack([exact.prob, exact.rest]), np.column_stack([soft.prob, soft.rest])
    assert np.abs(both[0] - both[1]).max() <= file.head["errors"]["max_abs"] + 1e-7
    assert kl(*both).mean() == pytest.approx(file.head["errors"]["mean_kl"], abs=2e-7)
    assert file.head["errors"]["sample_rows"] == 60  # so the measured loss is that of the whole file
    assert kl(p, file.dense()).mean() == pytest.approx(file.head["errors"]["mean_kl_to_full"][tail], abs=1e-6)


@pytest.mark.parametrize("k", [1, 3, None])
def test_float32_gives_soft_labels_back_exactly(tmp_path: Path, k: int | None) -> None:
    space = LabelSpace(["a", "b", "c", "d"], structure="ordered")
    p = teacher(30, 4).astype(float)
    p[5] = np.nan  # no evidence
    p[6] = [0, 1, 0, 0]
    soft = SoftLabels.from_dense(p, space, k=k, tail=[1, 2, 3, 4])
    file = open_soft_labels(
        write_soft_labels(tmp_path / "a.soft", soft, k=3 if k else 4, precision="float32"), space=space
    )
    back = file[:]
    for name in ("index", "prob", "rest", "known"):
        np.testing.assert_array_equal(getattr(back, name), getattr(soft, name))
    assert file.space == space and (k is None or (back.tail == soft.tail).all())
    assert file.head["unknown_rows"] == 1
    np.testing.assert_allclose(back.dense(), soft.dense(), atol=1e-7)


@given(
    st.lists(
        st.lists(st.floats(0, 1, allow_subnormal=False), min_size=6, max_size=6).filter(lambda r: sum(r) > 1e-3),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from([8, 16]),
)
def test_roots_stay_within_their_bound_and_lose_no_class(table: list[list[float]], bits: int) -> None:
    p = np.array(table) / np.sum(table, axis=1, keepdims=True)
    roots = Roots(bits)
    code = roots.encode(p, np.ones(p.shape, bool))
    q = np.array([[max(int(c) - 1, 0) ** 2 for c in row] for row in code], dtype=float)  # naive decoding
    q /= q.sum(1, keepdims=True)
    values = roots.decode(code)
    np.testing.assert_allclose(values / values.sum(1, keepdims=True), q, rtol=1e-5)
    assert ((q > 0) == (p > 0)).all() and (code >= 1).all()
    assert (kl(p, q) <= roots.kl_bound(6) + 1e-12).all()


def test_empty_entries_unknown_rows_and_zero_probabilities_are_three_things(tmp_path: Path) -> None:
    space = LabelSpace(range(5))
    soft = SoftLabels.from_topk(
        [[3, -1, -1], [2, 0, 4], [-1, -1, -1]], [[0.6, 0, 0], [1, 0, 0], [0, 0, 0]], space
    )  # row 0 leaves 0.4 for others; row 1 lists classes of probability 0; nothing is known of row 2
    for precision in ("uint8", "uint16", "float16", "float32"):
        path = write_soft_labels(tmp_path / precision, soft, k=3, precision=precision)
        back = open_soft_labels(path)[:]
        assert back.index.tolist() == soft.index.tolist() and back.known.tolist() == [True, True, False]
        np.testing.assert_allclose(back.dense(), soft.dense(), atol=0.003)
        assert back.dense()[1].tolist() == [0, 0, 1, 0, 0]


def test_dense_files(tmp_path: Path) -> None:
    p = teacher(40, 7)
    for precision, error in (("auto", 2e-5), ("float16", 3e-4), ("float32", 1e-7), ("uint8", 0.01)):
        file = open_soft_labels(write_soft_labels(tmp_path / precision, p, k=None, precision=precision))
        np.testing.assert_allclose(file.dense(), p, atol=error)
        np.testing.assert_allclose(file[3:9].dense(), file.dense(slice(3, 9)), atol=1e-7)
        assert (file[:].index[:, 0] == p.argmax(1)).all() or precision == "uint8"
    unknown = SoftLabels.from_dense([[0.5, 0.5], [np.nan, np.nan]])
    file = open_soft_labels(write_soft_labels(tmp_path / "u", unknown, k=None))
    assert file[:].known.tolist() == [True, False] and file.dense([1]).tolist() == [[0.5, 0.5]]


def test_any_rows_in_any_order_at_any_batch_size(tmp_path: Path) -> None:
    p = teacher(50, 9)
    file = open_soft_labels(write_soft_labels(tmp_path / "a.soft", p, k=3))
    whole = file.dense()
    mask = np.arange(50) % 7 == 0
    for rows in ([49, 0, 0, -1], 7, slice(10, 40, 3), mask, np.array([], int), list(range(50))[::-1], slice(0, 0)):
        expected = whole[np.atleast_1d(rows) if isinstance(rows, int) else rows]
        np.testing.assert_array_equal(file.dense(rows), expected)
        np.testing.assert_array_equal(file[rows].dense(), expected)
        assert (file[:][rows].dense() == expected).all()  # slicing in memory is slicing on disk
    for rows, match in (([50], "out of bounds"), (mask[:3], "one bool per row"), ([0.5], "whole numbers")):
        with pytest.raises(IndexError, match=match):
            file[rows]


@pytest.mark.parametrize(("n_classes", "size"), [(256, 5 + 6), (257, 16), (65536, 16), (65537, 26)])
def test_ids_have_the_narrowest_width(tmp_path: Path, n_classes: int, size: int) -> None:
    soft = SoftLabels.from_topk(
        [[n_classes - 1, 0, 1, 2, 3]], [[0.5, 0.2, 0.1, 0.1, 0.05]], LabelSpace(range(n_classes))
    )
    file = open_soft_labels(write_soft_labels(tmp_path / "a.soft", soft))
    assert file.head["record"]["bytes"] == size and file[0].index.tolist() == soft.index.tolist()


def test_the_way_the_data_is_cut_changes_nothing(tmp_path: Path) -> None:
    p = teacher(90, 11, groups=2)
    cuts = {"whole": p, "parts": iter([p[:1], p[1:40], p[40:40], p[40:]]), "rows": (p[i : i + 1] for i in range(90))}
    files = [open_soft_labels(write_soft_labels(tmp_path / n, s, k=3, tail="class")) for n, s in cuts.items()]
    for file in files[1:]:
        np.testing.assert_allclose(file.dense(), files[0].dense(), atol=1e-4)
        assert (file[:].prob == files[0][:].prob).all() and file.head["errors"]["max_abs"] == files[0].head["errors"][
            "max_abs"
        ]


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    import tracemalloc

    p = teacher(500, 200)

    def peak(chunks: int) -> int:
        tracemalloc.start()
        write_soft_labels(tmp_path / str(chunks), (p for _ in range(chunks)), tail="shared")
        return tracemalloc.get_traced_memory()[1], tracemalloc.stop()

    assert peak(40)[0] < 1.1 * peak(4)[0]


# -- class names ---------------------------------------------------------------------------------------------------
def test_names_of_many_classes_are_read_when_they_are_needed(tmp_path: Path) -> None:
    space = LabelSpace(f"class number {i}" for i in range(65536))
    soft = SoftLabels.from_topk([[7, 65535]], [[0.6, 0.3]], space)
    path = write_soft_labels(tmp_path / "a", soft, k=2)
    took = []
    for _ in range(5):
        start = time.perf_counter()
        file = open_soft_labels(path)
        took.append(time.perf_counter() - start)
    assert min(took) < 0.02 and file.dense().shape == (1, 65536)
    assert "space" not in vars(file) and file.space == space
    assert open_soft_labels(path, space=space).space is space
    plain = LabelSpace(
        space.classes, structure="ordered"
    )  # the same names: not refused, but the file's structure holds
    assert open_soft_labels(path, space=plain).space == space


def test_changed_class_names_are_not_used(tmp_path: Path) -> None:
    path = write_soft_labels(tmp_path / "a", teacher(3, 4), k=2, space=LabelSpace(["ant", "bee", "cat", "dog"]))
    path.write_bytes(path.read_bytes().replace(b'"bee"', b'"bat"'))
    file = open_soft_labels(path)
    with pytest.raises(DataError, match="class names were changed.*copy it again"):
        _ = file.space
    with pytest.raises(DataError, match="checksum differs"):
        file.verify()


# -- tails -------------------------------------------------------------------------------------------------------
def test_tails_agree_with_a_double_loop() -> None:
    from labelwright.store._soft_rows import chunks

    p, k = teacher(70, 6, groups=2).astype(float), 2
    statistic, pooled = TailStatistic(6, True), TailStatistic(6, False)
    for part in (p[:30], p[30:]):
        for chunk in chunks(part, k, None):
            statistic.update(chunk), pooled.update(chunk)
    mass, free, n = np.zeros((6, 6)), np.zeros((6, 6)), np.zeros(6)
    for row in p / p.sum(1, keepdims=True):
        order = sorted(range(6), key=lambda c: (-row[c], c))
        left = order[k:]
        rest = sum(row[c] for c in left)
        n[order[0]] += 1
        for c in left:
            mass[order[0], c] += row[c]
            free[order[0], c] += rest
    shape = mass.sum(0) / free.sum(0)
    shared = (70 * shape / shape.sum() + 1 / 6) / 71
    np.testing.assert_allclose(pooled.shared(), shared, rtol=1e-5)
    np.testing.assert_allclose(statistic.shared(), shared, rtol=1e-4)
    for c in range(6):
        rate = np.divide(mass[c], free[c], out=np.zeros(6), where=mass[c] > 0)
        np.testing.assert_allclose(
            statistic.by_class()[c], (n[c] * rate / max(rate.sum(), 1e-30) + shared) / (n[c] + 1), rtol=2e-3, atol=1e-6
        )


def test_a_class_tail_is_nearer_to_a_teacher_with_groups_of_classes(tmp_path: Path) -> None:
    p = teacher(4000, 40, groups=5)
    file = open_soft_labels(write_soft_labels(tmp_path / "a", p[:2000], k=3, tail="auto"))
    loss = file.head["errors"]["mean_kl_to_full"]
    assert file.head["tail"] == "class" and loss["class"] < 0.7 * loss["even"]
    other = SoftLabels.from_dense(p[2000:], k=3)  # rows that the tail has not seen
    held_out = kl(p[2000:], naive_dense(other, file.tail)).mean()
    assert held_out < 0.7 * kl(p[2000:], other.dense()).mean()
    assert file.head["errors"]["mean_kl_unseen"]["class"] == pytest.approx(held_out, rel=0.1)


def test_a_class_tail_that_only_fits_its_own_rows_is_not_taken(tmp_path: Path) -> None:
    p = teacher(2400, 30)  # 40 rows per class on each side, and a tail without structure
    file = open_soft_labels(write_soft_labels(tmp_path / "a", p[:1200], k=3))
    errors, record = file.head["errors"], file.head["record"]["bytes"]
    assert 1200 * record > 30 * 30  # the size of the table would allow it
    assert errors["mean_kl_to_full"]["class"] < 0.98 * errors["mean_kl_to_full"]["even"]  # its own rows speak for it
    assert errors["mean_kl_unseen"]["class"] > errors["mean_kl_unseen"]["even"] and file.head["tail"] == "even"
    forced = open_soft_labels(write_soft_labels(tmp_path / "b", p[:1200], k=3, tail="class"))
    other = SoftLabels.from_dense(p[1200:], k=3)
    truth = [kl(p[1200:], q).mean() for q in (naive_dense(other, forced.tail), other.dense())]
    assert truth[0] > truth[1]  # and it would have been wrong
    ratio = errors["mean_kl_unseen"]["class"] / errors["mean_kl_unseen"]["even"]
    assert ratio == pytest.approx(truth[0] / truth[1], rel=0.05)


def test_rows_set_apart_are_taken_out_of_the_tails_and_put_back() -> None:
    from labelwright.store._soft_rows import chunks

    p = teacher(70, 6, groups=2)
    with_apart, without = TailStatistic(6, True), TailStatistic(6, True)
    (all_rows,), (apart,), (others,) = (list(chunks(part, 2, None)) for part in (p, p[:30], p[30:]))
    with_apart.update(all_rows), without.update(others)
    before = with_apart.by_class()
    with_apart.update(apart, sign=-1)
    np.testing.assert_allclose(with_apart.by_class(), without.by_class(), atol=1e-5)
    with_apart.update(apart)
    np.testing.assert_allclose(with_apart.by_class(), before, atol=1e-6)


def test_a_tail_does_not_take_pads_for_classes() -> None:
    from labelwright.store._soft_rows import chunks

    soft = SoftLabels.from_topk([[1, -1, -1], [1, 0, 2]], [[0.8, 0, 0], [0.5, 0.3, 0.2]], LabelSpace(range(4)))
    statistic = TailStatistic(4, True)
    for chunk in chunks(soft, 2, None):
        statistic.update(chunk)
    # row 0 leaves 0.2 to classes 0, 2 and 3; row 1 leaves 0.2 to class 2 and none to 3
    np.testing.assert_allclose(statistic.mass[1], [0.2 / 3, 0, 0.2 / 3 + 0.2, 0.2 / 3], atol=1e-6)
    np.testing.assert_allclose(statistic.listed[1], [0.2, 0.4, 0, 0], atol=1e-6)


def test_auto_takes_no_table_that_does_not_pay(tmp_path: Path) -> None:
    few = open_soft_labels(write_soft_labels(tmp_path / "few", teacher(20, 40, groups=5), k=3))
    assert few.head["tail"] == "even"  # 1600 bytes of table for 20 records of 7 bytes
    flat = np.full((3000, 10), 0.02) + 0.8 * np.eye(10)[np.arange(3000) % 10]
    assert open_soft_labels(write_soft_labels(tmp_path / "flat", flat, k=1)).head["tail"] == "even"


def test_a_row_that_lists_nearly_all_of_its_tail() -> None:
    tail = np.array([0.5, 0.5 - 1e-7, 1e-7, 0], dtype=np.float32)
    index = np.array([[0, 1], [2, 3], [0, 3]], np.int32)
    rest, prob = np.full(3, 0.2, np.float32), np.full((3, 2), 0.4, np.float32)
    soft = SoftLabels(index, prob, rest, tail, np.ones(3, bool), LabelSpace(range(4)))
    for table in (tail, np.tile(np.array([40000, 40000, 1, 0]), (4, 1)), np.eye(4)):
        q = spread(soft.index, soft.prob, soft.rest, soft.known, Tail.of(table), 4)
        np.testing.assert_allclose(q.sum(1), 1, atol=1e-6)
        if table[-1].sum() != 1:
            np.testing.assert_allclose(q, naive_dense(soft, table), atol=1e-6)
        else:  # the identity leaves nothing open: evenly
            np.testing.assert_allclose(q[0], [0.4, 0.4, 0.1, 0.1], atol=1e-6)


@given(st.integers(1, 6), st.integers(0, 2**31))
def test_top_k_is_the_stable_sort(k: int, seed: int) -> None:
    p = np.random.default_rng(seed).integers(0, 4, (8, 6)) / 10  # many ties
    expected = [sorted(range(6), key=lambda c: (-row[c], c))[:k] for row in p]
    assert top_k(p, k).tolist() == expected


def test_the_sample_is_uniform() -> None:
    from labelwright.store._soft_rows import chunks

    n, size = 400, 40
    hits = np.zeros(n)
    for repeat in range(60):
        sample = Sample(LabelSpace(range(2)), 1, size)
        sample._rng = np.random.default_rng(repeat)
        x = np.arange(n) / n
        for chunk in chunks((c for c in np.split(np.column_stack([x, 1 - x]), 8)), 1, None):
            sample.update(chunk)
        hits[np.rint(sample.taken().full[:, 0] * n).astype(int)] += 1
    assert hits.sum() == 60 * size
    assert abs(hits[:200].sum() - hits[200:].sum()) < 6 * np.sqrt(60 * size)


def test_real_teacher_costs_little(tmp_path: Path, real_data: Path) -> None:
    p = np.load(real_data / "cifar_n" / "cv_worst_resnet18.npz")["pyx"][:5000]
    file = open_soft_labels(write_soft_labels(tmp_path / "a", p, k=5))
    assert file.head["record"]["bytes"] <= 16
    exact = SoftLabels.from_dense(p, k=5)
    stored = file[:]
    assert kl(np.column_stack([exact.prob, exact.rest]), np.column_stack([stored.prob, stored.rest])).mean() < 1e-4
    assert kl(p, file.dense()).mean() < kl(p, exact.dense()).mean() + 1e-4


def test_every_float16_probability_is_read_exactly() -> None:
    every = np.arange(0x3C01, dtype=np.uint16).view(np.float16)[None]  # 0, the subnormal ones, up to 1
    assert (codec("float16").decode(every) == every.astype(np.float32)).all()
    assert codec("float16").decode(np.full((1, 1), -1, np.float16)).tolist() == [[0]]


def test_codec_names() -> None:
    assert [codec(p).dtype.name for p in ("uint8", "uint16", "float16", "float32")] == [
        "uint8",
        "uint16",
        "float16",
        "float32",
    ]
