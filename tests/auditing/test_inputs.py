"""Bad input gets a named error (or a warning) before any work starts."""

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from scipy.sparse import csr_array

from labelwright.auditing._inputs import look_at_predictions, read_inputs
from labelwright.errors import DataError, LabelError, LabelwrightWarning, ProbabilityError
from labelwright.labels import HardLabels, LabelSpace, MultiLabels

Y = np.array([0, 1, 2, 0, 1, 2] * 5)
P = np.eye(3)[Y] * 0.7 + 0.1


def read(labels=Y, pred_probs=P, *, space=None, items=None, multi=False):
    return read_inputs(labels, pred_probs, space=space, items=items, multi=multi)


def spoilt(row, value):
    p = P.copy()
    p[row] = value
    return p


@pytest.mark.parametrize(
    ("arguments", "error", "found", "fix"),
    [
        ({"pred_probs": spoilt(3, np.nan)}, ProbabilityError, "NaN.*row 3", "predict them again"),
        ({"pred_probs": spoilt(3, [np.inf, 0, 0])}, ProbabilityError, "infinite.*row 3", "predict them again"),
        ({"pred_probs": spoilt(3, [0.5, 0.4, 0.2])}, ProbabilityError, "no distribution; first is row 3", "keepdims"),
        ({"pred_probs": P * 8 - 4}, ProbabilityError, "no distribution", "softmax"),
        ({"pred_probs": P[:-1]}, ProbabilityError, "29 rows of pred_probs for 30 labels", "predict for every item"),
        ({"pred_probs": P[:, :2]}, LabelError, "label 2 for 2 columns", "missing labels"),
        (
            {"pred_probs": np.c_[P, np.zeros(30)], "labels": list("abc") * 10},
            LabelError,
            "3 classes.*4 columns",
            "space=",
        ),
        ({"labels": np.where(Y == 2, -1, Y)}, LabelError, "label -1 for 3 columns", "None"),
        ({"labels": np.where(Y == 2, 9, Y), "space": LabelSpace(range(3))}, LabelError, "outside the space", "missing"),
        ({"labels": Y + 0.5}, LabelError, "float64", "astype"),
        ({"labels": Y.astype(float)}, LabelError, "float64", "astype"),
        ({"labels": P}, LabelError, "shape", "SoftLabels.from_dense"),
        ({"labels": [], "pred_probs": None}, LabelError, "no label", "label column"),
        ({"labels": [], "pred_probs": None, "space": LabelSpace("ab")}, DataError, "no items", "check the file"),
        ({"labels": [None] * 30}, LabelError, "only missing", "label column"),
        ({"labels": None}, LabelError, "NoneType", "pass a list"),
        (
            {"labels": [f"id{i}" for i in range(30)], "pred_probs": None},
            LabelError,
            "no two of them alike",
            "ids or texts",
        ),
        ({"labels": np.full(30, 2**63, dtype=np.uint64), "pred_probs": None}, LabelError, "9223372036854775808", "str"),
        ({"labels": [2**70] * 30, "pred_probs": None}, LabelError, "64 bits", "str"),
        ({"pred_probs": P * 100}, ProbabilityError, "no distribution", "pred_probs / 100"),
        ({"pred_probs": "p"}, ProbabilityError, "type str", "numpy.stack"),
        ({"pred_probs": [[0.5, 0.5], [1.0]]}, ProbabilityError, "type list", "numpy.stack"),
        ({"pred_probs": 0.5}, ProbabilityError, "type float", "numpy.stack"),
        ({"items": [None, *range(29)]}, DataError, "without a key .row 0", "fill them in"),
        ({"labels": Y, "multi": True, "pred_probs": None}, LabelError, "multi-labels of shape", "leave multi=True out"),
        ({"labels": ["a"] * 30, "pred_probs": None}, LabelError, "one class only: 'a'", "space="),
        ({"items": ["x"] * 30}, DataError, "more than once; first is 'x' in row 0, 1", "unique"),
        ({"items": ["x"] * 3}, DataError, "3.*30 labels", "id column"),
        ({"labels": np.eye(3)[Y].astype(int), "multi": True, "pred_probs": P * 2}, DataError, "outside", "expit"),
        (
            {"labels": np.eye(3)[Y].astype(int), "multi": True, "pred_probs": P[:, :2]},
            DataError,
            "shape",
            "per item and class",
        ),
    ],
)
def test_named_errors(arguments, error, found, fix):
    with pytest.raises(error, match=found) as caught:
        read(**arguments)
    assert fix in caught.value.fix


