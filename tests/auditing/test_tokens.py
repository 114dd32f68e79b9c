"""Audit of token labels: naive references, BIO round trips, planted mistakes and their names, bad input."""

from __future__ import annotations

from itertools import product

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelwright.auditing.tokens import audit_tokens, entity_spans, sentence_quality, span_tags, tag_belief
from labelwright.auditing.tokens import chain as _chain
from labelwright.auditing.tokens.inputs import place
from labelwright.auditing.tokens.tags import illegal_tokens, scheme_of, span_ids
from labelwright.auditing.tokens.verb import _together
from labelwright.errors import DataError, LabelError, LabelwrightWarning, OptionError, ProbabilityError
from labelwright.labels import LabelSpace, Spans

NAMES = ["O", "B-a", "I-a", "B-b", "I-b"]
SPACE = LabelSpace(NAMES)
SCHEME = scheme_of(SPACE)
BIO = st.lists(st.lists(st.sampled_from(range(5)), max_size=6), min_size=1, max_size=5)
FILTER = "ignore::labelwright.errors.LabelwrightWarning"


def flat(sentences):
    lengths = np.array([len(s) for s in sentences], dtype=np.int64)
    return np.array([t for s in sentences for t in s], dtype=np.int64), lengths


# -------------------------------------------------------------------------------------------------------------- the scheme
def test_scheme_is_read_from_the_names():
    assert SCHEME.types == ("a", "b")
    assert SCHEME.twin.tolist() == [-1, 2, 1, 4, 3]
    assert SCHEME.part.tolist() == [0, 1, 2, 1, 2] and SCHEME.type.tolist() == [-1, 0, 0, 1, 1]
    assert scheme_of(LabelSpace(["B", "I", "O"])).types == ("",)
    assert scheme_of(LabelSpace(["O", "B-x"])).twin.tolist() == [-1, -1]
    for names in (["NOUN", "VERB"], ["O", "X"], ["O", "B-x", "S-x"], ["B-x", "O-x"], [0, 1]):
        assert scheme_of(LabelSpace(names)) is None


def test_legal_pairs():
    legal = [[a != "I" or x == y for a, y in ((n[0], n[2:]) for n in NAMES)] for x in (n[2:] for n in NAMES)]
    np.testing.assert_array_equal(SCHEME.legal(), legal)


@given(st.lists(st.lists(st.sampled_from([-1, 0, 1, 2, 3, 4]), max_size=6), min_size=1, max_size=5))
def test_illegal_tokens_and_spans_as_a_loop_finds_them(sentences):
    tags, lengths = flat(sentences)
    illegal, number, count = [], [], -1
    for sentence in sentences:
        for t, tag in enumerate(sentence):
            before = sentence[t - 1] if t else None
            goes_on = tag in (2, 4) and before in (tag, tag - 1)
            illegal.append(tag in (2, 4) and not goes_on and before != -1)
            count += not goes_on
            number.append(count)
    assert illegal_tokens(tags, lengths, SCHEME).tolist() == illegal
    assert span_ids(tags, lengths, SCHEME).tolist() == number


@given(BIO)
def test_spans_and_back(sentences):
    names = [[NAMES[t] for t in s] for s in sentences]
    if not any(t != "O" for s in names for t in s):
        return
    spans = entity_spans(names)
    mended = span_tags(spans, [len(s) for s in names])
    again = entity_spans(mended)
    for column in ("item", "start", "stop", "label"):
        np.testing.assert_array_equal(getattr(spans, column), getattr(again, column))
    if not illegal_tokens(*flat(sentences), SCHEME).any():
        assert mended == names


def test_spans_by_hand():
    spans = entity_spans([["I-a", "I-a", "B-a", "I-b"], [], ["O", None, "B-b"]])
    told = list(zip(spans.item, spans.start, spans.stop, spans.hard().values(), strict=True))
    assert told == [(0, 0, 2, "a"), (0, 2, 3, "a"), (0, 3, 4, "b"), (2, 2, 3, "b")]


def test_spans_that_cannot_be_are_refused():
    with pytest.raises(LabelError, match="write tags as 'B-person'"):
        entity_spans([["NOUN"]])
    with pytest.raises(LabelError, match="BIO tags with an entity"):
        entity_spans([["O"], []])
    two = Spans.from_columns([0, 0], [0, 1], [2, 3], [0, 0], LabelSpace(["a"]))
    with pytest.raises(LabelError, match="nested entities"):
        span_tags(two, [3])
    with pytest.raises(LabelError, match="ends too late"):
        span_tags(two[:1], [1])


