"""Losses made block by block, with gradients by hand, against the plain formulas that they stand for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

torch = pytest.importorskip("torch")
torch.set_num_threads(1)

from labelwright.learning import losses as L  # noqa: E402
from labelwright.learning.losses import _blocks, dense, distill, relations  # noqa: E402

INF = float("inf")
N = 11


def gave(k: int, dtype: Any = torch.float64, lead: tuple[int, ...] = (N,)) -> dict[str, Any]:
    """Logits, teacher's logits, soft targets with zeros and a row that knows nothing, ids with one -1, and a weak head."""
    torch.manual_seed(k)
    z, t, w = (torch.randn(3, *lead, k, dtype=torch.float64) * 2).to(dtype)
    q = (torch.randn(*lead, k, dtype=torch.float64) * 2).softmax(-1)
    q = q.masked_fill(q < q.median(), 0.0)
    q = q / q.sum(-1, keepdim=True)
    y = torch.randint(0, k, lead)
    q.view(-1, k)[1], y.view(-1)[2] = 0.0, -1
    return {"z": z, "t": t, "w": w, "q": q.to(torch.float32 if dtype == torch.bfloat16 else dtype), "y": y}


def _named() -> dict[str, Callable[..., Any]]:
    """name -> (logits, what was given, reduction) -> loss."""
    made: dict[str, Callable[..., Any]] = {}
    for name in ("soft_cross_entropy", "kl", "reverse_kl", "jeffreys", "js", "label_smoothing", "focal", "margin"):
        made[name] = lambda z, g, r, loss=L.LOSSES[name]: loss(z, g["q"], reduction=r)
    for name in ("kl", "reverse_kl", "jeffreys", "js"):
        made[f"{name} at 3"] = lambda z, g, r, loss=L.LOSSES[name]: loss(z, g["q"], temperature=3.0, reduction=r)
    for name in ("reverse_kl", "jeffreys", "ordinal_loss", "margin"):
        made[f"{name}, ids"] = lambda z, g, r, loss=L.LOSSES[name]: loss(z, g["y"], reduction=r)
    weight = lambda g: torch.linspace(0.5, 2, g["q"].shape[-1])  # noqa: E731
    return made | {
        "soft_cross_entropy, weighted": lambda z, g, r: L.soft_cross_entropy(
            z, g["q"], class_weight=weight(g), reduction=r
        ),
        "focal, weighted": lambda z, g, r: L.focal(z, g["q"], class_weight=weight(g), gamma=1.5, reduction=r),
        "focal at 0": lambda z, g, r: L.focal(z, g["q"], gamma=0.0, reduction=r),
        "focal at 1/2": lambda z, g, r: L.focal(z, g["q"], gamma=0.5, reduction=r),
        "margin of each class": lambda z, g, r: L.margin(z, g["q"], margin=weight(g), reduction=r),
        "ordinal_loss": lambda z, g, r: L.ordinal_loss(z, g["q"], alpha=0.3, reduction=r),
        "kd": lambda z, g, r: L.kd(z, g["t"], reduction=r),
        "kd at 4": lambda z, g, r: L.kd(z, g["t"], temperature=4.0, reduction=r),
        "nkd": lambda z, g, r: L.nkd(z, g["y"], teacher_logits=g["t"], reduction=r),
        "nkd at 3": lambda z, g, r: L.nkd(z, g["q"], teacher_logits=g["t"], temperature=3.0, reduction=r),
        "decoupled_kd": lambda z, g, r: L.decoupled_kd(z, g["y"], teacher_logits=g["t"], reduction=r),
        "uskd": lambda z, g, r: L.uskd(z, g["y"], weak_logits=g["w"], reduction=r),
        "uskd, soft": lambda z, g, r: L.uskd(z, g["q"], weak_logits=g["w"], rank_on="logprob", reduction=r),
        "dist": lambda z, g, r: L.dist(z, g["t"], reduction=r),
        "dist at 2": lambda z, g, r: L.dist(z, g["t"], temperature=2.0, beta=0.5, gamma=3.0, reduction=r),
        "jaccard_metric": lambda z, g, r: L.jaccard_metric(z, g["q"], kind="classes", reduction=r),
        "jaccard_metric, ids": lambda z, g, r: L.jaccard_metric(z, g["y"], kind="classes", reduction=r),
        "hint": lambda z, g, r: L.hint(z, g["t"], reduction=r),
    }  # fmt: skip


