"""Label maps on disk: read by item number, within the error that the head states; killed runs go on; damage is seen."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelwright.errors import DataError, LabelError
from labelwright.labels.space import LabelSpace
from labelwright.store import open_soft_labels
from labelwright.store.label_map_files import LogitMaps, open_label_maps, write_label_maps


def maps(n: int = 7, n_classes: int = 9, k: int = 3, h: int = 4, w: int = 5, seed: int = 0) -> LogitMaps:
    z = np.random.default_rng(seed).normal(0, 8, (n, h, w, n_classes)).astype(np.float32)
    order = np.argsort(-z, -1)
    top, others = np.take_along_axis(z, order[..., :k], -1), np.take_along_axis(z, order[..., k:], -1)
    rest = np.logaddexp.reduce(others, -1) if k < n_classes else np.full((n, h, w), -np.inf)
    return LogitMaps(order[..., :k].astype(np.int32), top, rest.astype(np.float32))


def part(m: LogitMaps, items: Any) -> LogitMaps:
    return LogitMaps(m.index[items], m.logit[items], m.rest[items])


def write(path: Path, m: LogitMaps, n_classes: int = 9, **options: Any) -> Path:
    return write_label_maps(
        path, lambda items: part(m, items), len(m), space=LabelSpace(range(n_classes)), batch_size=3, **options
    )


def test_maps_come_back_by_item_number(tmp_path: Path) -> None:
    m = maps()
    file = open_label_maps(write(tmp_path / "a", m, annotator="net", size=64))
    assert len(file) == 7 and file.head["provenance"] == {"annotator": "net", "size": 64}
    for rows in ([5, 0, 5], np.array([6]), slice(2, 4), m.rest[:, 0, 0] > 0):
        got, wanted = file[rows], part(m, rows)
        assert (got.index == wanted.index).all() and got.index.dtype == np.int32
        np.testing.assert_allclose(got.logit, wanted.logit, atol=file.head["errors"]["max_abs_logit"] + 1e-6)
        np.testing.assert_allclose(got.rest, wanted.rest, atol=0.01)
    assert file[3].index.shape == (1, 4, 5, 3)
    assert file.item_bytes == 4 * 5 * (3 + 3 * 2 + 2)
    file.verify()
    assert (pickle.loads(pickle.dumps(file))[[1]].logit == file[[1]].logit).all()  # noqa: S301, as a loader's worker does


def test_the_head_states_the_error(tmp_path: Path) -> None:
    m = maps()
    file = open_label_maps(write(tmp_path / "a", m))
    got = file[:]
    total = 0.0
    for cell in np.ndindex(7, 4, 5):
        p, q = (np.append(x.logit[cell], x.rest[cell]).astype(np.float64) for x in (m, got))
        p, q = np.exp(p - p.max()), np.exp(q - q.max())
        p, q = p / p.sum(), q / q.sum()
        total += (p * np.log(p / q)).sum()
    assert file.head["errors"]["mean_kl"] == pytest.approx(total / 140, rel=1e-6)
    assert 0 < file.head["errors"]["mean_kl"] < 1e-5
    assert file.head["errors"]["max_abs_logit"] == pytest.approx(np.abs(got.logit - m.logit).max())


def test_class_ids_are_whole_numbers_of_the_right_width(tmp_path: Path) -> None:
    m = maps(n=1, h=1, w=2)
    m.index[..., 0] = 2049  # float16 has 2048 and 2050
    m.index[..., 1] = 5001
    file = open_label_maps(write(tmp_path / "a", m, n_classes=6000))
    assert (file[:].index[..., :2] == [2049, 5001]).all() and file.item_bytes == 2 * (3 * 2 + 3 * 2 + 2)
    wide = open_label_maps(write(tmp_path / "b", m, n_classes=70_000))
    assert wide.item_bytes == 2 * (3 * 4 + 3 * 2 + 2)


def test_all_classes_leave_no_rest(tmp_path: Path) -> None:
    file = open_label_maps(write(tmp_path / "a", maps(k=9), keys=list("abcdefg")))
    assert np.isneginf(file[:].rest).all() and file.head["errors"]["mean_kl"] < 1e-5
    np.testing.assert_allclose(file[:].label_map(file.space).prob.sum(-1), 1, atol=1e-5)


def test_a_killed_run_goes_on_where_it_stood(tmp_path: Path) -> None:
    m, asked = maps(), []

    def annotate(items: np.ndarray) -> LogitMaps:
        asked.append(items.tolist())
        if len(asked) == 2:
            raise KeyboardInterrupt
        return part(m, items)

    for _ in range(2):
        try:
            write_label_maps(tmp_path / "a", annotate, 7, space=LabelSpace(range(9)), batch_size=3)
        except KeyboardInterrupt:
            assert list(tmp_path.iterdir()) == [tmp_path / ".a.parts"]
    assert asked == [[0, 1, 2], [3, 4, 5], [3, 4, 5], [6]]
    write(tmp_path / "b", m)
    assert (open_label_maps(tmp_path / "a")[:].logit == open_label_maps(tmp_path / "b")[:].logit).all()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "b"]


def test_damage_and_other_files_are_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "a", maps())
    raw = bytearray(path.read_bytes())
    raw[64 + 5] ^= 0xFF
    (tmp_path / "b").write_bytes(raw)
    broken = open_label_maps(tmp_path / "b")
    with pytest.raises(DataError, match="copy it again"):
        broken.verify()
    with pytest.raises(DataError, match="names class"):
        broken[[0]]
    with pytest.raises(DataError, match="format is 'labelwright.label-maps'"):
        open_soft_labels(path)
    with pytest.raises(IndexError):
        open_label_maps(path)[[7]]


def test_errors(tmp_path: Path) -> None:
    m = maps()
    nan, outside, huge = maps(), maps(), maps()
    nan.logit[0, 0, 0, 0], outside.index[0, 0, 0, 0], huge.logit[0, 0, 0, 0] = np.nan, 9, 1e5
    sizes = [maps(n=3), maps(n=3, h=2), maps(n=1)]
    for number, (error, match, call) in enumerate((
        (DataError, "choose another path", lambda at: write(tmp_path, m)),
        (LabelError, "annotator's space", lambda at: write(at, nan)),
        (LabelError, "annotator's space", lambda at: write(at, outside)),
        (LabelError, "annotator's space", lambda at: write(at, huge)),
        (DataError, "top_cells", lambda at: write(at, LogitMaps(m.index, m.logit, m.rest[..., 0]))),
        (DataError, "one square", lambda at: write_label_maps(
            at, lambda items: sizes[items[0] // 3], 7, space=LabelSpace(range(9)), batch_size=3)),
    )):  # fmt: skip
        with pytest.raises(error, match=match):
            call(tmp_path / str(number))
