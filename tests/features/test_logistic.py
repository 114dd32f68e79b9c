import numpy as np
from scipy.sparse import csr_matrix

from labelwright.features import logistic
from labelwright.features.logistic import Logistic, Scaler, held_out_loss, narrow


def test_dense_columns_are_standardised_and_rows_about_1_long():
    rng = np.random.default_rng(0)
    x = rng.normal(5, [1, 100, 0.01, 0], (500, 4))
    z = Scaler().fit(x)(x)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(0) * np.sqrt(3), [1, 1, 1, 0], atol=1e-5)  # 3 columns vary
    assert abs(np.sqrt((z**2).sum(1).mean()) - 1) < 1e-5


def test_sparse_zeros_stay_zeros():
    x = csr_matrix(np.array([[3.0, 0, 4], [0, 15, 0]], np.float32))
    z = Scaler().fit(x)(x)
    np.testing.assert_allclose(z.toarray(), np.array([[3, 0, 4], [0, 15, 0]]) / 10, rtol=1e-6)  # mean length 10
    assert z.dtype == np.float32


def test_noise_asks_for_a_smaller_c():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 30))
    clean, noise = (x[:, 0] > 0).astype(int), rng.integers(0, 2, 400)
    strong, weak = Logistic(0).fit(x, clean).model.C, Logistic(0).fit(x, noise).model.C
    assert strong == max(logistic.STRENGTHS) and weak == min(logistic.STRENGTHS)


def test_loss_of_the_classes_that_can_be_known():
    x, y = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1])
    assert held_out_loss(x, y, np.array([0, 1]), np.array([2, 3]), 1.0) == 0.0
    assert held_out_loss(x, y, np.array([0, 2]), np.array([1, 3]), 1.0) > 0.5


def test_wide_matrices_with_many_classes_are_narrowed():
    x = csr_matrix(np.random.default_rng(2).random((300, 400)) < 0.1, dtype=np.float32)
    assert narrow(x, 10, 0) is x
    assert narrow(x, 20_000, 0).shape == (300, 256)
