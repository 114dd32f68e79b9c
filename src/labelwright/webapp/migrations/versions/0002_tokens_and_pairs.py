"""Answers know the lease that they answered; a user may compare several pairs of one item."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("answers", sa.Column("token", sa.String(length=64), nullable=True))
    with op.batch_alter_table("comparisons") as table:  # SQLite drops no constraint: the table is made anew
        table.drop_constraint(op.f("uq_comparisons_item_id_user_id"), type_="unique")
        table.create_index("ix_comparisons_item_id_user_id", ["item_id", "user_id"], unique=False)
