"""The label map as one more channel of the picture, in a code that says where things are but not what they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from labelwright.errors import DataError, LabelError, OptionError, check_option, check_whole
from labelwright.learning.context import Context
from labelwright.learning.networks.conv import pictures
from labelwright.learning.parts import Part
from labelwright.learning.run import Run


def coded_map(
    labels: Tensor,
    n_classes: int,
    *,
    codes: str | Sequence[float] = "random",
    noise: float = 0.03,
    rng: np.random.Generator,
) -> Tensor:
    """(N, H, W) float32: each pixel the code of its class, plus normal noise.

    Args:
        labels: (N, H, W) class ids; -1 = unlabelled, which has a code of its own.
        codes: "random" draws one from N(0, 1) for each picture and class; "fixed" is (k - (K + 1) // 2) / 10 for class k and
            K for unlabelled pixels; or K + 1 numbers of your own.
        noise: its standard deviation, in the units of pictures in [0, 1] or standardised ones.

    With codes that do not change from picture to picture, a network can read the classes off the channel.

    Raises:
        LabelError: ids that are no class.   OptionError: other codes.
    """
    k = n_classes
    if isinstance(codes, str):
        check_option("codes", codes, ("random", "fixed"))
    elif len(codes) != k + 1:
        raise OptionError(
            found=f"{len(codes)} codes for {k} classes",
            expected=f"{k + 1}, the last for unlabelled pixels",
            fix='pass one code per class and one more, or codes="random"',
        )
    if labels.numel() and not (int(labels.min()) >= -1 and int(labels.max()) < k):
        raise LabelError(
            found=f"labels from {int(labels.min())} to {int(labels.max())}",
            expected=f"class ids 0 to {k - 1}, -1 = unlabelled",
            fix="write other ignore values as -1",
        )
    if codes == "random":
        table = rng.standard_normal((len(labels), k + 1))
    else:
        row = (np.arange(k + 1) - (k + 1) // 2) / 10 if isinstance(codes, str) else np.asarray(codes, float)
        table = np.broadcast_to(row, (len(labels), k + 1))
    ids = torch.where(labels < 0, k, labels).long()
    shown = torch.from_numpy(table.astype(np.float32)).to(labels.device).gather(1, ids.flatten(1)).reshape(labels.shape)
    grain = torch.from_numpy(rng.standard_normal(tuple(labels.shape), dtype=np.float32)).to(labels.device)
    return shown + noise * grain


class LabelChannel(Part):
    """Show a teacher the coded label map beside the picture (Make a Strong Teacher with Label Assistance, ECCV 2024).

    Args:
        labels: name of the (B, H, W) class ids.
        codes, noise: of `coded_map`. Teachers learn from "random" codes; "fixed" ones are for asking a trained teacher.
        draws: how often the batch is shown, each time with codes of its own; `labels` are repeated as often.
        write: name of the pictures with the channel.
        add: True adds the channel; False overwrites the last one, where pictures (B, C, H, W) come with room for it.
    """

    name = "label_channel"

    def __init__(
        self,
        *,
        labels: str = "labels",
        codes: str | Sequence[float] = "random",
        noise: float = 0.03,
        draws: int = 1,
        write: str = "inputs",
        add: bool = True,
    ):
        check_whole("draws", draws, 1)
        if not noise >= 0:
            raise OptionError(found=f"noise={noise!r}", expected="a number of at least 0", fix="pass noise=0.03")
        self.labels, self.codes, self.noise, self.draws, self.write, self.add = labels, codes, noise, draws, write, add
        self.reads, self.writes = ("inputs", labels), (write,)
        self._classes = 0

    def begin(self, run: Run) -> None:
        """How many classes there are."""
        self._classes = run.data.n_classes

    def __call__(self, context: Context) -> None:
        """Add the channel, and repeat the labels where there are several draws."""
        x, y = pictures(context["inputs"]), context[self.labels]
        if y.shape != (len(x), *x.shape[2:]):
            raise DataError(
                found=f"labels {tuple(y.shape)} for pictures {tuple(x.shape)}",
                expected="one class id per pixel",
                fix="resize the label maps to the pictures, by nearest neighbour",
            )
        y = y.repeat(self.draws, 1, 1)
        shown = coded_map(y, self._classes, codes=self.codes, noise=self.noise, rng=context["rng"])
        x = x if self.add else x[:, :-1]
        context[self.write] = torch.cat([x.repeat(self.draws, 1, 1, 1), shown[:, None]], 1)
        if self.draws > 1:
            context[self.labels] = y
