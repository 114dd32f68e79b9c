"""Teachers, their classes, their calibration and their mixture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.annotators import LoadedTeacher, learned_weights, load_teacher, map_classes, relabel
from labelwright.errors import DataError, LabelError, LabelwrightError, OptionError, ProbabilityError


def noisy(y, sharp, seed, k=3):
    """A teacher's answers: softmax of a noisy score that is `sharp` times too sure."""
    z = np.random.default_rng(seed).normal(size=(len(y), k)) + 2 * np.eye(k)[y]
    p = np.exp(sharp * z)
    return p / p.sum(1, keepdims=True)


def test_estimators_and_callables():
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).normal(size=(200, 2))
    y = np.where(x[:, 0] > 0, "b", "a")
    model = LogisticRegression().fit(x, y)
    found = relabel(x, model)
    assert list(found.labels.space.classes) == ["a", "b"]
    assert np.allclose(found.labels.dense(), model.predict_proba(x), atol=1e-5)
    again = relabel(x, lambda items: model.predict_proba(items), classes=["a", "b"], batch_size=7)
    assert np.allclose(found.labels.dense(), again.labels.dense(), atol=1e-6)


@pytest.mark.parametrize("kept", [False, True])
def test_a_teacher_may_write_its_next_answer_over_the_last(tmp_path, kept):
    from labelwright.store.crop_label_files import Parts

    said, buffer = np.random.default_rng(0).dirichlet(np.ones(3), 7).astype(np.float32), np.empty((2, 3), np.float32)

    def teacher(items):
        out = buffer[: len(items)]
        out[:] = said[items[:, 0].astype(int)]
        return out

    options = {"parts": Parts(tmp_path / "a", {}, 7, 2)} if kept else {}
    found = relabel(np.arange(7.0)[:, None], teacher, classes=range(3), batch_size=2, **options)
    np.testing.assert_allclose(found.labels.dense(), said, atol=1e-6)
    if kept:
        again = [part["p0"] for part in options["parts"].results(lambda items: 1 / 0)]  # all are there
        np.testing.assert_array_equal(np.concatenate(again), said)


def test_temperature_is_found_and_weights_favour_the_better():
    y = np.random.default_rng(0).integers(0, 3, 3000)
    good, blind = noisy(y, 3.0, 1), np.full((3000, 3), 1 / 3)
    known = np.where(np.arange(3000) < 1500, y, -1)
    teachers = [LoadedTeacher("good", _by_number(good)), LoadedTeacher("blind", _by_number(blind))]
    found = relabel(
        np.arange(3000.0)[:, None], teachers, labels=known, classes=range(3), ensemble="learned", batch_size=500
    )
    p = found.labels.dense()[1500:]
    assert found.temperatures[0] == pytest.approx(1.5, rel=0.15)  # the score's own is 3 / 2
    assert found.weights[0] > 0.9
    nll = -np.log(p[np.arange(1500), y[1500:]]).mean()
    assert nll < -np.log(good[1500:][np.arange(1500), y[1500:]]).mean()
    assert found.accuracy[0] > found.accuracy[1]


def _by_number(p):
    return lambda items: p[np.asarray(items)[:, 0].astype(int)]


def test_few_labels_fit_nothing():
    y = np.arange(60) % 3
    p = noisy(y, 3.0, 1)
    found = relabel(
        np.arange(60.0)[:, None], _by_number(p), labels=np.where(np.arange(60) < 49, y, -1), classes=range(3)
    )
    assert found.temperatures.tolist() == [1.0] and "at least 50" in found.notes[0]


def test_learned_weights_against_a_grid():
    y = np.random.default_rng(3).integers(0, 3, 400)
    p = np.stack([noisy(y, 1.0, 4), noisy(y, 0.3, 5)])
    weights = learned_weights(p, y)
    own = p[:, np.arange(400), y]

    def objective(a):
        return np.log(a * own[0] + (1 - a) * own[1]).sum() + np.log(a) + np.log(1 - a)  # a pseudo-item each

    grid = np.linspace(0.001, 0.999, 999)
    assert weights[0] == pytest.approx(grid[np.argmax([objective(a) for a in grid])], abs=0.002)


@settings(max_examples=30, deadline=None)
@given(st.permutations(["a", "b", "c", "d"]), st.integers(0, 99))
def test_classes_go_by_name_whatever_their_order(order, seed):
    p = np.random.default_rng(seed).dirichlet(np.ones(4), 5)
    moved = map_classes(p[:, [["a", "b", "c", "d"].index(c) for c in order]], order, ["a", "b", "c", "d"])
    assert np.allclose(moved, p, atol=1e-6)


