"""Label maps from classifiers: the mean over cells is the network's answer, and networks where it is not are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from labelwright.errors import DataError, OptionError

torch = pytest.importorskip("torch")
torch.set_num_threads(1)
from torch import nn  # noqa: E402

from labelwright.annotators.label_maps import dense_head, dense_logits, label_maps, top_cells  # noqa: E402
from labelwright.labels.space import LabelSpace  # noqa: E402


def convolutional(after_pool: nn.Module | None = None, n_classes: int = 6) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        after_pool or nn.Dropout(0.5),
        nn.Linear(16, n_classes),
    )


class PatchNet(nn.Module):
    """Patch tokens after `prefix` learnt ones; the head gets their mean, the first token, or the normalised mean."""

    def __init__(self, prefix: int = 1, pool: str = "mean"):
        super().__init__()
        torch.manual_seed(1)
        self.patches, self.prefix = nn.Conv2d(3, 12, 4, stride=4), nn.Parameter(torch.randn(1, prefix, 12))
        self.mixer, self.norm, self.head = nn.TransformerEncoderLayer(12, 2, 24), nn.LayerNorm(12), nn.Linear(12, 5)
        self.pool = pool

    def forward(self, x: Any) -> Any:
        tokens = torch.cat([self.prefix.expand(len(x), -1, -1), self.patches(x).flatten(2).transpose(1, 2)], 1)
        tokens = self.mixer(tokens)
        if self.pool == "mean":
            return self.head(self.norm(tokens)[:, self.prefix.shape[1] :].mean(1))
        return self.head(self.norm(tokens[:, 0] if self.pool == "first" else tokens.mean(1)))


def images(n: int = 4, side: int = 16, seed: int = 0) -> Any:
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("which", ["convolutional", "patch tokens", "two prefix tokens", "no prefix"])
def test_the_mean_over_cells_is_the_networks_answer(which: str, n: int) -> None:
    prefixes = {"patch tokens": 1, "two prefix tokens": 2, "no prefix": 0}
    model = PatchNet(prefixes[which]) if which in prefixes else convolutional()
    head = dense_head(model, images(2, seed=1))
    maps = head(images(n))
    assert maps.shape == ((n, 5, 4, 4) if which in prefixes else (n, 6, 4, 4))
    torch.testing.assert_close(maps.mean((2, 3)), model.eval()(images(n)), atol=1e-5, rtol=1e-5)


def test_cells_are_the_head_on_their_features() -> None:
    features, weight, bias = torch.randn(2, 3, 4, 5).double(), torch.randn(6, 3).double(), torch.randn(6).double()
    maps = dense_logits(features, weight, bias)
    for b, k, i, j in np.ndindex(2, 6, 4, 5):
        wanted = sum(float(weight[k, d] * features[b, d, i, j]) for d in range(3)) + float(bias[k])
        assert float(maps[b, k, i, j]) == pytest.approx(wanted, abs=1e-9)


@pytest.mark.parametrize(
    "model", [convolutional(nn.LayerNorm(16)), convolutional(nn.Tanh()), PatchNet(pool="normalised")]
)
def test_networks_with_something_between_mean_and_head_are_refused(model: Any) -> None:
    with pytest.raises(DataError, match="without a normalisation, an activation or attention between pooling and head"):
        dense_head(model, images())


def test_a_class_token_is_no_mean_of_patches() -> None:
    with pytest.raises(DataError, match="whose mean is off the network's logits"):
        dense_head(PatchNet(pool="first"), images())


def test_every_batch_is_checked() -> None:
    model = convolutional()
    head = dense_head(model, images())
    model[5].register_forward_hook(lambda m, i, o: o * 1.5)  # the network now pools in another way
    with pytest.raises(DataError, match="label crops instead"):
        head(images())


def test_the_model_is_left_as_it_was() -> None:
    model = convolutional().train()
    model[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    dense_head(model, images())(images())
    assert model.training and model[7].training and not model[1].training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_the_map_shows_where() -> None:
    """Red on the left, green on the right; the network's only feature is colour."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    for layer in (model[0], model[3]):
        nn.init.zeros_(layer.bias)
        layer.weight.data = 9 * torch.eye(3).reshape(layer.weight.shape)
    image = torch.zeros(1, 3, 4, 6)
    image[0, 0, :, :3] = image[0, 1, :, 3:] = 1
    maps = label_maps(dense_head(model, image), image, k=2)
    assert maps.index[0, :, :, 0].tolist() == [[0, 0, 0, 1, 1, 1]] * 4
    stretched = label_maps(dense_head(model, image), [image[0], image[0, :, :2]], size=8, k=1)  # whole, to a square
    assert stretched.index.shape == (2, 8, 8, 1) and (stretched.index[:, :, :4] == 0).all()
    assert (stretched.index[:, :, 4:] == 1).all()


def test_top_cells_keep_the_worth_of_the_rest() -> None:
    logits = 4 * torch.randn(2, 7, 3, 2, generator=torch.Generator().manual_seed(0))
    maps = top_cells(logits, k=3)
    z = logits.double().numpy()
    for n, i, j in np.ndindex(2, 3, 2):
        order = np.argsort(-z[n, :, i, j])
        assert maps.index[n, i, j].tolist() == order[:3].tolist()
        np.testing.assert_allclose(maps.logit[n, i, j], z[n, order[:3], i, j], atol=1e-6)
        np.testing.assert_allclose(maps.rest[n, i, j], np.log(np.exp(z[n, order[3:], i, j]).sum()), atol=1e-5)
    soft = maps.label_map(LabelSpace(range(7))).cells()
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    kept = np.sort(p, 1)[:, -3:].sum(1).ravel()
    np.testing.assert_allclose(1 - soft.rest, kept, atol=1e-5)
    assert np.isneginf(top_cells(logits, k=7).rest).all()


def test_batches_of_any_size_give_the_same_maps() -> None:
    head = dense_head(convolutional(), images())
    a, b = (label_maps(head, images(5), k=2, batch_size=size) for size in (2, 5))
    np.testing.assert_allclose(a.logit, b.logit, atol=1e-5)
    assert (a.index == b.index).all() and len(a) == 5


def test_errors() -> None:
    model, head = convolutional(), dense_head(convolutional(), images())
    for error, match, call in (
        (OptionError, "the last ones are", lambda: dense_head(model, images(), layer="layer4")),
        (DataError, "pass larger images", lambda: dense_head(model, images(side=4))),
        (DataError, "name it with head=", lambda: dense_head(model[:7], images())),
        (DataError, "wrap the model", lambda: dense_head(model[:5], images())),
        (OptionError, "smaller k", lambda: label_maps(head, images(), k=7)),
        (DataError, "pass size=", lambda: label_maps(head, [images()[0], images(side=20)[0]])),
        (DataError, "at least one", lambda: label_maps(head, [])),
        (DataError, "pass square images", lambda: dense_head(PatchNet(), images())(images(side=16)[:, :, :8])),
    ):
        with pytest.raises(error, match=match):
            call()
