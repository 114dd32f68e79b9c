"""Mixed images, their labels, and the records that make both again."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, LabelError, OptionError, ProbabilityError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from labelwright.learning import mix as M  # noqa: E402
from labelwright.learning.losses import soft_cross_entropy  # noqa: E402

N, K, SIDE, PATCH = 8, 5, 12, 3


def batch(seed: int = 0, n: int = N) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    return torch.tensor(rng.random((n, 3, SIDE, SIDE)), dtype=torch.float32), torch.tensor(rng.integers(0, K, n))


def look(images: Any) -> tuple[Any, Any]:
    """Attention and logits that depend on the images."""
    patches = torch.nn.functional.avg_pool2d(images.float().mean(1), PATCH)
    return (patches * 8).flatten(1).softmax(-1), images.float().flatten(1)[:, :K] * 4


WAYS = {
    "mixup": lambda x, y, seed, **o: M.mixup(x, y, seed=seed, **o),
    "mixup per item": lambda x, y, seed, **o: M.mixup(x, y, seed=seed, per_item=True, **o),
    "cutmix": lambda x, y, seed, **o: M.cutmix(x, y, seed=seed, **o),
    "cutmix per item": lambda x, y, seed, **o: M.cutmix(x, y, seed=seed, per_item=True, partner="reverse", **o),
    "transmix": lambda x, y, seed, **o: M.transmix(x, y, seed=seed, attention=lambda z: look(z)[0], **o),
    "maskmix": lambda x, y, seed, **o: M.maskmix(x, y, seed=seed, cell=6, patch=PATCH, **o),
    "maskmix looking": lambda x, y, seed, **o: M.maskmix(x, y, seed=seed, cell=3, patch=PATCH, look=look, **o),
    "selfmix": lambda x, y, seed, **o: M.selfmix(x, y, image_id=np.arange(len(x)) // 3, seed=seed, **o),
    "selfmix blend": lambda x, y, seed, **o: M.selfmix(
        x, y, image_id=np.arange(len(x)) // 3, seed=seed, kind="blend", per_item=True, **o
    ),
}


@pytest.mark.parametrize("way", WAYS)
@given(seed=st.integers(0, 1000))
def test_replay_is_bit_by_bit_and_rows_keep_their_sum(way: str, seed: int):
    x, y = batch(seed)
    mixed = WAYS[way](x, y, seed, n_classes=K)
    again = M.replay(x, y, mixed.how)
    assert torch.equal(mixed.images, again.images) and torch.equal(mixed.targets, again.targets)
    twice = WAYS[way](x, y, np.random.default_rng(seed), n_classes=K)
    assert torch.equal(mixed.images, twice.images) and torch.equal(mixed.targets, twice.targets)
    torch.testing.assert_close(mixed.targets.sum(1), torch.ones(N))
    assert ((mixed.how.lam >= 0) & (mixed.how.lam <= 1)).all()
    hot = torch.nn.functional.one_hot(y, K).float()
    soft = WAYS[way](x, hot, seed)
    assert torch.equal(soft.targets, mixed.targets)
    several = WAYS[way](x, hot.bool(), seed, multi_label=True)
    assert several.targets.shape == (N, K) and torch.equal(several.images, mixed.images)
    assert torch.isfinite(soft_cross_entropy(torch.zeros(N, K), mixed.targets))


@pytest.mark.parametrize("way", WAYS)
def test_other_seeds_mix_otherwise_and_generators_go_on(way: str):
    x, y = batch()
    rng = np.random.default_rng(0)
    made = [WAYS[way](x, y, seed, n_classes=K).images for seed in (0, 1, rng, rng)]
    assert torch.equal(made[0], made[2])
    assert not torch.equal(made[0], made[1]) and not torch.equal(made[2], made[3])


def by_loop(x: Any, y: Any, how: M.How) -> tuple[np.ndarray, np.ndarray]:
    """Pixels and labels of a mix, one pixel at a time."""
    images, labels = x.numpy().astype(float).copy(), np.zeros((len(x), K))
    for i in range(len(x)):
        j, shown = int(how.partner[i]), 0
        for r in range(SIDE):
            for c in range(SIDE):
                if how.kind == "blend":
                    images[i, :, r, c] = how.lam[i] * x[i, :, r, c] + (1 - how.lam[i]) * x[j, :, r, c]
                    continue
                if how.boxes is not None:
                    top, left, bottom, right = how.boxes[i]
                    own = not (top <= r < bottom and left <= c < right)
                else:
                    own = bool(how.masks[i, r // how.cell, c // how.cell])
                shown += own
                images[i, :, r, c] = x[i, :, r, c] if own else x[j, :, r, c]
        lam = how.lam[i] if how.kind == "blend" else shown / SIDE**2
        labels[i, int(y[i])] += lam
        labels[i, int(y[j])] += 1 - lam
    return images, labels


@pytest.mark.parametrize("way", ["mixup per item", "cutmix", "cutmix per item", "maskmix", "selfmix blend"])
def test_against_a_plain_loop(way: str):
    x, y = batch(3)
    mixed = WAYS[way](x, y, 3, n_classes=K)
    images, labels = by_loop(x, y, mixed.how)
    np.testing.assert_allclose(mixed.images, images, atol=1e-6)
    np.testing.assert_allclose(mixed.targets, labels, atol=1e-6)


def test_boxes_are_about_as_large_as_drawn_and_whole_images_stay_possible():
    rng = np.random.default_rng(0)
    x, y = torch.zeros(400, 1, 32, 32), torch.zeros(400, dtype=torch.long)
    how = M.cutmix(x, y, seed=rng, per_item=True, n_classes=2).how
    assert 0.5 < how.lam.mean() < 0.75  # Beta(1, 1) has 0.5; cutting at the edges leaves more of the own image
    assert how.lam.min() < 0.1 and how.lam.max() > 0.95


def test_attention_by_a_plain_loop():
    x, y = batch(5)
    how = M.cutmix(x, y, seed=5, n_classes=K).how
    attention, _ = look(x)
    got = M.weigh_by_attention(how, attention, SIDE, SIDE, attention_share=0.5)
    own = M.pixel_masks(how, SIDE, SIDE)
    for i in range(N):
        seen = total = 0.0
        for p, a in enumerate(attention[i].tolist()):
            r, c = (p // 4) * PATCH, (p % 4) * PATCH
            seen, total = seen + a * own[i, r : r + PATCH, c : c + PATCH].mean(), total + a
        np.testing.assert_allclose(got.lam[i], 0.5 * own[i].mean() + 0.5 * seen / total, atol=1e-6)


def test_even_attention_is_the_area_and_the_small_box_does_not_vanish():
    x, y = batch(2)
    for how in (M.cutmix(x, y, seed=1, n_classes=K).how, WAYS["maskmix"](x, y, 1, n_classes=K).how):
        even = M.weigh_by_attention(how, torch.ones(N, 4, 4), SIDE, SIDE, attention_share=1.0)
        np.testing.assert_allclose(even.lam, how.pixels)
        blind = M.weigh_by_attention(how, torch.zeros(N, 16), SIDE, SIDE, attention_share=1.0)
        np.testing.assert_allclose(blind.lam, how.pixels)
    small = replace(how, kind="box", masks=None, boxes=np.tile([0, 0, 1, 1], (N, 1)))
    there = torch.zeros(N, 16)
    there[:, 0] = 1
    np.testing.assert_allclose(M.weigh_by_attention(small, there, SIDE, SIDE, attention_share=1.0).lam, 1 - 1 / 9)


def test_one_pass_in_a_loop_of_one_s_own_is_transmix():
    x, y = batch(4)
    whole = WAYS["transmix"](x, y, 4, n_classes=K)
    mixed = M.cutmix(x, y, seed=4, partner="reverse", n_classes=K)
    how = M.weigh_by_attention(mixed.how, look(mixed.images)[0], SIDE, SIDE)
    assert torch.equal(M.mix_targets(y, how), whole.targets) and torch.equal(mixed.images, whole.images)
    given_ = M.transmix(x, y, attention=look(mixed.images)[0], seed=4, n_classes=K)
    assert torch.equal(given_.targets, whole.targets)


def test_progress_by_a_plain_loop_and_at_its_ends():
    x, y = batch(6)
    how = WAYS["maskmix"](x, y, 6, n_classes=K).how
    attention, logits = look(x)
    got = M.weigh_progressively(how, attention, logits, y, SIDE, SIDE)
    full = M.weigh_by_attention(how, attention, SIDE, SIDE, attention_share=1.0)
    for i in range(N):
        label = np.full(K, 0.1 / K)
        label[int(y[i])] += 0.9 * how.pixels[i]
        label[int(y[how.partner[i]])] += 0.9 * (1 - how.pixels[i])
        p = np.exp(logits[i].double().numpy())
        p /= p.sum()
        s = p @ label / np.linalg.norm(p) / np.linalg.norm(label)
        np.testing.assert_allclose(got.lam[i], s * full.lam[i] + (1 - s) * how.pixels[i], atol=1e-6)
    sure = (M.mix_targets(y, how) * 0.9 + 0.1 / K).log()
    np.testing.assert_allclose(M.weigh_progressively(how, attention, sure, y, SIDE, SIDE).lam, full.lam, atol=1e-6)


def test_a_grid_that_does_not_divide_the_image_counts_its_pixels():
    x, y = batch(1)
    how = M.maskmix(x[..., :11], y, seed=1, cell=6, patch=3, n_classes=K).how
    own = M.pixel_masks(how, SIDE, 11)
    assert own.shape == (N, SIDE, 11) and how.masks.shape == (N, 2, 2)
    np.testing.assert_allclose(how.lam, own.mean((1, 2)))
    assert len({int(m.sum()) for m in how.masks}) == 1 and how.masks.any((1, 2)).all()


def test_selfmix_stays_within_the_image_and_lone_crops_stay_whole():
    x, y = batch(0, 10)
    ids = np.array([7, 7, 7, 3, 3, 9, 7, 3, 9, 1])
    for kind in ("box", "blend"):
        mixed = M.selfmix(x, y, image_id=ids, seed=0, kind=kind, n_classes=K)
        partner = mixed.how.partner
        assert (ids[partner] == ids).all() and sorted(partner) == list(range(10))
        assert (partner != np.arange(10))[:9].all() and partner[9] == 9
        assert torch.equal(mixed.images[9], x[9]) and mixed.targets[9].max() == 1


def test_what_is_not_known_stays_unknown():
    x, y = batch()
    y[2] = -1
    mixed = M.mixup(x, y, seed=0, n_classes=K)
    blank = {2, int(np.flatnonzero(mixed.how.partner == 2)[0])}
    assert {i for i in range(N) if not mixed.targets[i].any()} == blank
    several = torch.zeros(N, K)
    several[2, 1] = -1
    mixed = M.mixup(x, several, seed=0, multi_label=True)
    assert {tuple(c) for c in (mixed.targets == -1).nonzero().tolist()} == {(i, 1) for i in blank}
    whole = M.mix_targets(y, replace(mixed.how, lam=np.ones(N), multi_label=False))
    assert {i for i in range(N) if not whole[i].any()} == {2}  # a part without weight takes nothing away


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_and_other_tensors(dtype: Any):
    x, y = batch()
    assert M.mixup(x.to(dtype), y, seed=0, n_classes=K).images.dtype == dtype
    half = M.cutmix(x, torch.full((N, K), 1 / K).to(dtype), seed=0)
    assert half.targets.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    bytes_ = (x * 255).to(torch.uint8)
    mixed = M.cutmix(bytes_, y, seed=0, n_classes=K)
    assert mixed.images.dtype == torch.uint8
    depth = M.mix_images(x[:, 0], mixed.how)  # (N, H, W) of the same batch
    own = torch.as_tensor(M.pixel_masks(mixed.how, SIDE, SIDE))
    assert torch.equal(depth, torch.where(own, x[:, 0], x[torch.as_tensor(mixed.how.partner), 0]))
    assert M.mixup(x.flatten(1), y, seed=0, n_classes=K).images.shape == (N, 3 * SIDE * SIDE)


def test_bad_input():
    x, y = batch()
    with pytest.raises(DataError, match=r"images.float\(\) / 255"):
        M.mixup((x * 255).to(torch.uint8), y, seed=0, n_classes=K)
    with pytest.raises(OptionError, match="n_classes=K"):
        M.mixup(x, y, seed=0)
    with pytest.raises(LabelError, match="no class"):
        M.cutmix(x, y + K, seed=0, n_classes=K)
    with pytest.raises(DataError, match="7 targets for 8 images"):
        M.cutmix(x, y[1:], seed=0, n_classes=K)
    with pytest.raises(DataError, match="rows over all classes"):
        M.cutmix(x, torch.ones(N, 3) / 3, seed=0, n_classes=K)
    with pytest.raises(ProbabilityError, match="no distribution"):
        M.cutmix(x, torch.ones(N, K), seed=0)
    with pytest.raises(ProbabilityError, match="multi_label=True"):
        M.cutmix(x, torch.ones(N, K, dtype=torch.bool), seed=0)
    with pytest.raises(LabelError, match="present as 1"):
        M.cutmix(x, torch.full((N, K), 2), seed=0, multi_label=True)
    with pytest.raises(OptionError, match="alpha=1.0"):
        M.mixup(x, y, seed=0, alpha=0, n_classes=K)
    with pytest.raises(OptionError, match="'reverse'"):
        M.mixup(x, y, seed=0, partner="revers", n_classes=K)
    with pytest.raises(OptionError, match="pass cell=12"):
        M.maskmix(x, y, seed=0, cell=4, patch=3, n_classes=K)
    with pytest.raises(DataError, match="source image of every crop"):
        M.selfmix(x, y, image_id=[1, 2], seed=0, n_classes=K)
    with pytest.raises(OptionError, match="'blend'"):
        M.selfmix(x, y, image_id=np.arange(N), seed=0, kind="blen", n_classes=K)
    blended = M.mixup(x, y, seed=0, n_classes=K).how
    with pytest.raises(DataError, match="keep the record with its batch"):
        M.replay(x[1:], y[1:], blended)
    with pytest.raises(OptionError, match="use cutmix or maskmix"):
        M.weigh_by_attention(blended, torch.ones(N, 16), SIDE, SIDE)
    boxed = M.cutmix(x, y, seed=0, n_classes=K).how
    for wrong in (torch.ones(N, 15), torch.ones(N - 1, 16), -torch.ones(N, 16)):
        with pytest.raises(DataError, match="drop class and distillation tokens"):
            M.weigh_by_attention(boxed, wrong, SIDE, SIDE)
    with pytest.raises(OptionError, match="attention_share"):
        M.weigh_by_attention(boxed, torch.ones(N, 16), SIDE, SIDE, attention_share=2.0)
    with pytest.raises(DataError, match="over the same classes"):
        M.weigh_progressively(boxed, torch.ones(N, 16), torch.zeros(N, 3), y, SIDE, SIDE)
