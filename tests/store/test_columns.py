"""Roles of columns: what is named is checked, what is guessed is safe, and everything is explained."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from labelwright.errors import ColumnError, DataError, OptionError
from labelwright.store.read import guess_columns, label_lists, read_items

N = 40
RNG = np.random.default_rng(0)
TEXTS = [f"a sentence of some length about the number {i}" for i in range(N)]
LABELS = ["cat", "dog"] * (N // 2)


def test_text_with_label_and_id():
    table = pa.table({"uid": [f"u{i}" for i in range(N)], "text": TEXTS, "label": LABELS, "split": ["train"] * N})
    columns = guess_columns(table)
    assert (columns.label, columns.id, columns.text) == ("label", "uid", ("text",))
    assert columns.left_out == ("split",) and columns.content == ("text",)
    assert "label: column 'label' (2 distinct values over 40 rows)" in columns.explanation
    assert "left out: column 'split' (a split, not content)" in columns.explanation


def test_roles_by_value():
    columns = guess_columns(pa.table({"remarks": TEXTS, "kind": LABELS, "size": RNG.random(N)}))
    assert (columns.label, columns.text, columns.tabular) == ("kind", ("remarks",), ("size",))
    two = guess_columns(pa.table({"kind": LABELS, "color": LABELS[::-1]}))
    assert two.label is None and "label: not clear, it could be columns 'kind', 'color'; say which" in two.explanation
    none = guess_columns(pa.table({"size": RNG.random(N)}))
    assert none.label is None and "label: no column looks like one; say which" in none.explanation


@pytest.mark.parametrize("chosen", [None, "fine_label"])
def test_second_labels_are_never_content(chosen):
    table = pa.table({"text": TEXTS, "label": LABELS, "fine_label": LABELS, "gold": LABELS})
    columns = guess_columns(table, label=chosen)
    assert columns.label == (chosen or "label") and columns.content == ("text",)
    assert set(columns.left_out) == {"label", "fine_label", "gold"} - {columns.label}


@pytest.mark.parametrize("name", ["", "Unnamed: 0", "__index_level_0__", "index"])
@pytest.mark.parametrize("start", [0, 1])
def test_row_numbers_are_neither_id_nor_content(name, start):
    columns = guess_columns(pa.table({name: range(start, start + N), "text": TEXTS, "label": LABELS}))
    assert columns.id is None and columns.left_out == (name,)
    assert f"left out: column {name!r} (counting the rows)" in columns.explanation


def test_id_that_repeats_is_no_id():
    columns = guess_columns(pa.table({"id": [1, 1, *range(2, N)], "text": TEXTS, "label": LABELS}))
    assert columns.id is None and columns.left_out == ("id",)
    assert any("column 'id' cannot be it (1 value repeats: 1 in row 0, 1)" in s for s in columns.explanation)


def test_group_is_found_and_kept_out_of_content():
    columns = guess_columns(pa.table({"patient_id": [i // 4 for i in range(N)], "x": RNG.random(N), "label": LABELS}))
    assert (columns.group, columns.id, columns.content) == ("patient_id", None, ("x",))


def test_features_and_pred_probs_by_prefix():
    probs = RNG.dirichlet(np.ones(11), N)
    order = RNG.permutation(11)
    table = pa.table(
        {
            **{f"p_{k}": probs[:, k] for k in order},
            **{f"feat_{k}": RNG.normal(size=N) for k in (2, 10, 1)},
            "price": RNG.random(N),
            "brand": LABELS,
            "y": LABELS,
        }
    )
    columns = guess_columns(table)
    assert columns.pred_probs == tuple(f"p_{k}" for k in range(11))  # p_2 before p_10
    assert columns.features == ("feat_1", "feat_2", "feat_10")
    assert columns.tabular == ("price", "brand") and columns.label == "y"
    assert any("rows sum to 1" in s for s in columns.explanation)


def test_named_probabilities_and_what_only_looks_like_them():
    p = RNG.random(N)
    columns = guess_columns(
        pa.table({"label": LABELS, "prob_dog": p, "prob_cat": 1 - p, "p_value": p, "p_1": p, "p_2": p})
    )
    assert columns.pred_probs == ("prob_dog", "prob_cat")
    assert columns.tabular == ("p_value", "p_1", "p_2")


def test_list_columns():
    emb = pa.array([[0.5, i] for i in range(N)], pa.list_(pa.float32()))
    probs = pa.FixedSizeListArray.from_arrays(pa.array([0.25, 0.75] * N), 2)
    columns = guess_columns(pa.table({"embedding": emb, "pred_probs": probs, "label": LABELS}))
    assert (columns.features, columns.pred_probs) == (("embedding",), ("pred_probs",))


def test_images():
    paths = [f"cat/{i}.JPG" for i in range(N)]
    assert guess_columns(pa.table({"where": paths, "label": LABELS})).image == "where"
    pictures = pa.array([{"bytes": b"\x89PNG\r\n", "path": None}] * N)
    columns = guess_columns(pa.table({"path": paths, "photo": pictures, "label": LABELS}))
    assert columns.image == "photo" and columns.left_out == ("path",)
    assert (
        guess_columns(pa.table({"jpeg": [b"\xff\xd8\xff"] * N, "raw": [b"abc"] * N, "label": LABELS})).image == "jpeg"
    )


def test_several_texts_and_other_texts():
    table = pa.table({"premise": TEXTS, "hypothesis": TEXTS[::-1], "reason": TEXTS, "label": LABELS})
    columns = guess_columns(table)
    assert columns.text == ("premise", "hypothesis") and columns.left_out == ("reason",)
    assert guess_columns(table, text="reason").text == ("reason",)


@pytest.mark.parametrize("sep", ["|", ";", ","])
def test_multi_label_strings(sep):
    table = pa.table({"text": TEXTS[:4], "tags": [f"a{sep}b", "a", None, f" b {sep}{sep}b"]})
    columns = guess_columns(table, label="tags", multi=True)
    assert columns.multi and columns.separator == sep
    assert label_lists(table, columns).to_pylist() == [["a", "b"], ["a"], None, ["b"]]
    assert not guess_columns(table, label="tags").multi
    with pytest.raises(OptionError, match="pass multi=True"):
        label_lists(table, guess_columns(table, label="tags"))


def test_multi_label_lists():
    table = pa.table({"text": TEXTS[:2], "labels": [["a", "b"], []]})
    columns = guess_columns(table)
    assert columns.label == "labels" and columns.multi and columns.separator is None
    assert label_lists(table, columns).to_pylist() == [["a", "b"], []]


TABLE = pa.table(
    {
        "text": TEXTS,
        "label": LABELS,
        "n": [None, *range(N - 1)],
        "id": ["a", "a", *map(str, range(N - 2))],
        "x": RNG.normal(size=N),
        "ragged": [[1.0] * (i % 2) for i in range(N)],
        "words": [["a"]] * N,
        "nested": [{"a": 1}] * N,
    }
)


@pytest.mark.parametrize(
    "options, error, message",
    [
        ({"label": "lable"}, ColumnError, "no column 'lable' for label.*did you mean label='label'"),
        ({"features": "feat_*"}, ColumnError, "no column 'feat_.'"),
        ({"text": ["text", "txet"]}, ColumnError, "did you mean text='text'"),
        ({"label": "text", "text": "text"}, OptionError, "'text' as label and as text.*another column for text"),
        ({"features": ["x", "x"]}, OptionError, "one role for each"),
        ({"label": "nested"}, DataError, "column 'nested' as label: type struct"),
        ({"id": "n"}, DataError, "missing in row 0.*leave id out"),
        ({"id": "id"}, DataError, "1 value repeats: 'a' in row 0, 1"),
        ({"id": "x"}, DataError, "text or integers"),
        ({"text": "x"}, DataError, "'x' is double.*name text columns"),
        ({"image": "x"}, DataError, "paths"),
        ({"features": "text"}, DataError, "name numeric columns for features"),
        ({"features": "ragged"}, DataError, "lists of 0, 1 numbers.*one length"),
        ({"features": "words"}, DataError, "lists of string"),
        ({"pred_probs": "x"}, DataError, r"values from -.* to .*\[0, 1\]"),
        ({"label": "n", "multi": True}, DataError, "leave multi out"),
    ],
)
def test_wrong_choices(options, error, message):
    with pytest.raises(error, match=message):
        guess_columns(TABLE, **options)


def test_choices_are_taken():
    table = TABLE.append_column("p", pa.array(RNG.random(N)))
    columns = guess_columns(table, label="n", features=["x", "n"][:1], pred_probs="p", group="label", text="text")
    assert (columns.label, columns.features, columns.pred_probs, columns.group) == ("n", ("x",), ("p",), "label")
    assert any(s.startswith("label: column 'n', as you said") for s in columns.explanation)


def test_every_column_has_exactly_one_role():
    columns = guess_columns(TABLE)
    roles = [columns.label, columns.id, columns.group, *columns.content, *columns.pred_probs, *columns.left_out]
    assert sorted(r for r in roles if r) == sorted(TABLE.column_names)


def test_real_tables(real_data):
    trec = guess_columns(read_items(real_data / "text_classification" / "trec.parquet"))
    assert (trec.label, trec.text, set(trec.left_out)) == ("label", ("text",), {"fine_label", "split"})
    emotions = guess_columns(read_items(real_data / "goemotions" / "goemotions.parquet"))
    assert (emotions.label, emotions.multi, emotions.id, emotions.text) == ("labels", True, "id", ("text",))
