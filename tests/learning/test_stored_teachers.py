"""Stored teachers say what the teachers themselves would say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelwright.errors import DataError, OptionError
from labelwright.learning import Recipe, Student, Teacher, TrainData
from labelwright.learning.context import Context
from labelwright.learning.driver import fit
from labelwright.learning.targets.stored_teachers import StoredTeachers
from labelwright.learning.terms import LossTerm


def logits(m: int = 3) -> torch.Tensor:
    return torch.randn(5, m, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 5.0]])
def test_against_a_plain_loop(weights: list[float] | None) -> None:
    z, w = logits().numpy(), np.array(weights or [1, 1, 1], float)
    w = w / w.sum()
    for mean in ("probs", "logits", "stack"):
        context = Context(stored_logits=logits())
        StoredTeachers(mean=mean, weights=weights)(context)
        if mean == "stack":
            assert "targets" not in context
            assert torch.equal(context["teacher_logits"], logits().movedim(1, 0))
            continue
        for i in range(5):
            p = [np.exp(z[i, m]) / np.exp(z[i, m]).sum() for m in range(3)]
            if mean == "probs":
                want = sum(w[m] * p[m] for m in range(3))
            else:
                score = np.exp(sum(w[m] * z[i, m] for m in range(3)))
                want = score / score.sum()
            np.testing.assert_allclose(context["targets"][i].numpy(), want, atol=1e-6)


def test_same_training_as_with_the_teachers_themselves() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 6)).astype(np.float32)
    torch.manual_seed(1)
    models = [torch.nn.Linear(6, 3) for _ in range(2)]
    with torch.no_grad():
        stored = torch.stack([m(torch.from_numpy(x)) for m in models], 1).numpy()
    trained = []
    for target, extra in ((Teacher(models), None), (StoredTeachers(), {"stored_logits": stored})):
        recipe = Recipe(targets=(target,), networks=Student("linear"), epochs=3, batch_size=16)
        run, _ = fit(recipe, TrainData(x, classes=3, extra=extra))  # no labels at all
        trained.append(run.modules["student"].head.weight)
    torch.testing.assert_close(*trained)


def test_errors() -> None:
    with pytest.raises(OptionError, match="probs"):
        StoredTeachers(mean="median")
    with pytest.raises(OptionError, match="leave weights out"):
        StoredTeachers(weights=[-1.0, 2.0])
    x = np.zeros((4, 2), np.float32)

    def begin(stored: np.ndarray, **options: object) -> None:
        recipe = Recipe(
            targets=(StoredTeachers(**options),), loss=(LossTerm(lambda logits: logits.sum(), name="any"),), epochs=1
        )  # fmt: skip
        fit(recipe, TrainData(x, classes=3, extra={"stored_logits": stored}))

    with pytest.raises(DataError, match="numpy.stack"):
        begin(np.zeros((4, 3)))
    with pytest.raises(DataError, match="numpy.stack"):
        begin(np.zeros((4, 2, 5)))
    with pytest.raises(OptionError, match="3 weights for 2 teachers"):
        begin(np.zeros((4, 2, 3)), weights=[1, 1, 1])
