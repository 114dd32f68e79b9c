"""audit_masks: against naive loops, on planted regions, in every form of input, and with every error raised once."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.auditing.masks import audit_masks
from labelwright.auditing.masks.pixels import (
    BINS,
    FEW_IMAGES,
    FLOOR,
    HOLES,
    MANY_IMAGES,
    REACH,
    TEMPER,
    UNIT,
    Doubt,
    PixelEvidence,
    pixel_doubt,
)
from labelwright.auditing.masks.regions import (
    FAINT,
    HALF,
    MUTUAL_HALF,
    SOFT,
    Region,
    class_scales,
    find_regions,
    mutual_error_prob,
    region_error_prob,
)
from labelwright.errors import DataError, LabelError, LabelwrightWarning, OptionError, ProbabilityError
from labelwright.labels import LabelSpace, Masks


def scene(n: int = 12, size: int = 40, n_classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """True labels of stripes with a few blocks, and noisy float32 probabilities of a fair model, blurred at the edges."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(n_classes), -(-size // n_classes))[:size]
    labels = np.broadcast_to(labels[:, None], (n, size, size)).copy()
    for image in labels:
        y, x = rng.integers(2, size - 12, 2)
        image[y : y + 9, x : x + 9] = rng.integers(n_classes)
    logits = 3.0 * np.eye(n_classes)[labels].transpose(0, 3, 1, 2) + rng.normal(0, 1, (n, n_classes, size, size))
    p = np.exp(gaussian_filter(logits, (0, 0, 1, 1)))
    return labels, (p / p.sum(1, keepdims=True)).astype(np.float32)


def with_patch(labels: np.ndarray, image: int, rows: slice, columns: slice) -> np.ndarray:
    """A copy in which a patch carries the next class."""
    given = labels.copy()
    given[image, rows, columns] = (given[image, rows, columns] + 1) % (labels.max() + 1)
    return given


