"""Who may use the app: people with passwords and roles, and the sessions that their browsers keep."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Engine, Row, func, select
from sqlalchemy.exc import IntegrityError

from labelwright.errors import LabelwrightError, OptionError, check_option
from labelwright.webapp.database import reading, writing
from labelwright.webapp.security import check_name, check_password
from labelwright.webapp.tables import login_failures, sessions, users
from labelwright.webapp.views import ROLES, User

WINDOW = 600.0  # seconds in which failed log-ins count
BY_BOTH, BY_ADDRESS, BY_NAME = 5, 30, 50
"""Failed log-ins in a window: of one name from one address, from one address, of one name from anywhere. The last is high, so
that nobody can lock somebody else out by a handful of wrong passwords."""

_NO_PASSWORD = "!"  # in place of a hash: no password fits
_verifying = threading.BoundedSemaphore(2)  # a check takes 64 MiB and some 50 ms by design


class LogInRefused(LabelwrightError, PermissionError):
    """A name and a password that don't belong together, or an account that was closed."""


class TooManyTries(LabelwrightError, PermissionError):
    """Too many failed log-ins."""


@dataclass(frozen=True)
class Account:
    """A user as the owner sees it. created: seconds since 1970."""

    user: User
    active: bool
    created: float
    password: bool


