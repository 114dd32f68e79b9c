"""The training loop: it learns, it repeats exactly, it resumes exactly, and it says what is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from labelwright.errors import DataError, LabelwrightError, OptionError, TrainingError
from labelwright.labels import MultiLabels, SoftLabels
from labelwright.learning import (
    Part,
    Recipe,
    Student,
    Teacher,
    TrainData,
    TrainedModel,
    load_recipe,
    recipe_names,
    train,
)
from labelwright.learning import driver as driver_module
from labelwright.learning.context import Context
from labelwright.learning.driver import fit
from labelwright.learning.terms import LossTerm, weight_at


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def weights(run):
    return torch.cat([p.detach().flatten() for p in run.modules["student"].parameters()])


# ------------------------------------------------------------------------------------------------------- it learns
def test_learns_digits_from_hard_and_from_soft_labels(digits):
    x, y = digits
    for labels in (y[:1200], np.eye(10)[y[:1200]] * 0.9 + 0.01, SoftLabels.from_dense(np.eye(10)[y[:1200]], k=3)):
        model = train(x[:1200], labels, student="mlp", epochs=20, batch_size=64)
        assert (model.predict(x[1200:]) == y[1200:]).mean() > 0.88


def test_same_as_a_bare_loop(digits):
    """Bit by bit: the driver adds nothing to the mathematics."""
    x, y = torch.from_numpy(digits[0][:256]), torch.from_numpy(digits[1][:256])
    recipe = Recipe(
        epochs=3,
        batch_size=64,
        optimizer={"sgd": {"lr": 0.1}},
        schedule="constant",
        networks={"student": {"model": "linear"}},
    )
    run, _ = fit(recipe, TrainData(x, y.numpy(), classes=10))
    torch.manual_seed(0)
    bare = nn.Linear(64, 10)
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.1, momentum=0.9)
    for epoch in range(3):
        order = np.random.default_rng([0, epoch, 0]).permutation(256)
        for start in range(0, 256, 64):
            at = torch.from_numpy(order[start : start + 64])
            optimizer.zero_grad()
            nn.functional.cross_entropy(bare(x[at]), y[at]).backward()
            optimizer.step()
    assert torch.equal(weights(run), torch.cat([bare.weight.flatten(), bare.bias]))


def test_accumulated_batches_are_one_large_batch(digits):
    x, y = digits
    common = {
        "epochs": 2,
        "optimizer": {"sgd": {"lr": 0.1}},
        "schedule": "constant",
        "networks": {"student": {"model": "linear"}},
    }
    large, _ = fit(Recipe(batch_size=128, **common), TrainData(x[:512], y[:512], classes=10))
    small, _ = fit(Recipe(batch_size=32, accumulate=4, **common), TrainData(x[:512], y[:512], classes=10))
    assert large.step == small.step == 8
    assert torch.allclose(weights(large), weights(small), atol=1e-5)


def test_missing_labels_are_not_learnt(digits):
    x, y = digits
    given = y[:400].copy()
    given[200:] = -1
    some = train(x[:400], given, classes=10, student="linear", epochs=2, batch_size=400, clip=5.0)
    soft = np.eye(10)[y[:400]]
    soft[200:] = np.nan
    other = train(x[:400], soft, student="linear", epochs=2, batch_size=400, clip=5.0)
    assert np.allclose(some.predict_proba(x[:5]), other.predict_proba(x[:5]), atol=1e-6)


def test_several_classes_per_item():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 3)).astype(np.float32)
    y = (x > 0).astype(int)
    data = TrainData(x, MultiLabels.from_dense(y))
    recipe = Recipe(loss={"soft_cross_entropy": {"multi_label": True}}, networks={"student": {"model": "linear"}}, epochs=30,
                    optimizer={"adam": {"lr": 0.1}})  # fmt: skip
    model = train(data, recipe=recipe, valid=data)
    assert model.history[-1]["valid map"] > 0.95
    assert model.predict(np.array([[3, -3, 3]], np.float32)) == [[0, 2]]


def test_precision_bf16_learns_too(digits):
    x, y = digits
    model = train(x[:1200], y[:1200], student="mlp", epochs=10, precision="bf16")
    assert (model.predict(x[1200:]) == y[1200:]).mean() > 0.85
    again = train(x[:200], y[:200], student="linear", epochs=1)  # the precision is not remembered
    assert next(again.module.parameters()).dtype == torch.float32


@pytest.mark.parametrize("student", ["cnn", "resnet", "vit"])
def test_students_of_pictures(digits, student):
    x, y = digits
    options = {"vit": {"patch": 2, "depth": 2, "width": 32}, "resnet": {"depth": 1, "width": 8}}.get(student, {})
    model = train(x[:300].reshape(-1, 8, 8), y[:300], student=(student, options), batch_size=32,
                  epochs=30 if student == "vit" else 8, optimizer={"adamw": {"lr": 3e-3}})  # fmt: skip
    assert (model.predict(x[:300].reshape(-1, 8, 8)) == y[:300]).mean() > 0.6


# ------------------------------------------------------------------------------------------------- it repeats exactly
def test_repeats_exactly_and_leaves_torch_as_it_was(digits):
    x, y = digits
    recipe = load_recipe("mixup").but(epochs=2, networks={"student": {"model": "cnn", "dropout": 0.2}})
    before = torch.get_rng_state()
    one, _ = fit(recipe, TrainData(x[:200].reshape(-1, 8, 8), y[:200]))
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(3)
    two, _ = fit(recipe, TrainData(x[:200].reshape(-1, 8, 8), y[:200]))
    assert torch.equal(weights(one), weights(two))
    other, _ = fit(recipe.but(seed=1), TrainData(x[:200].reshape(-1, 8, 8), y[:200]))
    assert not torch.equal(weights(one), weights(other))


class Killed(Exception):
    pass


class RunningMean(Part):
    """A target with memory of its own: a running mean of the student's answers per item."""

    reads, writes = ("items", "logits", "labels"), ("targets",)

    def begin(self, run):
        self.mean = torch.zeros(len(run.data), run.data.n_classes)

    def __call__(self, context):
        at = context["items"]
        self.mean[at] = 0.7 * self.mean[at] + 0.3 * context["logits"].detach().softmax(-1)
        context["targets"] = (nn.functional.one_hot(context["labels"], self.mean.shape[1]) + self.mean[at]) / 2
        context["targets"] = context["targets"] / context["targets"].sum(-1, keepdim=True)

    def state(self):
        return {"mean": self.mean}

    def restore(self, state):
        self.mean = state["mean"]


