import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import LabelError, OptionError
from labelwright.labels import LabelSpace, SoftLabels

names = st.lists(st.text(min_size=1, max_size=5), min_size=1, max_size=6, unique=True)


@given(names, st.data())
def test_decode_undoes_encode(classes, data):
    space = LabelSpace(classes)
    labels = data.draw(st.lists(st.one_of(st.none(), st.sampled_from(classes)), max_size=20))
    assert space.decode(space.encode(labels)).tolist() == labels


@given(names)
def test_json_round_trip(classes):
    space = LabelSpace(classes, structure="score", values=np.arange(len(classes)) / 7)
    again = LabelSpace.from_json(space.to_json())
    assert again == space and hash(again) == hash(space)


@pytest.mark.parametrize(
    "column",
    [
        ["b", None, "a", "b"],
        np.array(["b", None, "a", "b"], dtype=object),
        pd.Series(["b", None, "a", "b"]),
        pd.Series(["b", None, "a", "b"], dtype="category"),
        pd.Series(["b", pd.NA, "a", "b"], dtype="string"),
        pl.Series(["b", None, "a", "b"]),
        pa.array(["b", None, "a", "b"]),
        pa.chunked_array([["b", None], ["a", "b"]]),
        np.ma.array(["b", "x", "a", "b"], mask=[0, 1, 0, 0]),
    ],
)
def test_every_kind_of_column_is_read(column):
    space = LabelSpace.from_labels(column)
    assert space.classes == ("a", "b")
    assert space.encode(column).tolist() == [1, -1, 0, 1]


def test_integers_with_gaps_arrive_as_floats_and_are_understood():
    space = LabelSpace.from_labels(np.array([2.0, np.nan, 7.0]))
    assert space.classes == (2, 7) and space.encode([7.0, np.nan]).tolist() == [1, -1]


def test_booleans_get_names():
    assert LabelSpace.from_labels(np.array([True, False])).classes == ("False", "True")


def test_large_integers_stay_exact():
    big = 2**60 + 1
    assert LabelSpace.from_labels([big, None]).classes == (big,)


def test_each_structure_has_its_own_cost():
    # distances between class 0 and class 2 of three classes
    parents = {"a": "x", "b": "x", "c": "y", "x": "root", "y": "root"}
    cost = {
        "nominal": LabelSpace("abc").cost()[0, 2],
        "ordered": LabelSpace("abc", structure="ordered").cost()[0, 2],
        "score": LabelSpace("abc", structure="score", values=[0, 1, 5]).cost()[0, 2],
        "hierarchy": LabelSpace("abc", structure="hierarchy", parents=parents).cost()[0, 2],  # a-x-root-y-c
        "metric": LabelSpace("abc", structure="metric", distances=3 * (1 - np.eye(3))).cost()[0, 2],
    }
    assert cost == {"nominal": 1, "ordered": 2, "score": 5, "hierarchy": 4, "metric": 3}


def test_structure_changes_which_class_a_distribution_stands_for():
    p = [[0.4, 0.0, 0.25, 0.35]]
    decided = {
        s: SoftLabels.from_dense(p, LabelSpace("abcd", structure=s, **extra)).decide().values()[0]
        for s, extra in [
            ("nominal", {}),
            ("ordered", {}),
            ("score", {"values": [0, 10, 11, 12]}),
            ("hierarchy", {"parents": {"a": "x", "b": "y", "c": "y", "d": "y", "x": "r", "y": "r"}}),
        ]
    }
    # mode a; median c; hierarchy: a costs 4*.6 = 2.4, d costs 4*.4 + 2*.25 = 2.1
    assert decided == {"nominal": "a", "ordered": "c", "score": "c", "hierarchy": "d"}


def test_dag_takes_the_shortest_way():
    space = LabelSpace("ab", structure="hierarchy", parents={"a": ["far", "m"], "far": "r", "m": "r", "b": "m"})
    assert space.cost()[0, 1] == 2


@pytest.mark.parametrize(
    ("make", "hint"),
    [
        (lambda: LabelSpace([]), "pass the class names"),
        (lambda: LabelSpace(["a", "a"]), "remove the repeated name"),
        (lambda: LabelSpace(["a", 1]), r"convert with str\(\)"),
        (lambda: LabelSpace([1.5]), "give classes names"),
        (lambda: LabelSpace("ab", structure="score"), "pass values="),
        (lambda: LabelSpace("ab", structure="score", values=[1]), r"pass values=\[...\]"),
        (lambda: LabelSpace("ab", structure="metric", distances=[[0, 1], [2, 0]]), "fill_diagonal"),
        (lambda: LabelSpace("ab", structure="hierarchy", parents={"a": "b", "b": "a"}), "its own ancestor"),
        (lambda: LabelSpace.from_labels([None, None]), "check the label column"),
        (lambda: LabelSpace.from_labels([]), "check the label column"),
        (lambda: LabelSpace("ab").encode(["a", "c"]), "add the class to the space"),
        (lambda: LabelSpace("ab").encode([1, 2]), "convert the labels"),
        (lambda: LabelSpace([0, 1]).encode(["0"]), "convert the labels"),
        (lambda: LabelSpace([0, 1]).encode(np.array([0.5, 1])), "astype"),
        (lambda: LabelSpace([0, 1]).encode(np.array([0.0, 1.0])), "astype"),
        (lambda: LabelSpace([0, 1]).encode(np.array([0.0, np.inf])), "astype"),
        (lambda: LabelSpace([0, 1]).encode(np.zeros((2, 2))), "SoftLabels.from_dense"),
        (lambda: LabelSpace.from_labels(["a", 1]), "convert with str"),
        (lambda: LabelSpace.from_labels(np.array(["2020-01-01"], dtype="M8[D]")), "to str or int"),
        (lambda: LabelSpace(["cat", "dog"]).id_of("cta"), "nearest are cat"),
    ],
)
def test_errors_say_how_to_mend(make, hint):
    with pytest.raises(LabelError, match=hint):
        make()


def test_unknown_structure_lists_the_right_ones():
    with pytest.raises(OptionError, match="did you mean 'ordered'"):
        LabelSpace("ab", structure="order")


# -- classes in an order ---------------------------------------------------------------------------------------------
def test_an_order_takes_the_spelling_of_the_labels():
    assert LabelSpace.in_order("1, 2,3,10", [2, 10, 1]).classes == (1, 2, 3, 10)
    assert LabelSpace.in_order("1,2,x", ["2", "1"]).classes == ("1", "2", "x")
    assert LabelSpace.in_order(["low", "high"], ["high"]).classes == ("low", "high")
    sort = LabelSpace.in_order("sorted", ["10", "9", None])
    assert sort.classes == ("9", "10") and sort.structure == "ordered"
    assert LabelSpace.in_order("low,mid,high", ["mid"]).cost()[0].tolist() == [0, 1, 2]


def test_an_order_lists_every_class_that_occurs():
    with pytest.raises(LabelError, match="'mid', 'none' that the order does not list.*pass 'sorted'"):
        LabelSpace.in_order("low,high", ["low", "mid", "none"])
    with pytest.raises(LabelError):
        LabelSpace.in_order("low,low", ["low"])
