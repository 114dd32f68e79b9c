"""Search by meaning: judged queries, names and numbers, facets, typos, and what gets no answer."""

from __future__ import annotations

import itertools
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib import resources

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelwright.errors import OptionError
from labelwright.systems.catalogue import System, catalogue
from labelwright.systems.search import _index, _Lexicon, _lexicon, _longest, raw_words, search, stem

# Queries with the numbers of the systems that are right, judged from their cards. The lexicon and the weights were
# chosen with the answers to DEVELOPED in sight. HELD_OUT was written at the same time by the same hand and split off by
# turns: its first run had a right system first for 41 of 45 queries and among the first three for 44. That run showed a
# fault of the stemmer ("missing" read as "mis-"); with it mended the numbers are 42 and 44.
DEVELOPED: list[tuple[str, set[int]]] = [
    ("crowd workers, ordered classes", {12, 16, 40, 41, 46, 83, 91, 120}),
    ("star ratings from several raters", {41, 46}), ("find wrong labels in my data set", {39, 40, 58, 72, 89}),
    ("errors in the annotations of my test set", {40, 58, 72}), ("re-annotation budget with a class tree", {89}),
    ("train on dirty labels without memorizing them", {32, 59, 63, 88, 94, 95}),
    ("incorrect node labels in a citation network", {70, 77}), ("positive-unlabelled multi-label", {21}),
    ("only percentages per group are known, not single labels", {25, 37}), ("whole slide pathology scores", {25}),
    ("teacher-student without a teacher", {2}), ("BERT is too slow, make it smaller", {47, 128, 129}),
    ("condense ImageNet into a few synthetic pictures per class", {3, 4, 9, 11, 125}),
    ("prune source classes before pretraining", {108}), ("semi-supervised detector", {19}),
    ("adapt a detector without source images", {127, 131}), ("merge polygons drawn by different labellers", {91}),
    ("scribbles instead of full masks", {52, 92}), ("domain shift from simulated to real street scenes", {104}),
    ("label shift", {64, 90}), ("which pictures to label next", {7, 44, 50, 96}), ("query an unreliable oracle", {7}),
    ("build a taxonomy from chat logs", {22}), ("zero-shot text categories through entailment", {75}),
    ("soft prompts for a vision language model", {15, 33, 38, 50, 118}), ("XMC with label text", {34, 36, 121}),
    ("retrieval embeddings with graded relevance", {112, 114}), ("synthetic search queries in a new domain", {115}),
    ("reward model, RLHF", {46, 97}), ("write better image captions", {82, 86}),
    ("how sure can I be of multi-label predictions", {57}), ("which encoder is best without labels", {80}),
    ("fast inference for hypergraphs", {10}), ("mixup for retrieval", {66}),
    ("combine two examples to make samples with joint labels", {61}),
    ("patients, clinical notes, several diagnoses", {42, 54}), ("satellite imagery, farmland", {91}),
    ("bugs in source code", {71}), ("translate annotated sentences into other languages", {17, 98}),
    ("datasheet for a table", {26}), ("predict ages, rare values", {74}),
    ("images scraped from the web with unreliable alt text", {73, 86}), ("two bits per weight", {129}),
    ("landmark search", {113}), ("class hierarchy distances for unseen classes", {65}),
    ("our nurses graded wounds from mild to severe and often disagree", {12, 16, 40, 41, 120}),
    ("I doubt the labels an intern typed in", {39, 40, 58, 89}),
    ("I can pay an expert for 200 checks", {40, 53, 58, 89, 105}),
    ("turkers answered multiple choice questions", {12, 120}), ("spot typos in ground truth", {39, 40, 58}),
    ("how reliable is each annotator", {12, 91, 120}), ("survey answers on a five point scale", {16, 40, 41}),
    ("shrink my dataset", {3, 4, 9, 11, 20, 108, 125}), ("smaller model same accuracy", {2, 23, 45, 47, 129}),
    ("photos with several objects each but one label", {68, 72, 79}), ("product categories in a tree", {65, 89}),
    ("customer support tickets, no categories yet", {22}), ("which of two segmentations is better", {105}),
    ("hospital data changed after a new scanner", {15, 42, 90, 104, 123, 127, 131}),
    ("hospitals cannot share patient data", {28}), ("only 16 examples per class", {33, 67, 101}),
    ("my classes are very unbalanced", {24, 48, 50, 63, 74}), ("let chatgpt annotate my tweets", {22, 29, 40, 44, 106}),
    ("are LLM annotations good enough for my regression", {53}), ("confidence intervals from automatic labels", {53}),
    ("model overconfident, need honest probabilities", {57, 120}), ("aerial photos of farms outlined by hand", {91}),
    ("rank chatbot answers by human votes", {46, 97}), ("find duplicates of a landmark photo", {113}),
    ("protein or molecule descriptions with an LLM", {103}), ("teach a tagger German from English labels", {17, 98}),
    ("detect unknown objects", {78, 116, 123}), ("keypoints or depth from fifty images", {110}),
    ("self-driving: confusing road with sidewalk is worse than with grass", {16}),
    ("two networks that correct each other", {14, 32, 59}), ("explain which words led to a label", {49, 54}),
    ("reduce soft label storage", {3, 9, 13, 129}), ("image generator ignores my prompt", {111}),
    ("long documents beyond the training length", {124}), ("lora theory", {122}), ("sparse activations", {128}),
    ("web crawl with alt texts", {73, 86}), ("weight samples by meta learning", {94}),
    ("image quality opinion scores", {41}), ("graph contrastive learning", {18, 85}), ("curved text in photos", {99}),
    ("clusters as several labels per picture", {62}),
]  # fmt: skip