@pytest.mark.parametrize("stop", [1, 7, 13, 20])
@pytest.mark.parametrize("seconds", [600.0, 0.0])
def test_resumes_exactly_wherever_it_died(digits, tmp_path, monkeypatch, stop, seconds):
    """Optimiser, order, dropout, running targets: a killed training ends in the same bits. With checkpoints after each epoch,
    and after each step."""
    monkeypatch.setattr(driver_module, "CHECKPOINT_SECONDS", seconds)
    x, y = digits
    data = TrainData(x[:320], y[:320], classes=10)

    def recipe():
        return Recipe(
            targets=(RunningMean(),), epochs=4, batch_size=64, keep="best", views=[{"noise": {"spread": 0.1}}],
            networks={"student": {"model": "mlp", "dropout": 0.3}},
        )  # fmt: skip

    whole, log = fit(recipe(), data, valid=data)

    def die(_, step, __):
        if step == stop:
            raise Killed

    with pytest.raises(Killed):
        fit(recipe(), data, valid=data, folder=tmp_path, progress=die)
    steps = []
    again, log_again = fit(recipe(), data, valid=data, folder=tmp_path, progress=lambda _, step, __: steps.append(step))
    assert torch.equal(weights(whole), weights(again))
    assert [r["loss"] for r in log.rows] == pytest.approx([r["loss"] for r in log_again.rows])
    assert len(steps) < 20 or stop < 5


