"""What reviewers may do at the desk, one by one and all at once."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import func, insert, select, update

import labelwright as lw
from labelwright.auditing.estimate import estimate_from_reviews
from labelwright.errors import DataError, LabelError, OptionError, RepositoryError
from labelwright.store import Repository
from labelwright.webapp import tables
from labelwright.webapp.answers import Answer
from labelwright.webapp.database import open_database, reading, writing
from labelwright.webapp.desk import Desk
from labelwright.webapp.export import disarm
from labelwright.webapp.queue import Filters
from labelwright.webapp.refusals import DiskFull, LeaseLost, NoSuchItem, NotAllowed
from labelwright.webapp.views import User

from .conftest import add_users


def opened(repo, engine, **options) -> Desk:
    return Desk.open(repo, engine, flush_every=None, **options)


def answer_next(desk, user, answer, stream="repair", number=[0]) -> str:  # noqa: B006
    """Answer the user's next item; its key. `answer` may depend on the item."""
    lease = desk.next(user, stream)
    number[0] += 1
    said = answer(lease.item) if callable(answer) else answer
    desk.answer(user, lease.token, said, client_id=f"n{number[0]}", seconds=2.0)
    return lease.item.item


def scalar(desk, query):
    with reading(desk._engine) as conn:
        return conn.execute(query).scalar()


def test_an_answer_is_kept_and_becomes_one_event(desk, people):
    lease = desk.next(people.anna)
    assert (
        lease.item.content.text.startswith(" ".join(lease.item.content.text.split()[:2])) and lease.stream == "repair"
    )
    receipt = desk.answer(people.anna, lease.token, Answer("class", ("space",), comment="a\0b"), client_id="a1")
    again = desk.answer(people.anna, lease.token, Answer("class", ("space",), comment="a\0b"), client_id="a1")
    assert again.again and again.event_id == receipt.event_id and not receipt.again
    assert desk.progress().answers == 1 and desk.progress().waiting == 1
    assert desk.flush() == 1 and desk.flush() == 0
    events = desk.repo.events(kinds=("review",)).to_pylist()
    assert [(e["event_id"], e["item"], json.loads(e["value"]), e["source"]) for e in events] == [
        (receipt.event_id, lease.item.item, "space", "anna")
    ]
    assert desk.item(lease.item.item, people.anna).mine.comment == "a\ufffdb"


def test_opening_again_imports_nothing_twice(desk, review_repo, engine):
    again = opened(review_repo, engine)
    assert scalar(again, select(func.count()).select_from(tables.items)) == 180 and again._queue == desk._queue


def test_leases_come_back_go_ahead_and_keep_others_away(desk, people):
    first, second = desk.next(people.anna), desk.next(people.anna, ahead=1)
    assert desk.next(people.anna).token == first.token and desk.next(people.anna, ahead=1).token == second.token
    other = desk.next(people.ben)
    assert len({first.item.item, second.item.item, other.item.item}) == 3
    desk.answer(people.anna, first.token, Answer("keep"), client_id="1")
    assert desk.next(people.anna).token == second.token and desk.next(people.anna).place == 1


def test_an_ended_lease_that_nobody_took_still_counts_and_a_taken_one_does_not(desk, people):
    kept = desk.next(people.anna)
    with writing(desk._engine) as conn:
        conn.execute(update(tables.leases).values(until=1.0))
    desk.answer(people.anna, kept.token, Answer("keep"), client_id="1")
    lost = desk.next(people.anna)
    with writing(desk._engine) as conn:
        conn.execute(update(tables.leases).values(until=1.0))
    taken = desk.next(people.ben)
    assert taken.item.item == lost.item.item
    with pytest.raises(LeaseLost, match="take the next item"):
        desk.answer(people.anna, lost.token, Answer("keep"), client_id="2")
    with pytest.raises(LeaseLost, match="take the next item"):
        desk.answer(people.anna, taken.token, Answer("keep"), client_id="3")  # another one's token
    assert scalar(desk, select(func.count()).select_from(tables.answers)) == 1