HELD_OUT: list[tuple[str, set[int]]] = [
    ("several people voted on each question and they disagree", {12, 46, 83, 91, 120}),
    ("likert answers, soft targets", {16, 41}), ("mislabeled training examples", {32, 39, 40, 58, 59, 94, 95}),
    ("which labels should a person check first when I can only afford 500", {40, 58, 89, 105}),
    ("GPT-4 as judge of label quality", {40, 97, 105}), ("noisy labels and rare classes", {24, 48, 63}),
    ("image tags where many positives were left out", {21, 24}),
    ("each item has a set of possible labels, one of them true", {88}), ("learning from bag proportions", {25, 37}),
    ("train a small network from a big one", {2, 20, 23, 45, 47, 106, 119}),
    ("average several teachers into one student", {23, 51, 119, 125}),
    ("keep only a tenth of the training data", {4, 11, 20, 108}),
    ("soft labels take too much disk space", {3, 9, 13, 76, 129}), ("unlabelled photos, few boxes", {1, 19}),
    ("pseudo labels for object detection in fog", {131}), ("detect categories that have no box annotations", {116}),
    ("uncertain edges of vessels in medical masks", {5}),
    ("segment new classes from five annotated pictures", {92, 110}), ("class frequencies changed in production", {90}),
    ("discover unknown categories in unlabelled images", {64, 96, 123}), ("active learning with class imbalance", {50}),
    ("classify texts without any labels using ChatGPT", {22, 29, 44, 75, 106}),
    ("tune a prompt when I only have API access", {29, 101}), ("CLIP, no training, unlabelled images", {38, 118}),
    ("hundreds of thousands of product tags", {34, 36, 121}),
    ("choose the right API for a request among thousands", {56}),
    ("hard negatives for search", {36, 102, 112, 114, 126}), ("preference data from human comparisons", {46, 97}),
    ("hallucinated captions", {82, 86, 97}), ("prediction sets with guaranteed coverage", {57}),
    ("regression on machine-made labels with honest standard errors", {53}),
    ("nodes of a graph, nobody has annotated them", {18, 44, 85}), ("find the community around a seed", {70}),
    ("label weights in CutMix", {93, 109}), ("federated clients with private data", {28}),
    ("clinical text from another hospital", {42, 100}), ("citizen scientists and galaxies", {83}),
    ("invoices and receipts", {27}), ("named entities in chemistry papers", {100}),
    ("annotation guidelines for a data set", {43}),
    ("is ImageNet top-1 accuracy fair when a photo shows several things", {68, 72, 79}),
    ("huge id embeddings in a recommender", {69, 76}), ("pedestrians across cameras without identities", {14, 30}),
    ("mixture of experts for detection and segmentation data", {81}), ("examples to show in the prompt", {103}),
]  # fmt: skip


