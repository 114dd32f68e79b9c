"""A perceptron whose last hidden layer is cut into slices, each for a part of the classes: many classes at a lower price."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labelwright.errors import OptionError
from labelwright.learning.networks.mlp import MLP
from labelwright.learning.networks.outputs import Outputs


class SlicedMLP(nn.Module):
    """Hidden layers, then a slice of hidden units for each vertical and one for all, then the classes.

    A class reads the slices of its verticals and the shared one, so that the classifier costs
    sum_v (slice + shared) * |v| numbers in place of (V slice + shared) * K.

    Args:
        in_features: D; inputs (B, ...) are flattened.   n_classes: K.   verticals: class ids of each; every class in one at
            least.   hidden: widths of the layers before.   slice: width of each vertical's slice.   shared: of the common one.

    Outputs: logits (B, K), features (B, V slice + shared); `slices` are the columns of each vertical.

    Source: the structurally connected layers of Gao et al. 2017, as we read their abstract.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        *,
        verticals: Sequence[Sequence[int]],
        hidden: Sequence[int] = (256,),
        slice: int = 32,
        shared: int = 32,
    ):
        super().__init__()
        missing = set(range(n_classes)) - {int(c) for classes in verticals for c in classes}
        beyond = {int(c) for classes in verticals for c in classes} - set(range(n_classes))
        if missing or beyond or slice < 1 or shared < 0:
            raise OptionError(
                found=f"{len(missing)} of {n_classes} classes in no vertical, {len(beyond)} unknown; {slice=}, {shared=}",
                expected="every class in a vertical, slice of 1 or more, shared of 0 or more",
                fix="add a vertical of the classes that are left",
            )
        width = len(verticals) * slice + shared
        self.trunk = MLP(in_features, width, hidden=hidden)
        self.heads = nn.ModuleList(nn.Linear(slice + shared, len(classes)) for classes in verticals)
        self.n_classes, self.shared = n_classes, shared
        self.slices = [
            [*range(v * slice, (v + 1) * slice), *range(width - shared, width)] for v in range(len(verticals))
        ]
        self.order: Tensor
        self.register_buffer(
            "order", torch.tensor([int(c) for classes in verticals for c in classes]), persistent=False
        )

    def forward(self, inputs: Tensor) -> Outputs:
        """(B, ...) -> logits and features; a class of several verticals has the sum of what they say."""
        h = self.trunk(inputs)["logits"].relu()
        said = torch.cat([head(h[:, columns]) for head, columns in zip(self.heads, self.slices)], 1)
        logits = said.new_zeros(len(h), self.n_classes).index_add(1, self.order, said)
        return {"logits": logits, "features": h}
