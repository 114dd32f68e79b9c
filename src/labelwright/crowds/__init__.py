"""Whom to believe: votes in, calibrated soft labels and the quality of the annotators out."""
