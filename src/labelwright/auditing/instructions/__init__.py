"""Labelling instructions: what belongs to each class, in examples and phrases (card 43)."""

from labelwright.auditing.instructions.verb import (
    ClassInstruction,
    Instructions,
    instructions_html,
    labelling_instructions,
)

__all__ = ["ClassInstruction", "Instructions", "instructions_html", "labelling_instructions"]
