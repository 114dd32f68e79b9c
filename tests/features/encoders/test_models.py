"""Encoders of real model folders: tiny models that are built here, against bare loops over the same models."""

import json
import pickle

import numpy as np
import pytest
from PIL import Image

from labelwright.errors import DataError, OptionError
from labelwright.features import item_vectors
from labelwright.features.encoders import encoded, load_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "a", "dog", "cat", "runs", "sleeps", "on", "mat", "red", "car"]
TEXTS = [
    "the dog runs",
    "",
    "a red car on the mat",
    "cat",
    "the dog runs",
    "a a a a a a a a a a a a a a a a a a a a a a a a",
]
PICTURES = [np.random.default_rng(i).integers(0, 256, (30 + i, 41 - 3 * i, 3), dtype=np.uint8) for i in range(5)]


def have(*names):
    """The modules; the test is skipped where one is missing. torch runs on one thread."""
    found = [pytest.importorskip(name) for name in names]
    for module in found:
        if module.__name__ == "torch":
            module.set_num_threads(1)
            module.manual_seed(0)
    return found if len(found) > 1 else found[0]


def save_tokenizer(folder):
    have("tokenizers")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    tokenizer = Tokenizer(models.WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]", "model_max_length": 16}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def save_images(folder, size=16, **more):
    config = {"size": {"height": size, "width": size}, "image_mean": [0.4] * 3, "image_std": [0.3] * 3, **more}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))


SMALL = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}


@pytest.fixture
def bert(tmp_path):
    """(folder, model) of a tiny BERT."""
    _, transformers = have("torch", "transformers")
    model = transformers.BertModel(transformers.BertConfig(vocab_size=len(WORDS), **SMALL)).eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    return tmp_path, model


def ids_of(text, most=16):
    return [2, *[WORDS.index(w) for w in text.split()][: most - 2], 3]


def hidden_of(model, text):
    """(T, 16) float64, one text at a time, no padding."""
    import torch

    with torch.inference_mode():
        return model(input_ids=torch.tensor([ids_of(text)])).last_hidden_state[0].double().numpy()


POOL = {
    "mean_tokens": lambda h: np.array([sum(row[d] for row in h) / len(h) for d in range(h.shape[1])]),
    "max_tokens": lambda h: h.max(0),
    "cls_token": lambda h: h[0],
    "lasttoken": lambda h: h[-1],
}


@pytest.mark.parametrize("pooling", POOL)
@pytest.mark.parametrize("unit", [False, True])
def test_texts_are_pooled_as_the_folder_says(bert, pooling, unit):
    folder, model = bert
    modules = ["Transformer", "Pooling"] + ["Normalize"] * unit
    parts = [
        {"type": f"sentence_transformers.models.{m}", "path": f"{i}_{m}" if i else ""} for i, m in enumerate(modules)
    ]
    (folder / "modules.json").write_text(json.dumps(parts))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({f"pooling_mode_{pooling}": True}))
    expected = np.array([POOL[pooling](hidden_of(model, text)) for text in TEXTS])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True) if unit else 1
    found = load_encoder(folder)
    assert found.kind == "text"
    np.testing.assert_allclose(found.encode(TEXTS, batch_size=2), expected, atol=1e-6)
    np.testing.assert_allclose(found.encode(TEXTS), expected, atol=1e-6)


def test_a_plain_folder_is_pooled_by_the_mean(bert, tmp_path):
    folder, model = bert
    expected = np.array([POOL["mean_tokens"](hidden_of(model, text)) for text in TEXTS])
    encoder = load_encoder(folder)
    np.testing.assert_allclose(encoded(encoder, TEXTS, cache=tmp_path), expected, atol=1e-6)
    np.testing.assert_allclose(item_vectors(TEXTS, encoder=str(folder)).model, expected, atol=1e-6)
    assert encoder.dim == 16
    import torch

    threads = torch.get_num_threads()
    assert threads == 1  # as it was set


