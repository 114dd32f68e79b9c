"""From files to a model and back: the commands relabel, train and evaluate."""

from __future__ import annotations

import json
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from labelwright.annotators.relabelling_files import relabel_file
from labelwright.errors import DataError, LabelError, LabelwrightError, OptionError
from labelwright.labels import HardLabels, LabelSpace, SoftLabels
from labelwright.learning import TrainedModel
from labelwright.learning.files import evaluate_file, in_classes, predict_file, train_file
from labelwright.learning.readers import Reader
from labelwright.store import Repository, open_soft_labels


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def reviews(tmp_path):
    """A text file whose label is told by one word."""
    rng = np.random.default_rng(0)
    words = np.array(["the", "a", "film", "plot", "music", "actor", "scene", "story", "end", "time"])
    y = rng.integers(0, 2, 300)
    texts = [" ".join([*rng.choice(words, 3), ["awful", "great"][c]]) for c in y]
    pq.write_table(pa.table({"text": texts, "label": np.array(["bad", "good"])[y]}), tmp_path / "reviews.parquet")
    return tmp_path / "reviews.parquet"


@pytest.fixture
def pictures(tmp_path):
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("dark", "light"):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for i in range(20):
            pixels = rng.integers(0, 120, (20, 16, 3)) + (120 if name == "light" else 0)
            Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / name / f"{i}.png")
    return tmp_path / "pictures"


def test_texts_from_file_to_model_and_back(reviews, tmp_path):
    done = train_file(reviews, out=tmp_path / "m", changes={"epochs": 40}, valid=0.2)
    assert done.held_out.figures["accuracy"].value > 0.95
    assert json.loads((tmp_path / "m" / "held_out.json").read_text())["items"] == 60
    page = (tmp_path / "m" / "report.html").read_text()
    assert page.count("<svg") == 3 and "<script" not in page and "soft_cross_entropy" in page
    again = evaluate_file(tmp_path / "m", reviews)
    assert again.n == 300 and again.figures["accuracy"].value > 0.95
    keys, p, space = predict_file(tmp_path / "m", reviews)
    assert len(set(keys)) == 300 and p.shape == (300, 2) and list(space.classes) == ["bad", "good"]
    with pytest.raises(DataError, match="finished model"):
        train_file(reviews, out=tmp_path / "m")


def test_pixels(pictures, tmp_path):
    done = train_file(pictures, out=tmp_path / "m", size=8, changes={"epochs": 30, "batch_size": 8}, valid=0.25)
    assert done.reader.kind == "pixels" and done.held_out.figures["accuracy"].value == 1.0
    assert evaluate_file(tmp_path / "m", pictures).n == 40


def test_tables_and_vectors(tmp_path):
    rng = np.random.default_rng(0)
    age, town = rng.normal(40, 10, 200), rng.choice(["Ulm", "Rom"], 200)
    y = np.where((age > 40) == (town == "Ulm"), "yes", "no")
    pq.write_table(pa.table({"age": age, "town": town, "label": y}), tmp_path / "t.parquet")
    done = train_file(tmp_path / "t.parquet", label="label", out=tmp_path / "m", changes={"epochs": 60}, valid=0.25)
    assert done.reader.kind == "table" and done.held_out.figures["accuracy"].value > 0.85
    other = pa.table({"age": age, "label": y})
    pq.write_table(other, tmp_path / "other.parquet")
    with pytest.raises(DataError, match="a table without 'town'"):
        evaluate_file(tmp_path / "m", tmp_path / "other.parquet", label="label")
    np.save(tmp_path / "x.npy", rng.normal(size=(200, 4)))
    done = train_file(
        tmp_path / "t.parquet",
        label="label",
        features=str(tmp_path / "x.npy"),
        out=tmp_path / "v",
        changes={"epochs": 2},
    )
    assert done.reader.kind == "vectors"
    with pytest.raises(DataError, match="items read from table for a model of vectors"):
        evaluate_file(tmp_path / "v", tmp_path / "t.parquet", label="label")
    np.save(tmp_path / "short.npy", rng.normal(size=(20, 4)))
    with pytest.raises(DataError, match="20 rows of features for 200 items"):
        train_file(tmp_path / "t.parquet", label="label", features=str(tmp_path / "short.npy"), out=tmp_path / "w")


def test_several_classes_per_item(tmp_path):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 2)).astype(np.float32)
    sets = [[c for c, v in zip("ab", row) if v > 0] for row in x]
    np.save(tmp_path / "x.npy", x)
    pq.write_table(pa.table({"id": np.arange(300), "tags": sets}), tmp_path / "t.parquet")
    done = train_file(
        tmp_path / "t.parquet", label="tags", multi=True, features=str(tmp_path / "x.npy"), out=tmp_path / "m",
        changes={"epochs": 30, "optimizer": {"adam": {"lr": 0.1}}}, student="linear", valid=0.2,
    )  # fmt: skip
    assert done.model.multi_label and done.held_out.figures["map"].value > 0.95


