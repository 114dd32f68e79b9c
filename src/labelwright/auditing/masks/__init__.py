"""Audit of pixel classes."""

from labelwright.auditing.masks.verb import MaskAudit, audit_masks

__all__ = ["MaskAudit", "audit_masks"]