def test_the_fingerprint_names_weights_pooling_and_tokens(bert):
    folder, model = bert
    marks = [load_encoder(folder).fingerprint]
    assert load_encoder(str(folder)).fingerprint == marks[0]
    import torch

    with torch.no_grad():
        model.embeddings.word_embeddings.weight[4] += 1e-3
    model.save_pretrained(folder)
    marks.append(load_encoder(folder).fingerprint)
    (folder / "tokenizer_config.json").write_text(json.dumps({"pad_token": "[PAD]", "model_max_length": 8}))
    marks.append(load_encoder(folder).fingerprint)
    (folder / "modules.json").write_text('[{"type": "x.Normalize", "path": ""}]')
    marks.append(load_encoder(folder).fingerprint)
    assert len(set(marks)) == 4


def test_the_other_kind_is_refused(bert):
    folder, _ = bert
    with pytest.raises(OptionError, match="encodes texts, for images"):
        load_encoder(folder, kind="image")
    with pytest.raises(OptionError, match="encodes texts, for images"):
        item_vectors(PICTURES, encoder=folder)


def test_code_in_a_folder_is_never_run(bert):
    folder, _ = bert
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "of_our_own", "auto_map": {"AutoConfig": "own.C", "AutoModel": "own.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text("raise SystemExit('the code was run')")
    with pytest.raises(DataError, match="cannot be used as an encoder"):
        load_encoder(folder).encode(["a"])


class Harm:
    def __reduce__(self):
        return (open, ("/dev/null",))


def test_pickled_objects_are_never_loaded(bert):
    torch = have("torch")
    folder, model = bert
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    expected = hidden_of(model, "cat").mean(0)
    np.testing.assert_allclose(load_encoder(folder).encode(["cat"])[0], expected, atol=1e-6)  # plain weights are fine
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"weights": Harm()}, protocol=2))
    with pytest.raises(DataError, match="cannot be used as an encoder"):
        load_encoder(folder).encode(["cat"])


