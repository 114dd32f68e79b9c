"""What a model says, whatever its form: a tensor of logits, a dict, or an output object of transformers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from labelwright.errors import DataError

Outputs = dict[str, Tensor]
"""logits, and where the model gives them: features (B, D), mid (B, D'), attention (B, h, w) of the class token."""


def read_outputs(found: Any) -> Outputs:
    """The outputs of a model by name.

    >>> import torch
    >>> list(read_outputs(torch.zeros(2, 3)))
    ['logits']
    """
    if isinstance(found, Tensor):
        return {"logits": found}
    if isinstance(found, dict) and "logits" in found:
        return {name: value for name, value in found.items() if isinstance(value, Tensor)}
    if getattr(found, "logits", None) is not None:
        out = {"logits": found.logits}
        hidden = getattr(found, "hidden_states", None)
        if hidden is not None:
            out["features"] = hidden[-1].flatten(2).mean(2) if hidden[-1].ndim == 4 else hidden[-1][:, 0]
        return out
    raise DataError(
        found=f"a model that gives {type(found).__name__}",
        expected="logits as a tensor, a dict with 'logits', or an object with .logits",
        fix="wrap the model so that forward returns its logits",
    )