def numbers(query: str, **options: object) -> list[int]:
    return [s.number for s in search(query, **options)]  # type: ignore[arg-type]


def success(judged: list[tuple[str, set[int]]], k: int) -> float:
    """Share of queries with a right system among the first k."""
    return sum(bool(right & set(numbers(query, limit=k))) for query, right in judged) / len(judged)


def test_right_systems_of_held_out_queries_come_first():
    assert success(HELD_OUT, 1) >= 0.87
    assert success(HELD_OUT, 3) >= 0.93


def test_right_systems_of_the_queries_in_development_come_first():
    assert success(DEVELOPED, 1) >= 0.93
    assert success(DEVELOPED, 3) >= 0.97


def test_most_right_systems_are_among_the_first_ten():
    recall = [len(right & set(numbers(query))) / len(right) for query, right in HELD_OUT]
    assert sum(recall) / len(recall) >= 0.9


def test_crowd_workers_and_ordered_classes():
    found = numbers("crowd workers, ordered classes", limit=8)
    assert found[:2] == [41, 40]  # raters on a scale; annotators and judges with Likert answers: both facets
    assert {12, 16, 120} == set(found[2:5])  # then those that are all about one of them
    assert {83, 91} <= set(found)


def test_some_answers_exactly():
    assert numbers("learning from bag proportions", limit=2) == [37, 25]
    assert numbers("prediction sets with guaranteed coverage") == [57]
    assert numbers("volunteers, galaxies", limit=1) == [83]


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("toptwo", 12), ("TopTwo", 12), ("top two", 12), ("toptow", 12), ("58", 58), ("#058", 58), ("system 58", 58),
        ("soft teacher", 19), ("Soft-Teacher", 19), ("softteacher", 19), ("elr+", 32), ("ELR", 32), ("fkd", 13),
        ("confident learning", 58), ("prune combine augment", 4), ("pv tuning", 129), ("filter", 17), ("hello", 3),
        ("tail", 27), ("infer", 9), ("elr on text", 32), ("knowledge-guided-disambiguation", 6),
    ],
)  # fmt: skip
def test_names_and_numbers_find_their_system_first(query, number):
    assert numbers(query)[0] == number


def test_every_name_and_number_finds_its_system_first():
    for system in catalogue():
        assert search(system.name)[0] is system
        if system.number:
            assert search(str(system.number)) == [system]


def test_a_name_that_is_a_word_counts_as_the_word_inside_a_query():
    assert 27 not in numbers("long tail")  # the system called TAIL reads receipts


def test_systems_that_meet_every_facet_come_first():
    both = numbers("noisy labels, graphs")[0]
    assert both == 77
    assert numbers("noisy labels")[0] != 77 and numbers("multi-label, missing labels, long tail")[0] == 24


def test_facets_are_cut_at_joining_words_too():
    assert numbers("noisy labels and rare classes", limit=1) == [63]
    assert numbers("noisy labels with rare classes") == numbers("noisy labels, rare classes")


def test_a_clause_that_begins_with_not_is_left_out():
    assert numbers("proportions per group, not single labels") == numbers("proportions per group")
    assert numbers("not labelled") != []  # the only clause stays


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("anotators", "annotators"), ("noisey lables", "noisy labels"), ("crowdsourcng", "crowdsourcing"),
     ("segmentaton", "segmentation"), ("hierarcical classes", "hierarchical classes")],
)  # fmt: skip
def test_typos(wrong, right):
    assert numbers(wrong) == numbers(right) != []