def test_a_repository_feeds_training(reviews, tmp_path):
    from labelwright.auditing import audit_file

    found = audit_file(reviews, out=tmp_path / "reviews.labels")
    assert found.repository.path.name == "reviews.labels"
    done = train_file(tmp_path / "reviews.labels", out=tmp_path / "m", changes={"epochs": 40})
    assert "commit 1" in done.told[0] and done.held_out.figures["accuracy"].value > 0.9
    with pytest.raises(LabelwrightError, match="relabel"):
        train_file(tmp_path / "reviews.labels", labels="relabel", out=tmp_path / "n")
    table = pq.read_table(reviews).rename_columns(["words", "label"])
    pq.write_table(table.append_column("key", pa.array([f"n{i}" for i in range(300)])), tmp_path / "other.parquet")
    with pytest.raises(LabelwrightError, match="no label in reviews.labels for any of the 300 items of other.parquet"):
        train_file(
            tmp_path / "reviews.labels", data=tmp_path / "other.parquet", text="words", id="key", out=tmp_path / "n"
        )
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "reviews.labels").rename(tmp_path / "elsewhere" / "reviews.labels")
    with pytest.raises(DataError, match="pass it with --data"):
        train_file(tmp_path / "elsewhere" / "reviews.labels", out=tmp_path / "n")


def test_relabel_then_train(reviews, tmp_path):
    train_file(reviews, out=tmp_path / "teacher", changes={"epochs": 40}, valid=0)
    done = relabel_file(reviews, [tmp_path / "teacher"], out=tmp_path / "r.labels", label="label", batch_size=64)
    assert done.result.accuracy[0] > 0.95 and "calibrated" in done.result.notes[0]
    stored = open_soft_labels(done.path)
    assert len(stored) == 300 and stored.head["provenance"]["teacher"] == "teacher"
    repo = Repository.open(tmp_path / "r.labels")
    assert set(repo.events()["kind"].to_pylist()) == {"suggestion"} and repo.events().num_rows == 300
    assert repo.labels().num_rows == 0  # a teacher suggests; only people and files settle
    with pytest.raises(LabelwrightError, match="holds those of teachers.*--labels relabel"):
        train_file(tmp_path / "r.labels", data=reviews, out=tmp_path / "none")
    student = train_file(
        tmp_path / "r.labels", data=reviews, labels="relabel", out=tmp_path / "student", changes={"epochs": 40}
    )
    assert student.held_out.figures["accuracy"].value > 0.95
    second = relabel_file(reviews, [tmp_path / "teacher"], out=tmp_path / "r.labels", topk=1)
    assert second.path.name == "0002.soft" and "not calibrated" in second.result.notes[0]


def test_relabel_goes_on_where_it_died(reviews, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_teacher.py").write_text(
        "import numpy as np\ncalls = []\nfail = True\n"
        "def predict(texts):\n"
        "    calls.append(len(texts))\n"
        "    if fail and len(calls) == 3: raise KeyboardInterrupt\n"
        "    return np.array([[.9, .1] if 'awful' in t else [.2, .8] for t in texts])\n"
        "predict.classes = ('bad', 'good')\n"
    )
    with pytest.raises(KeyboardInterrupt):
        relabel_file(reviews, ["own_teacher:predict"], out=tmp_path / "r.labels", batch_size=100)
    sys.modules["own_teacher"].fail = False
    done = relabel_file(reviews, ["own_teacher:predict"], out=tmp_path / "r.labels", batch_size=100)
    assert sys.modules["own_teacher"].calls == [100, 100, 100, 100]  # two kept, one lost, one new
    assert set(np.round(done.result.labels.dense()[:, 0], 3)) <= {0.9, 0.2, np.float32(0.9), np.float32(0.2)}
    del sys.modules["own_teacher"]


def test_maps_and_crops_of_pictures(pictures, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        num_channels=3, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=2,
        id2label={0: "dark", 1: "light"}, label2id={"dark": 0, "light": 1},
    )  # fmt: skip
    torch.manual_seed(0)
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "net")
    transformers.ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "net")
    maps = relabel_file(
        pictures, [tmp_path / "net"], regions=True, size=64, topk=2, out=tmp_path / "a.labels", batch_size=16
    )
    from labelwright.store.label_map_files import open_label_maps

    assert len(open_label_maps(maps.path)) == 40
    crops = relabel_file(pictures, [tmp_path / "net"], crops=3, topk=2, out=tmp_path / "a.labels", batch_size=16)
    assert len(open_soft_labels(crops.path)) == 120 and crops.path.name == "0002.crops"
    plain = relabel_file(pictures, [tmp_path / "net"], out=tmp_path / "a.labels")
    assert plain.result.labels.dense().shape == (40, 2)
    with pytest.raises(OptionError, match="one of both"):
        relabel_file(pictures, [tmp_path / "net"], regions=True, crops=2, out=tmp_path / "a.labels")
    with pytest.raises(OptionError, match="one network"):
        relabel_file(pictures, [lambda x: np.full((len(x), 2), 0.5)], regions=True, out=tmp_path / "a.labels")


