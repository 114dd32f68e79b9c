import numpy as np
import pytest

from labelwright.errors import LabelError, ProbabilityError
from labelwright.labels import check_class_ids, check_pred_probs

P = np.array([[0.7, 0.3], [0.2, 0.8], [0.5, 0.5]])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_good_probabilities_pass_without_a_copy(dtype):
    p = P.astype(dtype)
    assert check_pred_probs(p, n_items=3, n_classes=2) is p


def test_small_errors_are_rounding():
    assert check_pred_probs(P * 1.00005) is not None


def spoilt(row, value):
    p = P.copy()
    p[row] = value
    return p


@pytest.mark.parametrize(
    ("p", "found", "fix"),
    [
        (spoilt(1, np.nan), "1 rows .*row 1", "predict them again"),
        (spoilt(2, [np.inf, 0]), "row 2", "predict them again"),
        (spoilt(2, [0.5, 0.4]), "row 2 .sum 0.9", "keepdims"),
        (spoilt(0, [2.0, -1.0]), "row 0", "softmax"),
        (np.array([0.5, 0.5]), "shape", "column_stack"),
        (np.array([["a", "b"]]), "dtype", "column_stack"),
        (np.empty((3, 0)), "shape", "column_stack"),
    ],
)
def test_bad_probabilities(p, found, fix):
    with pytest.raises(ProbabilityError, match=found) as error:
        check_pred_probs(p)
    assert fix in str(error.value)


def test_the_row_number_counts_from_the_start_of_the_array_not_of_the_chunk():
    big = np.full((1 << 20, 8), 1 / 8, dtype=np.float32)
    big[-1] = 1
    with pytest.raises(ProbabilityError, match=f"row {len(big) - 1} "):
        check_pred_probs(big)


def test_sizes():
    with pytest.raises(ProbabilityError, match="predict for every item"):
        check_pred_probs(P, n_items=4)
    with pytest.raises(ProbabilityError, match="in column order"):
        check_pred_probs(P, n_classes=3)
    with pytest.raises(LabelError, match="labels of the same rows"):
        check_class_ids([0, 1], 2, n_items=3)
