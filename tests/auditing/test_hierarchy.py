"""Class hierarchies and review rankings: the card's distances, loops over the graph, files, replay of a budget."""

from __future__ import annotations

import json
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.auditing.hierarchy import (
    STRATEGIES,
    budget_curve,
    hierarchy_rank,
    jaccard,
    read_hierarchy,
    review_order,
)
from labelwright.errors import DataError, LabelError, OptionError
from labelwright.labels import Hierarchy

# part of the tree of TACRED in card 89
TACRED = {
    "no_relation": "root",
    "relation": "root",
    "org": "relation",
    "per": "relation",
    "org-per": "org",
    "per-loc": "per",
    "death": "per-loc",
    "residence": "per-loc",
    "org:shareholders": "org-per",
    "per:city_of_death": "death",
    "per:cities_of_residence": "residence",
    "per:countries_of_residence": "residence",
}
NAMES = [
    "no_relation",
    "org:shareholders",
    "per:city_of_death",
    "per:cities_of_residence",
    "per:countries_of_residence",
]


def random_graph(seed: int) -> tuple[dict[str, list[str]], list[str]]:
    """A connected acyclic graph of 12 nodes, some with two parents; 6 of them are classes."""
    rng = np.random.default_rng(seed)
    parents = {str(i): sorted({str(p) for p in rng.integers(0, i, rng.integers(1, 3))}) for i in range(1, 12)}
    return parents, [str(i) for i in rng.permutation(12)[:6]]


def ancestors(parents, node):
    found, waiting = {node}, [node]
    while waiting:
        for p in parents.get(waiting.pop(), []):
            if p not in found:
                found.add(p)
                waiting.append(p)
    return found


def depth(parents, node):
    return max((1 + depth(parents, p) for p in parents.get(node, [])), default=0)


def steps_up(parents, node):
    steps, queue = {node: 0}, deque([node])
    while queue:
        at = queue.popleft()
        for p in parents.get(at, []):
            if p not in steps:
                steps[p] = steps[at] + 1
                queue.append(p)
    return steps


def distance(parents, a, b):
    left, right = steps_up(parents, a), steps_up(parents, b)
    return min(left[c] + right[c] for c in left.keys() & right.keys())


def test_distances_of_the_card():
    h = Hierarchy(TACRED, NAMES)
    none, shareholders, city, cities, countries = range(5)
    assert (h.distance[city, cities], h.to_lca[city, cities], h.depth[h.nodes.index(NAMES[city])]) == (4, 2, 5)
    assert (h.distance[shareholders, none], h.to_lca[shareholders, none]) == (5, 4)
    assert (h.distance[none, countries], h.to_lca[none, countries]) == (6, 1)
    assert h.nodes[h.lca[cities, countries]] == "residence"


@given(st.integers(0, 100_000))
def test_agrees_with_loops_on_random_graphs(seed):
    parents, names = random_graph(seed)
    h = Hierarchy(parents, names)
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            assert h.distance[i, j] == distance(parents, a, b)
            common = ancestors(parents, a) & ancestors(parents, b)
            deepest = max(depth(parents, c) for c in common)
            found = h.nodes[h.lca[i, j]]
            assert found in common and depth(parents, found) == deepest == h.depth[h.lca[i, j]]
            assert h.to_lca[i, j] == steps_up(parents, a)[found]
    np.testing.assert_array_equal(h.distance, h.distance.T)
    np.testing.assert_array_equal(h.lca, h.lca.T)
    assert (h.distance.diagonal() == 0).all()


def test_several_roots_and_a_class_above_a_class():
    h = Hierarchy({"cat": "animal", "car": "machine"}, ["cat", "car", "animal"])
    assert h.distance.tolist() == [[0, 4, 1], [4, 0, 3], [1, 3, 0]]
    assert h.nodes[h.lca[0, 1]] == "<root>" and h.nodes[h.lca[0, 2]] == "animal"


def test_two_parents_take_the_shorter_path():
    chain = {"pet": "animal", "wolf": "predator", "predator": "beast", "beast": "animal", "dog": ["pet", "predator"]}
    h = Hierarchy(chain, ["dog", "wolf", "pet"])
    assert h.distance[0].tolist() == [0, 2, 1] and h.nodes[h.lca[0, 1]] == "predator"


