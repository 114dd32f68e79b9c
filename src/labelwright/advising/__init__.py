"""What is wrong with these labels, and which commands and systems fit."""

from labelwright.advising.advice import Advice, advise
from labelwright.advising.finding import Finding

__all__ = ["Advice", "Finding", "advise"]
