"""Distillation losses against plain loops written from the formulas of the papers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import DataError, LabelError, OptionError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from labelwright.learning import losses as L  # noqa: E402

LABELLED = ["nkd", "decoupled_kd", "uskd"]
PLAIN = ["kd", "dist", "similarity_discriminator"]


def draw(seed: int = 0, n: int = 6, k: int = 5, scale: float = 2.0) -> tuple[Any, Any, Any]:
    """Student logits, teacher logits, ids with one -1; float64."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, k, n)
    y[2] = -1
    return (*(torch.tensor(rng.normal(size=(n, k)) * scale) for _ in range(2)), torch.tensor(y))


def call(name: str, z: Any, t: Any, y: Any, **options: Any) -> Any:
    if name == "similarity_discriminator":
        options.setdefault("discriminator", linear(z.shape[-1], z.dtype))
    if name in LABELLED:
        return L.LOSSES[name](z, y, **{"weak_logits" if name == "uskd" else "teacher_logits": t}, **options)
    return L.LOSSES[name](z, t, **options)


def linear(k: int, dtype: Any = None) -> Any:
    weight = torch.tensor(np.random.default_rng(5).normal(size=(k, 2)), dtype=dtype or torch.float64)
    return lambda x: torch.tanh(x @ weight.to(x))


def probs(z: Any) -> list[float]:
    top = max(z)
    e = [math.exp(v - top) for v in z]
    return [v / sum(e) for v in e]


def kl(q: list[float], p: list[float]) -> float:
    return sum(b * math.log(b / a) for a, b in zip(p, q) if b > 0)


def without(row: list[float], y: int, temperature: float) -> list[float]:
    return probs([v / temperature for j, v in enumerate(row) if j != y])


def naive_nkd(s: list[float], t: list[float], y: int, temperature: float, gamma: float) -> float:
    others = [without(row, y, temperature) for row in (t, s)]
    return -probs(t)[y] * math.log(probs(s)[y]) - gamma * temperature**2 * sum(
        b * math.log(a) for b, a in zip(*others)
    )  # fmt: skip


def naive_dkd(s: list[float], t: list[float], y: int, temperature: float, alpha: float, beta: float) -> float:
    ps, pt = (probs([v / temperature for v in row]) for row in (s, t))
    yes = kl([pt[y], 1 - pt[y]], [ps[y], 1 - ps[y]])
    return temperature**2 * (alpha * yes + beta * kl(without(t, y, temperature), without(s, y, temperature)))


def naive_uskd(z: Any, q: Any, w: Any, alpha: float, beta: float, mu: float, log_rank: bool = False) -> list[float]:
    """Row by row; q is (N, K), rows of zeros are ignored."""
    n, k = q.shape
    live = [i for i in range(n) if sum(q[i]) > 0]
    tops = {i: [c for c in sorted(range(k), key=lambda c: -q[i, c])[:2] if q[i, c] > 0] for i in live}
    squares = [[probs(z[i])[tops[i][a]] ** 2 for i in live if len(tops[i]) > a] for a in (0, 1)]
    out = [0.0] * n
    for i in live:
        p, weak, y = probs(z[i]), probs(w[i]), tops[i]
        label = [p[c] ** 2 + q[i, c] - sum(squares[a]) / len(squares[a]) for a, c in enumerate(y)]
        at = -sum(b * math.log(p[c]) for b, c in zip(label, y))
        own = [math.log(v) for v in p] if log_rank else p
        parts = [[v / (1 - sum(x[c] for c in y) + 1e-6) for v in x] for x in (weak, own)]
        order = sorted(range(k), key=lambda c: -(parts[0][c] + parts[1][c]))
        zipf = {c: 1 / (place + 1) for place, c in enumerate(order) if c not in y}
        others = [c for c in range(k) if c not in y]
        rest = dict(zip(others, probs([z[i][c] for c in others]))) if others else {}
        non = -sum(zipf[c] / sum(zipf.values()) * math.log(rest[c]) for c in others)
        smooth = -sum((0.9 * q[i, c] + 0.1 / k) * math.log(weak[c]) for c in range(k))
        out[i] = alpha * at + beta * non + mu * smooth
    return out


