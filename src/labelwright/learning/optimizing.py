"""Optimisers and schedules of the learning rate, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch.nn import Parameter

from labelwright.errors import OptionError


def sgd(
    params: Iterable[Parameter],
    *,
    lr: float = 0.1,
    momentum: float = 0.9,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> Any:
    """Stochastic gradient descent."""
    return torch.optim.SGD(params, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)


def adam(
    params: Iterable[Parameter], *, lr: float = 1e-3, betas: Sequence[float] = (0.9, 0.999), weight_decay: float = 0.0
) -> Any:
    """Adam; weight decay as a penalty."""
    return torch.optim.Adam(params, lr=lr, betas=(betas[0], betas[1]), weight_decay=weight_decay)


def adamw(
    params: Iterable[Parameter], *, lr: float = 1e-3, betas: Sequence[float] = (0.9, 0.999), weight_decay: float = 0.01
) -> Any:
    """Adam with decoupled weight decay."""
    return torch.optim.AdamW(params, lr=lr, betas=(betas[0], betas[1]), weight_decay=weight_decay)


OPTIMIZERS: dict[str, Callable[..., Any]] = {"sgd": sgd, "adam": adam, "adamw": adamw}
"""Called with the parameters and the options of the recipe."""

Schedule = Callable[[float], float]
"""Share of training done -> factor of the learning rate."""


def constant(*, warmup: float = 0.0) -> Schedule:
    """1, after a linear rise over the first `warmup` of training."""
    return lambda progress: _rise(progress, warmup)


def cosine(*, warmup: float = 0.0, final: float = 0.0) -> Schedule:
    """A linear rise over the first `warmup` of training, then half a cosine down to `final`."""

    def factor(progress: float) -> float:
        if progress < warmup:
            return _rise(progress, warmup)
        done = (progress - warmup) / (1 - warmup)
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * done))

    return factor


def linear(*, warmup: float = 0.0, final: float = 0.0) -> Schedule:
    """A linear rise over the first `warmup` of training, then a line down to `final`."""

    def factor(progress: float) -> float:
        if progress < warmup:
            return _rise(progress, warmup)
        return 1 + (final - 1) * (progress - warmup) / (1 - warmup)

    return factor


def steps(*, at: Sequence[float], factor: float = 0.1, warmup: float = 0.0) -> Schedule:
    """Times `factor` at each share of training in `at`."""
    return lambda progress: _rise(progress, warmup) * factor ** sum(progress >= place for place in at)


SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "constant": constant,
    "cosine": cosine,
    "linear": linear,
    "steps": steps,
}
"""Schedules by name, for recipes."""


def _rise(progress: float, warmup: float) -> float:
    if not 0 <= warmup < 1:
        raise OptionError(
            found=f"warmup={warmup!r}", expected="a share of training, 0 <= warmup < 1", fix="pass warmup=0.05"
        )
    return 1.0 if progress >= warmup else max(progress / warmup, 1e-3)
