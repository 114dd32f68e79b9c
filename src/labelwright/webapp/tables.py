"""The tables of the review app's database: the queue, leases, answers, the outbox, and accounts.

Times are seconds since 1970 in UTC. What is JSON text is written by `labelwright.store.events.json_values`, so that equal texts
are equal values. The label repository stays the truth; this database can be thrown away once the outbox is empty.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(column_0_N_label)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_Id = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself in INTEGER columns only

# -- accounts ----------------------------------------------------------------------------------------------------------
users = Table(
    "users",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(200), nullable=False, unique=True),
    Column("password_hash", Text, nullable=False),
    Column("role", String(20), nullable=False),
    Column("active", Boolean, nullable=False, default=True),
    Column("created", Float, nullable=False),
)
sessions = Table(
    "sessions",
    metadata,
    Column("token_hash", String(128), primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("created", Float, nullable=False),
    Column("expires", Float, nullable=False),
)
login_failures = Table(
    "login_failures",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("name", String(200), nullable=False),
    Column("address", String(200), nullable=False),
    Column("at", Float, nullable=False),
    Index("ix_login_failures_name_at", "name", "at"),
    Index("ix_login_failures_address_at", "address", "at"),
)
# token_hash: SHA-256 of a random token, which nobody keeps but its user
api_tokens = Table(
    "api_tokens",
    metadata,
    Column("token_hash", String(64), primary_key=True),
    Column("user_id", ForeignKey("users.id"), nullable=False, index=True),
    Column("name", String(200), nullable=False),
    Column("created", Float, nullable=False),
    Column("last_used", Float),
)

# -- the queue ---------------------------------------------------------------------------------------------------------
# one audit of one repository.   repository: fingerprint and time of creation, so that a moved folder is still itself
queues = Table(
    "queues",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("repository", String(300), nullable=False),
    Column("audit", String(40), nullable=False),
    Column("total", Integer, nullable=False),
    Column("created", Float, nullable=False),
    UniqueConstraint("repository", "audit"),
)
# strata of the estimation stream: labelled items, and their mean suspicion before any answer
strata = Table(
    "strata",
    metadata,
    Column("queue_id", ForeignKey("queues.id"), primary_key=True),
    Column("stratum", Integer, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("mean", Float, nullable=False),
)
# items of one pair (given, suggested).   answered, wrong, expected: clear answers, wrong labels among them, and how many the
# audit expected.   shift: what the answers add to the log-odds.   head: the highest log-odds among open items.   priority: sum
cells = Table(
    "cells",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("queue_id", ForeignKey("queues.id"), nullable=False),
    Column("given", Text),
    Column("suggested", Text),
    Column("answered", Integer, nullable=False, default=0),
    Column("wrong", Float, nullable=False, default=0.0),
    Column("expected", Float, nullable=False, default=0.0),
    Column("shift", Float, nullable=False, default=0.0),
    Column("head", Float),
    Column("priority", Float),
    Index("ix_cells_queue_id_priority", "queue_id", "priority"),
)
# key: as in the repository.   place: in the estimation order.   stratum_place: in the order of its stratum.   logit: log-odds
# of error_prob.   wanted: answers that settle it.   answers: active ones.   wrong_low, wrong_high: the two readings of them,
# null without any.   settled: the label that they come to.   settled_event: of the review that says so for several.
items = Table(
    "items",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("queue_id", ForeignKey("queues.id"), nullable=False),
    Column("cell_id", ForeignKey("cells.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("row", Integer, nullable=False),
    Column("given", Text),
    Column("suggested", Text, nullable=False),  # JSON list of [class, probability], likeliest first
    Column("top", Text),  # the likelier label, JSON
    Column("error_prob", Float),
    Column("logit", Float, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("is_issue", Boolean, nullable=False),
    Column("stratum", Integer),
    Column("stratum_place", Integer),
    Column("place", Integer),
    Column("neighbours", Text),  # JSON list of [key, similarity]
    Column("votes", Text),  # JSON list of [source, kind, value, time]
    Column("gold", Text),
    Column("snippet", Text, nullable=False, default=""),
    Column("words", Text, nullable=False, default=""),  # case-folded, for search
    Column("wanted", Integer, nullable=False, default=1),
    Column("answers", Integer, nullable=False, default=0),
    Column("open", Boolean, nullable=False, default=True),
    Column("conflict", Boolean, nullable=False, default=False),
    Column("flagged", Boolean, nullable=False, default=False),
    Column("wrong_low", Float),
    Column("wrong_high", Float),
    Column("settled", Text),
    Column("settled_event", String(64)),
    UniqueConstraint("queue_id", "key"),
    Index("ix_items_repair", "cell_id", "open", "logit"),
    Index("ix_items_estimation", "queue_id", "open", "place"),
    Index("ix_items_prefix", "queue_id", "stratum", "stratum_place", "wrong_low", "wrong_high"),
    Index("ix_items_conflict", "queue_id", "conflict"),
    Index("ix_items_flagged", "queue_id", "flagged"),
    Index("ix_items_gold", "queue_id", "gold"),
    Index("ix_items_row", "queue_id", "row"),
)

# -- the work ----------------------------------------------------------------------------------------------------------
leases = Table(
    "leases",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("queue_id", ForeignKey("queues.id"), nullable=False),
    Column("item_id", ForeignKey("items.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("stream", String(20), nullable=False),
    Column("gold", Boolean, nullable=False, default=False),
    Column("taken", Float, nullable=False),
    Column("until", Float, nullable=False),
    UniqueConstraint("item_id", "user_id"),
    Index("ix_leases_user_id_stream", "user_id", "stream"),
)
# active: it counts (neither undone nor replaced by the same person).   extra: for the person's quality only, of a gold item that
# had its answers.   replaces: the person's answer before.   label: as `audit --reviews` reads it.   said: the whole answer
# token: of the lease that it answered, null without one
answers = Table(
    "answers",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("queue_id", ForeignKey("queues.id"), nullable=False),
    Column("item_id", ForeignKey("items.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("client_id", String(200), nullable=False),
    Column("token", String(64)),
    Column("event_id", String(64), nullable=False, unique=True),
    Column("stream", String(20), nullable=False),
    Column("kind", String(20), nullable=False),
    Column("value", Text),
    Column("label", Text, nullable=False),
    Column("said", Text, nullable=False),
    Column("comment", Text, nullable=False, default=""),
    Column("severity", String(40), nullable=False, default=""),
    Column("why", String(40), nullable=False, default=""),
    Column("wrong_low", Float, nullable=False),
    Column("wrong_high", Float, nullable=False),
    Column("gold_right", Boolean),
    Column("extra", Boolean, nullable=False, default=False),
    Column("active", Boolean, nullable=False, default=True),
    Column("replaces", _Id),
    Column("seconds", Float),
    Column("time", Float, nullable=False),
    UniqueConstraint("user_id", "client_id"),
    Index("ix_answers_item_id", "item_id", "user_id"),
    Index("ix_answers_user_id", "user_id", "queue_id", "id"),
    Index("ix_answers_queue_id", "queue_id", "active", "stream"),
)
skips = Table(
    "skips",
    metadata,
    Column("item_id", ForeignKey("items.id"), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("time", Float, nullable=False),
)
flags = Table(
    "flags",
    metadata,
    Column("item_id", ForeignKey("items.id"), primary_key=True),
    Column("user_id", ForeignKey("users.id"), primary_key=True),
    Column("comment", Text, nullable=False, default=""),
    Column("time", Float, nullable=False),
)
# first, second: JSON [source, value] in the order in which they were shown.   better: null until it is told
comparisons = Table(
    "comparisons",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("queue_id", ForeignKey("queues.id"), nullable=False),
    Column("item_id", ForeignKey("items.id"), nullable=False),
    Column("user_id", ForeignKey("users.id"), nullable=False),
    Column("first", Text, nullable=False),
    Column("second", Text, nullable=False),
    Column("better", String(10)),
    Column("client_id", String(200)),
    Column("event_id", String(64)),
    Column("time", Float, nullable=False),
    Index("ix_comparisons_item_id_user_id", "item_id", "user_id"),
    Index("ix_comparisons_user_id_queue_id", "user_id", "queue_id"),
)
# events on their way into the repository.   commit: of the repository, null until they are there
outbox = Table(
    "outbox",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("queue_id", ForeignKey("queues.id"), nullable=False),
    Column("event_id", String(64), nullable=False, unique=True),
    Column("item", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("kind", String(20), nullable=False),
    Column("value", Text),
    Column("time", Float, nullable=False),
    Column("commit", Integer),
    Index("ix_outbox_commit_id", "commit", "id"),
)