def test_warnings_say_what_to_know():
    certain = np.eye(3)[np.tile(Y, 10)] * 0.97 + 0.01
    with pytest.warns(LabelwrightWarning, match="implausibly perfect"):
        look_at_predictions(read(np.tile(Y, 10), certain), certain)
    flat = np.tile([0.5, 0.3, 0.2], (30, 1))
    with pytest.warns(LabelwrightWarning) as told:
        look_at_predictions(read(pred_probs=flat), flat)
    assert "no item is predicted as 1, 2" in str(told[0].message)
    assert "no more than always answering the commonest class" in str(told[1].message)
    weak = np.where(np.arange(30)[:, None] < 16, P, P[:, [1, 2, 0]])
    with pytest.warns(LabelwrightWarning, match="agree with only 53% of the labels"):
        look_at_predictions(read(pred_probs=weak), weak)
    with pytest.warns(LabelwrightWarning, match="label -1 is taken for a class"):
        read(np.where(Y == 2, -1, Y), None)
    with pytest.warns(LabelwrightWarning, match="fewer than 5 given labels .2"):
        read(np.r_[Y[Y < 2], 2], np.eye(3)[np.r_[Y[Y < 2], 2]] * 0.7 + 0.1)
    with pytest.warns(LabelwrightWarning, match="no given label .3"):
        read(pred_probs=np.c_[P, np.zeros(30)])


@pytest.mark.parametrize(
    "column",
    [
        Y,
        Y.tolist(),
        pd.Series(Y),
        pl.Series(Y),
        pa.array(Y),
        pd.Series(Y, dtype="Int64"),
        HardLabels(Y, LabelSpace(range(3))),
    ],
)
@pytest.mark.parametrize(
    "p",
    [
        P,
        P.astype(np.float16),
        pd.DataFrame(P),
        pl.DataFrame(P),
        pa.table({str(i): P[:, i] for i in range(3)}),
        P.tolist(),
    ],
)
def test_every_container_is_read(column, p):
    inputs = read(column, p)
    assert inputs.labels.ids.tolist() == Y.tolist() and np.allclose(inputs.pred_probs, P, atol=1e-3)
    assert inputs.items.tolist() == list(range(30))


NAMES = np.array(["ant", "bee", "cow"])


@pytest.mark.parametrize("pattern", ["{}", "p_{}", "prob.{}", "{} (%)", "p[{}]"])
@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame, pa.table, dict])
def test_named_columns_are_matched_by_name_not_by_position(pattern, frame):
    shuffled = {pattern.format(NAMES[c]): P[:, c] for c in (2, 0, 1)}
    inputs = read(NAMES[Y], frame(shuffled))
    assert np.allclose(inputs.pred_probs, P)
    wider = {pattern.format("dog"): np.zeros(30)} | shuffled
    with pytest.warns(LabelwrightWarning, match="no given label .'dog'"):
        inputs = read(NAMES[Y], frame(wider))
    assert np.allclose(inputs.pred_probs[:, [inputs.space.id_of(n) for n in NAMES]], P)


def test_numbered_columns_and_digit_names_go_by_number():
    y = np.arange(120) % 12
    p = np.eye(12)[y] * 0.4 + 0.05
    for labels in (y, y.astype(str)):
        assert np.allclose(read(labels, p).pred_probs, p)
        named = pd.DataFrame({f"p_{c}": p[:, c] for c in reversed(range(12))})
        assert np.allclose(read(labels, named).pred_probs, p)
    assert read(y.astype(str), p).space.classes[:3] == ("0", "1", "2")


def test_names_that_do_not_tell_are_noted():
    with pytest.warns(LabelwrightWarning, match="x = ant, y = bee"):
        inputs = read(NAMES[Y], pd.DataFrame(P, columns=["x", "y", "z"]))
    assert np.allclose(inputs.pred_probs, P)


def test_missing_labels_are_noted_not_refused():
    inputs = read([None, *Y[1:].tolist()])
    assert inputs.labels.ids[0] == -1 and "1 items have no label" in inputs.notes[0]


@pytest.mark.parametrize("y", [np.eye(3, dtype=int)[Y], csr_array(np.eye(3, dtype=int)[Y]), [[int(c)] for c in Y]])
def test_multi_labels_of_every_shape(y):
    inputs = read(y, multi=True)
    assert isinstance(inputs.labels, MultiLabels) and inputs.labels.dense().sum() == 30