def test_classes_that_are_numbers(tmp_path):
    (tmp_path / "h.csv").write_text("0,round\n8,round\n1,straight\n")
    h = read_hierarchy(tmp_path / "h.csv", [0, 1, 8])
    assert h.distance.tolist() == [[0, 4, 2], [4, 0, 4], [2, 4, 0]]
    assert (0, "round") in h.edges and ("round", "<root>") in h.edges


def test_one_class_alone():
    h = Hierarchy({"a": []}, ["a"])
    assert h.distance.tolist() == [[0]] and h.to_lca.tolist() == [[0]]


def case(seed: int, n: int = 60, m: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray, Hierarchy]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 5, n)
    predictions = np.where(rng.random((n, m)) < 0.6, labels[:, None], rng.integers(0, 5, (n, m)))
    return labels, predictions, rng.random((n, m)), Hierarchy(TACRED, NAMES)


def naive_rank(labels, predictions, confidences, h, strategy):
    out = []
    for g, row, conf in zip(labels, predictions, confidences):
        if strategy == "gp":
            out.append(sum(h.distance[g, y] for y in row) / len(row))
        elif strategy == "gl":
            out.append(sum(h.to_lca[g, y] for y in row) / len(row))
        elif strategy == "disagreement":
            out.append(float(sum(g != y for y in row)))
        else:
            out.append(sum(c if g != y else -c for y, c in zip(row, conf)) / len(row))
    return np.array(out)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_ranks_agree_with_loops(strategy):
    labels, predictions, confidences, h = case(0)
    found = hierarchy_rank(labels, predictions, confidences, h, strategy=strategy, tie_break=None)
    np.testing.assert_allclose(found, naive_rank(labels, predictions, confidences, h, strategy))


@pytest.mark.parametrize("strategy", STRATEGIES[:3])
@given(st.integers(0, 10_000))
def test_tie_break_orders_ties_by_signed_confidence_and_nothing_else(strategy, seed):
    labels, predictions, confidences, h = case(seed)
    order = review_order(hierarchy_rank(labels, predictions, confidences, h, strategy=strategy))
    plain = naive_rank(labels, predictions, confidences, h, strategy)
    signed = naive_rank(labels, predictions, confidences, h, "signed_confidence")
    np.testing.assert_array_equal(order, np.lexsort((np.arange(60), -np.round(signed, 12), -np.round(plain, 9))))


def test_without_confidences_ties_go_by_id():
    labels, predictions, _, h = case(1)
    score = hierarchy_rank(labels, predictions, None, h)
    ids = np.arange(60)[::-1]
    order = review_order(score, ids)
    ties = score[order][1:] == score[order][:-1]
    assert ties.any() and (np.diff(ids[order])[ties] > 0).all()


def test_labels_outside_the_hierarchy_raise():
    labels, predictions, confidences, h = case(2)
    with pytest.raises(
        LabelError, match=r"1 labels outside the hierarchy, the first 7; row 0.*leave unlabelled items out"
    ):
        hierarchy_rank(np.r_[7, labels[1:]], predictions, confidences, h)
    with pytest.raises(LabelError, match="predictions outside the hierarchy, the first -1"):
        hierarchy_rank(labels, predictions - 5 * (np.arange(5) == 2) * 0 - 1, confidences, h)


def test_shapes_and_options():
    labels, predictions, confidences, h = case(3)
    with pytest.raises(DataError, match=r"pass `predictions\[:, None\]`"):
        hierarchy_rank(labels, predictions[:, 0], None, h)
    with pytest.raises(DataError, match="confidences alike"):
        hierarchy_rank(labels, predictions, confidences[:, :2], h)
    with pytest.raises(OptionError, match="pass confidences, or use strategy='disagreement'"):
        hierarchy_rank(labels, predictions, None, h, strategy="signed_confidence")
    with pytest.raises(OptionError, match="did you mean 'gp'"):
        hierarchy_rank(labels, predictions, None, h, strategy="gpp")
    with pytest.raises(OptionError, match="did you mean 'confidence'"):
        hierarchy_rank(labels, predictions, None, h, tie_break="conf")