# --------------------------------------------------------------------------------------------------------------- the chain
def random_chain(seed, sentences):
    rng = np.random.default_rng(seed)
    tags, lengths = flat(sentences)
    u = rng.dirichlet(np.ones(5), size=len(tags))
    transition = rng.dirichlet(np.ones(5), size=5) * 0.5 + 0.5 * np.eye(5)
    return tags, lengths, u, rng.random((5, 5)) + 0.1, transition


def factor(pair, transition, before, tag, given_before, given_now, forced):
    """pair, and 1 / T where the mistake follows from the one before."""
    out = pair[before, tag]
    if not forced or given_before is None or given_now == 0:
        return out
    kind = SCHEME.type
    swapped = tag == SCHEME.twin[given_now]
    stray = given_now in (2, 4) and kind[given_before] == kind[given_now] and kind[before] != kind[given_now]
    late = given_now in (1, 3) and kind[given_before] != kind[given_now] and kind[before] == kind[given_now]
    return out / transition[tag, given_now] if swapped and (stray or late) else out


@settings(max_examples=20)
@given(
    st.integers(0, 99), st.lists(st.lists(st.sampled_from(range(5)), max_size=4), min_size=1, max_size=3), st.booleans()
)
def test_marginals_are_those_of_all_sequences_summed(seed, sentences, forced):
    tags, lengths, u, pair, transition = random_chain(seed, sentences)
    told = _chain.forced_mistakes(tags, lengths, SCHEME, transition) if forced else None
    got = _chain.marginals(u, lengths, pair, told, heard=1.0)
    start = 0
    for n in lengths:
        want = np.zeros((n, 5))
        for guess in product(range(5), repeat=int(n)):
            weight = np.prod([u[start + t, y] for t, y in enumerate(guess)])
            for t in range(1, n):
                g = tags[start + t - 1 : start + t + 1]
                weight *= factor(pair, transition, guess[t - 1], guess[t], *g, forced)
            want[np.arange(n), list(guess)] += weight
        if n:
            np.testing.assert_allclose(got[start : start + n], want / want.sum(1, keepdims=True), rtol=1e-6)
        start += n


@given(st.integers(0, 99), BIO)
def test_weakened_messages_as_a_loop_passes_them(seed, sentences):
    _, lengths, u, pair, _ = random_chain(seed, sentences)
    got, start = _chain.marginals(u, lengths, pair), 0
    for n in lengths:
        own = u[start : start + n]
        left, right = np.ones((2, n, 5))
        for t in range(1, n):
            left[t] = np.sqrt(pair.T @ (left[t - 1] * own[t - 1] / (left[t - 1] * own[t - 1]).sum()))
        for t in range(n - 2, -1, -1):
            right[t] = np.sqrt(pair @ (right[t + 1] * own[t + 1]))
        want = own * left * right
        np.testing.assert_allclose(got[start : start + n], want / want.sum(1, keepdims=True), rtol=1e-6)
        start += n


def test_pairs_by_hand():
    tags, lengths = flat([[1, 2, 0], [], [0, -1, 1]])  # pairs B I and I O; none with the token that has no tag
    shares = (np.array([2, 2, 1, 0, 0]) + 1) / 10
    joint = 5 * np.outer(shares, shares)
    joint[1, 2] += 1
    joint[2, 0] += 1
    want = joint / joint.sum() / np.outer(joint.sum(1), joint.sum(0)) * joint.sum() ** 2
    np.testing.assert_allclose(_chain.pair_lift(tags, lengths, 5, None, 1.0), want)
    legal = _chain.pair_lift(tags, lengths, 5, SCHEME, 0.5)
    np.testing.assert_allclose(legal, np.where(SCHEME.legal(), np.sqrt(want), 1e-6))


