"""Machine annotators: rules that vote or stay silent, and teachers that say how likely each class is."""

from labelwright.annotators.apply import apply_rules
from labelwright.annotators.relabelling import Relabelling, learned_weights, relabel
from labelwright.annotators.rule_votes import RuleFailure, RuleVotes
from labelwright.annotators.rules import Rule, keywords, model, pattern, rule
from labelwright.annotators.teachers import LoadedTeacher, load_teacher, map_classes

__all__ = [
    "LoadedTeacher", "Relabelling", "Rule", "RuleFailure", "RuleVotes", "apply_rules", "keywords", "learned_weights",
    "load_teacher", "map_classes", "model", "pattern", "relabel", "rule",
]  # fmt: skip