def test_reads_json_and_csv(tmp_path):
    (tmp_path / "h.json").write_text(json.dumps({**TACRED, "root": None, "org": ["relation"]}))
    (tmp_path / "h.csv").write_text("child,parent\n" + "".join(f"{c}, {p}\n" for c, p in TACRED.items()) + "\nroot,\n")
    expected = Hierarchy(TACRED, NAMES).distance
    for name in ("h.json", "h.csv"):
        np.testing.assert_array_equal(read_hierarchy(tmp_path / name, NAMES).distance, expected)
    (tmp_path / "dag.csv").write_text("dog,pet\ndog,animal\npet,animal\n")
    assert read_hierarchy(tmp_path / "dag.csv", ["dog", "animal"]).distance.tolist() == [[0, 1], [1, 0]]


@pytest.mark.parametrize(
    ("name", "text", "names", "message"),
    [
        ("h.json", '{"a": ', ["a"], "which is no JSON"),
        ("h.json", '["a", "b"]', ["a"], "map child to parent"),
        ("h.json", '{"a": 3}', ["a"], "name parents by strings"),
        ("h.json", '{"a": "b", "b": "c", "c": "a"}', ["a"], "remove the line that makes a node its own ancestor"),
        ("h.csv", "a,a\n", ["a"], "a cycle among"),
        ("h.csv", "a,b,c\n", ["a"], "line 1 of h.csv.*quote names that hold a comma"),
        ("h.csv", "a,b\n", ["a", "z"], "1 classes that are not in the hierarchy: 'z'.*add a line `class, parent`"),
        ("h.csv", "a,b\n", ["a", "a"], "merge the classes"),
        ("h.xml", "<a/>", ["a"], "rename or convert it"),
    ],
)
def test_broken_files(tmp_path, name, text, names, message):
    (tmp_path / name).write_text(text)
    with pytest.raises((DataError, LabelError), match=message):
        read_hierarchy(tmp_path / name, names)


def test_absent_and_binary_files(tmp_path):
    with pytest.raises(DataError, match="check path and encoding"):
        read_hierarchy(tmp_path / "none.csv", ["a"])
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(DataError, match="check path and encoding"):
        read_hierarchy(tmp_path / "x.csv", ["a"])


def test_budget_curve_by_hand():
    is_error = np.array([False, True, True, False, False, True, False, False, False, False])
    curve = budget_curve(np.array([1, 0, 5, 2, 3, 4, 6, 7, 8, 9]), is_error, budgets=[0.1, 0.3, 1.0])
    assert curve.reviewed.tolist() == [1, 3, 10] and curve.caught.tolist() == [1, 2, 3]
    np.testing.assert_allclose(curve.precision, [1, 2 / 3, 0.3])
    np.testing.assert_allclose(curve.recall, [1 / 3, 2 / 3, 1])
    assert budget_curve(np.arange(3), np.zeros(3, bool)).recall.tolist() == [0.0] * 10
    with pytest.raises(OptionError, match=r"pass 0\.05 for 5 %"):
        budget_curve(np.arange(3), np.zeros(3, bool), budgets=[5])


def test_jaccard():
    assert jaccard(np.array([1, 2, 3]), np.array([3, 2, 9]), 3) == 0.5
    assert jaccard(np.array([1]), np.array([1]), 1) == 1.0


def test_far_errors_come_first_and_beat_chance():
    """Far noise (between the branches) is caught by distance before sibling confusions of the models."""
    rng = np.random.default_rng(0)
    h = Hierarchy(TACRED, NAMES)
    true = rng.integers(1, 5, 2000)
    wrong = rng.random(2000) < 0.1
    labels = np.where(wrong, 0, true)  # relation marked as no relation
    sibling = np.where(true == 3, 4, np.where(true == 4, 3, true))
    predictions = np.where(rng.random((2000, 5)) < 0.9, sibling[:, None], true[:, None])
    gp, same = (
        budget_curve(review_order(hierarchy_rank(labels, predictions, None, h, strategy=s)), wrong, budgets=[0.1])
        for s in ("gp", "disagreement")
    )
    assert gp.precision[0] > 0.95 and gp.caught[0] > 1.5 * same.caught[0]