def test_rates_of_mistakes_are_those_of_em_over_the_full_transition():
    rng = np.random.default_rng(0)
    true = rng.choice(5, size=4000, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    q = rng.dirichlet(np.full(5, 0.1), size=4000) * 0.3 + 0.7 * np.eye(5)[true]
    tags = np.where((true > 0) & (rng.random(4000) < 0.2), 0, true)  # a fifth of the entities is missed
    kinds = _chain.kinds_of_mistake(SCHEME)
    assert kinds.tolist()[1] == [_chain.MISSED, -1, _chain.EDGE, _chain.TYPE, _chain.BOTH]
    rates = np.array(_chain.START_RATES)
    for _ in range(30):
        transition = _chain._spread(rates, kinds)
        np.testing.assert_allclose(transition.sum(1), 1)
        posterior = q * transition.T[tags]
        posterior /= posterior.sum(1, keepdims=True)
        joint = np.array([[posterior[tags == g, y].sum() for g in range(5)] for y in range(5)])
        rates = np.array([joint[kinds == k].sum() / joint[(kinds == k).any(1)].sum() for k in range(5)])
    got = _chain._fit_rates(q, tags, kinds, SCHEME, 30)
    np.testing.assert_allclose(got, rates, atol=1e-5)
    assert 0.1 < got[_chain.MISSED] < 0.3 and got[[_chain.SPURIOUS, _chain.EDGE, _chain.BOTH]].max() < 0.03
    shrunk = _chain.scheme_transition(q, tags, SCHEME)
    np.testing.assert_allclose(shrunk.sum(1), 1)
    assert (shrunk > 0).all() and shrunk[1, 0] > 3 * shrunk[1, 3]


# ------------------------------------------------------------------------------------------------------ sentences in one number
@given(st.integers(0, 99), BIO)
def test_sentence_quality_as_a_loop_finds_it(seed, sentences):
    tags, lengths = flat(sentences)
    rng = np.random.default_rng(seed)
    log_right = np.where(rng.random(len(tags)) < 0.2, np.nan, np.log(rng.random(len(tags))))
    span = span_ids(tags, lengths, SCHEME)
    got, start = sentence_quality(log_right, lengths, span), 0
    for i, n in enumerate(lengths):
        mine, told = log_right[start : start + n], span[start : start + n]
        if np.isnan(mine).all():
            assert np.isnan(got[i])
        else:
            hazards = [
                [-x for x, s in zip(mine, told, strict=True) if s == one and x == x] for one in sorted(set(told))
            ]
            joined = sum((sum(h * h for h in hs) / sum(hs)) ** 2 for hs in hazards if hs) ** 0.5
            assert got[i] == pytest.approx(np.exp(-joined), abs=1e-12)
        start += n


@given(st.lists(st.floats(0.01, 1), min_size=1, max_size=8))
def test_sentence_quality_lies_between_independence_and_perfect_dependence(right):
    got = sentence_quality(np.log(right), np.array([len(right)]), np.arange(len(right)))[0]
    assert np.prod(right) - 1e-9 <= got <= min(right) + 1e-9


# ------------------------------------------------------------------------------------------------------------- the whole audit
def corpus(n=150, seed=0):
    """True tags (ids) of n sentences, and probabilities of a model that mostly sees them."""
    rng = np.random.default_rng(seed)
    sentences = []
    for _ in range(n):
        s = [0] * int(rng.integers(1, 4))
        for _ in range(int(rng.integers(0, 3))):
            begin = int(rng.choice([1, 3]))
            s += [begin, *[begin + 1] * int(rng.integers(0, 3)), *[0] * int(rng.integers(1, 4))]
        sentences.append(s)
    p = [0.85 * np.eye(5)[s] + 0.15 * rng.dirichlet(np.ones(5), size=len(s)) for s in sentences]
    return sentences, p


def named(sentences):
    return [[NAMES[t] for t in s] for s in sentences]


def problem_at(true, mistaken):
    """What is said of the tokens of a sentence appended to the corpus, its given tags being `mistaken`."""
    sentences, p = corpus()
    p.append(0.9 * np.eye(5)[true] + 0.02)
    audit = audit_tokens(named([*sentences, mistaken]), p, space=NAMES)
    parts = audit.parts.slice(audit.parts.num_rows - len(true)).to_pylist()
    return [(part["problem"], part["suggested"]) for part in parts], audit


@pytest.mark.parametrize(
    ("true", "mistaken", "said"),
    [
        ([0, 1, 2, 0], [0, 0, 0, 0], ["", "missed entity", "missed entity", ""]),
        ([0, 0, 0, 0], [0, 1, 2, 0], ["", "spurious entity", "spurious entity", ""]),
        ([0, 1, 2, 0], [0, 3, 4, 0], ["", "wrong type", "wrong type", ""]),
        ([0, 1, 2, 0], [0, 1, 0, 0], ["", "", "wrong boundary", ""]),
        ([0, 1, 0, 0], [0, 1, 2, 0], ["", "", "wrong boundary", ""]),
        ([0, 1, 2, 0], [0, 0, 1, 0], ["", "wrong boundary", "wrong boundary", ""]),
        ([0, 0, 1, 0], [0, 1, 2, 0], ["", "wrong boundary", "wrong boundary", ""]),
        ([0, 1, 2, 0], [0, 2, 2, 0], ["", "illegal sequence", "", ""]),
    ],
)
def test_every_kind_of_mistake_is_named_and_mended(true, mistaken, said):
    told, audit = problem_at(true, mistaken)
    assert [problem for problem, _ in told] == said
    assert [tag for _, tag in told] == [NAMES[t] for t in true]
    assert audit.ranking[0] == 150


@pytest.mark.filterwarnings(FILTER)
def test_an_illegal_sequence_is_flagged_whatever_the_model_says():
    told, audit = problem_at([0, 2, 0], [0, 2, 0])  # the model is sure of the illegal tag
    assert told[1][0] == "illegal sequence" and told[1][1] != "I-a"
    assert any("1 tags continue an entity that is not there" in note for note in audit.notes)


def test_iob1_is_audited_as_plain_tags():
    sentences, p = corpus()
    inside = [[{1: 2, 3: 4}.get(t, t) for t in s] for s in sentences]
    swap = [0, 2, 1, 4, 3]
    with pytest.warns(LabelwrightWarning, match="every entity begin with B-"):
        audit = audit_tokens(named(inside), [q[:, swap] for q in p], space=NAMES)
    assert audit.settings["scheme"] is None and "illegal sequence" not in audit.summary()["problems"]


def test_forms_of_input_change_nothing():
    sentences, p = corpus(40)
    names = named(sentences)
    names[3][0] = "B-b"
    first = audit_tokens(names, p, space=NAMES)
    ids = [[NAMES.index(t) for t in s] for s in names]
    others = [
        audit_tokens(pa.array(names), np.concatenate(p), space=SPACE),
        audit_tokens(names, [q.tolist() for q in p], space=NAMES, tokens=[["w"] * len(s) for s in names]),
        audit_tokens(ids, p, space=NAMES),
        audit_tokens(pa.chunked_array([names]), np.concatenate(p).astype(np.float32), space=NAMES),
    ]
    for other in others:
        np.testing.assert_allclose(first.quality, other.quality, atol=1e-5)
        assert first.parts["problem"].equals(other.parts["problem"])
    assert "token" in others[1].parts.column_names and "token" not in first.parts.column_names
    plain = audit_tokens(ids, p)
    assert plain.parts["given"].to_pylist() == [t for s in ids for t in s]
    assert first.parts.column_names == [
        "item",
        "row",
        "position",
        "given",
        "suggested",
        "quality",
        "problem",
        "is_issue",
    ]


@pytest.mark.parametrize("names", [NAMES, ["v", "w", "x", "y", "z"]])
def test_permuted_sentences_give_permuted_answers(names):
    sentences, p = corpus(60)
    sentences[5][0] = 3
    tags = [[names[t] for t in s] for s in sentences]
    order = np.random.default_rng(0).permutation(60)
    one = audit_tokens(tags, p, space=names)
    two = audit_tokens([tags[i] for i in order], [p[i] for i in order], space=names, items=[f"s{i}" for i in order])
    np.testing.assert_allclose(one.quality[order], two.quality, rtol=1e-6)
    assert two.items[0] == f"s{order[0]}"
    assert one.ranking[0] == order[two.ranking[0]] == 5
    assert set(one.summary()["problems"]) <= {"spurious entity", "wrong tag"}


@pytest.mark.filterwarnings(FILTER)
@pytest.mark.parametrize("names", [NAMES, ["v", "w", "x", "y", "z"]])
def test_tokens_without_a_tag_and_empty_sentences(names):
    sentences, p = corpus(60)
    tags = [[names[t] for t in s] for s in sentences]
    tags[2] = [None] * len(tags[2])
    tags[4][0] = None
    audit = audit_tokens([[], *tags, []], [np.empty((0, 5)), *p, np.empty(0)], space=names)
    assert np.isnan(audit.quality[[0, 3, 61]]).all() and np.isfinite(np.delete(audit.quality, [0, 3, 61])).all()
    assert audit.parts.num_rows == sum(len(s) for s in tags) - len(tags[2]) - 1
    assert not {(3, 0), (5, 0)} & set(
        zip(audit.parts["row"].to_pylist(), audit.parts["position"].to_pylist(), strict=True)
    )
    assert set(audit.ranking[-3:]) == {0, 3, 61} and "have no tag" in audit.notes[0]


def test_nobody_but_the_neighbours_speaks_of_a_token_without_a_tag():
    sentences, p = corpus(60)
    tags, lengths = flat(sentences)
    tags[lengths[0] :][:1] = -1
    belief = tag_belief(tags, np.concatenate(p), lengths, SCHEME)
    np.testing.assert_allclose(belief.sum(1), 1)
    assert belief[lengths[0]].argmax() == np.concatenate(p)[lengths[0]].argmax()


# ----------------------------------------------------------------------------------------------------------- our own tagger
def text_corpus(n=120):
    rng = np.random.default_rng(1)
    words = {
        0: ["the", "runs", "home", "and", "of", "we"],
        1: ["Anna", "Bob", "Carla"],
        2: ["Smith", "Jones"],
        3: ["Rome", "Oslo"],
    }
    tags = [[int(t) for t in rng.choice([0, 0, 1, 3], size=6)] for _ in range(n)]
    tags = [[t for tag in s for t in ([1, 2] if tag == 1 else [tag])] for s in tags]
    return [[str(rng.choice(words[t])) for t in s] for s in tags], tags


@pytest.mark.filterwarnings(FILTER)
def test_without_predictions_the_tags_are_predicted_from_the_tokens():
    tokens, tags = text_corpus()
    names = named(tags)
    row, at = next((i, s.index(3)) for i, s in enumerate(tags) if 3 in s and i > 10)
    names[row][at] = "O"
    seen = []
    audit = audit_tokens(names, tokens=tokens, space=NAMES, n_folds=3, progress=lambda *told: seen.append(told))
    first = audit.issues.to_pylist()[0]
    assert (first["row"], first["position"], first["suggested"], first["problem"]) == (row, at, "B-b", "missed entity")
    assert first["token"] in ("Rome", "Oslo") and audit.ranking[0] == row
    assert seen == [("out-of-fold predictions", i, 3) for i in (1, 2, 3)]
    again = audit_tokens(names, tokens=tokens, space=NAMES, n_folds=3)
    np.testing.assert_array_equal(audit.quality, again.quality)


def test_copies_and_groups_share_a_fold():
    tokens = [["A", "b"], ["a", "B"], ["c"], ["d"], ["e"]]
    assert _together(tokens, None).tolist() == [0, 0, 1, 2, 3]
    linked = _together(tokens, ["x", "y", "y", "z", "z"])
    assert linked[0] == linked[1] == linked[2] != linked[3] == linked[4]


@pytest.mark.slow
@pytest.mark.filterwarnings(FILTER)
def test_real_sentences_with_planted_types(real_data):
    from sklearn.metrics import average_precision_score

    from labelwright.auditing.tokens.inputs import read_sentences
    from labelwright.auditing.tokens.verb import _predict

    import pyarrow.parquet as pq  # isort: skip

    table = pq.read_table(real_data / "ner_wnut17" / "wnut17.parquet").slice(0, 2000)
    tokens, true = table["tokens"].to_pylist(), table["tags"].to_pylist()
    rng = np.random.default_rng(0)
    names = sorted({t for s in true for t in s})
    tags = [list(s) for s in true]
    for i, s in enumerate(true):
        if any(t[0] == "B" for t in s) and rng.random() < 0.15:
            new = str(rng.choice(["person", "location", "group"]))
            tags[i] = [t if t == "O" else f"{t[:2]}{new}" for t in s]
    wrong = np.array([a != b for s, t in zip(tags, true, strict=True) for a, b in zip(s, t, strict=True)])
    read = read_sentences(tags, None, tokens=tokens, space=names, items=None)
    p = _predict(read, None, 5, 0, lambda *told: None)
    audit = audit_tokens(tags, p, space=names)
    own = average_precision_score(wrong, -p[np.arange(len(wrong)), read.given])
    assert average_precision_score(wrong, -audit.parts["quality"].to_numpy()) > own + 0.03


# ---------------------------------------------------------------------------------------------------------------- bad input
P = [np.full((2, 2), 0.5), np.full((1, 2), 0.5)]
T = [["a", "b"], ["a"]]


@pytest.mark.parametrize(
    ("tags", "p", "options", "error", "message"),
    [
        (T, None, {}, DataError, r"neither pred_probs nor tokens.*pass out-of-sample pred_probs, or tokens="),
        ([[], []], [np.empty((0, 2))] * 2, {}, DataError, "2 sentences without any token.*check the file"),
        ([], np.empty((0, 2)), {}, DataError, "0 sentences without any token"),
        (["ab", ["a"]], P, {}, DataError, r"'ab' as sentence 0 of `tags`.*\[None\] \* T"),
        ([["a", "b"], None], P, {}, DataError, "None as sentence 1 of `tags`.*empty ones allowed"),
        (T, P[:1], {}, DataError, "1 sentences in `pred_probs` for 2.*select the sentences"),
        (T, [P[0], P[0]], {}, DataError, "first is sentence 1 with 2 for 1 tags.*keep that of the first piece"),
        (T, P, {"tokens": [["x"], ["y"]]}, DataError, "`tokens` and `tags` differ in length; first is sentence 0"),
        (T, np.full((4, 2), 0.5), {}, ProbabilityError, "4 rows of pred_probs for 3 tags.*told which sentence"),
        (T, [P[0], np.full((1, 3), 1 / 3)], {}, ProbabilityError, r"shape \(1, 3\).*for sentence 1.*one row per token"),
        (T, [np.ones(2), P[1]], {}, ProbabilityError, r"shape \(2,\).*for sentence 0"),
        (T, [P[0], np.array([[np.nan, 1]])], {}, ProbabilityError, "token 0 of sentence 1.*predict them again"),
        (T, [np.array([[0.5, 0.5], [3, -1]]), P[1]], {}, ProbabilityError, "token 1 of sentence 0.*softmax"),
        (T, P, {"space": ["a", "c"]}, LabelError, "'b', token 1 of sentence 0.*nearest are.*set it to None"),
        ([[0, 7], [1]], P, {"space": [0, 1]}, LabelError, "first is 7, token 1 of sentence 0"),
        (
            [[0, -100], [1]],
            P,
            {"space": ["x", "y"]},
            LabelError,
            "first is -100, token 1 of sentence 0.*ids 0 to 1.*set it to None",
        ),
        (T, P, {"space": ["a", "b", "c"]}, ProbabilityError, "2 columns.*3 classes.*in column order"),
        (
            [["a", 1], ["a"]],
            P,
            {},
            LabelError,
            "in the tags of all sentences: numbers and names mixed.*every label is a name",
        ),
        ([[None, None], [None]], P, {}, LabelError, "3 tokens, none of them with a tag.*nothing to audit"),
        ([["a", "a"], ["a"]], [np.ones((2, 1)), np.ones((1, 1))], {}, LabelError, "one tag only: 'a'.*all the tags"),
        (T, P, {"items": ["x", "x"]}, DataError, "choose a column that is unique"),
        (T, P, {"n_folds": 1}, OptionError, "n_folds=2 or more"),
        (T, P, {"random_state": -1}, OptionError, "random_state=0 or more"),
        (
            T,
            None,
            {"tokens": [["x", "y"], ["z"]], "groups": [1]},
            DataError,
            "the group of each sentence, not of each token",
        ),
        (T, None, {"tokens": [["x", "y"], ["z"]], "groups": [1, 1]}, DataError, "leave `groups` out"),
        (T, None, {"tokens": [["x", 5], ["z"]]}, DataError, r"token 1 of sentence 0 is 5.*convert with str\(token\)"),
    ],
)
def test_bad_input_is_told_where_and_how_to_mend_it(tags, p, options, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        audit_tokens(tags, p, **options)


def test_place_skips_empty_sentences():
    assert place(2, np.array([2, 0, 4])) == "token 0 of sentence 2"