def test_wrong_answers_change_nothing(desk, people):
    lease = desk.next(people.anna)
    for said, error, told in [
        (Answer("class", ("nonsense",)), LabelError, "choose among the classes"),
        (Answer("distribution", ("space", "money"), (0.9, 0.4)), LabelError, "sum to 100 %"),
        (Answer("classes", ("space", "money")), LabelError, "give shares"),
        (Answer("maybe"), OptionError, "choose one of these"),
    ]:
        with pytest.raises(error, match=told):
            desk.answer(people.anna, lease.token, said, client_id="1")
    with pytest.raises(OptionError, match="random UUID"):
        desk.answer(people.anna, lease.token, Answer("keep"), client_id="")
    assert scalar(desk, select(func.count()).select_from(tables.outbox)) == 0
    desk.answer(people.anna, lease.token, Answer("keep"), client_id="1")


def test_other_refusals(desk, people, review_repo, engine):
    with pytest.raises(NoSuchItem, match="search page"):
        desk.item("nothing", people.anna)
    with pytest.raises(OptionError, match="did you mean 'repair'"):
        desk.next(people.anna, "repare")
    with pytest.raises(OptionError, match="ahead=1"):
        desk.next(people.anna, ahead=9)
    with pytest.raises(NotAllowed, match="ask the owner"):
        desk.next(people.anna, "adjudication")
    with pytest.raises(NotAllowed, match="'adjudicator' or a higher one"):
        desk.adjudicate(people.anna, "t000", Answer("keep"), client_id="1")
    with pytest.raises(OptionError, match="shorten it"):
        desk.flag(people.anna, "t000", "x" * 5000)
    with pytest.raises(OptionError, match="pass page=1"):
        desk.search(user=people.anna, page=0)
    with pytest.raises(OptionError, match="csv"):
        desk.export("xlsx")
    with pytest.raises(RepositoryError, match="labelwright audit DATA"):
        opened(review_repo, engine, audit="0099")
    with pytest.raises(OptionError, match="overlap"):
        opened(review_repo, engine, overlap=0)
    with pytest.raises(OptionError, match="leave them out"):
        opened(review_repo, engine, gold_share=2.0)
    with pytest.raises(DataError, match="items.parquet"):
        opened(review_repo, engine, gold={"nothing": "space"})
    with pytest.raises(NoSuchItem, match="none to show"):
        desk.media("t000")


def test_undo_gives_the_item_back_and_the_answer_before_counts_again(desk, people):
    assert desk.undo(people.anna) is None
    key = answer_next(desk, people.anna, Answer("keep"))
    desk.answer_item(people.anna, key, Answer("none"), client_id="changed")
    assert desk.item(key, people.anna).mine.kind == "none"
    assert desk.undo(people.anna).item == key and desk.item(key, people.anna).mine.kind == "keep"
    assert desk.undo(people.anna).mine is None
    lease = desk.next(people.anna)
    assert lease.item.item == key and desk.undo(people.anna) is None
    desk.answer(people.anna, lease.token, Answer("keep"), client_id="again")
    assert desk.progress().answered == 1
    desk.flush()
    assert Counter(desk.repo.events()["kind"].to_pylist())["retraction"] == 2


def test_skipped_items_come_up_again_when_nothing_else_is_left(desk, people):
    filters = Filters(kind="error")
    n = desk.search(user=people.anna, kind="error", per_page=200).total
    first = desk.next(people.anna, filters=filters)
    desk.skip(people.anna, first.token)
    seen = []
    for number in range(n - 1):
        lease = desk.next(people.anna, filters=filters)
        assert lease.item.kind == "error" and lease.item.item != first.item.item
        desk.answer(people.anna, lease.token, Answer("keep"), client_id=str(number))
        seen.append(lease.item.item)
    assert len(set(seen)) == n - 1
    assert desk.next(people.anna, filters=filters).item.item == first.item.item
    assert desk.next(people.ben, filters=filters) is None


def test_filters_give_up_leases_that_do_not_fit(desk, people):
    lease = desk.next(people.anna)
    other = next(name for name in desk.space.classes if name != lease.item.given)
    assert desk.next(people.anna, filters=Filters(label=other)).item.given == other
    assert desk.next(people.ben).item.item == lease.item.item


