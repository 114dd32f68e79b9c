"""Networks: small models for vectors, pictures and pixels, and who learns in a recipe."""

from __future__ import annotations

from labelwright.learning.networks.conv import ConvNet, ResNet, pictures
from labelwright.learning.networks.mlp import MLP
from labelwright.learning.networks.outputs import Outputs, read_outputs
from labelwright.learning.networks.students import MODELS, NETWORKS, Student, build
from labelwright.learning.networks.unet import UNet
from labelwright.learning.networks.vit import ViT

__all__ = [
    "MLP", "MODELS", "NETWORKS", "ConvNet", "Outputs", "ResNet", "Student", "UNet", "ViT", "build", "pictures", "read_outputs",
]  # fmt: skip
