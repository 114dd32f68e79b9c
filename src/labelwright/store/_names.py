"""Names that people give to columns, by role, and columns that belong together by their prefix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from labelwright.store._roles import Facts


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


LABEL_NAMES = _words(
    """
    label labels given_label given y target targets class classes category categories tag tags topic topics
    intent sentiment gold class_name label_name label_text annotation noisy_label true_label
    """
)
ID_NAMES = _words(
    """
    id uid uuid guid key item item_id item_key sample_id example_id record_id doc_id index idx
    """
)
TEXT_NAMES = _words(
    """
    text sentence sentence1 sentence2 review document content body premise hypothesis question question1
    question2 query utterance message tweet title abstract article passage context prompt
    """
)
IMAGE_NAMES = _words("image img picture photo image_path img_path path file filename file_name")
GROUP_NAMES = _words(
    """
    group groups group_id patient patient_id subject subject_id speaker speaker_id session session_id user_id
    author author_id site_id
    """
)
SPLIT_NAMES = _words("split fold subset partition set")
_PROB_PREFIXES = _words("p prob probs proba probas probability probabilities pred_prob pred_probs softmax")
_FEATURE_PREFIXES = _words("f feat feats feature features emb embed embedding x v vec vector dim d pc pixel hidden")
_ANY_PREFIX = 16  # so many numbered numeric columns are features whatever their prefix


def numbered_groups(free: Sequence[str], facts: Facts, *, probabilities: bool) -> list[list[str]]:
    """Numeric columns that belong together by their prefix, as p_0 … p_9 or prob_cat, prob_dog.

    Numbered columns come in the order of their numbers, others in the order of the table. With `probabilities` only
    columns with a prefix for probabilities whose rows sum to 1; else prefixes for features, or any with 16 columns.
    """
    prefixes = _PROB_PREFIXES if probabilities else _FEATURE_PREFIXES
    groups: dict[str, list[tuple[int, str]]] = {}
    for name in free:
        if probabilities and facts.is_vector(name) and name.lower() in prefixes:
            return [[name]]
        if not facts.is_number(name):
            continue
        match = re.fullmatch(r"(.*?)[_.\- ]?(\d{1,9})", name.lower())
        if match:
            groups.setdefault(match[1], []).append((int(match[2]), name))
        else:
            prefix = next(
                (p for p in sorted(prefixes, key=len, reverse=True) if re.match(rf"{p}[_.\- ]", name.lower())), None
            )
            if prefix is not None and len(prefix) > 1:  # one letter and a word ("p_value") says nothing
                groups.setdefault(prefix + "*", []).append((0, name))
    out = []
    for prefix, members in groups.items():
        names = [name for _, name in sorted(members, key=lambda m: m[0])]
        known = prefix.rstrip("*") in prefixes
        if probabilities:
            fits = known and len(names) > 1 and not facts.problem("pred_probs", names)
            if fits and np.mean(np.abs(facts.sums(names)[2] - 1) < 0.02) >= 0.99:
                out.append(names)
        elif (known and len(names) > 1) or len(names) >= _ANY_PREFIX:
            out.append(names)
    return out