@pytest.mark.parametrize(
    ("one", "other"),
    [("multi-label", "multilabel"), ("Re-Labelling", "relabeling"), ("dataset pruning", "data set pruning"),
     ("mislabelled", "mis-labeled"), ("tumour", "TUMOR"), ("unlabelled nodes", "unlabeled node")],
)  # fmt: skip
def test_spelling_does_not_matter(one, other):
    assert numbers(one) == numbers(other) != []


@pytest.mark.parametrize(
    "query",
    [
        "Stimmen von mehreren Personen, geordnete Klassen", "falsche Labels finden", "Bilder mit falschen Labels",
        "ordinale Klassen", "Graphen ohne Labels", "Segmentierung medizinischer Bilder", "étiquettes bruitées",
        "asdf qwerty", "lorem ipsum dolor sit amet", "banana bread recipe", "what is the capital of France",
        "football results", "标签错误", "???", "the of and", "0", "133", "1984",
    ],
)  # fmt: skip
def test_other_languages_and_nonsense_get_no_answer(query):
    assert search(query) == []


@pytest.mark.parametrize("query", ["", "  ", "\n\t"])
def test_a_blank_query_is_refused(query):
    with pytest.raises(OptionError, match=r'for example search\("crowd workers, ordered classes"\)'):
        search(query)


def test_limit():
    assert numbers("noisy labels", limit=3) == numbers("noisy labels", limit=10)[:3]
    with pytest.raises(OptionError, match="pass limit=1 or more"):
        search("noisy labels", limit=0)


def test_a_shared_word_counts_more_than_the_same_meaning():
    base = replace(catalogue()[0], name="a", title="a", line="b", about="unrelated things", evidence=(), structure=())
    synonym = replace(base, number=901, name="syn", about="annotators")
    word = replace(base, number=902, name="word", about="volunteers")
    assert numbers("volunteers", systems=[base, synonym, word]) == [902, 901]


def test_rare_words_count_more():
    base = replace(catalogue()[0], title="a", line="b", evidence=(), structure=(), data=())
    many = [replace(base, number=i, name=f"m{i}", about="graph") for i in range(900, 909)]
    rare = replace(base, number=950, name="r", about="galaxy")
    assert numbers("graph galaxy", systems=[*many, rare])[0] == 950


def test_only_the_systems_given_are_searched():
    some = catalogue()[:20]
    assert set(numbers("crowd workers", systems=some)) <= {s.number for s in some}
    assert numbers("crowd workers", systems=some)[0] == 12
    assert search("crowd workers", systems=[]) == []
    assert set(numbers("soft labels", limit=200, systems=catalogue()[::-1])) == set(numbers("soft labels", limit=200))


def test_scores_agree_with_a_plain_loop():
    index = _index(catalogue())
    facet = index.facets("crowd workers, ordered classes")[0]
    for row in range(len(index.systems)):
        expected = 0.0
        for term, weight in facet.items():
            count = index.mentions.get(term, {}).get(row, 0.0)
            expected += weight * index.idf(term) * count / (count + 3)
        assert index.scores(facet).get(row, 0.0) == pytest.approx(expected)


@given(st.text(max_size=60), st.integers(1, 20))
def test_any_text_is_answered_or_refused(query, limit):
    if not query.strip():
        return
    found = search(query, limit=limit)
    assert len(found) <= limit and len({s.name for s in found}) == len(found)
    assert all(isinstance(s, System) for s in found)


@given(st.permutations(["crowd", "ordered classes", "images"]))
def test_the_order_of_facets_does_not_matter(facets):
    assert numbers(", ".join(facets)) == numbers("crowd, ordered classes, images")


