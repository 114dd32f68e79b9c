"""Audit of numeric labels."""

from labelwright.auditing.values.files import ValueFileAudit, audit_value_file
from labelwright.auditing.values.inputs import read_values
from labelwright.auditing.values.model import ValueFit, fit_values
from labelwright.auditing.values.predictions import out_of_fold_values
from labelwright.auditing.values.verb import audit_values

__all__ = [
    "ValueFileAudit",
    "ValueFit",
    "audit_value_file",
    "audit_values",
    "fit_values",
    "out_of_fold_values",
    "read_values",
]
