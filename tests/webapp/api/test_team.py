"""Twenty reviewers at once over HTTP: every answer is kept once, nobody gets another's item, no database is locked."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

from labelwright.webapp.client import ReviewClient

REVIEWERS = 20


@pytest.fixture
def team(tmp_path, make_repository, serve):
    """`work_together` in a folder of this test."""
    return lambda where, each: work_together(
        make_repository(tmp_path / "team.labels", REVIEWERS * each), serve, where, each
    )


def work_together(repo, serve, where, each):
    """REVIEWERS people give `each` answers; what was acknowledged, per person."""
    from labelwright.webapp.accounts import Accounts
    from labelwright.webapp.api.tokens import Tokens
    from labelwright.webapp.database import open_database
    from labelwright.webapp.desk import Desk

    engine = open_database(where)
    desk, accounts, tokens = Desk.open(repo, engine), Accounts(engine), Tokens(engine)
    people = [accounts._insert(f"reviewer {i}", "!", "annotator") for i in range(REVIEWERS)]
    receipts: list[dict] = []
    leases: list[str] = []
    errors: list[BaseException] = []

    def work(client):
        try:
            for _ in range(each):
                lease = client.next("estimation" if len(receipts) % 5 == 0 else "repair")
                leases.append(lease["item"]["item"])
                receipts.append(client.answer(lease, "keep", seconds=0.1))
        except BaseException as error:
            errors.append(error)

    with serve(desk, accounts) as url:
        clients = [ReviewClient(url, tokens.create(user.id, "team")["token"], retries=0) for user in people]
        threads = [threading.Thread(target=work, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors, errors[:3]
    told = b"".join(desk.export("jsonl")).splitlines()
    desk.close()
    events = repo.events(kinds=("review",))
    engine.dispose()
    return receipts, leases, told, events


def check(receipts, leases, told, events, each):
    """Nothing lost, nothing twice."""
    total = REVIEWERS * each
    assert len(receipts) == len(told) == events.num_rows == total
    assert not any(receipt["again"] for receipt in receipts)
    assert max(Counter(receipt["item"] for receipt in receipts).values()) == 1  # overlap 1: nobody answers twice
    assert max(Counter(leases).values()) == 1
    assert {receipt["event_id"] for receipt in receipts} == set(events["event_id"].to_pylist())


def test_twenty_reviewers_on_sqlite(team, tmp_path):
    check(*team(tmp_path / "review.db", 10), 10)


def test_twenty_reviewers_on_postgresql(team, postgres_url):
    check(*team(postgres_url, 10), 10)


@pytest.mark.slow
def test_ten_thousand_answers_on_sqlite(team, tmp_path):
    check(*team(tmp_path / "review.db", 500), 500)


@pytest.mark.slow
def test_ten_thousand_answers_on_postgresql(team, postgres_url):
    check(*team(postgres_url, 500), 500)