@pytest.mark.parametrize("k", [2, 3, 7])
@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_target_and_others(k: int, temperature: float):
    z, t, y = draw(k=k)
    rows = [(a, b, int(c)) for a, b, c in zip(z.tolist(), t.tolist(), y)]
    want = [naive_nkd(*row, temperature, 1.5) if row[2] >= 0 else 0.0 for row in rows]
    got = L.nkd(z, y, teacher_logits=t, temperature=temperature, reduction="none")
    np.testing.assert_allclose(got, want, atol=1e-9)
    np.testing.assert_allclose(L.nkd(z, y, teacher_logits=t, temperature=temperature), sum(want) / 5, atol=1e-9)
    want = [naive_dkd(*row, temperature, 1.0, 8.0) if row[2] >= 0 else 0.0 for row in rows]
    got = L.decoupled_kd(z, y, teacher_logits=t, temperature=temperature, reduction="none")
    np.testing.assert_allclose(got, want, atol=1e-9)


def test_decoupled_with_the_teacher_s_own_weights_is_plain_distillation():
    z, t, y = draw()
    y = y.clamp_min(0)
    for i in range(len(z)):
        weight = 1 - float(L.soften(t, 3.0)[i, y[i]])
        got = L.decoupled_kd(z[i : i + 1], y[i : i + 1], teacher_logits=t[i : i + 1], temperature=3.0, beta=weight)
        torch.testing.assert_close(got, L.kd(z[i : i + 1], t[i : i + 1], temperature=3.0))


def test_kd_is_kl_to_the_softened_teacher():
    z, t, _ = draw()
    torch.testing.assert_close(L.kd(z, t, temperature=2.0), 4 * L.kl(z, L.soften(t, 2.0), temperature=2.0))


@pytest.mark.parametrize("k", [2, 3, 6])
@pytest.mark.parametrize("rank_on", ["prob", "logprob"])
def test_uskd_against_a_plain_loop(k: int, rank_on: str):
    z, w, y = draw(3, k=k)
    hot = torch.nn.functional.one_hot(y.clamp_min(0), k).double() * (y >= 0)[:, None]
    mixed = 0.7 * hot + 0.3 * hot.roll(1, 1)
    mixed[0] = hot[0]  # one target among rows of two
    options = {"alpha": 0.7, "beta": 0.3, "mu": 0.2}
    for targets, q in ((y, hot), (mixed, mixed)):
        want = naive_uskd(z.numpy(), q.numpy(), w.numpy(), **options, log_rank=rank_on == "logprob")
        got = L.uskd(z, targets, weak_logits=w, rank_on=rank_on, reduction="none", **options)
        np.testing.assert_allclose(got, want, atol=1e-9)


def test_uskd_with_a_silent_weak_head_ranks_alike_by_both():
    z, _, y = draw()
    quiet = torch.zeros_like(z)
    ways = [L.uskd(z, y, weak_logits=quiet, rank_on=way) for way in ("prob", "logprob")]
    torch.testing.assert_close(*ways)


@pytest.mark.parametrize("name", LABELLED)
def test_one_hot_is_hard(name: str):
    z, t, y = draw()
    hot = torch.nn.functional.one_hot(y.clamp_min(0), 5).double() * (y >= 0)[:, None]
    for reduction in ("mean", "sum", "none"):
        torch.testing.assert_close(call(name, z, t, hot, reduction=reduction), call(name, z, t, y, reduction=reduction))


@pytest.mark.parametrize("name", [*LABELLED, *PLAIN])
def test_reductions_and_names_of_classes(name: str):
    z, t, y = draw()
    rows = call(name, z, t, y, reduction="none")
    torch.testing.assert_close(call(name, z, t, y, reduction="sum"), rows.sum())
    torch.testing.assert_close(call(name, z, t, y), rows.sum() / (5 if name in LABELLED else 6))
    if name != "similarity_discriminator":  # a discriminator knows the order of the classes
        order = torch.tensor([3, 0, 4, 1, 2])
        there = torch.where(y < 0, y, order.argsort()[y.clamp_min(0)])
        torch.testing.assert_close(call(name, z[:, order], t[:, order], there), call(name, z, t, y))


@pytest.mark.parametrize("name", [*LABELLED, *PLAIN])
@pytest.mark.parametrize("k", [2, 4])
def test_gradients_reach_the_student_only(name: str, k: int):
    z, t, y = draw(k=k, scale=1.0)
    z.requires_grad_()
    if name in ("nkd", "decoupled_kd", "kd", "dist"):
        assert torch.autograd.gradcheck(lambda a: call(name, a, t, y, reduction="none"), z)
    if name == "similarity_discriminator":
        assert torch.autograd.gradcheck(lambda a: call(name, a, t, y, reversal=-1.0), z)
    t.requires_grad_()
    call(name, z, t, y).backward()
    assert torch.isfinite(z.grad).all() and z.grad.any()
    assert (t.grad is not None) == (name == "uskd")  # the weak head learns, a teacher does not