class Accounts:
    """Users, sessions and failed log-ins in the app's database; every method is one transaction and thread-safe."""

    def __init__(self, engine: Engine, *, session_hours: float = 12.0, clock: Callable[[], float] = time.time):
        self.engine, self.session_hours, self.clock = engine, session_hours, clock

    # -- people ------------------------------------------------------------------------------------------------------
    def add(self, name: str, password: str, role: str = "annotator") -> User:
        """A new user.

        Raises:
            OptionError: a name that is taken (also in other capitals) or unprintable, a weak password, an unknown role.
        """
        name = check_name(name)
        check_option("role", role, ROLES)
        return self._insert(name, _hasher().hash(check_password(password, name)), role)

    def local(self, name: str) -> User:
        """The person at this machine: an owner without a password, who comes in by the address that the terminal printed."""
        name = check_name(name)
        with reading(self.engine) as db:
            row = db.execute(users.select().where(users.c.name == name)).one_or_none()
        if row is None:
            return self._insert(name, _NO_PASSWORD, "owner")
        return User(row.id, row.name, "owner")

    def _insert(self, name: str, password_hash: str, role: str) -> User:

        try:
            with writing(self.engine) as db:
                others = db.execute(select(users.c.name)).scalars()
                if any(other.casefold() == name.casefold() for other in others):
                    raise _taken(name)
                row = {
                    "name": name,
                    "password_hash": password_hash,
                    "role": role,
                    "active": True,
                    "created": self.clock(),
                }
                number = db.execute(users.insert().values(row).returning(users.c.id)).scalar_one()
        except IntegrityError as error:  # somebody else was quicker
            raise _taken(name) from error
        return User(int(number), name, role)

    def everybody(self) -> list[Account]:
        """All users, by name."""
        with reading(self.engine) as db:
            rows = db.execute(users.select().order_by(users.c.name)).all()
        return [Account(_user(r), bool(r.active), r.created, r.password_hash != _NO_PASSWORD) for r in rows]

    def has_owner(self) -> bool:
        """Whether somebody can log in who may make accounts."""
        return any(a.user.role == "owner" and a.active and a.password for a in self.everybody())

    def change(
        self, user_id: int, *, role: str | None = None, active: bool | None = None, password: str | None = None
    ) -> None:
        """Change a user's role, close or open the account, or set a new password; all of these end the user's sessions.

        Raises:
            OptionError: nobody has this number, an unknown role, a weak password, or no owner would be left.
        """
        values: dict[str, Any] = {}
        if role is not None:
            check_option("role", role, ROLES)
            values["role"] = role
        if active is not None:
            values["active"] = active
        with writing(self.engine) as db:
            row = db.execute(users.select().where(users.c.id == user_id)).one_or_none()
            if row is None:
                raise OptionError(
                    found=f"user {user_id}", expected="a user of the list", fix="reload the page of the users"
                )
            if password is not None:
                values["password_hash"] = _hasher().hash(check_password(password, row.name))
            if values:
                db.execute(users.update().where(users.c.id == user_id).values(values))
            owners = users.select().where(users.c.role == "owner", users.c.active)
            if row.role == "owner" and not db.execute(owners).first():
                raise OptionError(
                    found=f"{row.name!r} as the last owner",
                    expected="one owner at least",
                    fix="make another owner first",
                )
            db.execute(sessions.delete().where(sessions.c.user_id == user_id))

    # -- sessions ----------------------------------------------------------------------------------------------------
    def log_in(self, name: str, password: str, address: str) -> tuple[str, User]:
        """A new session's secret, and whose it is.

        Raises:
            TooManyTries: too many failures of late.   LogInRefused: the name or the password is wrong; not told which.
        """
        name, address = name.strip()[:200], address[:200]
        try:
            name = check_name(name)
        except OptionError:
            name = name.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")
        self._count_try(name, address)
        with reading(self.engine) as db:
            row = db.execute(users.select().where(users.c.name == name)).one_or_none()
        good = _fits(row.password_hash if row is not None else _NO_PASSWORD, password[:2000])
        if row is None or not good or not row.active:
            raise LogInRefused(
                found="a name and a password that don't belong together",
                expected="those of an open account",
                fix="try again, or ask the owner for a new password",
            )
        with writing(self.engine) as db:
            mine = (login_failures.c.name == name) & (login_failures.c.address == address)
            db.execute(login_failures.delete().where(mine | (login_failures.c.at < self.clock() - WINDOW)))
            if _hasher().check_needs_rehash(row.password_hash):
                db.execute(users.update().where(users.c.id == row.id).values(password_hash=_hasher().hash(password)))
        return self.start_session(_user(row)), _user(row)

    def _count_try(self, name: str, address: str) -> None:
        """Count a try as failed before its password is looked at, so that many at once are counted as well."""
        failed, since = login_failures, self.clock() - WINDOW
        by_name, by_address = failed.c.name == name, failed.c.address == address
        with writing(self.engine) as db:
            for condition, most in ((by_name & by_address, BY_BOTH), (by_address, BY_ADDRESS), (by_name, BY_NAME)):
                n = db.execute(
                    select(func.count()).select_from(failed).where(condition, failed.c.at > since)
                ).scalar_one()
                if n >= most:
                    raise TooManyTries(
                        found=f"{n} failed log-ins in {WINDOW / 60:.0f} minutes",
                        expected=f"fewer than {most}",
                        fix=f"wait {WINDOW / 60:.0f} minutes",
                    )
            db.execute(failed.insert().values(name=name, address=address, at=self.clock()))

    def start_session(self, user: User) -> str:
        """The secret of a new session of the user; the database keeps its hash alone."""
        secret, now = secrets.token_urlsafe(32), self.clock()
        row = {"user_id": user.id, "created": now, "expires": now + 3600 * self.session_hours}
        with writing(self.engine) as db:
            db.execute(sessions.delete().where(sessions.c.expires < now))
            db.execute(sessions.insert().values(token_hash=_hash(secret), **row))
        return secret

    def user(self, secret: str | None) -> User | None:
        """Whose session this is; None where it is unknown, over, or of a closed account."""

        if not secret or len(secret) > 200:
            return None
        wanted = (sessions.c.token_hash == _hash(secret), sessions.c.expires > self.clock(), users.c.active)
        with reading(self.engine) as db:
            row = db.execute(
                select(users).join(sessions, sessions.c.user_id == users.c.id).where(*wanted)
            ).one_or_none()
        return None if row is None else _user(row)

    def log_out(self, secret: str) -> None:
        """End a session."""
        with writing(self.engine) as db:
            db.execute(sessions.delete().where(sessions.c.token_hash == _hash(secret)))


def _user(row: Row[Any]) -> User:
    return User(int(row.id), str(row.name), str(row.role))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()


@lru_cache(maxsize=1)
def _hasher() -> Any:
    from argon2 import PasswordHasher

    return PasswordHasher()  # Argon2id with the parameters of RFC 9106


@lru_cache(maxsize=1)
def _nobody() -> str:
    """A hash that is checked where there is no user, so that the time doesn't tell who exists."""
    return str(_hasher().hash(secrets.token_urlsafe(16)))


def _fits(password_hash: str, password: str) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    known = password_hash != _NO_PASSWORD
    with _verifying:
        try:
            return bool(_hasher().verify(password_hash if known else _nobody(), password)) and known
        except (VerificationError, InvalidHashError):
            return False


def _taken(name: str) -> OptionError:
    return OptionError(found=f"the name {name!r}, which is taken", expected="a new name", fix="choose another name")
