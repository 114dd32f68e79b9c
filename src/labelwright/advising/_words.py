"""Names that people give to columns and arrays of labels, and what they say about them."""

from __future__ import annotations

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


LABEL = _words(
    """
    label labels y target targets class classes category categories tag tags topic topics intent sentiment emotion
    given annotation noisy clean aggregate worst majority coarse fine label_text label_name class_name given_label
    noisy_label true_label fine_label coarse_label clean_label gold_label label_fine label_coarse severity
    """
)
TRUE = _words("gold truth true clean true_label gold_label clean_label ground_truth golden expert expert_label y_true")
PREDICTED = _words(
    "pred preds predicted prediction predictions guess guessed proposal proposed top_prediction y_pred llm"
)
SCORE = _words(
    """
    score scores rating ratings mos stars star age ages similarity relevance price quality grade severity_score
    mean_score valence arousal dominance likert
    """
)
ORDERED = _words("stars star rating ratings grade grades level levels severity likert score stage degree rank quality")
ITEM = _words("item items task tasks question questions pair example doc document image unit instance hit query pairs")
ANNOTATOR = _words(
    "worker workers annotator annotators rater raters labeller labeler coder judge user participant expert voter"
)
ANSWER = _words(
    "label labels answer answers vote response responses rating judgement judgment choice annotation score tag value"
)
SPLIT = _words("split fold subset partition set")
SPLITS = _words("train training test testing val valid validation dev all exemplar unlabeled unlabelled")
COUNTS = _words("n count counts vote votes num nvotes")
RATINGS = _words(
    "rating ratings rater annotator label vote score annotation answer judge coder random ann r expert person human"
)
RULES = _words("lf lfs rule rules weak labeling_function labelling_function heuristic lambda l")
INDEX = _words("id ids index idx order row rows node nodes key uid graph_node seconds time timestamp duration")
CONTENT = _words(
    """
    text sentence review document content body query utterance message comment tweet title abstract article passage context
    prompt question premise hypothesis answer token word name description image file path url
    """
)
SPREAD = _words("sd std stddev var variance stderr sem entropy")
CANDIDATES = _words("candidates candidate candidate_labels partial partial_labels possible_labels label_set")
PREFERRED = _words("preferred preference winner chosen better_answer choice")
PROPORTIONS = _words("proportion proportions share fraction prop percent")
BAG = _words("bag bag_id group region district slide")
CLASS_NAMES = _words("classes class_names label_names names label_name class_name emotions tags")
MASK = re.compile(r"(^|_)(masks?|seg|segmentation|segmentation_mask|annotation|instance|panoptic)(_|$)")

SCALES = tuple(
    tuple(scale.split(", "))
    for scale in (
        "very low, low, medium, moderate, high, very high",
        "tiny, small, medium, large, huge",
        "never, rarely, sometimes, often, usually, always",
        "strongly disagree, disagree, somewhat disagree, neutral, somewhat agree, agree, strongly agree",
        "very negative, negative, somewhat negative, neutral, somewhat positive, positive, very positive",
        "very bad, bad, poor, fair, ok, average, good, very good, excellent",
        "none, minimal, mild, moderate, moderately severe, severe, extreme, proliferative",
        "beginner, elementary, intermediate, advanced, expert",
        "borderline, minor, moderate, major, critical",
        "one star, two stars, three stars, four stars, five stars",
        "1 star, 2 stars, 3 stars, 4 stars, 5 stars",
        "cold, cool, mild, warm, hot",
        "young, middle-aged, old",
        "easy, medium, hard",
    )
)


def plain(name: str) -> str:
    """A name as the lists above write it.

    >>> plain(" True-Label "), plain("labelText")
    ('true_label', 'label_text')
    """
    return re.sub(r"[\s.\-]+", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip())).lower()


def labelish(name: str) -> bool:
    """Whether a column of that name holds labels: a known name, or one with "label" or a known name as its last or first part.

    >>> labelish("fine_label"), labelish("noisy_coarse"), labelish("length")
    (True, True, False)
    """
    words = plain(name).split("_")
    return plain(name) in LABEL | TRUE or "label" in words or "labels" in words or all(w in LABEL | TRUE for w in words)


def role(name: str) -> str:
    """ "true" for what is held for the truth, "predicted" for a model's word, else "given"."""
    words = set(plain(name).split("_"))
    if plain(name) in PREDICTED or words & {"pred", "predicted", "guessed", "prediction"}:
        return "predicted"
    return "true" if plain(name) in TRUE or words & {"gold", "truth", "true", "clean"} else "given"


def scale_of(names: tuple[object, ...]) -> tuple[str, ...] | None:
    """The class names in their order, where three or more of them are words of one scale.

    >>> scale_of(("high", "Low", "medium"))
    ('Low', 'medium', 'high')
    """
    lower = {str(n).strip().lower().replace("_", " "): str(n) for n in names}
    if len(lower) < 3:
        return None
    for scale in SCALES:
        if all(word in scale for word in lower):
            return tuple(lower[word] for word in scale if word in lower)
    return None