def test_the_gradient_of_uskd_treats_its_labels_as_given():
    """Against finite differences with the labels held: the loss is linear in log p once they are fixed."""
    z, w, y = draw(k=4, scale=1.0)
    z.requires_grad_()
    (grad,) = torch.autograd.grad(L.uskd(z, y, weak_logits=w, beta=0.0, mu=0.0), z)
    p, live = z.detach().softmax(-1), (y >= 0).double()
    at = p.gather(1, y.clamp_min(0)[:, None])[:, 0]
    label = (at**2 + 1 - (at**2 * live).sum() / live.sum()) * live
    hot = torch.nn.functional.one_hot(y.clamp_min(0), 4)
    torch.testing.assert_close(grad, label[:, None] * (p - hot) / live.sum())


@pytest.mark.parametrize("name", [*LABELLED, *PLAIN])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("k", [2, 3])
def test_extreme_logits(name: str, dtype: Any, k: int):
    here, there = torch.arange(2 * k) % k, torch.arange(2 * k) // 2
    z, t = (torch.where(torch.arange(k) == c[:, None], 1e4, -1e4).to(dtype) for c in (here, there))
    z.requires_grad_()
    for targets in (here, there):
        out = call(name, z, t, targets)
        (grad,) = torch.autograd.grad(out, z)
        assert out.dtype == torch.float32 and torch.isfinite(out) and torch.isfinite(grad).all()


@given(st.integers(0, 10_000), st.integers(2, 6), st.floats(0.1, 20.0))
def test_a_student_like_its_teacher_has_nothing_to_learn(seed: int, k: int, scale: float):
    z, t, y = draw(seed, k=k, scale=scale)
    for name in ("kd", "decoupled_kd"):
        assert (call(name, z, t, y, reduction="none") > -1e-9).all()
        assert call(name, t, t, y).abs() < 1e-9
    assert 0 <= L.dist(z, t) <= 4
    assert L.relational_kd(z, t) >= 0
    torch.testing.assert_close(L.relational_kd(t * 3 + 1, t, angle=0.0), torch.tensor(0.0).double())  # scale, shift
    student = t.clone().requires_grad_()
    (grad,) = torch.autograd.grad(L.kd(student, t), student)
    assert grad.abs().max() < 1e-9


def correlation(a: list[float], b: list[float]) -> float:
    ma, mb = sum(a) / len(a), sum(b) / len(b)
    top = sum((x - ma) * (y - mb) for x, y in zip(a, b))
    low = math.sqrt(sum((x - ma) ** 2 for x in a)) * math.sqrt(sum((y - mb) ** 2 for y in b))
    return top / (low + 1e-8)


def test_dist_against_a_plain_loop_and_constant_rows():
    z, t, _ = draw()
    p, q = ([probs([v / 2 for v in row]) for row in x.tolist()] for x in (z, t))
    rows = [1 - correlation(a, b) for a, b in zip(p, q)]
    classes = [1 - correlation([r[c] for r in p], [r[c] for r in q]) for c in range(5)]
    want = 4 * (sum(rows) / 6 + 0.5 * sum(classes) / 5)
    np.testing.assert_allclose(L.dist(z, t, temperature=2.0, gamma=0.5), want)
    assert L.dist(t, t) < 1e-4
    even = torch.zeros(4, 10, requires_grad=True)
    L.dist(even, torch.randn(4, 10)).backward()
    assert not even.grad.any()