# ------------------------------------------------------------------------------------------------------ against naive loops
def naive_counts(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    counts = np.zeros((len(p), len(p), BINS), int)
    for y in range(labels.shape[0]):
        for x in range(labels.shape[1]):
            g = labels[y, x]
            for j in range(len(p)) if g >= 0 else ():
                odds = np.log(max(p[j, y, x], np.float32(FLOOR))) - np.log(max(p[g, y, x], np.float32(FLOOR)))
                weight = round(UNIT / int((labels == g).sum()) ** TEMPER)
                counts[g, j, min(max(int((odds + REACH) * BINS / (2 * REACH)), 0), BINS - 1)] += weight
    return counts


def naive_doubt(labels: np.ndarray, p: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    height, width = labels.shape
    wrong, other = np.full(labels.shape, -np.inf), np.zeros(labels.shape, int)
    for y in range(height):
        for x in range(width):
            g, mean = labels[y, x], np.full(len(p), -np.inf)
            for j in range(len(p)) if g >= 0 else ():
                window = []
                for v in range(max(y - 1, 0), min(y + 2, height)):
                    for u in range(max(x - 1, 0), min(x + 2, width)):
                        if labels[v, u] == g and j != g:
                            odds = np.log(max(p[j, v, u], np.float32(FLOOR))) - np.log(
                                max(p[g, v, u], np.float32(FLOOR))
                            )
                            b = min(max(int((odds + REACH) * BINS / (2 * REACH)), 0), BINS - 1)
                            window.append(float(table[g, j, b]))
                mean[j] = np.mean(window) if window else -np.inf
            if g >= 0:
                wrong[y, x] = np.log(np.exp(mean).sum() / (len(p) - 1))
                other[y, x] = mean.argmax()
    return wrong, other


def naive_regions(labels: np.ndarray, doubt: Doubt, min_pixels: int) -> set[frozenset[tuple[int, int]]]:
    """Flood fill over the four neighbours; the soft rims are dropped by the same rule, on sets."""

    def fill(start, alike, steps):
        stack, seen = [start], {start}
        while stack:
            y, x = stack.pop()
            for dy, dx in steps:
                v, u = y + dy, x + dx
                inside = 0 <= v < labels.shape[0] and 0 <= u < labels.shape[1]
                if inside and (v, u) not in seen and alike(start, (v, u)):
                    seen.add((v, u))
                    stack.append((v, u))
        return frozenset(seen)

    def same(a, b):
        return labels[a] == labels[b] and doubt.wrong[b] > 0 and doubt.other[a] == doubt.other[b]

    four = [(0, 1), (0, -1), (1, 0), (-1, 0)]
    eight = [(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)]
    starts = [tuple(map(int, s)) for s in np.argwhere(doubt.wrong > 0)]
    out = set()
    for region in {fill(s, same, four) for s in starts}:
        first = next(iter(region))
        pieces = [fill(s, lambda a, b: labels[a] == labels[b], eight) for s in region]
        most = max(set(pieces), key=pieces.count)
        rim = sum(
            any(
                0 <= y + a < labels.shape[0]
                and 0 <= x + b < labels.shape[1]
                and labels[y + a, x + b] == doubt.other[first]
                for a, b in eight
            )
            for y, x in region
        )
        if len(region) >= min_pixels and (len(region) >= len(most) / 2 or rim < SOFT * len(region)):
            out.add(region)
    return out


def test_counts_and_doubt_equal_the_naive_loops():
    labels, p = scene(3, 16)
    labels[1, :4] = -1
    evidence = PixelEvidence(4)
    for chunk in zip(labels, p):
        evidence.update(chunk)
    assert (evidence.counts == sum(naive_counts(g, q) for g, q in zip(labels, p))).all()
    assert evidence.images.tolist() == [2 if (labels[1] == 0).sum() == 0 else 3, 3, 3, 3]
    table = evidence.result()
    wrong, other = naive_doubt(labels[1], p[1], table)
    doubt = pixel_doubt(labels[1], p[1], table)
    np.testing.assert_allclose(doubt.wrong, wrong, atol=1e-5)
    assert (doubt.other[labels[1] >= 0] == other[labels[1] >= 0]).all()


@given(st.integers(0, 10_000), st.integers(1, 6))
@settings(max_examples=25)
def test_regions_equal_a_flood_fill(seed, min_pixels):
    rng = np.random.default_rng(seed)
    labels = np.kron(rng.integers(-1, 3, (4, 4)), np.ones((3, 4), int))
    other = (labels + 1 + np.kron(rng.integers(0, 2, (6, 8)), np.ones((2, 2), int))) % 3
    wrong = np.where(labels >= 0, rng.normal(0.3, 1, labels.shape), -np.inf)
    doubt = Doubt(wrong, other)
    found = find_regions(labels, doubt, min_pixels)
    masks = Masks(
        np.zeros(len(found), int),
        np.array([r.other for r in found], int),
        np.tile(labels.shape, (len(found), 1)),
        np.cumsum([0] + [len(r.runs) for r in found]),
        np.concatenate([np.empty(0, int)] + [r.runs for r in found]),
        LabelSpace(range(3)),
    )
    sets = [frozenset(map(tuple, np.argwhere(masks.array(r)).tolist())) for r in range(len(found))]
    assert set(sets) == naive_regions(labels, doubt, min_pixels) and len(set(sets)) == len(sets)
    for r, region in enumerate(found):
        mask = masks.array(r)
        y, x = np.nonzero(mask)
        assert region.box == (x.min(), y.min(), x.max() + 1, y.max() + 1) and region.pixels == len(y)
        assert region.strength == pytest.approx(wrong[mask].sum() / len(y) ** TEMPER)
        assert (labels[mask] == region.given).all() and (other[mask] == region.other).all()
        assert (masks[[r]].runs == Masks.from_arrays([0], [mask], [0], masks.space).runs).all()  # the same coding


# ------------------------------------------------------------------------------------------------------------- the evidence
def test_a_table_worked_by_hand():
    """Two classes, half the pixels of each surely right, one pixel in eight of class 0 looking like class 1."""
    labels = np.array([[0] * 8 + [1] * 8])
    p = np.where(np.arange(16) < 7, 0.9, 0.1)[None]
    looks_like_1 = int((np.log(9) + REACH) * BINS / (2 * REACH))
    for images, trusted in ((1, 1), (1000, MANY_IMAGES)):
        evidence = PixelEvidence(2)
        for _ in range(images):
            evidence.update((labels, np.stack([p, 1 - p])))
        # p(looks like 1 | given 1) = 1, p(looks like 1 | given 0) = 1/8: log 8, both smeared alike over the neighbouring
        # bins; the model's own word is the 2.25 nats in the middle of the bin
        expected = (trusted * np.log(8) + FEW_IMAGES * 2.25) / (trusted + FEW_IMAGES)
        assert evidence.result()[0, 1, looks_like_1] == pytest.approx(expected, abs=0.03)


def test_where_nothing_was_seen_the_model_has_the_word():
    believed = (np.arange(BINS) + 0.5) * (2 * REACH / BINS) - REACH
    np.testing.assert_allclose(PixelEvidence(4).result()[0, 1], believed, atol=1e-5)


def test_one_image_does_not_decide_what_a_small_class_looks_like():
    """Class 1 is a corner of 16 pixels in 30 images; in the last it is given to everything, which looks like class 0."""
    labels, p = np.zeros((20, 20), int), np.zeros((2, 20, 20), np.float32)
    labels[:4, :4] = 1
    p[1] = np.where(labels == 1, 0.9, 0.1)
    p[0] = 1 - p[1]
    evidence = PixelEvidence(2)
    for _ in range(29):
        evidence.update((labels, p))
    evidence.update((labels * 0 + 1, p))
    # 29 images of 4 votes against one of 20 (464 pixels against 400): log(136 / 20), and the model's 2.25 with a fifth
    assert pixel_doubt(labels * 0 + 1, p, evidence.result()).wrong[10, 10] == pytest.approx(1.98, abs=0.1)


@given(st.integers(0, 1000), st.integers(1, 5))
@settings(max_examples=15)
def test_evidence_does_not_depend_on_the_cut(seed, cut):
    labels, p = scene(6, 16, seed=seed)
    whole, left, right = PixelEvidence(4), PixelEvidence(4), PixelEvidence(4)
    for i in range(6):
        whole.update((labels[i], p[i]))
        (left if i < cut else right).update((labels[i], p[i]))
    right.merge(left)
    assert (right.result() == whole.result()).all()


def test_table_rises_and_mirrors():
    labels, p = scene()
    evidence = PixelEvidence(4)
    for chunk in zip(labels, p):
        evidence.update(chunk)
    table = evidence.result()
    assert (np.diff(table, axis=2) >= -1e-5).all()
    np.testing.assert_allclose(table, -table.swapaxes(0, 1)[:, :, ::-1], atol=1e-4)
    assert np.abs(table).max() <= np.log(1 / HOLES * BINS) + REACH


def test_scales_trim_borrow_and_floor():
    strength = np.r_[np.full(10, 500.0), np.full(90, 20.0)]
    scale = class_scales(np.zeros(100, int), strength, 2, 100)
    # own: ranks 5..99 = (5 * 500 + 90 * 20) / 95; together: ranks 10..199 = 90 * 20 / 190
    assert scale[0] == pytest.approx(((5 * 500 + 90 * 20) / 95 + 0.2 * 90 * 20 / 190) / 1.2)
    assert scale[1] == pytest.approx(FAINT)
    assert class_scales(np.empty(0, int), np.empty(0), 3, 5).tolist() == [FAINT] * 3
    p = region_error_prob(np.linspace(0, 3 * HALF, 50))
    assert (np.diff(p) >= 0).all() and p[0] == 0 and p[-1] > 0.999


# ------------------------------------------------------------------------------------------------------------ what is found
def test_a_small_and_a_large_region_are_found_and_clean_images_are_not_blamed():
    labels, p = scene()
    given = with_patch(labels, 3, slice(12, 17), slice(20, 27))  # 35 pixels
    given[7, :20] = (given[7, :20] + 2) % 4  # 800 pixels
    audit = audit_masks(given, p)
    assert set(audit.ranking[:2].tolist()) == {3, 7}
    assert audit.quality[[3, 7]].max() < 0.1 < 0.8 < np.delete(audit.quality, [3, 7]).min()
    wrong = given != labels
    for r in range(audit.parts.num_rows):
        if audit.parts["is_issue"][r].as_py():
            assert wrong[audit.parts["row"][r].as_py()][audit.regions.array(r)].mean() > 0.8
    assert audit.pixel_errors(3)[wrong[3]].mean() > 0.8 and audit.pixel_errors(3)[~wrong[3]].mean() < 0.05
    assert "MaskAudit" in repr(audit) or repr(audit).startswith("PartAudit(masks")


def test_clean_labels_raise_no_flag_and_single_pixels_and_rims_are_softness():
    labels, p = scene()
    assert audit_masks(labels, p).issues.num_rows == 0
    given = labels.copy()
    given[2, 25, 5] = 0  # one pixel
    given[4, 10] = 0  # the stripe of class 0 ends a row lower: a rim
    assert audit_masks(given, p).issues.num_rows == 0


def test_problems_are_named():
    labels, p = scene(16, 48)
    given = labels.copy()
    given[3, 2:9, 30:40] = 3  # a patch of class 3 inside class 0: its whole piece is wrong
    given[6, 12:17] = 0  # class 0 five rows too far into class 1
    given[9][labels[9] == 2] = 1  # a stripe dropped into its neighbour
    named = {i: [] for i in range(16)}
    for issue in audit_masks(given, p).issues.to_pylist():
        named[issue["row"]].append((issue["problem"], issue["given"], issue["suggested"]))
    assert ("wrong class", 3, 0) in named[3]
    assert ("bad boundary", 0, 1) in named[6]
    assert ("missed region", 1, 2) in named[9] or ("wrong class", 1, 2) in named[9]


def test_permuting_classes_permutes_the_answer():
    labels, p = scene()
    given = with_patch(labels, 3, slice(12, 18), slice(20, 28))
    order = np.array([2, 0, 3, 1])  # new id of each class
    audit, permuted = audit_masks(given, p), audit_masks(order[given], p[:, np.argsort(order)])
    np.testing.assert_allclose(audit.quality, permuted.quality, atol=1e-6)
    a, b = audit.issues.to_pylist(), permuted.issues.to_pylist()
    assert [order[i["suggested"]] for i in a] == [i["suggested"] for i in b]
    assert [i["pixels"] for i in a] == [i["pixels"] for i in b]


def test_real_masks(real_data):
    """Street scenes with a model that sees the truth through a blur: a swapped segment is the first thing shown."""
    import pyarrow.parquet as pq
    from PIL import Image
    from scipy.ndimage import gaussian_filter

    table = pq.read_table(real_data / "segmentation_camvid" / "camvid240.parquet", columns=["mask_png"])
    labels = [np.asarray(Image.open(io.BytesIO(table["mask_png"][i].as_py()))) for i in range(0, 240, 12)]
    labels = np.stack(labels)[:, ::2, ::2].astype(np.int64)

    def model(i):
        rng = np.random.default_rng(i)
        seen = 4.0 * (np.arange(11)[:, None, None] == labels[i]) + rng.normal(0, 2, (11, 90, 120))
        p = np.exp(gaussian_filter(seen, (0, 1.5, 1.5)))
        return (p / p.sum(0)).astype(np.float16)

    given, patch = labels.copy(), (slice(68, 78), slice(50, 62))
    given[5][patch] = 9
    audit = audit_masks(given, model, ignore=11)
    first = audit.issues.slice(0, 1).to_pylist()[0]
    assert audit.ranking[0] == first["row"] == 5 and first["given"] == 9
    assert audit.regions.array(audit.parts["quality"].to_numpy().argmin())[patch].mean() > 0.7


# ------------------------------------------------------------------------------------------------------------ forms of input
def test_lists_memory_maps_functions_and_float16_agree(tmp_path):
    labels, p = scene()
    labels = with_patch(labels, 3, slice(12, 18), slice(20, 28))
    np.save(tmp_path / "p.npy", p)
    np.save(tmp_path / "y.npy", labels.astype(np.uint8))
    expected = audit_masks(labels, p)
    mapped = np.load(tmp_path / "p.npy", mmap_mode="r")
    for form in (
        audit_masks(list(labels), list(p)),
        audit_masks((y for y in labels), (q for q in p)),
        audit_masks(np.load(tmp_path / "y.npy", mmap_mode="r"), mapped),
        audit_masks(labels, lambda i: mapped[i]),
    ):
        assert form.parts.equals(expected.parts) and (form.quality == expected.quality).all()
    np.testing.assert_allclose(audit_masks(labels, p.astype(np.float16)).quality, expected.quality, atol=0.05)


def test_images_of_different_sizes_and_names():
    labels, p = scene(14)
    given = with_patch(labels, 3, slice(12, 18), slice(20, 28))
    cut = [40 - i % 3 for i in range(14)]
    names = ["sky", "road", "tree", "car"]
    audit = audit_masks(
        [g[:c] for g, c in zip(given, cut)],
        [q[:, :c] for q, c in zip(p, cut)],
        space=names,
        items=[f"i{i}" for i in range(14)],
    )
    first = audit.issues.to_pylist()[0]
    assert first["item"] == "i3" and first["given"] in names and first["suggested"] in names
    assert [audit.pixel_errors(i).shape for i in range(14)] == [(c, 40) for c in cut]


def test_unlabelled_pixels_take_part_in_nothing():
    labels, p = scene(14)
    given = with_patch(labels, 3, slice(12, 18), slice(20, 28))
    given[:, :5] = -1
    given[8] = -1
    void, other = given.copy(), p.copy()
    void[given == -1] = 255
    other[:, :, :4] = 1 / 4  # other probabilities where nothing is labelled
    audit, same = audit_masks(given, p), audit_masks(void.astype(np.uint8), other, ignore=[255])
    assert audit.parts.equals(same.parts)
    assert np.isnan(audit.quality[8]) and np.isnan(audit.quality).sum() == 1 and audit.ranking[-1] == 8
    assert any("no labelled pixel" in note for note in audit.notes)
    assert not audit.pixel_errors(8).any() and audit.ranking[0] == 3


def test_two_classes_one_image_and_no_region():
    labels = np.zeros((1, 10, 10), int)
    labels[:, 5:] = 1
    p = np.stack([1 - labels, labels], 1).astype(np.float32)
    with pytest.warns(LabelwrightWarning, match="fewer than 5 images"):
        audit = audit_masks(labels, p)
    assert audit.parts.num_rows == 0 and audit.quality.tolist() == [1.0] and len(audit.regions) == 0
    assert audit.summary()["issues"] == 0 and not audit.pixel_errors(0).any()
    with pytest.warns(LabelwrightWarning):
        swapped = audit_masks(1 - labels, p)  # one image, both classes exchanged: the model is taken at its word
    assert swapped.quality[0] < 0.5


def test_result_saves_and_reports_progress(tmp_path):
    labels, p = scene()
    seen = []
    audit = audit_masks(
        with_patch(labels, 3, slice(12, 18), slice(20, 28)), p, min_pixels=20, progress=lambda *a: seen.append(a)
    )
    assert seen[0] == ("calibration", 1, 12) and seen[-1] == ("regions", 12, 12) and len(seen) == 24
    assert min(audit.parts["pixels"].to_pylist()) >= 20 and audit.what == "masks"
    folder = audit.save(tmp_path / "audit")
    assert (folder / "issues.parquet").exists() and '"min_pixels": 20' in (folder / "summary.json").read_text()


def test_memory_is_that_of_a_few_images():
    labels, p = scene(8, 64, 8)
    many, image = np.concatenate([labels] * 10), p[0].nbytes

    def probs(i):
        return p[i % 8]

    audit_masks(labels, probs)  # imports
    tracemalloc.start()
    audit_masks(many, probs)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 * image  # of 80 images


# ------------------------------------------------------------------------------------------------------------------- errors
def changed(array: np.ndarray, where: tuple, value: float) -> np.ndarray:
    array = array.copy()
    array[where] = value
    return array


@pytest.mark.parametrize(
    ("error", "found", "fix", "call"),
    [
        (DataError, "no images", "check the file", lambda y, p: audit_masks(y[:0], p[:0])),
        (DataError, "pred_probs of 11 images for the labels of 12", "same images", lambda y, p: audit_masks(y, p[:-1])),
        (DataError, "for image 2, whose labels are 40 x 40", "resize",
         lambda y, p: audit_masks(y, [*p[:2], p[2, :, 1:], p[3]] * 3)),
        (DataError, "3, 40, 40", "name the class", lambda y, p: audit_masks(y.clip(0, 2), p[:, :3], space=["a", "b", "c", "d"])),
        (ProbabilityError, r"shape \(40, 40\) for image 0", "moveaxis", lambda y, p: audit_masks(y, p[:, 0])),
        (ProbabilityError, r"1 pixels of image 4 .* row 7, column 9 \(NaN", "softmax",
         lambda y, p: audit_masks(y, changed(p, (4, 1, 7, 9), np.nan))),
        (ProbabilityError, r"image 0 .* row 0, column 0 \(sum", "softmax", lambda y, p: audit_masks(y, np.log(p))),
        (ProbabilityError, "image 3 .* row 5, column 6", "softmax", lambda y, p: audit_masks(y, changed(p, (3, 0, 5, 6), 2.0))),
        (LabelError, "1 pixels of image 6 .* first is 255 at row 1, column 2", r"ignore=\[255\]",
         lambda y, p: audit_masks(changed(y, (6, 1, 2), 255), p)),
        (LabelError, "outside the space; first is -7", r"ignore=\[-7\]", lambda y, p: audit_masks(changed(y, (6, 1, 2), -7), p)),
        (LabelError, "dtype float64 for image 0", "class ids", lambda y, p: audit_masks(y.astype(float), p)),
        (LabelError, r"shape \(40,\)", r"labels\[None\]", lambda y, p: audit_masks(y[0], lambda i: p[0])),
        (LabelError, "12 images without a labelled pixel", "nothing to audit", lambda y, p: audit_masks(y * 0, p, ignore=0)),
        (OptionError, "min_pixels=0", "min_pixels=1", lambda y, p: audit_masks(y, p, min_pixels=0)),
        (DataError, "item keys", "id column", lambda y, p: audit_masks(y, p, items=["a"])),
    ],
)  # fmt: skip
def test_errors(error, found, fix, call):
    with pytest.raises(error, match=f"{found}(.|\n)*Fix:(.|\n)*{fix}"):
        call(*scene())


# -- classes that doubt each other -------------------------------------------------------------------------------------
def region(given, other, pixels, strength):
    return Region(given, other, (0, 0, 1, 1), pixels, strength, "wrong class", np.array([0, pixels]))


def test_mutual_doubt_is_the_geometric_mean_of_both_directions():
    found = [region(0, 1, 100, 6.0), region(0, 1, 44, 3.0), region(1, 0, 100, 2.0), region(0, 2, 100, 50.0)]
    scales = np.array([2.0, 1.0, 1.0])
    one = (6.0 * 10 + 3.0 * 44**0.5) / 12 / 2  # both regions 0 -> 1 together, over the scale of class 0
    p = mutual_error_prob(found, np.zeros(4, int), scales, 3)
    np.testing.assert_allclose(p[0], region_error_prob(np.sqrt(one * 2.0), MUTUAL_HALF))
    assert p[1] == p[2] == 0  # nothing found there
    assert mutual_error_prob(found[:2] + found[3:], np.zeros(3, int), scales, 1)[0] == 0  # one way only


def test_the_strongest_pair_of_an_image_counts_whatever_the_order():
    rng = np.random.default_rng(0)
    found = [
        region(int(a), int(b), int(n), float(s))
        for a, b, n, s in zip(rng.integers(0, 3, 40), rng.integers(3, 6, 40), rng.integers(16, 99, 40), rng.random(40))
    ]
    found += [region(r.other, r.given, r.pixels, r.strength * 2) for r in found[::2]]
    image = rng.integers(0, 4, len(found))
    order = rng.permutation(len(found))
    here = mutual_error_prob(found, image, np.ones(6), 4)
    np.testing.assert_allclose(mutual_error_prob([found[i] for i in order], image[order], np.ones(6), 4), here)
    assert here.max() > 0


def test_an_image_with_two_classes_exchanged_comes_first():
    rng = np.random.default_rng(0)
    truth = np.zeros((20, 24, 24), int)
    truth[:, :, 8:16], truth[:, :, 16:] = 1, 2
    p = np.full((20, 3, 24, 24), 0.15)
    np.put_along_axis(p, truth[:, None], 0.7, 1)
    p += rng.random(p.shape) * 0.2
    given = truth.copy()
    given[5] = np.array([1, 0, 2])[truth[5]]
    given[9, :, :8][4:12, 1:6] = 1  # a missed region in another image
    quality = audit_masks(given, p / p.sum(1, keepdims=True)).quality
    assert quality.argmin() == 5