def test_several_reviewers_an_agreement_and_a_conflict(review_repo, engine, people):
    desk = opened(review_repo, engine, overlap=2)
    anna, ben, judy = people.anna, people.ben, people.judy
    key = answer_next(desk, anna, Answer("class", ("space",)))
    assert desk.item(key, judy).said == ()  # ben has to judge without seeing it
    assert answer_next(desk, ben, Answer("class", ("space",))) == key
    assert [s.source for s in desk.item(key, anna).said] == ["anna", "ben"]
    torn = answer_next(desk, anna, Answer("class", ("space",)))
    assert answer_next(desk, ben, Answer("class", ("money",))) == torn
    desk.flush()
    kinds = Counter((e["kind"], e["source"]) for e in desk.repo.events(kinds=("vote", "review")).to_pylist())
    assert kinds == {("vote", "anna"): 2, ("vote", "ben"): 2, ("review", "reviewers"): 1}
    conflicts, total = desk.conflicts()
    assert (
        total == 1 and conflicts[0].item.item == torn and [s.value for s in conflicts[0].answers] == ["space", "money"]
    )
    assert [p.agreement for p in desk.people()] == [0.5, 0.5]
    lease = desk.next(judy, "adjudication")
    assert lease.item.item == torn and desk.next(people.olga, "adjudication") is None
    desk.answer(judy, lease.token, Answer("class", ("sport",)), client_id="j")
    assert desk.conflicts()[1] == 0 and desk.progress().conflicts == 0
    desk.flush()
    labels = desk.repo.labels()
    found = dict(zip(labels["item"].to_pylist(), labels["label"].to_pylist()))
    assert found[torn] == '"sport"' and found[key] == '"space"'
    assert desk.undo(judy).item == torn and desk.conflicts()[1] == 1


def test_an_agreement_that_is_undone_is_taken_back(review_repo, engine, people):
    desk = opened(review_repo, engine, overlap=2)
    key = answer_next(desk, people.anna, Answer("none"))
    answer_next(desk, people.ben, Answer("none"))
    desk.undo(people.ben)
    desk.flush()
    labels = desk.repo.labels()
    assert dict(zip(labels["item"].to_pylist(), labels["kind"].to_pylist()))[key] == "given"
    assert desk.item(key, people.judy).said == () and desk.progress().answered == 0


def test_gold_items_measure_people(review_repo, engine, people, audited):
    gold = {key: audited.truth[key] for key in ("t001", "t002", "t003", "t004")}
    desk = opened(review_repo, engine, gold=gold, gold_share=1.0)
    for user, answer in ((people.anna, lambda i: Answer("class", (gold[i.item],))), (people.ben, Answer("none"))):
        seen = [answer_next(desk, user, answer) for _ in range(4)]
        assert set(seen) == set(gold)
    assert desk.next(people.anna).item.item not in gold
    anna, ben = desk.people()
    assert (anna.gold_seen, anna.gold_right, ben.gold_right) == (4, 1.0, 0.0)
    assert anna.gold_low < 1.0 and ben.gold_high > 0 and anna.seconds == 2.0
    assert desk.item("t001", people.anna).gold is None and desk.item("t001", people.olga).gold is True
    desk.flush()
    assert Counter(desk.repo.events()["source"].to_pylist())["ben"] == 4
    labels = desk.repo.labels()  # ben's, who came to settled items, are kept and change nothing
    found = dict(zip(labels["item"].to_pylist(), labels["label"].to_pylist()))
    assert [json.loads(found[key]) for key in gold] == list(gold.values())


def test_search(desk, people):
    every = desk.search(user=people.anna, per_page=1000)
    assert every.total == 180 and len(every.rows) == 180
    assert [r["error_prob"] for r in every.rows] == sorted((r["error_prob"] for r in every.rows), reverse=True)
    assert desk.search("GOAL", user=people.anna).total == sum("goal" in r["text"] for r in every.rows) > 0
    assert desk.search("goal match", user=people.anna).total == sum(
        "goal" in r["text"] and "match" in r["text"] for r in every.rows
    )
    assert desk.search("100%_", user=people.anna).total == 0 and desk.search("t017", user=people.anna).total == 1
    assert desk.search(user=people.anna, label="space").total == sum(r["given"] == "space" for r in every.rows)
    page = desk.search(user=people.anna, page=2, per_page=50)
    assert [r["item"] for r in page.rows] == [r["item"] for r in every.rows[50:100]] and page.total == 180
    assert desk.search(user=people.anna, page=9, per_page=50).total == 180
    desk.flag(people.anna, "t005", "see")
    assert [r["item"] for r in desk.search(user=people.ben, flagged=True).rows] == ["t005"]
    desk.flag(people.anna, "t005", on=False)
    assert desk.search(user=people.anna, flagged=True).total == 0
    key = answer_next(desk, people.anna, Answer("keep"))
    assert [r["item"] for r in desk.search(user=people.anna, state="answered").rows] == [key]
    assert desk.search(user=people.anna, state="open").total == 179


