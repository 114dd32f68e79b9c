"""How much a teacher counts over the training, as points for a `LossTerm`: fully at first, not at all later."""

from __future__ import annotations

from collections.abc import Sequence

from labelwright.errors import OptionError, check_option

KINDS = ("step", "linear", "ratio")
SEGMENTS = 20  # of the bent line of "ratio"

Points = list[list[float]]


def weight_points(switch: float, *, weight: float = 2 / 3, kind: str = "step", window: float = 0.0) -> Points:
    """Points [[progress, weight], ...] of the teacher's w in (1 - w) CE(label) + w CE(teacher); see `labels_points`.

    Args:
        switch: share of training with the full weight (17 percent in the paper), in [0, 1].
        weight: w until the switch, in [0, 1].
        kind: what follows over the next `window` of training: "step": 0 at once. "linear": w falls evenly to 0. "ratio":
            w / (1 - w), what the teacher counts against the labels, falls evenly to 0.
        window: share of training of the decay, 0 for "step".

    Raises:
        OptionError: an unknown kind, a weight outside [0, 1] (or 1 with "ratio"), a window that does not fit the kind, or a
            decay that ends after the training.

    Source: Rawat et al. 2024 (SALT); weight and forms of decay are as recalled from the paper, not checked against it.

    >>> weight_points(0.2, weight=0.5)
    [[0.0, 0.5], [0.2, 0.5], [0.2, 0.0]]
    >>> weight_points(0.2, weight=0.5, kind="linear", window=0.3)
    [[0.0, 0.5], [0.2, 0.5], [0.5, 0.0]]
    """
    check_option("kind", kind, KINDS)
    if not 0 <= weight <= 1 or (kind == "ratio" and weight == 1):
        raise OptionError(
            found=f"weight={weight!r} with kind={kind!r}",
            expected="a weight in [0, 1], and below 1 with 'ratio'",
            fix="pass weight=0.667, or kind='linear' to start without labels",
        )
    if (kind == "step") != (window == 0) or window < 0:
        raise OptionError(
            found=f"window={window!r} with kind={kind!r}",
            expected="window=0 with 'step', a window above 0 otherwise",
            fix="pass window=0 or kind='linear'"
            if kind == "step"
            else "pass the share of training that the decay takes",
        )
    if not 0 <= switch <= 1 or switch + window > 1:
        raise OptionError(
            found=f"switch={switch!r} and window={window!r}",
            expected="shares of training, together at most 1",
            fix="divide steps by the number of all steps: switch=36_000 / 208_000",
        )
    full = [[0.0, float(weight)], [float(switch), float(weight)]]
    if kind != "ratio":
        return [*full, [float(switch + window), 0.0]]
    passed = [
        weight * (1 - i / SEGMENTS) for i in range(1, SEGMENTS)
    ]  # even steps of w, each when the ratio gets there
    return [
        *full,
        *([switch + window * (1 - w / (1 - w) * (1 - weight) / weight), w] for w in passed if weight),
        [float(switch + window), 0.0],
    ]


def labels_points(teacher: Sequence[Sequence[float]]) -> Points:
    """Points of what is left for the labels, 1 - w.

    >>> labels_points([[0.0, 0.5], [0.2, 0.5], [0.2, 0.0]])
    [[0.0, 0.5], [0.2, 0.5], [0.2, 1.0]]
    """
    return [[progress, 1 - weight] for progress, weight in teacher]
