"""The demo finds what it planted and says what that is worth."""

import json
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from labelwright.cli.demo import NOISE_RATE, corrupt
from labelwright.cli.main import main


def test_the_corruption_is_what_the_demo_says():
    truth = load_digits(return_X_y=True)[1]
    given, planted = corrupt(truth, 0)
    assert planted.sum() == round(NOISE_RATE * len(truth))
    assert np.array_equal(given != truth, planted)
    again, _ = corrupt(truth, 0)
    other, _ = corrupt(truth, 1)
    assert np.array_equal(given, again) and not np.array_equal(given, other)


def test_demo(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["labelwright", "demo", "--json"])
    with pytest.raises(SystemExit) as stop:
        main()
    out, err = capsys.readouterr()
    assert not stop.value.code, err
    figures = json.loads(out.splitlines()[-1])
    assert f"found {figures['found']} of the {figures['planted']} planted errors" in err
    assert figures["found"] >= 0.8 * figures["planted"]
    assert figures["wrong_after"] <= 0.4 * figures["wrong_before"]
    assert figures["accuracy"]["corrected"] > figures["accuracy"]["given"]
    rate = figures["summary"]["error_rate"]
    assert rate["low"] <= figures["planted"] / 1347 <= rate["high"]
    assert {"report.html", "issues.parquet", "summary.json"} <= {p.name for p in (tmp_path / "digits.labels").iterdir()}
