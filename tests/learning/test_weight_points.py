"""Weight of a teacher over the training."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import OptionError
from labelwright.learning.terms import check_weight, weight_at
from labelwright.learning.weight_points import KINDS, labels_points, weight_points


def naive(progress: float, switch: float, weight: float, kind: str, window: float) -> float:
    """w as the forms of decay are defined, without points."""
    if progress < switch:
        return weight
    left = max(0.0, 1 - (progress - switch) / window) if window else 0.0
    if kind == "ratio":
        odds = left * weight / (1 - weight)
        return odds / (1 + odds)
    return left * weight


def test_by_hand() -> None:
    points = weight_points(0.5, weight=0.5)
    assert [weight_at(points, p) for p in (0, 0.25, 0.5, 0.75)] == [0.5, 0.5, 0.0, 0.0]
    # the odds w / (1 - w) are 3, then 3 * (1, 2/3, 1/3, 0): w = .75, 2/3, 1/2, 0
    points = weight_points(0.25, weight=0.75, kind="ratio", window=0.75)
    found = [weight_at(points, p) for p in (0, 0.25, 0.5, 0.75, 1)]
    assert found == pytest.approx([0.75, 0.75, 2 / 3, 0.5, 0.0], abs=1e-3)


@given(
    st.sampled_from(KINDS),
    st.floats(0, 0.9),
    st.floats(0, 0.5),
    st.floats(0.01, 0.5),
    st.floats(0, 1, exclude_max=True),
)
def test_points_follow_the_definition(kind: str, weight: float, switch: float, window: float, progress: float) -> None:
    width = 0.0 if kind == "step" else window
    points = weight_points(switch, weight=weight, kind=kind, window=width)
    check_weight(points)
    w = weight_at(points, progress)
    assert w == pytest.approx(naive(progress, switch, weight, kind, width), abs=3e-3)
    assert weight_at(labels_points(points), progress) == pytest.approx(1 - w)
    assert all(a[1] >= b[1] for a, b in zip(points, points[1:]))


def test_errors() -> None:
    with pytest.raises(OptionError, match="did you mean 'linear'"):
        weight_points(0.1, kind="linar")
    with pytest.raises(OptionError, match="start without labels"):
        weight_points(0.1, weight=1.0, kind="ratio", window=0.2)
    with pytest.raises(OptionError, match="share of training that the decay takes"):
        weight_points(0.1, kind="linear")
    with pytest.raises(OptionError, match="window=0 or kind"):
        weight_points(0.1, window=0.3)
    with pytest.raises(OptionError, match="divide steps"):
        weight_points(36_000)
