"""Verdicts reproduce the released counts; stability curves agree with drawing test sets."""

from __future__ import annotations

import numpy as np
import pytest

from labelwright.auditing.verdicts import benchmark_stability, verdicts
from labelwright.errors import DataError


def published(folder, name):
    data = np.load(folder / "label_errors" / f"{name}.npz")
    names = list(data["vote_names"])
    order = [names.index(n if n in names else {"both": "neutral", "neither": "off-topic"}[n])
             for n in ("given", "guessed", "both", "neither")]  # fmt: skip
    return verdicts(data["votes"][:, order], data["given"][data["id"]], data["guessed"]), data


@pytest.mark.parametrize(
    ("name", "checked", "errors"),
    [("mnist", 100, 15), ("cifar10", 275, 54), ("20news", 93, 82), ("imdb", 1310, 725), ("imagenet", 5440, 2916)],
)
def test_released_counts(real_data, name, checked, errors):
    found, _ = published(real_data, name)
    assert (len(found.error), found.error.sum()) == (checked, errors)


def test_every_error_is_corrected_multi_or_dropped(real_data):
    found, data = published(real_data, "20news")
    mended = found.error & (found.corrected >= 0)
    np.testing.assert_array_equal(mended.astype(int) + found.multi + found.dropped, found.error.astype(int))
    np.testing.assert_array_equal(found.corrected[~found.error], data["given"][data["id"]][~found.error])
    np.testing.assert_array_equal(found.corrected[mended], data["guessed"][mended])


def test_by_hand():
    votes = np.array([
        [3, 2, 0, 0],  # given stands
        [2, 3, 0, 0],  # guessed wins
        [1, 1, 3, 0],  # both
        [0, 1, 1, 3],  # neither
        [2, 2, 1, 0],  # no majority: an error all the same
        [1, 4, 4, 0],  # nine voters, a draw
        [1, 5, 3, 0],  # nine voters, guessed leads
    ])  # fmt: skip
    found = verdicts(votes, np.zeros(7, int), np.ones(7, int))
    assert found.error.tolist() == [False, True, True, True, True, True, True]
    assert found.corrected.tolist() == [0, 1, -1, -1, -1, -1, 1]
    assert found.multi.tolist() == [False, False, True, False, False, False, False]
    assert found.dropped.tolist() == [False, False, False, True, True, True, False]
    assert (
        verdicts(votes, np.zeros(7), np.ones(7), needed=2).error.tolist()
        == [False, False, True, True, False] + [True] * 2
    )


def test_wrong_votes():
    with pytest.raises(DataError, match="bring the columns into this order"):
        verdicts(np.ones((2, 3)), np.zeros(2), np.zeros(2))
    with pytest.raises(DataError, match="1 negative"):
        verdicts(np.array([[3, 2, 0, -1]]), np.zeros(1), np.zeros(1))


def test_curves_are_the_mean_over_random_test_sets():
    rng = np.random.default_rng(0)
    benign, original, corrected = (rng.random(s) < 0.6 for s in ((2, 300), (2, 60), (2, 60)))
    found = benchmark_stability(benign, original, corrected, prevalence=np.array([0.1]))
    drawn = []
    for _ in range(2000):
        e = rng.permutation(60)[:33]  # 33 / (300 + 33) = 0.099
        drawn.append(
            (np.concatenate([benign, corrected[:, e]], 1).mean(1), np.concatenate([benign, original[:, e]], 1).mean(1))
        )
    np.testing.assert_allclose(found.corrected[:, 0], np.mean(drawn, 0)[0], atol=0.002)
    np.testing.assert_allclose(found.original[:, 0], np.mean(drawn, 0)[1], atol=0.002)


def test_flips_lie_where_the_curves_cross():
    rng = np.random.default_rng(1)
    benign, corrected = rng.random((5, 200)) < 0.7, rng.random((5, 50)) < 0.5
    found = benchmark_stability(benign, corrected, corrected)
    assert len(found.flips) and (np.diff(found.flip_at) >= 0).all()
    at = benchmark_stability(benign, corrected, corrected, prevalence=found.flip_at).corrected
    for i, (a, b) in enumerate(found.flips):
        assert at[a, i] == pytest.approx(at[b, i])
        assert benign[a].mean() > benign[b].mean() and corrected[a].mean() < corrected[b].mean()


def test_rankings_flip_on_imagenet(real_data):
    """VGG-16 leads ResNet-18 on benign items and falls behind it once a sixth of the test set is corrected items."""
    found, data = published(real_data, "imagenet")
    top = np.load(real_data / "imagenet_real" / "model_top5.npz")
    guess = np.stack([top[m][:, 0] for m in ("vgg16", "resnet18")])
    mended = found.error & (found.corrected >= 0)
    item, given = data["id"][mended], data["given"]
    benign = np.setdiff1d(np.arange(len(given)), data["id"][found.error])
    stability = benchmark_stability(
        guess[:, benign] == given[benign], guess[:, item] == given[item], guess[:, item] == found.corrected[mended]
    )
    assert stability.flips.tolist() == [[0, 1]]
    assert 0.1 < stability.flip_at[0] < 0.25


def test_shapes_that_do_not_fit():
    ok = np.ones((2, 3))
    with pytest.raises(DataError, match="the same mislabelled items twice"):
        benchmark_stability(ok, ok, np.ones((2, 4)))
    with pytest.raises(DataError, match="none empty"):
        benchmark_stability(ok, np.ones((2, 0)), np.ones((2, 0)))
