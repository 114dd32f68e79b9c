"""API tokens: 256 random bits, shown once; the database keeps their SHA-256, which gives nobody access."""

from __future__ import annotations

import hashlib
import secrets
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from labelwright.webapp.database import reading, writing
from labelwright.webapp.tables import api_tokens, users
from labelwright.webapp.views import User

if TYPE_CHECKING:
    from sqlalchemy import Engine

_USED_EVERY = 3600.0  # seconds between two notes of the last use: reading must not write each time


class Tokens:
    """The table of API tokens. All methods are thread-safe, each one transaction."""

    def __init__(self, engine: Engine):
        self.engine = engine

    def create(self, user_id: int, name: str) -> dict[str, Any]:
        """A new token of the user: {id, name, user_id, created, last_used, token}; `token` can't be had again."""
        secret, now = "lw_" + secrets.token_urlsafe(32), time.time()
        row = {"token_hash": _hash(secret), "user_id": user_id, "name": name, "created": now, "last_used": None}
        with writing(self.engine) as db:
            db.execute(api_tokens.insert(), row)
        return {**_view(row), "token": secret}

    def user_of(self, secret: str) -> User | None:
        """Whose token it is; None for unknown ones and those of users who are not active."""
        hashed = _hash(secret)
        query = (
            select(users.c.id, users.c.name, users.c.role, api_tokens.c.last_used)
            .join(api_tokens, api_tokens.c.user_id == users.c.id)
            .where(api_tokens.c.token_hash == hashed, users.c.active)
        )
        with reading(self.engine) as db:
            row = db.execute(query).first()
        if row is None:
            return None
        if (row.last_used or 0) < time.time() - _USED_EVERY:
            with writing(self.engine) as db:
                this = api_tokens.c.token_hash == hashed
                db.execute(api_tokens.update().where(this).values(last_used=time.time()))
        return User(row.id, row.name, row.role)

    def of(self, user_id: int | None) -> list[dict[str, Any]]:
        """Tokens of one user (None: of all), newest first, without their secrets."""
        query = api_tokens.select().order_by(api_tokens.c.created.desc())
        with reading(self.engine) as db:
            found = db.execute(query if user_id is None else query.where(api_tokens.c.user_id == user_id))
            return [_view(dict(row)) for row in found.mappings()]

    def revoke(self, token_id: str, user_id: int | None) -> bool:
        """Delete a token by the id that `of` tells, if it is the user's (None: anybody's); whether there was one."""
        at = api_tokens.c.token_hash.startswith(token_id, autoescape=True)
        if user_id is not None:
            at = at & (api_tokens.c.user_id == user_id)
        with writing(self.engine) as db:
            return db.execute(api_tokens.delete().where(at)).rowcount > 0

    def revoke_all(self, user_id: int) -> None:
        """Delete all tokens of a user."""
        with writing(self.engine) as db:
            db.execute(api_tokens.delete().where(api_tokens.c.user_id == user_id))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


def _view(row: dict[str, Any]) -> dict[str, Any]:
    used = row["last_used"]
    return {
        "id": row["token_hash"][:16],
        "name": row["name"],
        "user_id": row["user_id"],
        "created": datetime.fromtimestamp(row["created"], UTC),
        "last_used": None if used is None else datetime.fromtimestamp(used, UTC),
    }