def test_relational_against_a_plain_loop():
    rng = np.random.default_rng(0)
    ours, theirs = rng.normal(size=(5, 3)), rng.normal(size=(5, 4))
    ours[4] = ours[3]  # twins: distance 0, no angle

    def huber(d: float) -> float:
        return 0.5 * d * d if abs(d) < 1 else abs(d) - 0.5

    def distances(x: np.ndarray) -> np.ndarray:
        d = np.array([[math.dist(a, b) for b in x] for a in x])
        return d / d[d > 0].mean()

    def angle(x: np.ndarray, i: int, j: int, k: int) -> float:
        u, v = x[j] - x[i], x[k] - x[i]
        size = np.linalg.norm(u) * np.linalg.norm(v)
        return float(u @ v / size) if size else 0.0

    a, b = distances(ours), distances(theirs)
    pairs = [[huber(a[i, j] - b[i, j]) for j in range(5)] for i in range(5)]
    triples = [
        [huber(angle(ours, i, j, k) - angle(theirs, i, j, k)) for j in range(5) for k in range(5)] for i in range(5)
    ]
    want = 25 * np.mean(pairs, 1) + 50 * np.mean(triples, 1)
    x, y = torch.tensor(ours, requires_grad=True), torch.tensor(theirs)
    np.testing.assert_allclose(L.relational_kd(x, y, reduction="none").detach(), want)
    (grad,) = torch.autograd.grad(L.relational_kd(x, y), x)
    assert torch.isfinite(grad).all()
    apart = torch.tensor(rng.normal(size=(4, 3)), requires_grad=True)
    assert torch.autograd.gradcheck(lambda f: L.relational_kd(f, y[:4]), apart)
    assert L.relational_kd(x[:1], y[:1]).item() == 0


def test_hint():
    x, y = torch.randn(3, 2, 4, 4, dtype=torch.float64), torch.randn(3, 2, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(L.hint(x, y), torch.nn.functional.mse_loss(x, y))
    torch.testing.assert_close(L.hint(x, x * 3, normalise=True), torch.tensor(0.0).double())
    want = [sum((a - b) ** 2 for a, b in zip(r, s)) / 32 for r, s in zip(x.flatten(1).tolist(), y.flatten(1).tolist())]
    np.testing.assert_allclose(L.hint(x, y, reduction="none"), want)
    assert torch.autograd.gradcheck(lambda f: L.hint(f, y, normalise=True), x.requires_grad_())


def test_similarity_and_discriminator():
    z, t, _ = draw()
    teachers, judge = torch.stack([t, t.flip(0)]), linear(5)
    q = (teachers[0].softmax(-1) + teachers[1].softmax(-1)) / 2
    told = [judge(z), judge(teachers.mean(0))]
    want = []
    for i in range(6):
        p, likely = probs(z[i].tolist()), 0.0
        for side, truth in ((0, (1, 0)), (1, (0, 1))):
            for score, yes in zip(told[side][i].tolist(), truth):
                chance = 1 / (1 + math.exp(-score))
                likely -= math.log(chance if yes else 1 - chance) / 4
        want.append(-sum(float(q[i, c]) * math.log(p[c]) for c in range(5)) + 0.5 * likely)
    got = L.similarity_discriminator(z, teachers, discriminator=judge, weight=0.5, reduction="none")
    np.testing.assert_allclose(got, want)
    z.requires_grad_()
    grads = {}
    for reversal in (1.0, 0.0, -1.0):
        loss = L.similarity_discriminator(z, teachers, discriminator=judge, reversal=reversal)
        (grads[reversal],) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(grads[1.0] - grads[0.0], grads[0.0] - grads[-1.0])
    assert (grads[1.0] - grads[0.0]).any()


def test_the_discriminator_module_learns_from_the_loss():
    torch.manual_seed(0)
    judge = L.logit_discriminator(5)
    assert [m.out_features for m in judge if hasattr(m, "out_features")] == [8, 8, 2]
    L.similarity_discriminator(torch.randn(4, 5), torch.randn(4, 5), discriminator=judge).backward()
    assert all(p.grad is not None for p in judge.parameters())


def test_bad_input():
    z, t, y = draw()
    for name in [*LABELLED, *PLAIN]:
        with pytest.raises(DataError, match="match the classes of teacher and student by name"):
            call(name, z, t[:, :4], y)
    for name in LABELLED:
        with pytest.raises(LabelError, match="no class"):
            call(name, z, t, y + 5)
        with pytest.raises(DataError, match="K of at least 2"):
            call(name, z[:, :1], t[:, :1], y)
    with pytest.raises(OptionError, match="rank_on"):
        L.uskd(z, y, weak_logits=t, rank_on="log")
    with pytest.raises(OptionError, match="temperature"):
        L.nkd(z, y, teacher_logits=t, temperature=-1)
    with pytest.raises(DataError, match=r"features.flatten\(1\)"):
        L.relational_kd(z[:2], t)
    with pytest.raises(DataError, match="linear layer"):
        L.hint(z, t[:, :3])
    with pytest.raises(DataError, match="logit_discriminator"):
        L.similarity_discriminator(z, t, discriminator=lambda x: x)
