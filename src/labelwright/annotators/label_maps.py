"""Label maps from a classifier: its linear head applied to every cell of its features instead of to their mean.

    head = dense_head(model, images)              # finds the features and the head, and checks them
    maps = label_maps(head, images, size=224)     # the k largest logits of every cell of every image

A network that ends with "mean over the cells, then linear layer" is the same as "linear layer on every cell, then mean", so
its cells speak without any new training. Where something lies between mean and head (a normalisation, an activation,
attention) this is not so; every batch is compared with the network's own logits, and refused where they differ.

Source: Yun et al. 2021 (ReLabel), sections 3.1 and 3.2. Whole images are resized to a square without regard to aspect.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from labelwright.errors import DataError, OptionError, check_whole
from labelwright.store.label_map_files import LogitMaps

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class DenseHead:
    """A classifier that gives logits cell by cell. Made by `dense_head`.

    layer, head: names of the modules whose output is the features, and of the linear head.   prefix_tokens: leading tokens
    that are no patches; None for convolutions.   tolerance: how far the mean over cells may be from the network's logits.
    """

    model: nn.Module
    layer: str
    head: str
    prefix_tokens: int | None
    tolerance: float

    def __call__(self, images: Tensor) -> Tensor:
        """(B, K, h, w) logits of every cell of `images` (B, C, H, W), which are normalised as the model wants them.

        Raises:
            DataError: the mean over the cells is not what the network itself says.
        """
        outputs, logits = _run(self.model, images)
        linear: Any = self.model.get_submodule(self.head)
        features = _cells(outputs[self.layer], linear.in_features, self.prefix_tokens)
        if features is None:
            raise DataError(
                found=f"no grid of {linear.in_features} features from {self.layer!r}",
                expected="(B, d, h, w), or (B, tokens, d) with a square of patches",
                fix="pass square images of the size that the model was made for",
            )
        maps = _apply(linear, features)
        far = _distance(maps, logits)
        if not far <= self.tolerance:
            raise _not_linear(self.layer, far, self.tolerance)
        return maps


def dense_head(
    model: nn.Module,
    images: Tensor,
    *,
    layer: str | None = None,
    head: str | None = None,
    prefix_tokens: int | None = None,
    tolerance: float = 1e-3,
) -> DenseHead:
    """The classifier `model` as one that answers for every cell of its features.

    Args:
        model: gives logits (B, K), or an object with `.logits`; run in evaluation mode.
        images: a batch to look at the modules with, and to check on; noise will do if it has the right size.
        layer: name of the module whose output is the features, (B, d, h, w) or tokens (B, T, d). None: the last one for
            which the mean over the cells, through the head, gives the network's logits.
        head: name of the last nn.Linear. None: the one whose output is the logits.
        prefix_tokens: leading tokens that are no patches. None: what is left over from the largest square.
        tolerance: largest difference of the two, as a share of 1 + the largest logit; for half precision 1e-2.

    Raises:
        DataError: no linear head, no features of its width, or a network that pools in another way.
        OptionError: a name that the model does not have.
    """
    outputs, logits = _run(model, images)
    for name in (layer, head):
        if name is not None and name not in outputs:
            raise OptionError(
                found=f"a module {name!r} that the model does not have or did not run",
                expected="a name of model.named_modules()",
                fix=f"the last ones are {', '.join(map(repr, list(outputs)[-8:]))}",
            )
    head = head or _find_head(model, outputs, logits)
    linear: Any = model.get_submodule(head)
    last: tuple[str, float] | None = None
    for name in [layer] if layer is not None else reversed(outputs):
        features = _cells(outputs[name], linear.in_features, prefix_tokens)
        if features is None:
            continue
        far = _distance(_apply(linear, features), logits)
        if far <= tolerance:
            tokens = None
            if outputs[name].ndim == 3:
                tokens = outputs[name].shape[1] - features.shape[2] * features.shape[3]
            return DenseHead(model, name, head, tokens, tolerance)
        last = last or (name, far)
    if last is not None:
        raise _not_linear(*last, tolerance)
    raise DataError(
        found=f"no features of width {linear.in_features} with more than one cell",
        expected="a module that gives (B, d, h, w), or (B, tokens, d), before the pooling",
        fix="pass larger images, or name the module with layer=",
    )


def dense_logits(features: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(B, K, h, w) logits of features (B, d, h, w) under a linear head (K, d): the head as a 1 x 1 convolution."""
    import torch

    out = torch.einsum("bdhw,kd->bkhw", features.to(weight.dtype), weight)
    return out if bias is None else out + bias[:, None, None]


def top_cells(logits: Tensor, k: int = 5) -> LogitMaps:
    """The k largest logits of every cell, and the log of the sum of exp over the others.

    logits: (B, K, h, w).   k: at most K.
    """
    check_whole("k", k, 1)
    if k > logits.shape[1]:
        raise OptionError(found=f"k={k} of {logits.shape[1]} classes", expected="at most K", fix="pass a smaller k")
    z = logits.detach().permute(0, 2, 3, 1).float()
    top, index = z.topk(k, dim=-1)
    rest = z.scatter(-1, index, -math.inf).logsumexp(-1)  # not from the difference: that is rounding where it is small
    return LogitMaps(index.int().cpu().numpy(), top.cpu().numpy(), rest.cpu().numpy())


