"""The catalogue of all systems, the proofs of those that work, and one small file per system with code."""

from labelwright.systems.catalogue import MEANING, System, catalogue, find, registered
from labelwright.systems.contract import Contract
from labelwright.systems.data import data_folder, read_dataset
from labelwright.systems.proof import Arm, Dataset, Proof, paired
from labelwright.systems.runner import run_proofs, state
from labelwright.systems.search import search

__all__ = [
    "MEANING",
    "Arm",
    "Contract",
    "Dataset",
    "Proof",
    "System",
    "catalogue",
    "data_folder",
    "find",
    "paired",
    "read_dataset",
    "registered",
    "run_proofs",
    "search",
    "state",
]
