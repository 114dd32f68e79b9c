"""Machine annotators: rules that vote or stay silent."""

from labelwright.annotators.apply import apply_rules
from labelwright.annotators.rule_votes import RuleFailure, RuleVotes
from labelwright.annotators.rules import Rule, keywords, model, pattern, rule

__all__ = ["Rule", "RuleFailure", "RuleVotes", "apply_rules", "keywords", "model", "pattern", "rule"]
