"""Why the desk refuses something; pages and API tell it in these words."""

from __future__ import annotations

from labelwright.errors import LabelwrightError


class LeaseLost(LabelwrightError):
    """A lease that is no longer the user's."""


class IdTaken(LabelwrightError, ValueError):
    """A client_id under which something else was sent before."""


class NoSuchItem(LabelwrightError, KeyError):
    """An item that the queue does not have."""


class NotAllowed(LabelwrightError, PermissionError):
    """Something that the user's role does not include."""


class DatabaseFailed(LabelwrightError, OSError):
    """The database did not take it; nothing was changed."""


class DiskFull(DatabaseFailed):
    """No room left for the database."""


def lease_lost() -> LeaseLost:
    return LeaseLost(
        found="a lease that ended, and the item went to somebody else or was answered",
        expected="an answer within the lease's time",
        fix="take the next item; to answer this one all the same, open it from the search page",
    )


def id_taken(client_id: str, item: str) -> IdTaken:
    return IdTaken(
        found=f"client_id {client_id[:100]!r}, under which another answer was sent before (item {item[:100]!r})",
        expected="a new client_id for each answer, the same one only to send the same answer again",
        fix="send this answer under a new random id; nothing was changed",
    )


def no_item(key: str) -> NoSuchItem:
    return NoSuchItem(
        found=f"no item {key[:100]!r} in this audit", expected="the key of one", fix="look for it on the search page"
    )


def not_allowed(role: str, wanted: str) -> NotAllowed:
    return NotAllowed(
        found=f"the role {role!r}",
        expected=f"the role {wanted!r} or a higher one",
        fix="ask the owner of the review to give you the role",
    )
