"""Alembic's scripts: how a database of the review app gets from one schema to the next."""
