"""Shared fixtures: where the real data is, and how hypothesis runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("ci", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("ci")


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with the real data sets: $LABELWRIGHT_DATA, else ../shared/data beside the checkout."""
    given = os.environ.get("LABELWRIGHT_DATA")
    folder = Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data not found at {folder}: set LABELWRIGHT_DATA to its folder")
    return folder
