"""Lets the tests of this folder share `_data.py`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

if "stream_data" not in sys.modules:
    spec = importlib.util.spec_from_file_location("stream_data", Path(__file__).parent / "_data.py")
    assert spec is not None and spec.loader is not None
    sys.modules["stream_data"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["stream_data"])