LOSSES = _named()


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Small blocks, so that few rows make many; and a call of a loss without them."""
    monkeypatch.setattr(_blocks, "SMALL", 1)
    monkeypatch.setattr(_blocks, "BLOCK", 300)

    def call(act: Callable[[], Any]) -> Any:
        with monkeypatch.context() as m:
            for module in (_blocks, dense, distill, relations):
                m.setattr(module, "can_keep", lambda *_: False)
            return act()

    yield call


def gradient(loss: Any, z: Any, rows: bool) -> Any:
    """Rows get an upstream gradient each."""
    upstream = torch.linspace(-1, 2, loss.numel()).reshape(loss.shape).to(loss.dtype) if rows else None
    return torch.autograd.grad(loss, z, upstream)[0]


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("k", [5, 150])  # on both sides of NARROW
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_values_and_gradients_are_those_of_the_plain_formula(plainly: Any, name: str, k: int, dtype: Any):
    g, loss, before = gave(k, dtype), LOSSES[name], gave(k, dtype)
    z = g["z"].requires_grad_()
    for reduction in ("none", "sum", "mean"):
        got = loss(z, g, reduction)
        ours = gradient(got, z, reduction == "none")
        want = plainly(lambda r=reduction: loss(z, g, r))
        theirs = gradient(want, z, reduction == "none")
        assert got.dtype == want.dtype and ours.dtype == dtype and got.shape == want.shape
        eps = torch.finfo(got.dtype).eps
        close = 32 * eps * max(1.0, float(want.detach().abs().max()))
        torch.testing.assert_close(got, want, atol=close, rtol=16 * eps)
        step = torch.finfo(dtype).eps if dtype == torch.bfloat16 else 64 * eps
        torch.testing.assert_close(ours, theirs, atol=step * float(theirs.abs().max()), rtol=step)
    assert all(
        torch.equal(g[key].detach(), x) for key, x in before.items()
    )  # a step writes into nothing of the caller's


@pytest.mark.parametrize("name", LOSSES)
def test_backward_twice_gives_the_same_twice_and_a_freed_graph_says_so(plainly: Any, name: str):
    g = gave(6)
    z = g["z"].requires_grad_()
    loss = LOSSES[name](z, g, "mean")
    first, second = (torch.autograd.grad(loss, z, retain_graph=True)[0].clone() for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    loss.backward()
    torch.testing.assert_close(z.grad, first, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        loss.backward()


@pytest.mark.parametrize("name", [name for name in LOSSES if not name.startswith(("margin", "uskd", "jaccard"))])
def test_gradients_of_gradients(plainly: Any, name: str):
    g = gave(3, lead=(4,))
    z = (g["z"] / 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda a: LOSSES[name](a, g, "none"), z)
    assert torch.autograd.gradgradcheck(lambda a: LOSSES[name](a, g, "none"), z)


@pytest.mark.parametrize("name", LOSSES)
def test_any_layout_and_any_leading_axes(plainly: Any, name: str):
    g, loss = gave(6, lead=(3, 4)), LOSSES[name]
    if "hint" in name:
        g = {key: x.flatten(0, 1) for key, x in g.items()}
    flat = {key: x.reshape(12, *x.shape[2:]) if "hint" not in name else x for key, x in g.items()}
    z = flat["z"].requires_grad_()
    want = loss(z, flat, "sum")
    (slope,) = torch.autograd.grad(want, z)
    for made in (
        lambda x: x.reshape(g["z"].shape),
        lambda x: x.t().contiguous().t().reshape(g["z"].shape),
        lambda x: torch.stack([x, x], -1)[..., 0].reshape(g["z"].shape),
    ):
        got = loss(made(z), g, "sum")
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(torch.autograd.grad(got, z)[0], slope)
    one = z.detach()[:1].clone().requires_grad_()
    spread, whole = one.expand(12, 6), one.detach().repeat(12, 1).requires_grad_()
    (summed,) = torch.autograd.grad(loss(spread, flat, "sum"), one)
    (each,) = torch.autograd.grad(loss(whole, flat, "sum"), whole)
    torch.testing.assert_close(summed, each.sum(0, keepdim=True))


@pytest.mark.parametrize("name", LOSSES)
def test_neither_the_size_of_the_blocks_nor_the_kind_of_grad_mode_matters(
    plainly: Any, name: str, monkeypatch: pytest.MonkeyPatch
):
    g, loss = gave(6, torch.float32), LOSSES[name]
    z = g["z"].requires_grad_()
    rows = loss(z, g, "none")
    slope = gradient(rows, z, True)
    monkeypatch.setattr(_blocks, "BLOCK", 7)
    again = loss(z, g, "none")
    close = 1e-6  # a sum over one row takes its numbers in another order than that over many
    torch.testing.assert_close(again, rows, rtol=close, atol=close)
    torch.testing.assert_close(gradient(again, z, True), slope, rtol=close, atol=close)
    with torch.no_grad():
        torch.testing.assert_close(loss(z, g, "none"), rows.detach())
    with torch.inference_mode():
        torch.testing.assert_close(loss(z, g, "none"), rows.detach())


@pytest.mark.parametrize("name", ["soft_cross_entropy", "kl", "js", "reverse_kl", "focal", "kd", "nkd"])
@pytest.mark.parametrize("k", [5, 150])
def test_impossible_classes(plainly: Any, name: str, k: int):
    g = gave(k)
    g["q"][:, 0], g["t"][:, 0], g["z"][:, 0] = 0.0, -INF, -INF
    g["q"] = g["q"] / g["q"].sum(-1, keepdim=True).clamp_min(1e-9)
    g["y"] = g["y"].clamp_min(1)
    z = g["z"].requires_grad_()
    got, want = LOSSES[name](z, g, "none"), plainly(lambda: LOSSES[name](z, g, "none"))
    torch.testing.assert_close(got, want)
    torch.testing.assert_close(gradient(got, z, True), gradient(want, z, True))
    assert torch.isfinite(got).all()


@pytest.mark.parametrize("name", LOSSES)
def test_targets_and_teachers_of_another_precision_are_as_in_the_plain_formula(plainly: Any, name: str):
    g = gave(5)
    for mixed in ({"z": g["z"].float()}, {"q": g["q"].float(), "t": g["t"].bfloat16(), "w": g["w"].bfloat16()}):
        g = gave(5) | mixed
        z = g["z"].requires_grad_()
        try:
            want = plainly(lambda g=g, z=z: LOSSES[name](z, g, "mean"))
        except RuntimeError:
            continue  # torch's own cross-entropy does not mix them all
        got = LOSSES[name](z, g, "mean")
        torch.testing.assert_close(got, want)
        torch.testing.assert_close(torch.autograd.grad(got, z), torch.autograd.grad(want, z))


def test_a_row_with_a_not_a_number_stays_one(plainly: Any):
    g = gave(5)
    g["z"][3, 2] = float("nan")
    z = g["z"].requires_grad_()
    for name in ("soft_cross_entropy", "kl", "js", "focal", "kd"):
        rows = LOSSES[name](z, g, "none")
        assert rows.isnan().nonzero().flatten().tolist() == [3]


def test_learned_labels_weights_and_margins_get_their_gradient(plainly: Any):
    g = gave(4)
    q = torch.full_like(g["q"], 0.25).requires_grad_()
    z = g["z"].requires_grad_()
    for name in ("soft_cross_entropy", "kl", "js", "reverse_kl", "jeffreys", "focal"):
        got = torch.autograd.grad(L.LOSSES[name](z, q), (z, q))
        want = torch.autograd.grad(plainly(lambda n=name: L.LOSSES[n](z, q)), (z, q))
        torch.testing.assert_close(got, want)
    w = torch.ones(4, dtype=torch.float64, requires_grad=True)
    for loss in (
        L.margin(z, g["q"], margin=w),
        L.focal(z, g["q"], class_weight=w),
        L.soft_cross_entropy(z, g["q"], class_weight=w),
    ):
        assert torch.autograd.grad(loss, w)[0].any()


def test_transforms_of_functions_see_the_plain_formula(plainly: Any):
    g = gave(4)
    for name in ("reverse_kl", "jeffreys", "kl", "js"):
        loss = lambda z, name=name: L.LOSSES[name](z, g["q"], check=False)  # noqa: E731
        z = g["z"].clone().requires_grad_()
        want = torch.autograd.grad(loss(z), z)[0]
        torch.testing.assert_close(torch.func.grad(loss)(g["z"]), want)
        tangent = torch.ones_like(g["z"]).cumsum(-1)
        torch.testing.assert_close(torch.func.jvp(loss, (g["z"],), (tangent,))[1], (want * tangent).sum())
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(z.detach().requires_grad_(), tangent)
            got = torch.autograd.forward_ad.unpack_dual(loss(dual)).tangent
        torch.testing.assert_close(got, (want * tangent).sum())
    each = torch.func.vmap(lambda z: L.reverse_kl(z, g["q"], check=False))(torch.stack([g["z"], g["t"]]))
    torch.testing.assert_close(each[1], L.reverse_kl(g["t"], g["q"]))


@pytest.mark.parametrize(("name", "near"), [("js", 2e-3), ("kl", 2e-2), ("reverse_kl", 2e-2), ("jeffreys", 1e-4)])
def test_a_small_divergence_keeps_its_digits(name: str, near: float):
    """In float32, of a thousand classes, at some 1e-5 nats."""
    torch.manual_seed(0)
    z = torch.randn(200, 1000)
    q = (z + 0.01 * torch.randn_like(z)).softmax(-1)
    got = L.LOSSES[name](z.clone().requires_grad_(), q, reduction="none").detach()
    exact = q.double() / q.double().sum(-1, keepdim=True)
    want = L.LOSSES[name](z.double(), exact, reduction="none")
    assert (want < 1e-4).all() and (got > 0).all()
    torch.testing.assert_close(got.double(), want, rtol=near, atol=0)
    same = L.LOSSES[name](z.clone().requires_grad_(), z.softmax(-1), reduction="none").detach()
    assert same.abs().max() <= (1e-6 if name == "kl" else 0)  # kl: two logarithms that round apart


def test_learned_soft_targets_are_checked_without_a_word(recwarn: pytest.WarningsRecorder):
    z, q = torch.randn(300, 100, requires_grad=True), torch.randn(300, 100).softmax(-1).requires_grad_()
    L.js(z, q).backward()
    assert q.grad is not None and not recwarn.list


def test_logits_may_be_written_over_before_the_way_back(plainly: Any):
    g = gave(5)
    for name in ("kl", "kd", "dist"):
        base = g["z"].clone().requires_grad_()
        z = base * 1
        loss = LOSSES[name](z, g, "mean")
        z.detach().zero_()
        (got,) = torch.autograd.grad(loss, base)
        fresh = g["z"].clone().requires_grad_()
        torch.testing.assert_close(got, torch.autograd.grad(LOSSES[name](fresh, g, "mean"), fresh)[0])


@pytest.mark.parametrize("scale", [1.0, -3.0])
def test_ranks_by_whole_numbers_are_those_of_a_stable_sort(scale: float):
    torch.manual_seed(0)
    scores = (torch.randn(40, 30) * scale).round(decimals=1)  # ties, and zeros of both signs
    assert (scores == 0).any() and (torch.signbit(scores) & (scores == 0)).any()
    want = scores.argsort(dim=-1, descending=True, stable=True)
    assert torch.equal(distill._order(scores), want)
    assert torch.equal(distill._order(scores.double()), want)


def test_one_gradient_is_all_that_is_kept(plainly: Any):
    """The graph of a block-wise loss holds the inputs and one array of their size, until it has been used."""
    z = torch.randn(50, 8, requires_grad=True)
    loss = L.js(z, torch.full((50, 8), 0.125), reduction="sum")
    node = loss.grad_fn.next_functions[0][0]
    assert type(node).__name__ == "_KeptBackward" and node.pull is not None
    loss.backward()
    assert node.pull is None


@pytest.mark.parametrize("case", ["apart", "twins", "close", "all alike", "one item"])
def test_distances_by_products_of_matrices(plainly: Any, case: str):
    """float32, against the differences taken one by one in float64."""
    torch.manual_seed(3)
    x, y = torch.randn(12, 7) + 5, torch.randn(12, 4)
    if case == "twins":
        x[4] = x[3]
    if case == "close":  # at a distance that the products of float64 lose
        x[4] = x[3]
        x[4, 0] += 2e-6
    if case == "all alike":
        x = x[:1].expand(12, 7).clone()
    if case == "one item":
        x, y = x[:1], y[:1]
    x.requires_grad_()
    wide = x.detach().double().requires_grad_()
    for reduction in ("mean", "none"):
        got = L.relational_kd(x, y, angle=0.0, reduction=reduction)
        want = plainly(lambda r=reduction: L.relational_kd(wide, y.double(), angle=0.0, reduction=r))
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), want, rtol=1e-5, atol=1e-6)
        ours, theirs = (gradient(v, z, reduction == "none") for v, z in ((got, x), (want, wide)))
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5 * float(theirs.abs().max()) + 1e-12)


@pytest.mark.parametrize(
    "name", ["soft_cross_entropy", "kl", "js", "reverse_kl", "jeffreys", "label_smoothing", "focal", "margin"]
)
@pytest.mark.parametrize("wants_gradient", [True, False])
def test_targets_are_looked_at_in_every_block(plainly: Any, name: str, wants_gradient: bool):
    from labelwright.errors import ProbabilityError

    z, q = torch.randn(200, 6, requires_grad=wants_gradient), torch.randn(200, 6).softmax(-1)
    assert len(_blocks.blocks(z, q)) == 4
    q[151] = torch.tensor([0.9, 0.4, -0.3, 0, 0, 0])
    with pytest.raises(ProbabilityError, match="1 rows of targets are no distribution, row 151"):
        L.LOSSES[name](z, q)
    L.LOSSES[name](z, q, check=False)  # not looked at
    q[151] = 0.0  # knows nothing, so it does not count
    rows = L.LOSSES[name](z, q, reduction="none")
    torch.testing.assert_close(L.LOSSES[name](z, q), rows.sum() / 199)
    assert rows[151] == 0