def test_nothing_heavy_is_imported():
    code = (
        "import sys; from labelwright.systems.search import search; assert search('crowd workers');"
        "print(sorted({'scipy', 'sklearn', 'pyarrow', 'torch', 'pandas'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


# --- words and concepts ---

SMALL = _Lexicon(
    {
        "concept": {"scale": "five point scale, likert", "points": "point, click", "wrong": "wrong label"},
        "spelling": {"dataset": "data set", "mislabel": "wrong label", "without": "no"},
        "plain": {"words": "a the is are in of"},
    }
)


@pytest.mark.parametrize(
    "forms",
    [
        "label labels labelled labeled labelling labeling", "classify classifies classified classifier classifiers",
        "noise noisy noises", "hierarchy hierarchies hierarchical", "calibrate calibrated calibration calibrating",
        "generalise generalize generalisation generalization", "severe severity", "prune pruned pruning",
        "ordered ordering", "image images imaging", "box boxes", "class classes", "segment segments segmentation",
    ],
)  # fmt: skip
def test_forms_of_a_word_have_one_stem(forms):
    assert len({stem(w) for w in forms.split()}) == 1


@pytest.mark.parametrize(
    "words", ["worker work", "rater rate", "miss mis", "string str", "bag bagging", "ordinal order"]
)
def test_different_words_stay_apart(words):
    if words == "bag bagging":
        assert stem("bag") == stem("bagging")  # the price of a crude stemmer
    else:
        assert len({stem(w) for w in words.split()}) == 2


@given(st.text(alphabet="abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=20))
def test_a_stem_is_never_empty_nor_longer(word):
    assert 0 < len(stem(word)) <= len(word)


def test_raw_words():
    assert raw_words("Dawid-Skene's re_label, 2-bit") == ["dawid", "skene", "s", "re", "label", "2", "bit"]
    assert raw_words("---") == []


def test_spelling_and_plain_words():
    assert SMALL.of_text("the datasets without mislabelled") == ["data", "set", "no", "wrong", "label"]


@pytest.mark.parametrize(("text", "found"), [
    ("wrong labels", True), ("labels are wrong", True), ("labels in the data set wrong", True),
    ("labels one two three wrong", False), ("wrong", False),
])  # fmt: skip
def test_words_of_a_phrase_stand_together_in_any_order(text, found):
    assert ("wrong" in SMALL.concepts(SMALL.of_text(text), slack=2)) == found


@given(st.lists(st.sampled_from(["fiv", "point", "scal", "likert", "click", "wrong", "label", "x"]), max_size=9))
def test_concepts_agree_with_trying_every_choice_of_places(stems):
    phrases = {"scale": [["fiv", "point", "scal"], ["likert"]], "points": [["point"], ["click"]],
               "wrong": [["wrong", "label"]]}  # fmt: skip
    expected = set()
    for concept, some in phrases.items():
        for phrase in some:
            slack = 1 if len(phrase) > 1 else 0
            for places in itertools.permutations(range(len(stems)), len(phrase)):
                told = [stems[p] for p in places] == phrase
                if told and max(places) - min(places) < len(phrase) + slack:
                    expected.add(concept)
    assert set(SMALL.concepts(stems, slack=1)) == expected


def test_a_longer_phrase_hides_those_inside_it():
    stems = SMALL.of_text("five point scale")
    assert set(SMALL.concepts(stems, 0)) == {"scale", "points"}
    assert set(_longest(SMALL.concepts(stems, 0))) == {"scale"}
    assert set(_longest(SMALL.concepts(SMALL.of_text("click, five point scale"), 0))) == {"scale", "points"}


def test_no_phrase_of_the_lexicon_shrinks_to_one_word():
    text = resources.files("labelwright.systems").joinpath("concepts.toml").read_text(encoding="utf-8")
    plain = _lexicon().plain
    for concept, phrases in tomllib.loads(text)["concept"].items():
        for phrase in phrases.split(","):
            words = raw_words(phrase)
            kept = [w for w in words if w not in plain]
            assert kept, f"{concept}: {phrase!r} is empty"
            assert len(kept) > 1 or kept == words, f"{concept}: of {phrase.strip()!r} only {kept} is left"


def test_every_concept_is_met_by_some_systems_and_not_by_most():
    index = _index(catalogue())
    text = resources.files("labelwright.systems").joinpath("concepts.toml").read_text(encoding="utf-8")
    for concept in tomllib.loads(text)["concept"]:
        assert 0 < len(index.mentions["concept", concept]) < 0.7 * len(catalogue()), concept
