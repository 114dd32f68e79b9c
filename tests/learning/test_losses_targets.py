"""Ordinal, scored and dense soft labels, and the losses on them, against plain loops and the cards' own numbers."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from labelwright.learning import losses as L  # noqa: E402


def probs(z: Any) -> list[float]:
    top = max(z)
    e = [math.exp(v - top) for v in z]
    return [v / sum(e) for v in e]


# ------------------------------------------------------------------------------------------------------ ordered classes
APART = {
    "l1": lambda a, b, alpha: alpha * abs(a - b),
    "l2": lambda a, b, alpha: (alpha * a - alpha * b) ** 2,
    "logl2": lambda a, b, alpha: (alpha * (math.log(a) - math.log(b))) ** 2,
}


@pytest.mark.parametrize("distance", APART)
def test_ordinal_targets_and_loss(distance: str):
    rng = np.random.default_rng(0)
    ranks, z, y = [1.0, 2.5, 3.0, 7.0], rng.normal(size=(5, 4)), [0, 3, -1, 2, 1]
    soft = [probs([-APART[distance](ranks[c], r, 1.5) for r in ranks]) if c >= 0 else [0.0] * 4 for c in y]
    options = {"ranks": torch.tensor(ranks), "distance": distance, "alpha": 1.5}
    np.testing.assert_allclose(L.ordinal_targets(torch.tensor(y), **options), soft, atol=1e-6)
    weight = [1.0, 0.5, 2.0, 1.0, 3.0]
    want = [
        w * sum(b * (math.log(b) - math.log(a)) for a, b in zip(probs(r), q) if b)
        for w, r, q in zip(weight, z.tolist(), soft)
    ]
    got = L.ordinal_loss(
        torch.tensor(z), torch.tensor(y), weight=torch.tensor(weight), reduction="none", **options
    )  # fmt: skip
    np.testing.assert_allclose(got, want, atol=1e-6)
    mean = L.ordinal_loss(torch.tensor(z), torch.tensor(y), weight=torch.tensor(weight), **options)
    np.testing.assert_allclose(mean, sum(want) / 4, atol=1e-6)  # by the rows, not by the weights


def test_the_paper_s_three_levels():
    """l2 from the lowest level; logl2 is flat and skewed."""
    y = torch.tensor([0, 2])
    np.testing.assert_allclose(L.ordinal_targets(y[:1], n_classes=3), [[0.721, 0.265, 0.013]], atol=1e-3)
    got = L.ordinal_targets(y, n_classes=3, distance="logl2")
    np.testing.assert_allclose(got, [[0.52, 0.32, 0.16], [0.14, 0.39, 0.47]], atol=1e-2)
    sharp = L.ordinal_targets(y, n_classes=3, alpha=50.0)
    np.testing.assert_allclose(sharp, [[1, 0, 0], [0, 0, 1]], atol=1e-9)


def test_a_soft_label_is_the_mixture_of_its_classes():
    table = L.ordinal_targets(torch.arange(3), n_classes=3)
    q = torch.tensor([[0.5, 0.0, 0.5], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(
        L.ordinal_targets(q, n_classes=3), torch.stack([(table[0] + table[2]) / 2, torch.zeros(3)])
    )


def test_bad_ranks():
    z, y = torch.zeros(2, 3), torch.tensor([0, 1])
    with pytest.raises(OptionError, match="order the classes from lowest to highest"):
        L.ordinal_loss(z, y, ranks=torch.tensor([1.0, 1.0, 2.0]))
    with pytest.raises(OptionError, match="start the ranks at 1"):
        L.ordinal_loss(z, y, ranks=torch.tensor([0.0, 1.0, 2.0]), distance="logl2")
    with pytest.raises(OptionError, match="pass n_classes=K"):
        L.ordinal_targets(y)
    with pytest.raises(OptionError, match="one of 'l1'"):
        L.ordinal_loss(z, y, distance="l11")
    with pytest.raises(DataError, match="one rank per class"):
        L.ordinal_targets(torch.zeros(2, 4), n_classes=3)
    with pytest.raises(ProbabilityError, match="row 0"):
        L.ordinal_targets(torch.ones(2, 3), n_classes=3)


# --------------------------------------------------------------------------------------------------------------- scores
@given(st.floats(1.0, 5.0), st.floats(0.0, 1.5), st.sampled_from(["cdf", "pdf"]))
def test_the_tilted_label_has_the_mean_that_people_gave(mean: float, std: float, raw: str):
    q = L.score_targets(torch.tensor(mean).double(), torch.tensor(std).double(), raw=raw).double()
    assert (q >= 0).all()
    np.testing.assert_allclose(q.sum(), 1, atol=1e-6)
    np.testing.assert_allclose((q * torch.arange(1, 6)).sum(), mean, atol=1e-5)


def test_score_labels_against_the_paper_s_recipe():
    mean, std = 3.3, 0.6
    cdf = lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2)))  # noqa: E731
    raw = {
        "cdf": [cdf((k + 0.5 - mean) / std) - cdf((k - 0.5 - mean) / std) for k in range(1, 6)],
        "pdf": [math.exp(-0.5 * ((k - mean) / std) ** 2) / (std * math.sqrt(2 * math.pi)) for k in range(1, 6)],
    }
    for way, p in raw.items():
        total, first = sum(p), sum(k * v for k, v in zip(range(1, 6), p))
        a = (mean - 3) / (first - 3 * total)
        want = [max(a * v + (1 - a * total) / 5, 0) for v in p]
        got = L.score_targets(torch.tensor(mean), torch.tensor(std), method="affine", raw=way)
        np.testing.assert_allclose(got, want, atol=1e-5)


def test_score_labels_in_the_middle_on_another_scale_and_without_spread():
    middle = torch.tensor(3.0), torch.tensor(0.6)
    np.testing.assert_allclose(L.score_targets(*middle, method="affine"), [0.2] * 5, atol=1e-6)  # the paper's slip
    tilted = L.score_targets(*middle)
    torch.testing.assert_close(tilted, tilted.flip(0))
    assert tilted[2] > 0.5
    hundred = L.score_targets(torch.tensor(50.0), torch.tensor(15.0), low=0, high=100)
    torch.testing.assert_close(hundred, tilted)
    between = L.score_targets(torch.tensor(4.3).double(), torch.tensor(0.1).double())
    np.testing.assert_allclose(between, [0, 0, 0, 0.7, 0.3], atol=1e-6)
    with pytest.raises(DataError, match="low and high of the scale"):
        L.score_targets(torch.tensor([6.0]), torch.tensor([1.0]))
    with pytest.raises(OptionError, match="ends of the scale"):
        L.score_targets(*middle, low=5, high=1)


@pytest.mark.parametrize("predicted", [False, True])
def test_fidelity_against_a_plain_loop(predicted: bool):
    rng = np.random.default_rng(0)
    z, mean, std, group = rng.normal(size=(6, 5)), rng.uniform(1, 5, 6), rng.uniform(0, 1, 6), [0, 1, 0, 1, 1, 2]
    score = [sum(k * p for k, p in zip(range(1, 6), probs(r))) for r in z.tolist()]
    var = [sum((k - s) ** 2 * p for k, p in zip(range(1, 6), probs(r))) for r, s in zip(z.tolist(), score)]
    want = []
    for a, b in combinations(range(6), 2):
        if group[a] != group[b]:
            continue
        width = math.sqrt(2 * (var[a] + var[b] + 1e-8)) if predicted else 2.0
        ours = 0.5 * (1 + math.erf((score[a] - score[b]) / width))
        theirs = 0.5 * (1 + math.erf((mean[a] - mean[b]) / math.sqrt(2 * (std[a] ** 2 + std[b] ** 2 + 1e-8))))
        want.append(1 - math.sqrt(ours * theirs + 1e-8) - math.sqrt((1 - ours) * (1 - theirs) + 1e-8))
    x = torch.tensor(z, requires_grad=True)
    given_ = {"std": torch.tensor(std), "group": torch.tensor(group), "predicted_spread": predicted}
    got = L.fidelity(x, torch.tensor(mean), reduction="none", **given_)
    np.testing.assert_allclose(got.detach(), want, atol=1e-9)
    assert torch.autograd.gradcheck(lambda v: L.fidelity(v, torch.tensor(mean), **given_), x)
    torch.testing.assert_close(L.fidelity(x, torch.tensor(mean), **given_), got.mean())


def test_fidelity_at_its_edges():
    z = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    no_spread = torch.zeros(2)
    loss = L.fidelity(z, torch.tensor([1.0, 2.0]), std=no_spread, predicted_spread=True)
    (grad,) = torch.autograd.grad(loss, z)
    assert abs(loss.item()) < 1e-3 and torch.isfinite(grad).all()
    assert L.fidelity(z[:1], torch.ones(1), std=torch.ones(1)).item() == 0  # no pair
    with pytest.raises(DataError, match="one mean score and one spread"):
        L.fidelity(z, torch.ones(3), std=no_spread)


# ---------------------------------------------------------------------------------------------------------------- pixels
def naive_overlap(x: list[float], y: list[float]) -> float:
    tp = (sum(a + b for a, b in zip(x, y)) - sum(abs(a - b) for a, b in zip(x, y))) / 2
    return 1 - (tp + 1e-8) / (sum(x) + sum(y) - tp + 1e-8)


def naive_signed(x: list[float], y: list[float]) -> float:
    top = low = 0.0
    for sign in (1, -1):
        a, b = ([max(sign * v, 0) for v in side] for side in (x, y))
        same, apart = sum(abs(p + q) for p, q in zip(a, b)), sum(abs(p - q) for p, q in zip(a, b))
        top, low = top + same - apart, low + same + apart
    return 1 - top / (low + 1e-8)


@pytest.mark.parametrize("kind", ["binary", "signed", "classes"])
def test_jaccard_against_a_plain_loop(kind: str):
    rng = np.random.default_rng(0)
    z = rng.normal(size=(3, 4, 2))
    if kind == "classes":
        y: Any = rng.dirichlet(np.ones(2), (3, 4))
        x = np.array([[probs(c) for c in item] for item in z])

        def score(a: np.ndarray, b: np.ndarray) -> float:
            parts = [(a[..., k].ravel().tolist(), b[..., k].ravel().tolist()) for k in range(2)]
            return float(np.mean([naive_overlap(*p) for p in parts]))
    else:
        y = rng.uniform(-1 if kind == "signed" else 0, 1, z.shape)
        x = np.tanh(z) if kind == "signed" else 1 / (1 + np.exp(-z))
        naive = naive_signed if kind == "signed" else naive_overlap

        def score(a: np.ndarray, b: np.ndarray) -> float:
            return naive(a.ravel().tolist(), b.ravel().tolist())

    t = torch.tensor(z, requires_grad=True), torch.tensor(y)
    np.testing.assert_allclose(L.jaccard_metric(*t, kind=kind).item(), score(x, y))
    rows = [score(a, b) for a, b in zip(x, y)]
    np.testing.assert_allclose(L.jaccard_metric(*t, kind=kind, over="item", reduction="none").detach(), rows)
    assert torch.autograd.gradcheck(lambda v: L.jaccard_metric(v, t[1], kind=kind), t[0])


def test_jaccard_is_0_at_the_soft_target_where_soft_dice_is_not():
    y = torch.rand(2, 8, 8, dtype=torch.float64) * 0.9 + 0.05
    assert L.jaccard_metric(y.logit(), y).item() < 1e-9
    assert 1 - 2 * (y * y).sum() / (2 * y).sum() > 0.1
    signed = 2 * y - 1
    assert L.jaccard_metric(signed.atanh(), signed, kind="signed").item() < 1e-9
    assert L.stable_focal_l1(signed.atanh(), signed).item() < 1e-9


def test_jaccard_ignores_minus_one_and_takes_hard_ids():
    z, y = torch.randn(2, 5, 3, dtype=torch.float64), torch.tensor([[0, 1, 2, -1, -1], [2, 2, 0, 1, -1]])
    seen = y >= 0
    hot = torch.nn.functional.one_hot(y[seen], 3).double()
    torch.testing.assert_close(L.jaccard_metric(z, y, kind="classes"), L.jaccard_metric(z[seen], hot, kind="classes"))
    nothing = L.jaccard_metric(z, torch.full_like(y, -1), kind="classes")
    assert nothing.item() == 0
    with pytest.raises(LabelError, match="no class"):
        L.jaccard_metric(z, y + 3, kind="classes")


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("kind", ["binary", "signed"])
def test_dense_losses_at_extreme_logits(kind: str, dtype: Any):
    z = torch.tensor([[1e4, -1e4, 0.0]], dtype=dtype, requires_grad=True)
    for y in (torch.zeros(1, 3), torch.ones(1, 3), torch.tensor([[1.0, 0.0, 0.5]])):
        for loss in (L.jaccard_metric(z, y, kind=kind), L.stable_focal_l1(z, y)):
            (grad,) = torch.autograd.grad(loss, z)
            assert torch.isfinite(loss) and torch.isfinite(grad).all()


def test_stable_focal_l1_against_a_plain_loop():
    z, y = torch.tensor([0.3, -0.7, 1.2, 0.0], dtype=torch.float64), torch.tensor([0.9, 0.2, 0.4, 0.5]).double()
    want = []
    for a, b in zip(z.tanh().tolist(), y.tolist()):
        want.append((2 * abs(a - b) if a * b > 0 else 1) * abs(a - b))
    np.testing.assert_allclose(L.stable_focal_l1(z, y, reduction="none"), want)
    assert torch.autograd.gradcheck(lambda v: L.stable_focal_l1(v, y[:3]), z[:3].clone().requires_grad_())


def test_bad_maps():
    z = torch.zeros(1, 1, 4, 4)
    with pytest.raises(DataError, match="targets\\[:, None\\]"):
        L.jaccard_metric(z, torch.zeros(1, 4, 4))
    with pytest.raises(LabelError, match='kind="signed"'):
        L.jaccard_metric(z, z - 1)
    with pytest.raises(OptionError, match="binary"):
        L.jaccard_metric(z, z, kind="binar")
    with pytest.raises(LabelError, match="mask > threshold"):
        L.sauna_targets(np.full((3, 3), 255))
    with pytest.raises(DataError, match="one label map"):
        L.border_weights(np.zeros((2, 3, 3), int))
    with pytest.raises(DataError, match="resize it"):
        L.border_weights(np.eye(3, dtype=int), near=np.zeros((2, 2)))


def scene() -> np.ndarray:
    """A disk of radius 9, a line of one pixel and a line of three."""
    row, column = np.mgrid[:64, :64]
    mask = (row - 40) ** 2 + (column - 40) ** 2 <= 81
    mask[5, 4:60] = True
    mask[12:15, 4:60] = True
    return mask


def test_certainty_of_a_disk_and_of_thin_lines():
    mask = scene()
    got = {variant: L.sauna_targets(mask, variant=variant) for variant in ("h", "b", "c")}
    h, b = got["h"], got["b"]
    assert all((np.sign(c) == np.where(mask, 1, -1)).all() and np.abs(c).max() <= 1 for c in got.values())
    assert h[40, 40] > 0.99 and 0.05 < h[40, 49] < 0.6  # sure in the middle, unsure at the border
    assert h[5, 30] > 0.99 and b[5, 30] < 0.15  # a thin vessel is sure, which the distance alone never says
    assert h[13, 30] > 0.99 and 0.85 < h[12, 30] < 0.95  # three wide: the middle and the border
    assert h[60, 5] == -1 and -0.6 < h[40, 51] < -0.1


def test_certainty_by_a_plain_loop():
    rng = np.random.default_rng(0)
    mask = rng.random((9, 11)) < 0.4
    cells = [(i, j) for i in range(9) for j in range(11)]
    far = {
        side: {c: min(math.dist(c, o) for o in cells if mask[o] != side) if mask[c] == side else 0.0 for c in cells}
        for side in (True, False)
    }
    most = max(far[True].values())
    far[False] = {c: min(v, most) for c, v in far[False].items()}
    want = np.zeros(mask.shape)
    for c in cells:
        side = bool(mask[c])
        width = math.ceil(max(far[side].values()))
        reach = (width + (width % 2 == 0)) // 2
        near = [far[side][o] for o in cells if max(abs(o[0] - c[0]), abs(o[1] - c[1])) <= reach]
        thick = min(max(near) / (most + 1e-6), 1.0)
        border = (far[True][c] - far[False][c]) / (most + 1e-6)
        want[c] = np.clip(border + (1 - thick) * (1 if side else -1), -1, 1)
    np.testing.assert_allclose(L.sauna_targets(mask), want, atol=1e-6)


def test_masks_without_two_sides_and_a_stack_of_them():
    empty, full, mask = np.zeros((4, 4), bool), np.ones((4, 4), bool), np.eye(4, dtype=bool)
    assert (L.sauna_targets(empty) == -1).all() and (L.sauna_targets(full) == 1).all()
    stack = L.sauna_targets(np.stack([empty, full, mask]))
    np.testing.assert_array_equal(stack[2], L.sauna_targets(mask))
    assert L.sauna_targets(scene(), variant="b", scale=4.0)[13, 30] == pytest.approx(0.5, abs=1e-6)


def test_border_weights_by_a_plain_loop():
    y = np.zeros((12, 9), int)
    y[:, 5:] = 1
    y[8:, :3] = 2
    got = L.border_weights(y)
    edge = [
        (i, j) for i in range(11) for j in range(8) if y[i, j] != y[i + 1, j + 1] or y[i, j + 1] != y[i + 1, j]
    ]  # fmt: skip
    worth = np.zeros(y.shape)
    for i in range(12):
        for j in range(9):
            h, d = i / 12, min(math.dist((i, j), e) for e in edge)
            worth[i, j] = h * (1 - math.exp(-d / (1 + 30 * (1 - h * h) ** 2)))
    want = 0.1 + 0.9 * (worth - worth.min()) / (worth.max() - worth.min())
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert (got[1:7, 4] < got[1:7, 0]).all()  # borders count least
    assert (L.border_weights(np.zeros((4, 4), int)) == 1).all()