def test_classes_go_by_name():
    labels = HardLabels(np.array([0, 1, -1]), LabelSpace(["b", "a"]))
    assert in_classes(labels, LabelSpace(["a", "b", "c"])).ids.tolist() == [1, 0, -1]
    soft = SoftLabels.from_dense([[0.9, 0.1]], LabelSpace(["b", "a"]))
    assert in_classes(soft, LabelSpace(["a", "b", "c"])).dense()[0] == pytest.approx([0.1, 0.9, 0])
    with pytest.raises(LabelError, match="rename them"):
        in_classes(labels, LabelSpace(["a", "bb"]))


def test_reader_kinds_are_checked():
    with pytest.raises(OptionError, match="reader"):
        Reader("sounds", {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"valid": 1.5}, "valid=0.1"),
        ({"labels": "3"}, "a repository NAME.labels"),
        ({"recipe": "plian"}, "plain"),
        ({"student": "cnn"}, "use the student 'mlp'"),
        ({"encoder": "nowhere"}, "nowhere"),
        ({"label": "lable"}, "label"),
    ],
)
def test_mistakes_before_training(reviews, tmp_path, options, message):
    with pytest.raises(LabelwrightError) as told:
        train_file(reviews, out=tmp_path / "m", **options)
    assert message in str(told.value)
    assert not (tmp_path / "m" / "model.json").exists()


def test_a_model_trained_on_arrays_reads_no_files(reviews, tmp_path):
    from labelwright.learning import train

    train(np.eye(4, dtype=np.float32), np.arange(4) % 2, epochs=1, out=tmp_path / "m")
    assert TrainedModel.load(tmp_path / "m").space
    with pytest.raises(DataError, match="trained on arrays"):
        evaluate_file(tmp_path / "m", reviews)


def test_a_pretrained_student(reviews, tmp_path):
    transformers = pytest.importorskip("transformers")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = [*special, "the", "a", "film", "plot", "music", "actor", "scene", "story", "end", "time", "awful", "great"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    config = transformers.BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=5,
    )
    torch.manual_seed(0)
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path / "bert")  # a head of other classes
    transformers.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path / "bert")
    done = train_file(
        reviews, student=str(tmp_path / "bert"), out=tmp_path / "m", valid=0.2,
        changes={"epochs": 15, "batch_size": 16, "optimizer": {"adamw": {"lr": 5e-3}}},
    )  # fmt: skip
    assert done.reader.kind == "tokens" and done.held_out.figures["accuracy"].value > 0.9
    assert evaluate_file(tmp_path / "m", reviews).figures["accuracy"].value > 0.9
    np.save(tmp_path / "x.npy", np.zeros((300, 2)))
    with pytest.raises(OptionError, match="take the student mlp"):
        train_file(reviews, features=str(tmp_path / "x.npy"), student=str(tmp_path / "bert"), out=tmp_path / "n")


def test_a_pretrained_student_of_pictures(pictures, tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(
        num_channels=3, embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], num_labels=7
    )
    torch.manual_seed(0)
    transformers.ResNetForImageClassification(config).save_pretrained(tmp_path / "net")
    done = train_file(
        pictures, student=str(tmp_path / "net"), out=tmp_path / "m", size=32, valid=0.25,
        changes={"epochs": 10, "batch_size": 8, "optimizer": {"adamw": {"lr": 3e-3}}},
    )  # fmt: skip
    assert done.held_out.figures["accuracy"].value == 1.0
    assert evaluate_file(tmp_path / "m", pictures).figures["accuracy"].value > 0.9


def test_relabel_does_not_go_on_with_another_teacher_of_the_same_name(reviews, tmp_path, monkeypatch):
    """A run that was cut off, and a model that was trained again in between."""
    from labelwright.annotators import relabelling

    train_file(reviews, out=tmp_path / "teacher", changes={"epochs": 1}, valid=0)
    monkeypatch.setattr(relabelling, "_answer", _once(relabelling._answer))
    with pytest.raises(KeyboardInterrupt):
        relabel_file(reviews, [tmp_path / "teacher"], out=tmp_path / "r.labels", batch_size=100)
    monkeypatch.undo()
    head = tmp_path / "teacher" / "model.json"
    head.write_text(head.read_text() + "\n")
    with pytest.raises(DataError, match="other arguments"):
        relabel_file(reviews, [tmp_path / "teacher"], out=tmp_path / "r.labels", batch_size=100)


def _once(answer):
    """The answer to the first batch; then the user presses Ctrl-C."""
    asked = []

    def first(*arguments):
        asked.append(1)
        if len(asked) > 1:
            raise KeyboardInterrupt
        return answer(*arguments)

    return first