def test_the_estimation_stream_gives_what_the_estimator_gives(desk, people, audited, review_repo):
    truth = audited.truth
    keys = [
        answer_next(desk, people.anna, lambda item: Answer("class", (truth[item.item],)), "estimation")
        for _ in range(60)
    ]
    sample = pq.read_table(review_repo.latest() / "review_sample.parquet")
    assert keys == sample["item"].to_pylist()[:60]
    estimate = desk.progress().estimate
    assert estimate.n >= 60 and estimate.live and estimate.low <= estimate.estimate <= estimate.high
    wrong = np.mean([r["given"] != truth[r["item"]] for r in desk.search(user=people.anna, per_page=500).rows])
    assert estimate.low <= wrong <= estimate.high
    # the exported probabilities are those of the design: the final, fixed-size estimate takes them
    rows = [json.loads(line) for line in b"".join(desk.export("jsonl")).splitlines()]
    table = pq.read_table(review_repo.latest() / "review.parquet")
    row = {key: i for i, key in enumerate(table["item"].to_pylist())}
    index = np.array([row[r["item"]] for r in rows])
    said = np.array([r["label"] != r["given"] for r in rows], dtype=float)
    chance = np.array([r["probability"] for r in rows])
    assert np.isclose((1 / chance).sum(), 180)
    p = np.array(table["suspicion"].to_pylist())
    labels = np.array([desk.space.id_of(json.loads(v)) for v in table["given"].to_pylist()])
    final = estimate_from_reviews(p, labels, 3, index, said, said, chance)
    assert final.low <= wrong <= final.high and final.high - final.low < estimate.high - estimate.low


def test_the_repair_stream_learns_from_a_pair_of_labels(desk, people):
    with reading(desk._engine) as conn:
        big = conn.execute(
            select(tables.items.c.cell_id, func.count())
            .where(tables.items.c.kind == "error")
            .group_by(tables.items.c.cell_id)
        ).all()
    assert big
    before = {r["item"]: r["error_prob"] for r in desk.search(user=people.anna, per_page=500).rows}
    first = desk.next(people.anna)
    pair = (first.item.given, first.item.suggested[0][0])
    keys = [answer_next(desk, people.anna, Answer("keep")) for _ in range(30)]
    assert before[keys[0]] == max(before.values())
    with reading(desk._engine) as conn:
        rows = conn.execute(select(tables.cells)).all()
        for cell in rows:
            head = conn.execute(
                select(func.max(tables.items.c.logit)).where(tables.items.c.cell_id == cell.id, tables.items.c.open)
            ).scalar()
            assert cell.head == head
            assert head is None or cell.priority == pytest.approx(head + cell.shift)
        moved = next(c for c in rows if (json.loads(c.given), json.loads(c.suggested)) == pair)
        best = max(c.priority for c in rows if c.priority is not None)
        item = desk.next(people.anna).item
        row = conn.execute(select(tables.items).where(tables.items.c.key == item.item)).one()
        cell = next(c for c in rows if c.id == row.cell_id)
    assert moved.shift < 0 and row.logit + cell.shift == pytest.approx(best)
    while desk.undo(people.anna) is not None:
        pass
    with reading(desk._engine) as conn:  # all taken back: as if nothing had been said
        for cell in conn.execute(select(tables.cells)):
            assert (cell.answered, cell.shift) == (0, 0) and cell.wrong == pytest.approx(0)


