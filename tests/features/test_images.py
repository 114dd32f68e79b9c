import numpy as np
import pytest
from PIL import Image

from labelwright.errors import DataError
from labelwright.features.images import image_vectors
from labelwright.features.pred_probs import out_of_fold


def test_files_arrays_and_stacks_agree(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 50, 3), dtype=np.uint8)
    for i, p in enumerate(pixels):
        Image.fromarray(p).save(tmp_path / f"{i}.png")
    x = image_vectors(pixels)
    assert x.shape == (3, 888) and x.dtype == np.float32 and x.min() >= 0 and x.max() <= 1
    np.testing.assert_array_equal(x, image_vectors([tmp_path / f"{i}.png" for i in range(3)]))
    np.testing.assert_array_equal(x, image_vectors(list(pixels)))


def test_orientation_by_hand():
    # a vertical edge, dark left: every gradient points to the right, direction 0, in the cells that hold the edge
    picture = np.zeros((32, 32), np.uint8)
    picture[:, 18:] = 255
    x = image_vectors([picture])[0, : 49 * 12].reshape(7, 7, 12)
    used = x.any(axis=2)
    assert used[:, [3, 4]].all() and not used[:, [0, 1, 2, 5, 6]].any()
    assert (x[:, 3, 0] > 0.9).all() and (x[..., 1:] == 0).all()


def test_grey_is_rgb_with_equal_channels():
    grey = np.random.default_rng(1).integers(0, 256, (2, 28, 28), dtype=np.uint8)
    np.testing.assert_array_equal(image_vectors(grey), image_vectors(np.repeat(grey[..., None], 3, -1)))


def test_progress_is_told():
    seen = []
    image_vectors(np.zeros((300, 4, 4), np.uint8), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(256, 300), (300, 300)]


def test_bad_files_are_named(tmp_path):
    bad = tmp_path / "broken.png"
    bad.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"row 1: .*broken\.png.*repair or drop"):
        image_vectors([np.zeros((4, 4), np.uint8), bad])
    with pytest.raises(DataError, match=r"nowhere\.png"):
        image_vectors([tmp_path / "nowhere.png"])
    good = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(good)
    good.write_bytes(good.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"cut\.png"):
        image_vectors([good])
    with pytest.raises(DataError, match="float64.*convert to uint8"):
        image_vectors([np.zeros((4, 4))])


@pytest.mark.parametrize(("name", "least"), [("cifar10", 0.45), ("mnist", 0.94)])
def test_a_linear_model_reads_them(real_data, name, least):
    with np.load(real_data / name / "test.npz") as data:
        x, y = data["x"][:1500], data["y"][:1500].astype(int)
    p = out_of_fold(image_vectors(x), y, n_folds=3)
    assert (p.argmax(1) == y).mean() > least  # with 4,000 images: .58 and .977, see benchmarks