def test_class_maps_add_up_and_drop():
    p = np.array([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]])
    out = map_classes(p, ["kitten", "cat", "car"], ["cat"], mapping={"kitten": "cat", "car": None})
    assert out[0, 0] == 1 and np.isnan(out[1, 0])
    found = relabel(np.arange(2.0)[:, None], LoadedTeacher("t", lambda _: p, ("kitten", "cat", "car")), classes=["cat", "dog"],
                    class_map={"kitten": "cat", "cat": "dog", "car": None})  # fmt: skip
    assert found.labels.known.tolist() == [True, False]


def test_onnx(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper

    weight = helper.make_tensor("w", TensorProto.FLOAT, [2, 2], [1.0, 0.0, 0.0, 1.0])
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["z"])], "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 2])],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, ["n", 2])], [weight],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, tmp_path / "t.onnx")
    (tmp_path / "t.classes.json").write_text('["no", "yes"]')
    teacher = load_teacher(tmp_path / "t.onnx")
    x = np.array([[0.0, 2.0], [1.0, 1.0]])
    assert teacher.classes == ("no", "yes")
    assert np.allclose(teacher.predict(x), np.exp(x) / np.exp(x).sum(1, keepdims=True))
    with pytest.raises(DataError, match="vectors, one row per item"):
        teacher.predict(np.zeros((2, 2, 2)))
    with pytest.raises(OptionError, match="device='cpu'"):
        load_teacher(tmp_path / "t.onnx", device="tpu")


def test_transformers_text(tmp_path):
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    config = transformers.BertConfig(
        vocab_size=7, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
        id2label={0: "neg", 1: "pos"},
    )  # fmt: skip
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "m")
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "m")
    found = relabel(["good", "bad good"], tmp_path / "m")
    assert list(found.labels.space.classes) == ["neg", "pos"]
    with pytest.raises(OptionError, match="another teacher"):
        relabel(np.zeros((2, 3)), tmp_path / "m")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x: relabel(x, "nowhere"), DataError, "no teacher at nowhere"),
        (lambda x: relabel(x, "nowhere.onnx"), DataError, "no file"),
        (lambda x: relabel(x, "no_module_of_mine:f"), DataError, "module:function"),
        (lambda x: relabel(x, lambda _: np.full((3, 2), 0.5)), LabelError, "pass classes"),
        (lambda x: relabel(x, lambda _: np.full((2, 2), 0.5), classes=["a", "b"]), DataError, "one row per item"),
        (lambda x: relabel(x, lambda _: np.full((3, 2), 0.9), classes=["a", "b"]), ProbabilityError, "sum"),
        (lambda x: relabel(x, lambda _: np.full((3, 2), 0.5), classes=["a", "b", "c"]), LabelError, "a column per class"),
        (lambda x: relabel(x, LoadedTeacher("t", lambda _: np.eye(2)[[0, 1, 1]], "xb"), classes="ab"), LabelError, "class_map"),
        (lambda x: relabel(x[:0], lambda _: x), DataError, "no items"),
        (lambda x: relabel(x, lambda _: np.full((3, 2), 0.5), classes="ab", ensemble=[1, 2]), OptionError, "one of at least 0"),
        (lambda x: relabel(x, lambda _: np.full((3, 2), 0.5), classes="ab", ensemble="best"), OptionError, "learned"),
        (lambda x: relabel(x, lambda _: np.full((3, 2), 0.5), classes="ab", temperature=0.0), OptionError, "above 0"),
        (lambda x: relabel(x, lambda _: np.full((3, 2), 0.5), classes="ab", labels=[0]), LabelError, "match labels and items"),
        (lambda x: map_classes([[0.5, 0.5]], ["a"], ["a"]), LabelError, "one name per column"),
    ],
)  # fmt: skip
def test_mistakes(call, error, message):
    with pytest.raises(error) as told:
        call(np.zeros((3, 2)))
    assert message in str(told.value) and isinstance(told.value, LabelwrightError)


def test_classes_are_checked_before_anybody_is_asked():
    def never(items):
        raise AssertionError("asked")

    with pytest.raises(LabelError, match="class_map"):
        relabel(np.zeros((3, 2)), LoadedTeacher("t", never, ("x", "y")), classes="ab")
