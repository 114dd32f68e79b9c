"""The database opens at the newest schema, refuses what it does not know, and tells what went wrong."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from sqlalchemy import insert, inspect, select, text

from labelwright.errors import MissingExtra, OptionError
from labelwright.webapp.database import HEAD, migrate, open_database, reading, writing
from labelwright.webapp.refusals import DatabaseFailed, DiskFull
from labelwright.webapp.tables import login_failures, metadata


def differences(engine) -> list:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with reading(engine) as conn:
        return compare_metadata(MigrationContext.configure(conn), metadata)


def test_the_migrations_make_what_the_tables_say(tmp_path):
    engine = open_database(tmp_path / "a.sqlite")
    assert differences(engine) == []
    engine.dispose()
    again = open_database(f"sqlite:///{tmp_path}/a.sqlite")
    assert differences(again) == []
    again.dispose()


def test_the_same_on_postgres(postgres_url):
    engine = open_database(postgres_url)
    assert differences(engine) == []
    engine.dispose()
    open_database(postgres_url).dispose()


def test_up_from_the_first_schema_keeps_what_is_there(tmp_path):
    engine = open_database(tmp_path / "a.sqlite")
    with writing(engine) as conn:
        for table in reversed(metadata.sorted_tables):
            table.drop(conn)
        conn.execute(text("DROP TABLE alembic_version"))
        migrate(conn, "0001")
        conn.execute(insert(login_failures).values(name="anna", address="::1", at=1.0))
    engine.dispose()
    engine = open_database(tmp_path / "a.sqlite")
    with reading(engine) as conn:
        assert conn.execute(select(login_failures.c.name)).scalars().all() == ["anna"]
        assert conn.execute(text("SELECT version_num FROM alembic_version")).scalar() == HEAD
    engine.dispose()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "a.sqlite"
    open_database(path).dispose()
    with sqlite3.connect(path) as conn:
        conn.execute("UPDATE alembic_version SET version_num = '9999'")
    conn.close()
    with pytest.raises(DatabaseFailed, match="schema '9999' of a newer version.*pip install -U"):
        open_database(path)
    with sqlite3.connect(path) as conn:
        assert conn.execute("SELECT version_num FROM alembic_version").fetchone() == ("9999",)
    conn.close()


def test_a_database_of_something_else_is_refused(tmp_path):
    path = tmp_path / "a.sqlite"
    with sqlite3.connect(path) as conn:
        conn.execute("CREATE TABLE recipes (name TEXT)")
    conn.close()
    with pytest.raises(DatabaseFailed, match="tables of something else.*nothing was changed"):
        open_database(path)
    with sqlite3.connect(path) as conn:
        assert [row[0] for row in conn.execute("SELECT name FROM sqlite_master")] == ["recipes"]
    conn.close()


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("mysql://host/x", "an SQLite database|leave it out"),
        ("sqlite://", "in memory.*sqlite:///PATH"),
        ("sqlite:///:memory:", "in memory.*sqlite:///PATH"),
        ("nonsense://", "leave it out to use a file"),
    ],
)
def test_what_is_no_database(where, told):
    with pytest.raises(OptionError, match=told):
        open_database(where)


def test_postgres_without_its_package(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r'pip install "psycopg\[binary\]"'):
        open_database("postgresql://review@/nowhere")


def test_a_server_that_does_not_answer(tmp_path):
    pytest.importorskip("psycopg")
    with pytest.raises(DatabaseFailed, match="see that it is running"):
        open_database(f"postgresql://review@/r?host={tmp_path}")


def test_settings_of_sqlite(tmp_path):
    engine = open_database(tmp_path / "a.sqlite")
    with writing(engine) as conn:
        found = [
            conn.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
        assert found == ["wal", 2, 1]  # 2: FULL
    with writing(engine, durable=False) as conn:
        assert conn.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
    with engine.begin() as conn:
        assert conn.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()


def test_an_error_rolls_back_and_a_full_disk_says_so(tmp_path):
    engine = open_database(tmp_path / "a.sqlite")
    row = {"name": "anna", "address": "x", "at": 1.0}
    with pytest.raises(KeyError), writing(engine) as conn:
        conn.execute(insert(login_failures).values(row))
        raise KeyError
    with pytest.raises(DiskFull, match="free some room.*nothing is half-written"), writing(engine) as conn:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar()
        conn.exec_driver_sql(f"PRAGMA max_page_count={pages + 2}")
        for _ in range(2000):
            conn.execute(insert(login_failures).values(row | {"address": "x" * 150}))
    with reading(engine) as conn:
        assert conn.execute(select(login_failures)).all() == []
        assert "leases" in inspect(conn).get_table_names()
    engine.dispose()


def test_writers_of_many_threads_and_plain_begins_wait_for_each_other(tmp_path):
    engine = open_database(tmp_path / "a.sqlite")
    failed = []

    def work(number: int) -> None:
        try:
            for _ in range(20):
                with writing(engine) if number % 2 else engine.begin() as conn:
                    n = len(conn.execute(select(login_failures.c.id)).all())
                    conn.execute(insert(login_failures).values(name=str(n), address="x", at=1.0))
        except Exception as err:
            failed.append(err)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    with reading(engine) as conn:
        names = conn.execute(select(login_failures.c.name).order_by(login_failures.c.id)).scalars().all()
    assert names == [str(i) for i in range(160)]  # every one saw all before it
    engine.dispose()