def test_exports_agree_and_formulas_are_disarmed(desk, people, review_repo):
    key = answer_next(desk, people.anna, Answer("keep", comment='=HYPERLINK("http://x")', severity="minor"))
    answer_next(desk, people.ben, Answer("distribution", ("money", "space"), (0.6, 0.4), comment="@sum"))
    answer_next(desk, people.ben, Answer("unsure"))
    rows = list(csv.DictReader(io.StringIO(b"".join(desk.export("csv")).decode())))
    lines = [json.loads(line) for line in b"".join(desk.export("jsonl")).splitlines()]
    table = pq.read_table(io.BytesIO(b"".join(desk.export("parquet"))))
    assert [r["item"] for r in rows] == [r["item"] for r in lines] == table["item"].to_pylist()
    assert rows[0]["item"] == key and rows[0]["comment"] == '\'=HYPERLINK("http://x")' and rows[1]["comment"] == "'@sum"
    assert lines[0]["comment"] == '=HYPERLINK("http://x")' and lines[1]["value"] == {"money": 0.6, "space": 0.4}
    assert [r["label"] for r in rows][1:] == ["money|space", "can't tell"]
    armed = ["=1+1", "+cmd", "-2+3", "@x", "\t=1", "\r", " =1", "＝1", "|calc", "-5", "+1.5e3", "plain", None, ""]
    safe = disarm(pa.array(armed)).to_pylist()
    assert safe == [f"'{c}" for c in armed[:4]] + ["'\t'=1"] + [f"'{c}" for c in armed[5:9]] + armed[9:]
    assert disarm(pa.array(["x;=1+1;y", "a|-b"])).to_pylist() == ["x;'=1+1;y", "a|'-b"]  # other list separators


def test_the_export_is_what_an_audit_reads(desk, people, audited, tmp_path, review_repo):
    for _ in range(20):
        answer_next(desk, people.anna, lambda i: Answer("class", (audited.truth[i.item],)), "estimation")
    (tmp_path / "answers.csv").write_bytes(b"".join(desk.export("csv")))
    from labelwright.auditing.files import audit_file

    data = review_repo.path.parent / "texts.parquet"
    again = audit_file(
        data, id="id", text="text", label="label", n_folds=3, reviews=tmp_path / "answers.csv", out=review_repo.path
    )
    assert again.audit.error_rate.n_reviewed == 20
    newer = opened(review_repo, desk._engine)
    assert newer.audit == "0002" and newer.next(people.anna).item is not None


def test_classes_and_progress(desk, people, audited):
    for _ in range(25):
        answer_next(desk, people.anna, lambda i: Answer("class", (audited.truth[i.item],)))
    told = {row["label"]: row for row in desk.classes()}
    assert sum(row["items"] for row in told.values()) == 180 and sum(row["answered"] for row in told.values()) == 25
    wrong = sum(row["wrong"] for row in told.values())
    assert wrong == sum(n for name, row in told.items() for to, n in row["to"].items() if to != name) > 5
    progress = desk.progress()
    assert progress.answered == progress.answers == 25 and progress.effort[1] == (25, wrong)
    n, found = zip(*progress.effort)
    assert list(n) == sorted(n) and list(found) == sorted(found) and n[-1] == 180


def test_a_full_disk_says_so_and_keeps_nothing_by_halves(desk, people):
    lease = desk.next(people.anna)
    engine = desk._engine
    with engine.connect() as conn:  # every connection of the pool gets the same limit
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar()
    engine.dispose()
    from sqlalchemy import event

    def full(connection, record):
        connection.execute(f"PRAGMA max_page_count={pages}")

    event.listen(engine, "connect", full)
    kept, refused = [], None
    for number in range(2000):
        try:
            said = Answer("keep", comment="x" * 3000)
            kept.append(desk.answer_item(people.anna, lease.item.item, said, client_id=str(number)).event_id)
        except DiskFull as err:
            refused = str(err)
            break
    assert refused is not None and "free some room" in refused
    event.remove(engine, "connect", full)
    engine.dispose()
    with reading(engine) as conn:
        answers = conn.execute(select(tables.answers.c.event_id)).scalars().all()
        assert sorted(answers) == sorted(kept) == sorted(conn.execute(select(tables.outbox.c.event_id)).scalars())
        assert conn.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    desk.answer_item(people.anna, lease.item.item, Answer("keep"), client_id=str(len(kept)))


