"""Passwords, sessions, roles and the limit on guesses."""

from __future__ import annotations

import threading

import pytest

from labelwright.errors import OptionError

pytest.importorskip("argon2")

from labelwright.webapp.accounts import BY_ADDRESS, BY_BOTH, WINDOW, Accounts, LogInRefused, TooManyTries
from labelwright.webapp.database import reading
from labelwright.webapp.security import check_name, check_password
from labelwright.webapp.tables import sessions, users

GOOD = "violet tram 17"


class Clock:
    now = 1_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def accounts(engine, clock):
    return Accounts(engine, clock=clock)


def test_a_password_is_kept_as_argon2_and_a_session_as_a_hash(accounts, engine):
    accounts.add("anna", GOOD, "owner")
    secret, user = accounts.log_in("anna", GOOD, "127.0.0.1")
    with reading(engine) as db:
        kept = db.execute(users.select()).one().password_hash
        hashed = db.execute(sessions.select()).one().token_hash
    assert kept.startswith("$argon2id$") and GOOD not in kept
    assert secret not in hashed and len(secret) >= 40
    assert accounts.user(secret) == user and user.role == "owner"


def test_wrong_name_and_wrong_password_read_the_same(accounts):
    accounts.add("anna", GOOD)
    said = []
    for name, password in (("anna", "not that one"), ("nobody", GOOD), ("anna", ""), ("\x00", GOOD)):
        with pytest.raises(LogInRefused, match="ask the owner") as error:
            accounts.log_in(name, password, "a")
        said.append(str(error.value))
    assert len(set(said)) == 1


def test_guessing_is_stopped_and_a_wait_helps(accounts, clock):
    accounts.add("anna", GOOD)
    for _ in range(BY_BOTH):
        with pytest.raises(LogInRefused):
            accounts.log_in("anna", "wrong guess", "10.0.0.1")
    with pytest.raises(TooManyTries, match="wait 10 minutes"):
        accounts.log_in("anna", GOOD, "10.0.0.1")
    assert accounts.log_in("anna", GOOD, "10.0.0.2")[1].name == "anna"  # she is not locked out by others
    clock.now += WINDOW + 1
    assert accounts.log_in("anna", GOOD, "10.0.0.1")[1].name == "anna"


def test_one_address_cannot_try_many_names(accounts, monkeypatch):
    monkeypatch.setattr("labelwright.webapp.accounts._fits", lambda *_: False)
    for i in range(BY_ADDRESS):
        with pytest.raises(LogInRefused):
            accounts.log_in(f"name {i}", "wrong guess", "10.0.0.1")
    with pytest.raises(TooManyTries):
        accounts.log_in("another name", "wrong guess", "10.0.0.1")


def test_a_session_ends_by_time_by_log_out_and_with_the_account(accounts, clock):
    ann, olga = accounts.add("anna", GOOD), accounts.add("olga", GOOD, "owner")
    first, second, third = (accounts.start_session(ann) for _ in range(3))
    accounts.log_out(first)
    assert accounts.user(first) is None and accounts.user(second) == ann
    accounts.change(ann.id, active=False)
    assert accounts.user(second) is None and accounts.user(third) is None
    with pytest.raises(LogInRefused):
        accounts.log_in("anna", GOOD, "a")
    late = accounts.start_session(olga)
    clock.now += 12 * 3600 + 1
    assert accounts.user(late) is None
    for nothing in (None, "", "x" * 300, late[:-1]):
        assert accounts.user(nothing) is None


def test_a_new_role_or_password_ends_the_sessions(accounts):
    ann = accounts.add("anna", GOOD)
    accounts.add("olga", GOOD, "owner")
    for change in ({"role": "adjudicator"}, {"password": "copper lake 42"}):
        secret = accounts.start_session(ann)
        accounts.change(ann.id, **change)
        assert accounts.user(secret) is None
    assert accounts.log_in("anna", "copper lake 42", "a")[1].role == "adjudicator"


def test_the_last_owner_stays(accounts):
    olga = accounts.add("olga", GOOD, "owner")
    for change in ({"role": "annotator"}, {"active": False}):
        with pytest.raises(OptionError, match="make another owner first"):
            accounts.change(olga.id, **change)
    assert accounts.has_owner()
    accounts.add("otto", GOOD, "owner")
    accounts.change(olga.id, role="annotator")
    with pytest.raises(OptionError, match="reload the page"):
        accounts.change(99, active=False)


def test_names_are_unique_in_any_capitals_also_when_added_at_once(accounts):
    accounts.add("Anna", GOOD)
    for name in ("Anna", "anna", " ANNA ", "Ａnna"):  # the last is full-width, NFKC makes it the same
        with pytest.raises(OptionError, match="choose another name"):
            accounts.add(name, GOOD)
    made, refused = [], []

    def add():
        try:
            made.append(accounts.add("ben", GOOD))
        except OptionError as error:
            refused.append(error)

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 1 and len(refused) == 3


def test_the_person_at_this_machine_has_no_password(accounts):
    me = accounts.local("me")
    assert me == accounts.local("me") and me.role == "owner"
    assert not accounts.has_owner()  # that needs one who can log in
    with pytest.raises(LogInRefused):
        accounts.log_in("me", "!", "a")


@pytest.mark.parametrize("name", ["", "  ", "a" * 65, "a\nb", "\u202eanna", "zero\u200bwidth\x00"])
def test_names_that_are_none(name):
    with pytest.raises(OptionError, match="choose another name"):
        check_name(name)


@pytest.mark.parametrize("password", ["", "short", "a" * 20, "annaannaanna", "x" * 1001])
def test_passwords_that_are_too_weak(password):
    with pytest.raises(OptionError, match="choose a longer one"):
        check_password(password, "annaannaanna")


def test_an_unknown_role(accounts):
    with pytest.raises(OptionError, match="owner"):
        accounts.add("anna", GOOD, "boss")
