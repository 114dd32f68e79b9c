"""Multi-layer perceptrons for vectors, and the linear model as the one without hidden layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from labelwright.learning.networks.outputs import Outputs


class MLP(nn.Module):
    """Linear layers with ReLU, optionally BatchNorm and dropout behind each.

    Args:
        in_features: D; inputs (B, ...) are flattened.   n_classes: K.   hidden: widths; () = a linear model.
        dropout: share of hidden values dropped.   norm: BatchNorm behind each hidden layer.

    Outputs: logits (B, K), features (B, last width), mid (B, the width before) where there are two hidden layers.
    """

    def __init__(
        self,
        in_features: int,
        n_classes: int,
        *,
        hidden: Sequence[int] = (256, 256),
        dropout: float = 0.0,
        norm: bool = False,
    ):
        super().__init__()
        widths = [in_features, *hidden]
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Linear(a, b),
                *([nn.BatchNorm1d(b)] if norm else []),
                nn.ReLU(),
                *([nn.Dropout(dropout)] if dropout else []),
            )
            for a, b in zip(widths[:-1], widths[1:])
        )
        self.head = nn.Linear(widths[-1], n_classes)

    def forward(self, inputs: Tensor) -> Outputs:
        """(B, ...) -> logits and features."""
        x = inputs.flatten(1).to(self.head.weight.dtype)
        passed = [x]
        for block in self.blocks:
            passed.append(block(passed[-1]))
        out = {"logits": self.head(passed[-1]), "features": passed[-1]}
        return out | {"mid": passed[-2]} if len(passed) > 2 else out