def review_at_once(repo, engine, n_people: int, each: int, overlap: int = 1) -> None:
    """Every reviewer in a thread, two desks on one database; then the books are checked."""
    desks = [opened(repo, engine, overlap=overlap), opened(repo, engine, overlap=overlap)]
    people = add_users(engine, *[f"r{i}" for i in range(n_people)])
    failed: list[str] = []
    receipts: list[str] = []

    def work(desk: Desk, user: User) -> None:
        for number in range(each):
            try:
                lease = desk.next(user)
                receipts.append(desk.answer(user, lease.token, Answer("keep"), client_id=str(number)).event_id)
            except Exception as err:
                failed.append(repr(err))

    threads = [threading.Thread(target=work, args=(desks[i % 2], user)) for i, user in enumerate(people)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with reading(engine) as conn:
        per_item = conn.execute(
            select(func.count()).select_from(tables.answers).group_by(tables.answers.c.item_id)
        ).scalars()
        assert max(per_item) <= overlap
        kept = conn.execute(select(tables.answers.c.event_id)).scalars().all()
        assert conn.execute(select(func.count()).select_from(tables.leases)).scalar() == 0
        answered = conn.execute(select(func.sum(tables.cells.c.answered))).scalar()
        different = conn.execute(select(func.count(tables.answers.c.item_id.distinct()))).scalar()
    assert sorted(kept) == sorted(receipts) and len(kept) == n_people * each
    assert answered == different
    desks[0].flush()
    kind = "review" if overlap == 1 else "vote"
    assert sorted(desks[0].repo.events(kinds=(kind,))["event_id"].to_pylist()) == sorted(kept)


def test_twenty_reviewers_at_once(review_repo, engine):
    review_at_once(review_repo, engine, 20, 9)  # 180: every item once


def test_twenty_reviewers_at_once_on_postgres(review_repo, postgres_url):
    engine = open_database(postgres_url)
    review_at_once(review_repo, engine, 20, 9)
    engine.dispose()


def test_reviewers_who_overlap_on_postgres(review_repo, postgres_url):
    engine = open_database(postgres_url)
    review_at_once(review_repo, engine, 4, 10, overlap=2)
    engine.dispose()


def test_the_same_answer_sent_many_times_at_once_counts_once(desk, people):
    lease = desk.next(people.anna)
    receipts = []

    def send() -> None:
        receipts.append(desk.answer(people.anna, lease.token, Answer("keep"), client_id="one"))

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({r.event_id for r in receipts}) == 1 and sum(not r.again for r in receipts) == 1


def test_items_with_several_classes(tmp_path, engine, people):
    rng = np.random.default_rng(0)
    truth = rng.random((60, 3)) < 0.4
    p = np.where(truth, 0.9, 0.1)
    sets = [[name for name, there in zip("abc", row) if there] for row in truth]
    sets[0] = ["a", "b", "c"]
    audit = lw.audit(sets, p, multi=True, items=[f"m{i}" for i in range(60)])
    repo = Repository.create(
        tmp_path / "m.labels", fingerprint="f", source="x", space=json.loads(audit.space.to_json())
    )
    repo.write_audit(audit.files(n_review=20))
    desk = opened(repo, engine)
    assert desk.multi
    key = answer_next(desk, people.anna, Answer("classes", ("b", "a")))
    answer_next(desk, people.anna, Answer("keep"))
    desk.flush()
    events = {e["item"]: e["value"] for e in repo.events(kinds=("review",)).to_pylist()}
    assert events[key] == '["a", "b"]' and len(events) == 2
    row = next(r for r in desk.search(user=people.anna, per_page=100).rows if r["item"] == key)
    assert row["settled"] == ["a", "b"] and desk.classes()[0]["items"] == sum("a" in s for s in sets)
    assert b"a|b" in b"".join(desk.export("csv"))


def test_another_overlap_opens_and_closes_items(review_repo, engine, people):
    desk = opened(review_repo, engine)
    key = answer_next(desk, people.anna, Answer("keep"))
    desk = opened(review_repo, engine, overlap=2)
    assert desk.progress().answered == 0 and desk.next(people.ben) is not None
    judged = desk.search(user=people.anna, state="open", per_page=200).rows[0]["item"]
    desk.adjudicate(people.judy, judged, Answer("keep"), client_id="j")
    desk = opened(review_repo, engine, overlap=1)
    assert desk.progress().answered == 2 - (judged == key) and len(desk.item(key, people.anna).said) >= 1


def test_votes_of_the_repository_are_shown(review_repo, engine, people):
    review_repo.append(
        pa.table({"item": ["t000"], "value": ['"money"'], "kind": ["vote"]}), message="a teacher", source="teacher"
    )
    desk = opened(review_repo, engine)
    with writing(engine) as conn:
        conn.execute(insert(tables.skips).values(item_id=1, user_id=people.anna.id, time=0.0))
    (vote,) = desk.item("t000", people.anna).said
    assert (vote.source, vote.kind, vote.value) == ("teacher", "vote", "money")
    assert desk.search(user=people.anna, state="skipped").total == 1
