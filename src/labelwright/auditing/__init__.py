"""Which labels are wrong, how many, and what to review first."""

from labelwright.auditing.boxes import audit_boxes
from labelwright.auditing.files import FileAudit, audit_file
from labelwright.auditing.masks import MaskAudit, audit_masks
from labelwright.auditing.parts import PartAudit
from labelwright.auditing.result import Audit
from labelwright.auditing.tokens import audit_tokens
from labelwright.auditing.values import audit_values
from labelwright.auditing.verb import audit

__all__ = [
    "Audit",
    "FileAudit",
    "MaskAudit",
    "PartAudit",
    "audit",
    "audit_boxes",
    "audit_file",
    "audit_masks",
    "audit_tokens",
    "audit_values",
]
