"""What is recognised, and what must not be taken for labels."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from labelwright.advising._arrays import Source, read_sources
from labelwright.advising._columns import Free
from labelwright.advising._words import labelish, role, scale_of
from labelwright.advising.evidence import alike, codes, matched
from labelwright.advising.survey import survey
from labelwright.errors import ColumnError, DataError

RNG = np.random.default_rng(0)
N = 60
CLASS = RNG.choice(["cat", "dog", "owl"], N).tolist()
WORDS = [f"some words on number {i} and more" for i in range(N)]


def kinds(data, **named):
    """{(kind, name): evidence} of data in memory."""
    found = survey(read_sources(data)[0][0], **named)
    return {(e.kind, e.name): e for e in found.evidence}, found


def png(array):
    out = io.BytesIO()
    Image.fromarray(array).save(out, "PNG")
    return out.getvalue()


def test_a_plain_table():
    found, s = kinds(
        {"id": [f"k{i}" for i in range(N)], "text": WORDS, "label": CLASS, "split": ["train"] * 40 + ["test"] * 20}
    )
    assert set(found) == {("hard labels", "label"), ("text", "text"), ("split", "split")}
    assert s.main.classes == ("cat", "dog", "owl") and s.main.n == N
    assert s.data == {"text"}


def test_several_label_columns_and_their_roles():
    found, s = kinds({"gold": CLASS, "label": CLASS, "predicted": CLASS, "text": WORDS})
    assert {name: e.role for (kind, name), e in found.items() if kind == "hard labels"} == {
        "gold": "true",
        "label": "given",
        "predicted": "predicted",
    }
    assert s.main.name == "label"


@pytest.mark.parametrize("label", ["rings", "sex"])
def test_an_unclear_label_is_asked_for_and_then_taken(label):
    data = {
        "sex": RNG.choice(["M", "F"], 200).tolist(),
        "rings": (2 * RNG.integers(1, 30, 200)).tolist(),
        "w": RNG.random(200),
    }
    _, s = kinds(data)
    assert s.main is None and s.unclear == ("sex", "rings")
    _, s = kinds(data, label=label)
    assert s.main.name == label and s.main.kind == {"rings": "scores", "sex": "hard labels"}[label]


def test_codes_of_a_whole_range_are_classes_and_gaps_make_numbers():
    whole = {"label": list(range(40)) * 5}
    gaps = {"label": [v * 3 for v in range(40)] * 5}
    assert kinds(whole)[1].main.kind == "hard labels"
    assert kinds(gaps)[1].main.kind == "scores"
    assert kinds({"score": [0.5, 1.25, 3.0] * 20})[1].main.kind == "scores"


def test_a_few_categories_are_no_label_where_a_score_is():
    _, s = kinds({"genre": ["news", "forum"] * 30, "text": WORDS, "score": RNG.random(N)})
    assert s.main.name == "score"


def test_repeated_texts_stay_texts():
    found, _ = kinds({"text": ["good", "bad", "fine"] * 20, "label": CLASS})
    assert found["text", "text"].data[:2] == ["good", "bad"]
    assert ("text", "text") in kinds({"text": ["good", "bad", "fine"] * 20})[0]


def test_votes_one_per_row():
    data = {"task": [0, 0, 1, 1, 2, 2], "worker": list("abcabc"), "answer": list("xyxxyy")}
    found, _ = kinds(data)
    votes = found["votes", "answer"]
    assert votes.n == 3 and votes.detail["keys"] == ("a", "b", "c") and votes.classes == ("x", "y")
    assert votes.data[0].tolist() == [0, 0, 1, 1, 2, 2]


def test_a_column_per_annotator():
    data = {"text": WORDS, **{f"rating{i}": RNG.integers(1, 6, N) for i in (1, 2, 3)}}
    found, _ = kinds(data)
    votes = found["votes", "rating1, rating2, rating3"]
    assert votes.detail["matrix"].shape == (N, 3) and votes.classes == (1, 2, 3, 4, 5)
    gaps = {"rater_a": ["x", None, "y"] * 20, "rater_b": ["x", "y", None] * 20}
    assert (kinds(gaps)[0]["votes", "rater_a, rater_b"].detail["matrix"] == -1).sum() == 40


def test_ids_of_workers_are_no_votes_and_no_content():
    found, s = kinds({"worker1": RNG.integers(0, 9, N), "worker2": RNG.integers(0, 9, N), "seconds1": RNG.random(N)})
    assert not found and s.main is None


def test_counts_of_answers():
    found, _ = kinds({"image": [f"{i}.png" for i in range(N)], **{f"n{i}": RNG.integers(5, 9, N) for i in (1, 2, 3)}})
    assert found["soft labels", "n1, n2, n3"].data.shape == (N, 3)
    assert found["images", "image"].data is None  # the files are not there
    words = {"votes_given": [3] * N, "votes_guessed": [2] * N, "text": WORDS}
    assert kinds(words)[0]["soft labels", "votes_given, votes_guessed"].classes == ("given", "guessed")
    assert ("soft labels", "f1, f2") not in kinds({"f1": [3] * N, "f2": [2] * N, "label": CLASS})[0]


def test_rules_comparisons_proportions_candidates():
    rules = {f"lf_{i}": RNG.integers(-1, 2, N) for i in range(3)}
    assert kinds(rules | {"text": WORDS})[0]["rules", "lf_0, lf_1, lf_2"].data.min() == -1
    assert ("comparisons", "chosen, rejected") in kinds({"prompt": WORDS, "chosen": WORDS, "rejected": WORDS})[0]
    pairs = {"answer_a": WORDS, "answer_b": WORDS, "winner": ["a", "b"] * 30}
    assert ("comparisons", "winner") in kinds(pairs)[0]
    bags = {"bag": [0, 0, 1, 1], "share_sick": [0.2, 0.2, 0.7, 0.7], "x": [1.0, 2.0, 3.0, 4.0]}
    assert kinds(bags)[0]["label proportions", "share_sick"].n == 2
    sets = {"candidate_labels": [["a", "b"], ["b"], ["a", "c"]] * 20, "text": WORDS}
    assert kinds(sets)[0]["candidate labels", "candidate_labels"].classes == ("a", "b", "c")


def test_labels_of_parts():
    spans = {"tokens": [["I", "saw", "Ann"], ["no"]] * 30, "tags": [["O", "O", "B-per"], ["O"]] * 30}
    found, _ = kinds(spans)
    assert found["spans", "tags"].n == 60 and len(found["spans", "tags"].data) == 120
    rows = {"sentence": [0, 0, 0, 1, 1, 1], "token": list("abcdef"), "tag": ["N", "V", "N", "N", "V", "N"]}
    assert kinds(rows)[0]["spans", "tag"].detail["lengths"].tolist() == [3, 3]
    corners = {
        "image": ["a", "a", "b"],
        "label": ["x", "y", "x"],
        "x": [0, 5, 1],
        "y": [0, 5, 1],
        "w": [2, 2, 2],
        "h": [3, 3, 3],
    }
    box = kinds(corners)[0]["boxes", "label"]
    assert box.n == 2 and box.data[1][1].tolist() == [5, 5, 7, 8]
    mask = [png(np.full((4, 4), i % 3, dtype=np.uint8)) for i in range(6)]
    found, _ = kinds(pa.table({"image": mask, "mask": mask}))
    assert {("masks", "mask"), ("images", "image")} == set(found)
    triples = {"h": [[0, 0], [1]], "t": [[1, 1], [0]], "r": [["born in", "lives in"], ["born in"]]}
    assert kinds(triples)[0]["multi-labels", "r"].n == 2


def test_pairs_of_classes_are_no_items():
    found, s = kinds({"child": ["cat", "dog"], "parent": ["animal", "animal"]})
    assert not found and "pair of classes" in s.notes[0]


def test_arrays_in_parts_are_put_together():
    found, s = kinds({
        "x_train": RNG.random((30, 4)).astype("f4"), "y_train": np.arange(30) % 3, "x_test": RNG.random((10, 4)).astype("f4"),
        "y_test": np.arange(10) % 3, "class_names": np.array(["a", "b", "c"]),
    })  # fmt: skip
    assert found["features", "x"].data.shape == (40, 4) and s.split.data.tolist() == ["train"] * 30 + ["test"] * 10
    assert s.main.classes == ("a", "b", "c")


def test_sparse_arrays_in_parts():
    part = {"indices": np.array([0, 2, 1]), "indptr": np.array([0, 2, 3])}
    arrays = {f"y_{p}_{k}": v for p in ("train", "test") for k, v in part.items()} | {
        "label_names": np.array(list("abcd"))
    }
    arrays |= {"shape_train": np.array([2, 9, 4]), "shape_test": np.array([2, 9, 4])}
    found, s = kinds(arrays)
    assert found["multi-labels", "y"].data.toarray().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0]] * 2
    assert s.main.classes == tuple("abcd") and len(s.split.data) == 4


def test_arrays_by_shape_and_value():
    p = RNG.dirichlet(np.ones(3), N)
    arrays = {
        "y": np.arange(N) % 3, "pyx": p, "pixels": RNG.integers(0, 255, (N, 5, 5), dtype=np.uint8), "id": np.arange(N)[::-1],
        "edges": np.array([[0, 1], [1, 2]]), "llm": np.tile([2, 0, -1], (N, 1)), "counts": RNG.integers(3, 9, (N, 3)),
        "weak": RNG.integers(-1, 3, (N, 7)), "rule_of": np.eye(N, dtype=np.uint8), "order": RNG.permutation(N),
    }  # fmt: skip
    found, s = kinds(arrays)
    assert dict(found.keys()) == {
        "hard labels": "y", "pred_probs": "llm", "images": "pixels", "graph": "edges", "soft labels": "counts", "rules": "weak",
    }  # fmt: skip
    assert found["pred_probs", "pyx"].data.shape == (N, 3) and found["pred_probs", "llm"].detail["ranked"]
    assert any("rule_of" in note for note in s.notes) and any("'order'" in note for note in s.notes)


def test_class_ids_of_annotators_are_no_counts():
    y = np.arange(N) % 10
    votes = np.column_stack([y, y, (y + RNG.integers(0, 2, N)) % 10])
    found, _ = kinds({"votes": votes, "x": RNG.random((N, 2))})
    assert found["votes", "votes"].detail["annotators"] == 3
    gaps = np.where(RNG.random(votes.shape) < 0.3, -1, votes)
    assert ("votes", "labels") in kinds({"labels": gaps, "x": RNG.random((N, 2))})[0]


def test_one_hot_is_one_label_each():
    found, _ = kinds({"y": np.eye(4, dtype=int)[np.arange(N) % 4], "x": RNG.random((N, 2))})
    assert found["hard labels", "y"].data.tolist() == (np.arange(N) % 4).tolist()
    many = (RNG.random((N, 4)) < 0.5).astype(int)
    assert ("multi-labels", "y") in kinds({"y": many, "x": RNG.random((N, 2))})[0]


def test_votes_in_arrays_know_the_annotators_keys_and_what_describes_items():
    arrays = {
        "pair": np.repeat(np.arange(20), 3), "rater": np.tile([101, 150, 190], 20), "answer": np.arange(60) % 3,
        "pair_class": np.arange(20) % 5, "truth": np.arange(20) % 3,
    }  # fmt: skip
    found, s = kinds(arrays)
    assert set(found) == {("votes", "answer")} and found["votes", "answer"].detail["keys"] == (101, 150, 190)
    assert found["votes", "answer"].detail["truth"].tolist() == (np.arange(20) % 3).tolist()
    assert any("pair_class" in note for note in s.notes)


def test_numbered_labels_are_annotators_unless_named():
    arrays = {f"random{i}": np.arange(N) % 4 for i in (1, 2, 3)} | {"x": RNG.random((N, 2))}
    found, _ = kinds(arrays)
    assert ("votes", "random1, random2, random3") in found
    _, s = kinds(arrays, label="random2")
    assert s.main.name == "random2"


def test_wrong_names_are_refused_with_the_nearest():
    with pytest.raises(ColumnError, match="'label'"):
        kinds({"label": CLASS, "text": WORDS}, label="lable")
    with pytest.raises(ColumnError, match="did you mean label='y'"):
        kinds({"y": np.arange(4), "x": np.ones((4, 2))}, label="yy")
    with pytest.raises(DataError, match="text"):
        kinds({"label": CLASS, "n": list(range(N))}, text="n")


def test_paths_outside_the_folder_are_not_opened(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.png").write_bytes(png(np.zeros((3, 3), dtype=np.uint8)))
    table = pa.table({"image": ["../secret.png"] * 5, "label": list("aabba")})
    found = survey(Source("t", None, tmp_path / "in", table=table))
    assert found.first("images").data is None


def test_words():
    assert (
        labelish("Fine-Label")
        and labelish("clean_coarse")
        and not labelish("length")
        and not labelish("topic_model_score")
    )
    assert [role(n) for n in ("gold", "y_true", "noisy", "pred", "top_prediction")] == ["true", "true", "given"] + [
        "predicted"
    ] * 2
    assert scale_of(("high", "low")) is None and scale_of(("high", "Low", "medium")) == ("Low", "medium", "high")


def test_codes_keep_what_is_missing():
    ids, classes = codes(["b", None, "", float("nan"), "a"])
    assert ids.tolist() == [1, -1, -1, -1, 0] and classes == ("a", "b")
    assert codes(np.array([2.0, np.nan, 1.0]))[1] == (1, 2)
    assert codes([None, None])[0].tolist() == [-1, -1]


def test_classes_are_matched_by_name():
    found, _ = kinds({"gold": ["a", "b", "c", "d"] * 5, "label": ["b", "c", "d", "e"] * 5})
    gold, label = found["hard labels", "gold"], found["hard labels", "label"]
    assert matched(label, gold.classes).tolist()[:4] == [1, 2, 3, -2]
    assert not alike(gold, label)  # three of four classes


def test_numbered_columns_come_in_order():
    assert Free(pa.table({f"n{i}": [1] for i in (2, 10, 1)})).numbered(("n",)) == [["n1", "n2", "n10"]]