def label_maps(
    head: DenseHead, images: Tensor | Sequence[Tensor], *, size: int | None = None, k: int = 5, batch_size: int = 32
) -> LogitMaps:
    """Label maps of images, which are resized whole to a square first, so that fractions of the image are fractions of the map.

    Args:
        images: (N, C, H, W), or N tensors (C, H, W) of any sizes; floats, normalised as the model wants them.
        size: side of the square; None for images that have one size and stay as they are.
        k: logits kept per cell.
    """
    check_whole("batch_size", batch_size, 1)
    parts = []
    for start in range(0, len(images), batch_size):
        parts.append(top_cells(head(_square(images[start : start + batch_size], size)), k))
    if not parts:
        raise DataError(found="no images", expected="at least one", fix="pass (N, C, H, W) or a list of (C, H, W)")
    return LogitMaps(*(np.concatenate([getattr(p, name) for p in parts]) for name in ("index", "logit", "rest")))


def _square(images: Tensor | Sequence[Tensor], size: int | None) -> Tensor:
    import torch
    from torch.nn.functional import interpolate

    if size is not None:
        check_whole("size", size, 1)
        images = [
            interpolate(i[None], (size, size), mode="bilinear", align_corners=False, antialias=True)[0] for i in images
        ]
    if isinstance(images, torch.Tensor):
        return images
    if len({tuple(i.shape) for i in images}) > 1:
        raise DataError(found="images of several sizes", expected="one size", fix="pass size= to resize them")
    return torch.stack(list(images))


def _run(model: nn.Module, images: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """The last output of every module in the order of their ends, and the logits (B, K)."""
    import torch

    outputs: dict[str, Tensor] = {}

    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) and output else output
            first = getattr(first, "last_hidden_state", first)
            if isinstance(first, torch.Tensor):
                outputs.pop(name, None)
                outputs[name] = first

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    try:
        with _evaluation(model), torch.no_grad():
            out = model(images)
    finally:
        for handle in handles:
            handle.remove()
    logits = getattr(out, "logits", out)
    if not isinstance(logits, torch.Tensor) or logits.ndim != 2 or len(logits) != len(images):
        raise DataError(
            found=f"a model that gives {tuple(getattr(logits, 'shape', ()))} for {len(images)} images",
            expected="logits (B, K)",
            fix="wrap the model so that it returns its logits alone",
        )
    return outputs, logits


@contextmanager
def _evaluation(model: nn.Module) -> Iterator[None]:
    """No dropout, no moving of batch statistics; every module is put back into its own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _find_head(model: nn.Module, outputs: dict[str, Tensor], logits: Tensor) -> str:
    from torch import nn

    for name in reversed(outputs):
        out = outputs[name]
        if (
            isinstance(model.get_submodule(name), nn.Linear)
            and out.shape == logits.shape
            and bool((out == logits).all())
        ):
            return name
    raise DataError(
        found="no nn.Linear whose output is the logits",
        expected="a classifier that ends with a linear layer",
        fix="name it with head=; a head of several layers does not commute with the mean over cells",
    )


def _cells(output: Tensor, d: int, prefix_tokens: int | None) -> Tensor | None:
    """(B, d, h, w) with more than one cell, None where the output has no such form."""
    if output.ndim == 3 and output.shape[2] == d:
        side = math.isqrt(output.shape[1] - (prefix_tokens or 0))
        prefix = output.shape[1] - side**2
        if side < 2 or (prefix_tokens is not None and prefix != prefix_tokens):
            return None
        return output[:, prefix:].transpose(1, 2).reshape(-1, d, side, side)
    if output.ndim != 4:
        return None
    if output.shape[1] != d and output.shape[3] == d:  # channels last
        output = output.permute(0, 3, 1, 2)
    return output if output.shape[1] == d and output.shape[2] * output.shape[3] > 1 else None


def _apply(linear: Any, features: Tensor) -> Tensor:
    bias = linear.bias
    return dense_logits(features, linear.weight.detach(), None if bias is None else bias.detach())


def _distance(maps: Tensor, logits: Tensor) -> float:
    mean, logits = maps.float().mean((2, 3)), logits.float()
    return float((mean - logits).abs().max() / (1 + logits.abs().max()))


def _not_linear(layer: str, far: float, tolerance: float) -> DataError:
    return DataError(
        found=f"cells of {layer!r} whose mean is off the network's logits by {far:.2g} of 1 + the largest logit",
        expected=f"at most {tolerance:g}: the mean over the cells directly before the linear head",
        fix="take a network without a normalisation, an activation or attention between pooling and head, name another "
        "layer=, or label crops instead (labelwright.annotators.crops)",
    )