def test_resume_of_another_recipe_is_refused(digits, tmp_path):
    x, y = digits
    data = TrainData(x[:100], y[:100])
    fit(Recipe(epochs=1), data, folder=tmp_path)
    with pytest.raises(DataError, match="other recipe.*train into another folder"):
        fit(Recipe(epochs=2), data, folder=tmp_path)
    with pytest.raises(DataError, match="other items"):
        fit(Recipe(epochs=1), TrainData(x[:90], y[:90], classes=10), folder=tmp_path)


def test_damaged_checkpoint(digits, tmp_path):
    x, y = digits
    fit(Recipe(epochs=1), TrainData(x[:100], y[:100]), folder=tmp_path)
    (tmp_path / "checkpoint" / "state.json").write_text("{")
    with pytest.raises(DataError, match="remove the folder to begin anew"):
        fit(Recipe(epochs=1), TrainData(x[:100], y[:100]), folder=tmp_path)


# ----------------------------------------------------------------------------------------------------- early stopping
def test_best_weights_and_patience(digits):
    x, y = digits
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(200) < 0.5, rng.integers(0, 10, 200), y[:200])
    options = {
        "student": ("mlp", {"hidden": [128]}),
        "classes": 10,
        "optimizer": {"adam": {"lr": 3e-3}},
        "schedule": "constant",
    }
    best = train(x[:200], noisy, valid=(x[200:600], y[200:600]), keep="best", epochs=30, **options)
    last = train(x[:200], noisy, valid=(x[200:600], y[200:600]), epochs=30, **options)
    short = train(x[:200], noisy, valid=(x[200:600], y[200:600]), keep="best", patience=2, epochs=30, **options)
    nll = [row["valid nll"] for row in best.history]
    assert np.argmin(nll) < 29  # it overfits: the case makes sense
    p = best.predict_proba(x[200:600])
    assert -np.log(p[np.arange(400), y[200:600]]).mean() == pytest.approx(min(nll), rel=1e-4)
    assert len(short.history) < 30 and len(last.history) == 30


# --------------------------------------------------------------------------------------------------------- teachers
def test_teacher_on_the_fly_equals_its_stored_answers(digits):
    x, y = digits
    teacher = train(x[:800], y[:800], student="mlp", epochs=5)
    options = {"loss": "kl", "epochs": 2, "networks": {"student": {"model": "linear"}}}
    online, _ = fit(
        Recipe(targets=(Teacher(teacher.module, temperature=2.0),), **options), TrainData(x[:800], classes=10)
    )
    z = torch.from_numpy(teacher.logits(x[:800]))
    stored = (z / 2).softmax(-1).numpy()
    offline, _ = fit(Recipe(**options), TrainData(x[:800], stored))
    assert torch.allclose(weights(online), weights(offline), atol=1e-4)


def test_ensemble_means():
    a, b = torch.tensor([[4.0, 0.0]]), torch.tensor([[0.0, 2.0]])
    from labelwright.learning.targets import combine

    probs = 0.25 * a.softmax(-1) + 0.75 * b.softmax(-1)
    assert torch.allclose(combine([a, b], [0.25, 0.75], "probs").softmax(-1), probs)
    assert torch.allclose(combine([a, b], [0.25, 0.75], "logits"), 0.25 * a + 0.75 * b)
    assert combine([a, b], [0.5, 0.5], "stack").shape == (2, 1, 2)


def test_teacher_stays_as_it_is(digits):
    x, y = digits
    teacher = nn.Sequential(nn.Linear(64, 32), nn.BatchNorm1d(32), nn.Linear(32, 10))
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    fit(Recipe(targets=(Teacher(teacher),), epochs=1), TrainData(x[:200], y[:200]))
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())