def test_weights_that_are_not_there_are_not_invented(bert):
    safetensors = have("safetensors.torch")
    folder, _ = bert
    weights = safetensors.load_file(folder / "model.safetensors")
    pooler = {k: v for k, v in weights.items() if "pooler" not in k}  # asked for by nobody
    safetensors.save_file(pooler, folder / "model.safetensors", metadata={"format": "pt"})
    load_encoder(folder).encode(["cat"])
    less = {k: v for k, v in pooler.items() if "attention" not in k}
    safetensors.save_file(less, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(DataError, match="weights are not in its file"):
        load_encoder(folder).encode(["cat"])
    (folder / "model.safetensors").write_bytes(b"\0" * 100)
    with pytest.raises(DataError, match="cannot be used as an encoder"):
        load_encoder(folder).encode(["cat"])


# --- images --------------------------------------------------------------------------------------------------------


def bare_pixels(picture, size=16):
    scaled = np.asarray(Image.fromarray(picture).resize((size, size), Image.Resampling.BILINEAR)) / 255
    return ((scaled - 0.4) / 0.3).transpose(2, 0, 1).astype(np.float32)


def bare_images(model, pool):
    import torch

    with torch.inference_mode():
        outputs = [model(pixel_values=torch.from_numpy(bare_pixels(p))[None]) for p in PICTURES]
    return np.array([pool(out).double().numpy().reshape(-1) for out in outputs])


def image_models():
    """Name -> (class, class of its config, options, what stands for a picture)."""
    small = SMALL | {"image_size": 16, "patch_size": 4}
    stages = {"depths": [1, 1], "image_size": 16}
    return {
        "ViT": ("ViTModel", "ViTConfig", small, lambda out: out.pooler_output),
        "ViT without pooler": ("ViTForImageClassification", "ViTConfig", small, lambda out: out.last_hidden_state[:, 0]),
        "DINOv2": ("Dinov2Model", "Dinov2Config", small, lambda out: out.last_hidden_state[:, 0]),
        "Swin": ("SwinModel", "SwinConfig", {**stages, "embed_dim": 8, "num_heads": [1, 2], "patch_size": 2, "window_size": 2},
                 lambda out: out.last_hidden_state.mean(1)),
        "ResNet": ("ResNetModel", "ResNetConfig", {"hidden_sizes": [8, 8], "depths": [1, 1], "embedding_size": 8},
                   lambda out: out.last_hidden_state.mean((2, 3))),
        "ConvNeXt": ("ConvNextModel", "ConvNextConfig", {"hidden_sizes": [8, 8], "depths": [1, 1], "num_stages": 2},
                     lambda out: out.pooler_output),
    }  # fmt: skip


@pytest.mark.parametrize("name", list(image_models()))
def test_pictures_are_pooled_as_the_model_does(tmp_path, name):
    _, transformers = have("torch", "transformers")
    kind, config, options, pool = image_models()[name]
    model = getattr(transformers, kind)(getattr(transformers, config)(**options)).eval()
    model.save_pretrained(tmp_path)
    save_images(tmp_path)
    body = getattr(model, model.base_model_prefix, model) if "Classification" in kind else model
    paths = [tmp_path / f"{i}.png" for i in range(len(PICTURES))]
    for path, picture in zip(paths, PICTURES):
        Image.fromarray(picture).save(path)
    encoder = load_encoder(tmp_path)
    assert encoder.kind == "image"
    np.testing.assert_allclose(encoder.encode(paths, batch_size=2), bare_images(body, pool), atol=2e-6)
    np.testing.assert_array_equal(encoder.encode(paths), load_encoder(tmp_path).encode(PICTURES))
    with pytest.raises(OptionError, match="encodes images, for texts"):
        load_encoder(tmp_path, kind="text")


@pytest.mark.parametrize(
    "processor",
    [
        ("ViTImageProcessorPil", {"size": {"height": 20, "width": 24}, "resample": 3}),
        ("CLIPImageProcessorPil", {"size": {"shortest_edge": 24}, "crop_size": {"height": 20, "width": 20}}),
        ("ConvNextImageProcessorPil", {"size": {"shortest_edge": 24}, "crop_pct": 0.8}),
    ],
)
def test_our_pixels_are_those_of_transformers(tmp_path, processor):
    transformers = have("transformers")
    kind, options = processor
    if not hasattr(transformers, kind):
        pytest.skip(f"this version of transformers has no {kind}")
    theirs = getattr(transformers, kind)(**options)
    theirs.save_pretrained(tmp_path)
    from labelwright.features.encoders.pixels import image_settings

    ours = image_settings(tmp_path)
    for row, picture in enumerate(PICTURES):
        found = ours.batch([ours.pixels(picture, row)])
        expected = theirs(Image.fromarray(picture), return_tensors="np")["pixel_values"]
        np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize("family", ["CLIP", "Siglip"])
def test_a_model_of_both_kinds_has_to_be_told(tmp_path, family):
    torch, transformers = have("torch", "transformers")
    text = SMALL | {"vocab_size": len(WORDS), "max_position_embeddings": 16, "eos_token_id": 3, "pad_token_id": 0}
    vision = SMALL | {"image_size": 16, "patch_size": 4}
    config = getattr(transformers, f"{family}Config")(text_config=text, vision_config=vision, projection_dim=8)
    model = getattr(transformers, f"{family}Model")(config).eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    save_images(tmp_path)
    with pytest.raises(OptionError, match="kind='text' or kind='image'"):
        load_encoder(tmp_path)
    with torch.inference_mode():
        out = model.get_image_features(pixel_values=torch.from_numpy(np.stack([bare_pixels(p) for p in PICTURES])))
        images = getattr(out, "pooler_output", out).numpy()
        rows = []
        for text in TEXTS:
            ids = ids_of(text)
            ids += [0] * (16 - len(ids)) if family == "Siglip" else []
            out = model.get_text_features(input_ids=torch.tensor([ids]))
            rows.append(getattr(out, "pooler_output", out)[0].numpy())
    np.testing.assert_allclose(load_encoder(tmp_path, kind="image").encode(PICTURES), images, atol=1e-6)
    np.testing.assert_allclose(load_encoder(tmp_path, kind="text").encode(TEXTS), np.array(rows), atol=1e-6)
    assert load_encoder(tmp_path, kind="text").fingerprint != load_encoder(tmp_path, kind="image").fingerprint
    assert item_vectors(PICTURES, encoder=tmp_path).kind == "image"


def test_a_model_with_a_decoder_is_read_by_its_encoder(tmp_path):
    torch, transformers = have("torch", "transformers")
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    model = transformers.T5Model(transformers.T5Config(vocab_size=len(WORDS), **sizes)).eval()
    model.save_pretrained(tmp_path)
    save_tokenizer(tmp_path)
    with torch.inference_mode():
        bare = [model.encoder(input_ids=torch.tensor([ids_of(t)])).last_hidden_state[0].mean(0).numpy() for t in TEXTS]
    np.testing.assert_allclose(load_encoder(tmp_path).encode(TEXTS), np.array(bare), atol=1e-6)


# --- ONNX ----------------------------------------------------------------------------------------------------------


def save_graph(path, nodes, inputs, output, constants=()):
    onnx = have("onnx")
    from onnx import TensorProto, helper, numpy_helper

    types = {"int": TensorProto.INT64, "float": TensorProto.FLOAT}
    graph = helper.make_graph(
        [helper.make_node(*node[:3], **(node[3] if len(node) > 3 else {})) for node in nodes],
        "tiny",
        [helper.make_tensor_value_info(name, types[kind], shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants],
    )
    path.parent.mkdir(exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


TABLE = np.random.default_rng(0).normal(size=(len(WORDS), 6)).astype(np.float32)


def save_text_graph(path, batch="batch", length="length"):
    """last_hidden_state = table[input_ids]; the mask is an input, as exporters make it."""
    inputs = [("input_ids", "int", [batch, length]), ("attention_mask", "int", [batch, length])]
    nodes = [
        ("Gather", ["table", "input_ids"], ["last_hidden_state"]),
        ("Identity", ["attention_mask"], ["unused"]),
    ]
    save_graph(path, nodes, inputs, "last_hidden_state", [("table", TABLE)])


@pytest.mark.parametrize(("batch", "length"), [("batch", "length"), (1, "length"), (4, 16)])
def test_onnx_texts(tmp_path, batch, length):
    have("onnxruntime", "onnx", "tokenizers")
    save_tokenizer(tmp_path)
    save_text_graph(tmp_path / "onnx" / "model.onnx", batch, length)
    expected = np.array([TABLE[ids_of(text)].mean(0) for text in TEXTS])
    for where in (tmp_path, tmp_path / "onnx" / "model.onnx"):
        encoder = load_encoder(where)
        np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-6)
        assert encoder.kind == "text" and encoder.dim == 6


def test_onnx_pictures(tmp_path):
    have("onnxruntime", "onnx")
    save_images(tmp_path)
    save_graph(tmp_path / "m.onnx", [("Sin", ["x"], ["y"])], [("x", "float", ["n", 3, 16, 16])], "y")
    expected = [np.sin(bare_pixels(p)).mean((1, 2)) for p in PICTURES]
    np.testing.assert_allclose(load_encoder(tmp_path).encode(PICTURES), expected, atol=1e-6)
    with pytest.raises(OptionError, match="encodes images, for texts"):
        item_vectors(TEXTS, encoder=tmp_path / "m.onnx")


def test_onnx_files_that_cannot_be_used(tmp_path):
    have("onnxruntime", "onnx", "tokenizers")
    save_text_graph(tmp_path / "a.onnx")
    with pytest.raises(DataError, match="neither a tokenizer nor.*save_pretrained"):
        load_encoder(tmp_path / "a.onnx")
    save_tokenizer(tmp_path)
    save_text_graph(tmp_path / "b.onnx")
    with pytest.raises(DataError, match=r"2 \.onnx files.*name the file itself"):
        load_encoder(tmp_path)
    save_graph(tmp_path / "a.onnx", [("Sin", ["x"], ["y"])], [("x", "float", ["n", 3])], "y")
    with pytest.raises(DataError, match="inputs x where input_ids"):
        load_encoder(tmp_path / "a.onnx").encode(["a"])
    (tmp_path / "b.onnx").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"b\.onnx, which cannot be used"):
        load_encoder(tmp_path / "b.onnx").encode(["a"])
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(DataError, match=r"no tokenizer\.json"):
        load_encoder(tmp_path / "b.onnx")
