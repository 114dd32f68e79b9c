"""Advice as a whole: the figures, what it says is missing, and bad input."""

import io
import json
import re
import shlex
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import labelwright.cli.advise
from labelwright.advising import advise
from labelwright.advising._fits import FITS, QUERIES, fits
from labelwright.advising.case import percent
from labelwright.advising.finding import SEVERITIES
from labelwright.errors import ColumnError, DataError, OptionError
from labelwright.systems import catalogue, find, search

RNG = np.random.default_rng(1)


def of(advice, kind):
    return [f for f in advice.findings if f.kind == kind]


def texts(n=300, k=3, wrong=0, seed=0):
    """n texts of k topics with `wrong` labels made wrong."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % k
    words = [" ".join(f"w{y[i]}{v}" for v in rng.integers(0, 30, 12)) + f" number{i}" for i in range(n)]
    given = y.copy()
    given[:wrong] = (given[:wrong] + 1) % k
    return words, [f"class {c}" for c in given]


# ------------------------------------------------------------------------------------------------------ hard labels
def test_wrong_labels_are_counted_and_the_command_is_exact(tmp_path):
    words, given = texts(wrong=30)
    path = tmp_path / "my data.parquet"
    pq.write_table(pa.table({"text": words, "label": given}), path)
    found = advise(path)
    (errors,) = of(found, "label errors")
    assert errors.severity == "high"
    assert 0.05 < errors.evidence["low"] <= errors.evidence["estimate"] <= errors.evidence["high"] < 0.15
    assert shlex.split(errors.commands[0]) == ["labelwright", "audit", str(path), "--label", "label"]
    assert "confident-learning-test-errors" in {s.name for s in errors.systems}
    assert advise(path).to_dict() == found.to_dict()  # the same seed, the same advice


def test_clean_labels_make_no_alarm():
    words, given = texts()
    assert [f.severity for f in advise({"text": words, "label": given}).findings] == ["info"]


def test_missing_rare_and_misspelt_classes():
    label = ["a"] * 300 + ["b"] * 60 + ["B "] * 40 + ["c"] * 3 + [None] * 50
    found = advise({"label": label, "text": [f"some words on number {i}" for i in range(453)]})
    assert of(found, "missing labels")[0].evidence == {"missing": 50, "items": 453, "share": 50 / 453}
    rare = of(found, "rare classes")[0].evidence
    assert (rare["ratio"], rare["rare"], rare["classes"]) == (100, 1, 4)
    assert of(found, "spellings")[0].evidence["classes"] == [["B ", "b"]]


def test_copies_with_other_labels_by_hand():
    found = advise({"text": ["a b", "A  b", "c", "c", "d", ""] * 4, "label": ["x", "y", "x", "x", "y", "x"] * 4})
    (finding,) = of(found, "conflicting copies")
    assert finding.evidence["items"] == 8 and finding.evidence["groups"] == 1  # case and spaces aside; "" is no content


def test_known_errors_and_a_models_labels():
    gold = RNG.choice(["a", "b"], 200)
    label = gold.copy()
    label[:30] = np.where(gold[:30] == "a", "b", "a")
    found = advise({"gold": gold.tolist(), "label": label.tolist(), "predicted": gold.tolist()})
    assert of(found, "known errors")[0].evidence["differs"] == 0.15
    assert of(found, "a model's labels")[0].evidence["differs"] == 0.15


def test_order_tree_and_paths():
    found = advise({"label": ["low", "high", "medium"] * 20})
    assert of(found, "ordered classes")[0].evidence["order"] == ["low", "medium", "high"]
    fine = [f"{c}{i}" for c in "ab" for i in range(3)] * 10
    found = advise({"label": fine, "coarse_label": [f[0] for f in fine]})
    assert "nests in 'coarse_label'" in of(found, "class tree")[0].sentence
    found = advise({"label": ["comp.sys", "comp.win", "rec.car", "rec.moto"] * 10})
    assert of(found, "class tree")[0].evidence["groups"] == 2
    assert not of(advise({"label": ["0.1", "0.2", "1.1", "1.2"] * 10}), "class tree")


def test_numbers_that_a_model_confuses_with_their_neighbours_look_ordered():
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 150)
    x = np.column_stack([y + rng.normal(0, 0.7, 900), rng.normal(size=900)])
    assert of(advise({"x": x, "y": y}), "ordered classes")
    shuffled = np.array([3, 0, 5, 1, 4, 2])[y]
    assert not of(advise({"x": x, "y": shuffled}), "ordered classes")


def test_sources_that_copy_each_other():
    votes = {f"random{i}": RNG.integers(0, 4, 300) for i in (1, 2, 3)}
    pick = RNG.integers(1, 4, 300)
    worst = np.choose(pick - 1, list(votes.values()))
    found = advise({**votes, "worst": worst, "noisy": RNG.integers(0, 4, 300), "x": RNG.random((300, 2))})
    assert [f.evidence for f in of(found, "copied labels")] == [{"inside": 1.0}]
    found = advise({"label": ["a", "b"] * 50, "noisy_label": ["a", "b"] * 50})
    assert of(found, "copied labels")[0].evidence == {"agreement": 1.0}


def test_leakage_and_shift():
    words, given = texts(400, 2)
    given = np.array(given)
    split = np.array(["train"] * 300 + ["test"] * 100)
    words[300:310] = words[:10]
    given[350:] = "class 0"
    found = advise({"text": words, "label": given.tolist(), "split": split.tolist()})
    assert of(found, "leakage")[0].evidence["items"] == 10
    assert of(found, "class shift")[0].evidence["distance"] == pytest.approx(0.25)


# ----------------------------------------------------------------------------------------------------- other evidence
def test_votes_by_hand():
    data = {"item": [0, 0, 1, 1, 2, 2, 3], "worker": list("abababa"), "label": list("xxyyxyx")}
    found = advise(data)
    (agreement,) = of(found, "disagreement")
    assert agreement.evidence["alpha"] == pytest.approx(4 / 9) and agreement.evidence["single_answer"] == 0.25
    assert of(found, "tied votes")[0].evidence == {"tied": 1, "items": 3, "share": 1 / 3}
    assert "toptwo" not in [s.name for s in agreement.systems]  # two classes have no second-best answer


def test_an_annotator_who_answers_at_random_is_named():
    truth = RNG.integers(0, 3, 200)
    rows = [
        (i, w, int(truth[i]) if w != "eve" else int(RNG.integers(0, 3)))
        for i in range(200)
        for w in ("ann", "bob", "cid", "eve")
    ]
    item, worker, label = zip(*rows)
    (finding,) = of(advise({"item": list(item), "worker": list(worker), "label": list(label)}), "contrary annotators")
    assert finding.evidence["annotators"] == ["eve"] and "'eve'" in finding.sentence


def test_majority_against_the_truth_shares_ties():
    arrays = {"item": np.array([0, 0, 1, 1, 1]), "worker": np.array([0, 1, 0, 1, 2]), "label": np.array([0, 1, 1, 1, 0]),
              "truth": np.array([0, 0])}  # fmt: skip
    (finding,) = of(advise(arrays), "majority errors")
    assert finding.evidence["majority_right"] == 0.25  # half of the tie, none of the second


def test_counts_against_the_published_label():
    counts = np.tile([8, 2], (50, 1))
    counts[:5] = [1, 9]
    found = advise({"counts": counts, "y": np.zeros(50, dtype=int) + (np.arange(50) == 49)})
    assert of(found, "known errors")[0].evidence["beaten"] == pytest.approx(6 / 50)
    assert of(found, "vote counts")[0].evidence["unsure"] == 0


def test_review_verdicts_are_no_rate():
    arrays = {"given": np.arange(100) % 3, "id": np.arange(4), "votes": np.array([[5, 0], [1, 4], [2, 3], [3, 2]]),
              "vote_names": np.array(["given", "guessed"])}  # fmt: skip
    (finding,) = of(advise(arrays), "review verdicts")
    assert finding.evidence["rejected"] == 2 and "drawn at random" in finding.sentence


def test_rules_by_hand():
    weak = np.array([[0, 0], [0, 1], [-1, 1], [-1, -1]] * 15)
    found = advise({"weak": weak, "label": np.array([0, 1, 1, 0] * 15)})
    (finding,) = of(found, "rules")
    assert finding.evidence == {"rules": 2, "covered": 0.75, "conflict": 0.5, "silent": 0, "accuracy": [0.5, 1.0]}


def test_sets_with_gaps_and_many_valid_labels():
    one = advise({"tags": [["a"], ["b"], ["c"]] * 30})
    assert of(one, "missing tags")[0].severity == "high"
    arrays = {
        "given": np.array([0, 1, 2, 3]),
        "real_indices": np.array([0, 1, 2, 3]),
        "real_indptr": np.array([0, 2, 2, 3, 4]),
    }
    (finding,) = of(advise(arrays), "several classes fit")
    assert (
        finding.evidence["wrong"] == 0
        and finding.evidence["several"] == pytest.approx(1 / 3)
        and finding.evidence["none"] == 0.25
    )


def test_multi_label_noise_counts_entries():
    rng = np.random.default_rng(0)
    y = (rng.random((400, 4)) < 0.4).astype(int)
    x = y + rng.normal(0, 0.15, y.shape)
    y[:60, 0] = 1 - y[:60, 0]
    (finding,) = of(advise({"x": x, "y": y}), "tag errors")
    assert 0.02 < finding.evidence["estimate"] < 0.06  # 60 of 1,600 entries
    assert finding.evidence["low"] < 60 / 1600 < finding.evidence["high"] and finding.evidence["model_f1"] > 0.9


def test_boxes_masks_spans_graph_scores():
    boxes = {
        "image": ["a", "a", "b"],
        "label": ["x", "x", "y"],
        "xmin": [0, 0, 1],
        "ymin": [0, 0, 1],
        "xmax": [2, 2, 1],
        "ymax": [2, 2, 5],
    }
    (finding,) = of(advise(boxes), "boxes")
    assert finding.evidence["without_area"] == 1 and finding.evidence["repeated"] == 1
    mask = np.zeros((4, 4), dtype=np.uint8)
    mask[:, 2:] = 1
    out = io.BytesIO()
    Image.fromarray(mask).save(out, "PNG")
    (finding,) = of(advise(pa.table({"mask": [out.getvalue()] * 3})), "masks")
    assert finding.evidence["share"] == {"0": 0.5, "1": 0.5} and finding.evidence["border"] == 0.25
    junk = advise(pa.table({"mask": [b"\x89PNG, but no more"] * 3}))
    assert not of(junk, "masks") and "cannot be opened" in junk.unmeasured[0]
    spans = {"tokens": [["I", "saw"], ["Ann", "Lee"]] * 20, "tags": [["O", "I-per"], ["B-per", "I-per"]] * 20}
    assert of(advise(spans), "token tags")[0].evidence["broken"] == 20
    graph = {"edges": np.array([[0, 1, 2], [1, 2, 3]]), "y": np.array([0, 0, 1, 1])}
    assert of(advise(graph), "graph")[0].evidence["homophily"] == pytest.approx(2 / 3)
    assert of(advise({"score": np.r_[np.full(190, 1.5), np.linspace(0, 10, 10)]}), "rare values")


# ------------------------------------------------------------------------------------------------- honesty, bad input
def test_what_cannot_be_measured_is_said():
    found = advise({"label": ["a", "b"] * 30})
    assert not of(found, "label errors") and "no text, images" in found.unmeasured[0]
    useless = advise({"label": RNG.choice(["a", "b"], 200, p=[0.8, 0.2]).tolist(), "size": RNG.random(200)})
    assert not of(useless, "label errors") and "cannot tell" in useless.unmeasured[0]


def test_probabilities_made_from_the_labels_are_refused():
    y = np.arange(300) % 3
    found = advise({"y": y, "p": np.eye(3)[y] * 0.97 + 0.01})
    assert of(found, "in-sample probabilities") and not of(found, "label errors")


def test_an_unclear_label_comes_with_the_commands_to_name_it(tmp_path):
    pq.write_table(pa.table({"sex": ["f", "m"] * 20, "size": ["S", "M", "L", "M"] * 10}), tmp_path / "t.parquet")
    (finding,) = advise(tmp_path / "t.parquet").findings
    assert finding.kind == "unclear label"
    assert [shlex.split(c)[1:] for c in finding.commands] == [
        ["advise", str(tmp_path / "t.parquet"), "--label", name] for name in ("sex", "size")
    ]


def test_nothing_recognised_is_said_with_the_reason():
    (finding,) = advise({"child": ["cat", "dog"], "parent": ["animal", "animal"]}).findings
    assert finding.kind == "no labels" and "pair of classes" in finding.sentence and not finding.systems


def test_no_label_at_all():
    found = advise({"text": [f"some words on number {i}" for i in range(30)]})
    (finding,) = found.findings
    assert finding.kind == "no labels" and {"tnt-llm", "0shot-tc"} <= {s.name for s in finding.systems}


def test_a_folder_is_summed_up(tmp_path):
    words, given = texts(120, 3)
    pq.write_table(pa.table({"text": words, "label": given}), tmp_path / "a.parquet")
    y = np.arange(500) % 3
    np.savez(tmp_path / "labels.npz", noisy=np.where(np.arange(500) < 50, (y + 1) % 3, y))
    np.savez(tmp_path / "probs.npz", p=np.eye(3)[y] * 0.9 + 0.1 / 3)
    np.savez(tmp_path / "objects.npz", x=np.array([{}], dtype=object))
    (tmp_path / "README.md").write_text("read me")
    found = advise(tmp_path)
    assert [s.source for s in found.survey] == ["a.parquet", "labels.npz", "probs.npz"]
    assert {line.split(":")[0] for line in found.skipped} == {"README.md", "objects.npz"}
    lent = next(s for s in found.survey if s.source == "probs.npz").main
    assert "same order" in lent.how and lent.name == "noisy"
    errors = {f.source: f for f in of(found, "label errors")}
    assert errors["probs.npz"].evidence["estimate"] == pytest.approx(0.1, abs=0.03)
    with pytest.raises(ColumnError, match="any of 3 files"):
        advise(tmp_path, label="nothing")


def test_splits_of_a_folder_become_a_column(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / split / name
            folder.mkdir(parents=True)
            for i in range(6):
                Image.fromarray(np.full((8, 8, 3), 40 * i, dtype=np.uint8)).save(folder / f"{i}.png")
    found = advise(tmp_path)
    assert {e.kind for e in found.survey[0].evidence} == {"split", "hard labels", "images"}
    assert of(found, "conflicting copies") or found.unmeasured


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p / "nothing.csv", "no file or folder"),
        (lambda p: p, "empty folder"),
        (lambda p: (p / "notes.txt").write_text("x") and p, "np.*npz|\\.npz"),
        (lambda p: (p / "notes.txt").write_text("x") and p / "notes.txt", "numpy.savez"),
        (lambda p: np.savez(p / "o.npz", x=np.array([{}], dtype=object)) or p / "o.npz", "nothing is unpickled"),
    ],
)
def test_bad_input_is_told_with_what_can_be_read(make, message, tmp_path):
    with pytest.raises(DataError, match=message):
        advise(make(tmp_path))


def test_bad_input_in_memory():
    for data, message in (
        ({}, "empty dict"),
        (pa.table({"a": pa.array([], pa.int64())}), "at least one item"),
        (5, "a table"),
    ):
        with pytest.raises(DataError, match=message):
            advise(data)
    with pytest.raises(DataError, match="pass it as numbers"):
        advise({"x": np.ones((2, 2)), "y": np.array([{}, 1], dtype=object)})
    with pytest.raises(OptionError, match="random_state"):
        advise({"label": ["a", "b"]}, random_state=-1)


# --------------------------------------------------------------------------------------------------- systems, commands
def test_every_system_and_query_is_real():
    for kind, reasons in FITS.items():
        assert all(find(name).name == name for name, _ in reasons)
        assert search(QUERIES[kind]), kind
        named = {name for name, _ in reasons}
        assert {s.name for s in search(QUERIES[kind], limit=12)} & named, kind  # the command finds what is named


def test_systems_fit_the_data_and_proved_ones_come_first():
    assert "erase" not in [f.name for f in fits("label errors", {"text"})]
    assert "erase" in [f.name for f in fits("label errors", {"graphs"})]
    assert all(len(fits(kind, {"text", "images"})) <= 5 for kind in FITS)
    known = {s.name: s for s in catalogue()}
    for fit in fits("label errors", {"images", "text"}):
        assert (fit.state, fit.registered) == (known[fit.name].state, known[fit.name].registered)
    order = [not (f.registered and f.state == "works") for f in fits("label errors", {"text"})]
    assert order == sorted(order)
    assert "needs images" in fits("several classes fit", set())[0].reason


def test_commands_exist(tmp_path):
    words, given = texts(200, 3, wrong=20)
    pq.write_table(pa.table({"text": words, "label": given}), tmp_path / "a.parquet")
    votes = advise({"item": [0, 0, 1, 1], "worker": list("abab"), "label": list("xyxy")})
    source = (Path(labelwright.cli.advise.__file__).parent / "main.py").read_text()
    there = {"advise"} | set(re.findall(r'app\.command\("(\w+)"\)', source))
    for finding in [*advise(tmp_path / "a.parquet").findings, *votes.findings]:
        for command in finding.commands:
            words = shlex.split(command)
            assert words[0] == "labelwright" and words[1] in there


def test_advice_as_text_and_json():
    words, given = texts(200, 3, wrong=20)
    found = advise({"text": words, "label": given})
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["survey"][0]["evidence"][0]["kind"] == "hard labels"
    order = [SEVERITIES.index(f["severity"]) for f in plain["findings"]]
    assert order == sorted(order)
    assert "look wrong" in str(found) and "findings" in repr(found)
    assert len(found.systems) <= 5


def test_progress_is_told():
    seen = []
    advise({"label": ["a", "b"] * 5}, progress=lambda *step: seen.append(step))
    assert seen[-1] == ("measuring", 1, 1)


def test_percent():
    assert [percent(v) for v in (0, 0.0004, 0.02, 0.5, 1)] == ["0.0 %", "<0.1 %", "2.0 %", "50 %", "100 %"]


# --------------------------------------------------------------------------------------------------------- real data
def test_real_votes_have_the_majority_accuracy_of_their_card(real_data):
    for name, right in (("bluebirds", 0.759), ("product", 0.897), ("face", 0.637), ("color", 0.616)):
        (finding,) = of(advise(real_data / "crowd" / f"{name}.npz"), "majority errors")
        assert finding.evidence["majority_right"] == pytest.approx(right, abs=5e-4)


def test_real_folders_are_recognised_as_their_cards_say(real_data):
    folder = real_data / "cifar_n" / "cifar10n.npz"
    differs = {f.sentence.split("'")[1]: f.evidence["differs"] for f in of(advise(folder), "known errors")}
    assert differs["worst"] == pytest.approx(0.402, abs=0.001) and differs["aggregate"] == pytest.approx(
        0.090, abs=0.001
    )
    kinds = {e.kind for s in advise(real_data / "imagenet_real" / "real_labels.npz").survey for e in s.evidence}
    assert kinds == {"hard labels", "multi-labels"}
    kinds = {e.kind for s in advise(real_data / "likert_paraphrase").survey for e in s.evidence}
    assert kinds == {"votes", "split", "text"}