# ------------------------------------------------------------------------------------------------------------ errors
def test_nan_loss_stops_and_names_the_part(digits):
    x, y = digits
    bad = x[:300].copy()
    bad[17] = np.inf
    with pytest.raises(TrainingError, match=r"soft_cross_entropy.*logits are not finite.*lower the learning rate"):
        train(bad, y[:300], student="mlp", epochs=1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda x, y: Recipe(loss="nkdd"), "nkd"),
        (lambda x, y: Recipe(loss={"kl": {"temprature": 2}}), "temperature"),
        (lambda x, y: Recipe(views={"mixup": {"alfa": 1}}), "alpha"),
        (lambda x, y: Recipe(networks={"student": {"model": "cnnn"}}) and train(x, y, student="cnnn"), "cnn"),
        (lambda x, y: train(x, y, student=("mlp", {"hiden": [3]}), epochs=1), "hidden"),
        (lambda x, y: train(x, y, student="cnn", epochs=1), "use the student 'mlp'"),
        (lambda x, y: train(x, y, recipe="plane"), "plain"),
        (lambda x, y: train(x, y, recipe="nowhere.yaml"), "no file nowhere.yaml"),
        (lambda x, y: train(x, y, epoch=3), "epochs"),
        (lambda x, y: Recipe(views=3), "the name of a part"),
        (lambda x, y: Recipe(epochs=0), "epochs"),
        (lambda x, y: Recipe(clip=-1.0), "clip=1.0"),
        (lambda x, y: Recipe(sampler="subset"), "without items"),
        (lambda x, y: train(x, y, loss={"kl": {"weight": [[0.5, 1], [0.2, 0]]}}), "that does not fall"),
        (lambda x, y: train(x, y[:-1]), "one for each item"),
        (lambda x, y: train(x, y, classes=5), "class ids 0 to 4"),
        (lambda x, y: train(x, y.astype(float)), "class ids"),
        (lambda x, y: train(x, np.full((len(x), 10), 0.3)), "sum"),
        (lambda x, y: train(x), "pass classes=K"),
        (lambda x, y: train(np.array(["a", "b"]), y[:2]), "turn texts or pictures into arrays"),
        (lambda x, y: train(x[:0], y[:0], classes=3), "no items"),
        (lambda x, y: train(x, y, loss={"nkd": {}}), "teacher"),
        (lambda x, y: train(x, y, keep="best"), "valid="),
        (lambda x, y: train(x, y, student=nn.Linear(64, 7)), "7 classes for labels of 10"),
        (lambda x, y: train(x, y, targets=(Teacher(nn.Linear(64, 3)),)), "a teacher of 3 classes"),
        (lambda x, y: train({"a": x, "b": x[:3]}, y), "several lengths"),
        (lambda x, y: train(x, y, loss={"kl": {"weight": 0}}), "weight above 0"),
        (lambda x, y: Recipe.from_yaml("epochs: [3"), "no YAML"),
        (lambda x, y: Recipe.from_yaml("- a"), "mapping"),
        (lambda x, y: Recipe(loss=lambda logits, targets: logits.sum()).to_yaml(), "made in Python"),
        (lambda x, y: Teacher([]), "at least one teacher"),
        (lambda x, y: Student(nn.Linear(2, 2), hidden=[3]), "ready model with options"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_mend(digits, make, message):
    with pytest.raises(LabelwrightError) as told:
        make(digits[0][:60], digits[1][:60])
    assert message in str(told.value)


def test_context_names_what_is_there():
    with pytest.raises(OptionError, match="reads 'attention'.*inputs, logits"):
        Context(inputs=1, logits=2)["attention"]


# ---------------------------------------------------------------------------------------------------------- recipes
def test_every_recipe_of_the_package_goes_through_yaml_and_trains(digits):
    x, y = digits
    for name in recipe_names():
        recipe = load_recipe(name)
        assert Recipe.from_yaml(recipe.to_yaml()).plain() == recipe.plain()
        assert Recipe.from_yaml(recipe.to_yaml()).digest() == recipe.digest()
        pictures = x[:64].reshape(-1, 8, 8)
        extra = {"teacher_logits": np.random.default_rng(0).normal(size=(64, 10)).astype(np.float32)}
        data = TrainData(pictures, y[:64], classes=10, extra=extra)
        model = train(data, recipe=recipe, student="cnn", epochs=2)
        assert np.isfinite(model.history[-1]["loss"])


def test_weights_of_terms_follow_training():
    points = [(0.0, 0.0), (0.5, 1.0), (0.5, 0.25), (1.0, 0.25)]
    assert [weight_at(points, p) for p in (0.0, 0.25, 0.499, 0.5, 0.9)] == pytest.approx([0, 0.5, 0.998, 0.25, 0.25])


def test_terms_read_what_they_are_told():
    context = Context(logits=torch.zeros(2, 3), labels=torch.tensor([0, 1]), weights=torch.tensor([1.0, 0.0]))
    from labelwright.learning.losses import soft_cross_entropy

    term = LossTerm(soft_cross_entropy, on={"targets": "labels"})
    assert term.reads == ("logits", "labels")
    assert float(term(context)) == pytest.approx(np.log(3))


# ------------------------------------------------------------------------------------------------------------ models
def test_model_on_disk(digits, tmp_path):
    x, y = digits
    for student, inputs in (("mlp", x[:200]), ("cnn", x[:200].reshape(-1, 8, 8))):
        model = train(
            inputs, y[:200], student=student, epochs=2, out=tmp_path / student, classes=[f"c{i}" for i in range(10)]
        )
        again = TrainedModel.load(tmp_path / student)
        assert np.array_equal(model.predict_proba(inputs), again.predict_proba(inputs))
        assert again.space.classes == tuple(f"c{i}" for i in range(10)) or list(again.space.classes) == [
            f"c{i}" for i in range(10)
        ]
        assert (tmp_path / student / "log.csv").read_text().count("\n") == 3
        assert again.log().num_rows == 2
    with pytest.raises(DataError, match="finished model"):
        train(x[:200], y[:200], out=tmp_path / "mlp")
    with pytest.raises(DataError, match="no model in"):
        TrainedModel.load(tmp_path)
    own = train(x[:50], y[:50], student=nn.Linear(64, 10), epochs=1)
    with pytest.raises(OptionError, match="safetensors"):
        own.save(tmp_path / "own")


def test_a_model_of_transformers(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=2
    )
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    ids = rng.integers(1, 50, (200, 6))
    y = (ids[:, 0] > 25).astype(int)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    class Bert(nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = transformers.BertForSequenceClassification(config)

        def forward(self, inputs):
            return self.bert(**inputs)

    model = train(inputs, y, student=Bert(), epochs=12, optimizer={"adamw": {"lr": 5e-3}})
    assert (model.predict(inputs) == y).mean() > 0.9


def test_soft_label_file_feeds_the_student(digits, tmp_path):
    from labelwright.store import open_soft_labels, write_soft_labels

    x, y = digits
    soft = np.eye(10)[y[:300]] * 0.8 + 0.02
    write_soft_labels(tmp_path / "s.soft", soft, k=10, precision="float32")
    stored = train(x[:300], open_soft_labels(tmp_path / "s.soft"), student="linear", epochs=2)
    plain = train(x[:300], soft, student="linear", epochs=2)
    assert np.allclose(stored.predict_proba(x[:9]), plain.predict_proba(x[:9]), atol=1e-5)


@pytest.mark.parametrize("held", [0, 1 << 26])
def test_rows_of_a_file_are_the_same_held_or_decoded_batch_by_batch(tmp_path, monkeypatch, held):
    from labelwright.learning import data
    from labelwright.store import open_soft_labels, write_soft_labels

    monkeypatch.setattr(data, "HELD", held)
    rng = np.random.default_rng(0)
    soft = rng.dirichlet(np.ones(12), 50)
    soft[[3, 7]] = np.nan
    write_soft_labels(tmp_path / "s.soft", SoftLabels.from_dense(soft, k=4), k=4)
    file = open_soft_labels(tmp_path / "s.soft")
    at = np.array([7, 0, 3, 49, 7])
    found = TrainData(np.zeros((50, 2), np.float32), file).fetch(at)["labels"].numpy()
    assert np.array_equal(found, file.dense(at) * [[0], [1], [0], [1], [0]])


def test_top_k_rows_are_spread_as_soft_labels_say(digits):
    rng = np.random.default_rng(0)
    soft = rng.dirichlet(np.ones(6) * 0.5, 40)
    for tail in (None, rng.dirichlet(np.ones(6))):
        labels = SoftLabels.from_dense(soft, k=2, tail=tail)
        data = TrainData(np.zeros((40, 2), np.float32), labels)
        assert np.allclose(data.fetch(np.arange(40))["labels"].numpy(), labels.dense(), atol=1e-6)
