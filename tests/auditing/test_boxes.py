"""audit_boxes: exact matching against naive references, planted faults of every kind, edges and errors."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given as draw
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from labelwright.auditing import boxes as room
from labelwright.auditing.boxes import Overlaps, audit_boxes, box_iou, match, overlaps, suppress
from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError
from labelwright.labels import Boxes, LabelSpace

SPACE = LabelSpace(["cat", "dog", "owl"])


# ------------------------------------------------------------------------------------------------ naive references
def naive_iou(a, b):
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def some_boxes(seed, n, n_items):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 30, (n, 2))
    return rng.integers(n_items, size=n), np.concatenate([corner, corner + rng.uniform(5, 25, (n, 2))], axis=1)


@draw(st.integers(0, 10**6), st.integers(0, 25), st.integers(0, 25), st.sampled_from([1, 50, 1 << 22]))
def test_overlaps_are_those_of_a_double_loop(seed, n, m, pairs):
    (item_a, a), (item_b, b) = some_boxes(seed, n, 4), some_boxes(seed + 1, m, 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "_PAIRS", pairs)  # however few pairs are looked at in one go
        found = overlaps(item_a, a, item_b, b, least=0.1)
    expected = {}
    for i in range(n):
        for j in range(m):
            if item_a[i] == item_b[j] and naive_iou(a[i], b[j]) >= 0.1:
                expected[i, j] = naive_iou(a[i], b[j])
    got = dict(zip(zip(found.a.tolist(), found.b.tolist()), found.iou))
    assert got.keys() == expected.keys()
    assert all(abs(got[k] - expected[k]) < 1e-9 for k in got)
    best = [max([v for (i, _), v in expected.items() if i == row], default=0.0) for row in range(n)]
    np.testing.assert_allclose(found.best(n), best)


@draw(st.integers(0, 10**6), st.integers(1, 5), st.integers(1, 5))
def test_match_has_the_largest_total_weight(seed, n, m):
    rng = np.random.default_rng(seed)
    allowed, weight = rng.random((n, m)) < 0.5, rng.uniform(0.1, 1, (n, m))
    a, b = np.nonzero(allowed)
    partner = match(Overlaps(a, b, np.ones(len(a))), weight[a, b], n, m)
    chosen = [(i, j) for i, j in enumerate(partner) if j >= 0]
    assert len({j for _, j in chosen}) == len(chosen) and all(allowed[i, j] for i, j in chosen)
    value = np.where(allowed, weight, 0.0)
    padded = np.zeros((max(n, m), max(n, m)))
    padded[:n, :m] = value
    best = max(sum(padded[i, j] for i, j in enumerate(p)) for p in itertools.permutations(range(max(n, m))))
    assert sum(weight[i, j] for i, j in chosen) == pytest.approx(best)


@draw(st.integers(0, 10**6), st.integers(0, 30))
def test_suppression_is_greedy(seed, n):
    item, box = some_boxes(seed, n, 3)
    score = np.random.default_rng(seed).random(n)
    order = np.lexsort([-score, item])
    order = order[np.random.default_rng(seed + 1).random(n) < 0.8]
    kept: list[int] = []
    for i in order:
        if all(item[i] != item[k] or naive_iou(box[i], box[k]) < 0.3 for k in kept):
            kept.append(int(i))
    found = suppress(order, overlaps(item, box, item, box, least=0.3), item)
    assert sorted(kept) == np.flatnonzero(found).tolist()


def test_share_of_a_known_mixture():
    rng = np.random.default_rng(0)
    good, bad = rng.normal(0, 1, 9000), rng.normal(3, 1, 1000)
    damaged = rng.normal(3, 1, 2000)

    def ratio(x):  # log of N(3, 1) over the mixture
        return (3 * x - 4.5) - np.log(0.9 + 0.1 * np.exp(3 * x - 4.5))

    assert room._share(ratio(np.r_[good, bad]), ratio(damaged)) == pytest.approx(0.1, abs=0.02)
    assert room._share(ratio(good), ratio(damaged)) < 0.01


# --------------------------------------------------------------------------------------------------- planted faults
def scene(seed=0, n_items=100, per_item=6, k=3):
    """True boxes on a loose grid, and a detector that misses 4 %, is off by 4 % and makes 1 false box per item."""
    rng = np.random.default_rng(seed)
    item = np.repeat(np.arange(n_items), per_item)
    place = np.tile(np.stack(np.divmod(np.arange(per_item), 3), 1) * 60.0, (n_items, 1))
    corner = place + rng.uniform(0, 15, place.shape)
    label = rng.integers(k, size=len(item))
    true = np.concatenate([corner, corner + rng.uniform(25, 40, corner.shape)], axis=1)
    seen = rng.random(len(item)) > 0.04
    false = rng.uniform(0, 130, (n_items, 2))
    box = np.concatenate([true[seen] + rng.normal(0, 1.2, (seen.sum(), 4)), np.c_[false, false + 30]])
    score = 1 / (1 + np.exp(-np.r_[rng.normal(2.5, 1, seen.sum()), rng.normal(-1.5, 1, n_items)]))
    space = LabelSpace(SPACE.classes[:k])
    classes = np.r_[label[seen], rng.integers(k, size=n_items)]
    predicted = Boxes.from_columns(np.r_[item[seen], np.arange(n_items)], box, classes, space, score=score)
    return Boxes.from_columns(item, true, label, space), predicted


def test_every_kind_of_fault_is_found_and_named():
    true, predicted = scene()
    rows = np.random.default_rng(1).permutation(len(true))
    swapped, shifted, removed = rows[:15], rows[15:30], rows[30:45]
    label, corners = true.label.copy(), true.corners.copy()
    label[swapped] = (label[swapped] + 1) % 3
    corners[shifted] += np.tile(corners[shifted][:, 2:] - corners[shifted][:, :2], 2) * [0.3, 0.2, 0.3, 0.2]  # IoU 0.39
    keep = np.setdiff1d(np.arange(len(true)), removed)
    extra = np.array([[150.0, 200, 180, 235]] * 15)  # below everything
    given = Boxes.from_columns(
        np.r_[true.item[keep], np.arange(15)],
        np.concatenate([corners[keep], extra]),
        np.r_[label[keep], np.zeros(15, int)],
        SPACE,
    )
    audit = audit_boxes(given, predicted, n_items=100)
    parts = audit.parts.to_pandas()
    quality, own = parts["quality"].to_numpy(), np.r_[keep, np.full(15, -1)]
    wrong = np.isin(own, np.r_[swapped, shifted]) | (own < 0)
    assert average_precision_score(wrong, 1 - quality[: len(given)]) > 0.7  # about 0.08 by chance

    caught = parts[: len(given)][np.isin(own, swapped)]
    assert (caught["problem"] == "wrong class").mean() > 0.7
    right = np.array(SPACE.classes)[true.label[own[np.isin(own, swapped)]]]
    flagged = (caught["problem"] == "wrong class").to_numpy()
    assert (caught["suggested"].to_numpy()[flagged] == right[flagged]).all()

    lost = parts[parts["box"].isna()]
    assert (lost["problem"][lost["is_issue"]] == "missed object").all() and lost["given"].isna().all()
    hits = [
        any(t == r.row and naive_iou(r.corners, c) > 0.5 for t, c in zip(true.item[removed], true.corners[removed]))
        for r in lost[lost["is_issue"]].itertuples()
    ]
    assert np.sum(hits) >= 8 and np.mean(hits) > 0.7

    image = np.zeros(100, bool)
    image[np.r_[given.item[wrong], true.item[removed]]] = True
    found = average_precision_score(image, 1 - audit.quality)
    counted = np.bincount(predicted.item, predicted.score > 0.5, minlength=100) - np.bincount(given.item, minlength=100)
    assert found > average_precision_score(image, np.abs(counted)) + 0.1


def test_badly_placed_boxes_come_first_and_the_suggested_place_is_better():
    true, predicted = scene(8)
    shifted = np.random.default_rng(8).permutation(len(true))[:60]
    corners = true.corners.astype(float)
    corners[shifted] = room._moved(corners[shifted], np.random.default_rng(9))
    audit = audit_boxes(Boxes.from_columns(true.item, corners, true.label, SPACE), predicted)
    parts = audit.parts.to_pandas()[: len(true)]
    assert average_precision_score(np.isin(np.arange(len(true)), shifted), 1 - parts["quality"]) > 0.85  # 0.1 by chance
    named = parts[(parts["problem"] == "bad location") & np.isin(np.arange(len(true)), shifted)]
    assert len(named) >= 20 and (named["given"] == named["suggested"]).all()
    before = box_iou(corners[named.index], true.corners[named.index])
    assert (box_iou(np.stack(named["corners"]), true.corners[named.index]) > before).mean() > 0.9


def test_spurious_boxes_rank_before_boxes_the_detector_sees():
    true, predicted = scene(3)
    given = Boxes.from_columns(
        np.r_[true.item, np.arange(40)],
        np.concatenate([true.corners, np.array([[150.0, 200, 180, 235]] * 40)]),
        np.r_[true.label, np.arange(40) % 3],
        SPACE,
    )
    quality = audit_boxes(given, predicted).parts["quality"].to_numpy()[: len(given)]
    spurious = np.arange(len(given)) >= len(true)
    assert average_precision_score(spurious, 1 - quality) > 0.5  # 0.06 by chance; the detector misses 24 true boxes


def test_real_cells_with_planted_faults(real_data):
    import pyarrow.parquet as pq

    table = pq.read_table(real_data / "detection_bccd" / "boxes.parquet").to_pandas()
    table = table[(table.xmax > table.xmin) & (table.ymax > table.ymin)]
    space = LabelSpace.from_labels(table["label"].to_list())
    item = np.unique(table["image"], return_inverse=True)[1]
    corners, label = table[["xmin", "ymin", "xmax", "ymax"]].to_numpy(float), space.encode(table["label"].to_list())
    rng = np.random.default_rng(0)
    size = np.tile(corners[:, 2:] - corners[:, :2], 2)
    seen = np.flatnonzero(rng.random(len(item)) < 0.95)
    score = 1 / (1 + np.exp(-rng.normal(2.5, 1.3, len(seen))))
    found = corners[seen] + rng.normal(0, 0.05, (len(seen), 4)) * size[seen]
    predicted = Boxes.from_columns(item[seen], found, label[seen], space, score=score)
    turn = rng.permutation(len(item))
    swap, gone = turn[:100], turn[100:200]
    wrong = label.copy()
    wrong[swap] = (label[swap] + rng.integers(1, 3, 100)) % 3
    stay = np.setdiff1d(np.arange(len(item)), gone)
    audit = audit_boxes(Boxes.from_columns(item[stay], corners[stay], wrong[stay], space), predicted)
    parts = audit.parts.to_pandas()
    boxes = parts[parts["box"].notna()]
    assert average_precision_score(np.isin(stay, swap), 1 - boxes["quality"]) > 0.7  # 0.02 by chance
    expected = (1 - parts["quality"])[parts["box"].isna()].sum()
    assert 60 < expected < 130  # 100 are missing, of which the detector sees 95
    image = np.isin(np.arange(len(audit.items)), item[turn[:200]])
    assert average_precision_score(image, 1 - audit.quality) > image.mean() + 0.3


# ------------------------------------------------------------------------------------------------------- invariants
def test_result_is_a_table_of_boxes_then_suggestions():
    true, predicted = scene(1, n_items=40)
    audit = audit_boxes(true[: len(true) - 6], predicted, items=[f"img{i}" for i in range(40)])
    parts = audit.parts
    n = len(true) - 6
    assert parts["box"].to_pylist()[:n] == list(range(n)) and set(parts["box"].to_pylist()[n:]) == {None}
    assert parts["item"].to_pylist()[:n] == [f"img{i}" for i in true.item[:n]]
    assert parts["given"].to_pylist()[:n] == [SPACE.classes[k] for k in true.label[:n]]
    np.testing.assert_array_equal(
        np.stack([parts[c].to_numpy()[:n] for c in ("x1", "y1", "x2", "y2")], 1), true.corners[:n]
    )
    quality = parts["quality"].to_numpy()
    assert ((quality >= 0) & (quality <= 1)).all() and ((audit.quality >= 0) & (audit.quality <= 1)).all()
    assert "39" in str(audit.items[audit.ranking[0]])  # the picture that lost all six boxes
    flagged = parts.filter(parts["is_issue"])
    assert "" not in flagged["problem"].to_pylist() and audit.summary()["what"] == "boxes"


def test_the_same_seed_and_another_scale_give_the_same():
    true, predicted = scene(2, n_items=50)
    first = audit_boxes(true, predicted)
    again = audit_boxes(true, predicted)
    assert first.parts.equals(again.parts) and (first.quality == again.quality).all()
    large = [Boxes(b.item, b.corners * 4, b.label, b.score, b.space) for b in (true, predicted)]
    scaled = audit_boxes(*large)
    np.testing.assert_allclose(scaled.parts["quality"].to_numpy(), first.parts["quality"].to_numpy(), atol=1e-4)


def test_classes_are_mapped_by_name():
    true, predicted = scene(2, n_items=50)
    other = LabelSpace(["emu", "owl", "cat", "dog"])
    renamed = Boxes(predicted.item, predicted.corners, np.array([2, 3, 1])[predicted.label], predicted.score, other)
    assert audit_boxes(true, renamed).parts.equals(audit_boxes(true, predicted).parts)


def test_a_class_that_is_certain_beyond_floating_point_stays_finite():
    rng = np.random.default_rng(0)
    x = rng.normal(0, 1, (500, 2))
    damaged = np.concatenate([rng.normal(50, 1, (400, 2)), rng.normal(1e4, 1, (400, 2))])
    p = room._posteriors(x, damaged, np.repeat([1, 3], 400), rng)
    assert np.isfinite(p).all() and p.max() < 0.05
    one = room._posteriors(np.r_[x, damaged[:5]], damaged[:400], np.zeros(400, int), rng)[:, 0]  # two classes only
    assert one[-5:].min() > 10 * one[:-5].max()


def test_progress_is_told():
    true, predicted = scene(2, n_items=20)
    told: list[tuple[int, int]] = []
    audit_boxes(true, predicted, progress=lambda done, total: told.append((done, total)))
    assert told[-1][0] == told[-1][1] == len(told)


# ------------------------------------------------------------------------------------------------------------ edges
def test_a_box_given_twice_is_a_duplicate_once():
    true, predicted = scene(4, n_items=40)
    twice = Boxes.from_columns(
        np.r_[true.item, true.item[:3]],
        np.concatenate([true.corners, true.corners[:3]]),
        np.r_[true.label, true.label[:2], (true.label[2] + 1) % 3],
        SPACE,
    )
    problem = np.array(audit_boxes(twice, predicted).parts["problem"].to_pylist())
    n = len(true)
    assert [(problem[[i, n + i]] == "duplicate box").sum() for i in range(3)] == [
        1,
        1,
        0,
    ]  # the third has another class
    assert audit_boxes(twice, predicted).parts["suggested"].to_pylist()[n] is None or problem[0] == "duplicate box"


def test_items_without_boxes_without_predictions_and_without_both():
    true, predicted = scene(5, n_items=60)
    given = true[true.item != 7]
    audit = audit_boxes(given, predicted[predicted.item != 9], n_items=62)
    assert audit.quality[7] < 0.95  # six objects without a box
    assert audit.quality[9] < np.median(audit.quality)  # six boxes that nobody sees
    assert (audit.quality[60:] == 1).all()


def test_one_class_unknown_classes_and_tiny_data():
    true, predicted = scene(6, n_items=40, k=1)
    assert "wrong class" not in audit_boxes(true, predicted).parts["problem"].to_pylist()
    true, predicted = scene(6, n_items=40)
    unknown = true.label.copy()
    unknown[:5] = -1
    parts = audit_boxes(Boxes(true.item, true.corners, unknown, true.score, SPACE), predicted).parts
    assert parts["given"].to_pylist()[:5] == [None] * 5
    seen = [s for s, z in zip(parts["suggested"].to_pylist()[:5], true.label) if s == SPACE.classes[z]]
    assert len(seen) >= 4  # the class that the detector sees
    tiny = audit_boxes(true[:1], predicted[:1], n_items=1)
    assert tiny.parts.num_rows >= 1 and "rough" in tiny.notes[0]
    apart = Boxes.from_columns([1], [[0, 0, 5, 5]], [0], SPACE, score=[0.9])
    assert audit_boxes(true[:1], apart).parts["quality"].to_numpy().min() >= 0


def test_high_lowest_score_is_noted():
    true, predicted = scene(2, n_items=60)
    assert "0.3" in audit_boxes(true, predicted[predicted.score > 0.5]).notes[-1]


# ----------------------------------------------------------------------------------------------------------- errors
def broken(predicted, **changes):
    fields = {f: getattr(predicted, f) for f in ("item", "corners", "label", "score", "space")}
    return Boxes(**(fields | changes))


@pytest.mark.parametrize(
    ("change", "options", "error", "text"),
    [
        (lambda g, p: (g, p[:0]), {}, DataError, "no boxes in `predicted`.*pass predicted=Boxes"),
        (lambda g, p: (g[:0], p), {}, DataError, "no boxes in `given`.*pass given=Boxes"),
        (lambda g, p: (g.corners, p), {}, DataError, "given.*ndarray.*pass given=Boxes"),
        (lambda g, p: (g, broken(p, score=p.score * 2)), {}, ProbabilityError, "outside .0, 1..*confidences"),
        (lambda g, p: (g, broken(p, score=p.score * np.nan)), {}, ProbabilityError, "NaN.*confidences"),
        (lambda g, p: (g, broken(p, label=p.label - 9)), {}, LabelError, "without a class.*drop these boxes"),
        (
            lambda g, p: (g, broken(p, space=LabelSpace(["cat", "dogg", "owl"]))),
            {},
            LabelError,
            "'dogg'.*rename the classes of the detector",
        ),
        (lambda g, p: (g, p), {"n_items": 3}, DataError, "item 9 where there are 3 items.*larger n_items"),
        (lambda g, p: (g, p), {"items": ["a"]}, DataError, "item 9 where there are 1 items.*pass all items"),
        (
            lambda g, p: (g, p),
            {"items": ["a"], "n_items": 10},
            DataError,
            "1 items for n_items=10.*pass one of the two",
        ),
        (lambda g, p: (g, p), {"n_items": 0}, OptionError, "pass n_items=1 or more"),
        (lambda g, p: (g, p), {"iou": 50}, OptionError, "pass for example iou=0.5"),
    ],
)
def test_errors(change, options, error, text):
    true, predicted = scene(0, n_items=10)
    with pytest.raises(error, match=text):
        audit_boxes(*change(true, predicted), **options)


def test_iou_of_touching_boxes_is_zero():
    assert box_iou(np.array([[0, 0, 1, 1]]), np.array([[1, 0, 2, 1]])).tolist() == [0.0]
