"""Audit of token labels and entity spans."""

from labelwright.auditing.tokens.tags import entity_spans, span_tags
from labelwright.auditing.tokens.verb import audit_tokens, sentence_quality, tag_belief

__all__ = ["audit_tokens", "entity_spans", "sentence_quality", "span_tags", "tag_belief"]
