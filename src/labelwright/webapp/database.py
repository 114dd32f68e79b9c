"""The review app's database: an SQLite file or PostgreSQL, opened at the newest schema, and its transactions."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from labelwright.errors import MissingExtra, OptionError
from labelwright.webapp.refusals import DatabaseFailed, DiskFull

if TYPE_CHECKING:
    from alembic.config import Config

HEAD = "0002"
"""The newest schema, the last file in `migrations/versions`."""
_BUSY = 60_000  # milliseconds that SQLite waits for another process
_POOL = 40  # connections: more than the threads that a web server runs
_LOCK = 7_235_201  # of PostgreSQL, while the schema is brought up to date
_locks: weakref.WeakKeyDictionary[Engine, threading.RLock] = weakref.WeakKeyDictionary()


def open_database(where: str | os.PathLike[str]) -> Engine:
    """The database at `where`, brought to the newest schema; an SQLite file is made where there is none.

    Args:
        where: path of an SQLite file, or a URL: sqlite:///PATH, postgresql://USER:PASSWORD@HOST/NAME.

    Raises:
        OptionError: a URL of another kind.   MissingExtra: PostgreSQL without psycopg.
        DatabaseFailed: it cannot be opened, or a newer version of Labelwright wrote it; it is not touched.
    """
    url = _url(where)
    if url.drivername.startswith("sqlite"):
        engine = _sqlite(url)
    else:
        engine = create_engine(url, pool_size=_POOL, max_overflow=_POOL, pool_pre_ping=True)
    try:
        with writing(engine) as conn:
            if not engine.dialect.name.startswith("sqlite"):
                conn.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _LOCK})
            migrate(conn)
    except BaseException:
        engine.dispose()
        raise
    return engine


def migrate(conn: Connection, to: str = HEAD) -> None:
    """Bring the schema up to a revision, inside the caller's transaction. Raises DatabaseFailed where it is newer."""
    now = None
    if inspect(conn).has_table("alembic_version"):
        now = conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
    if now == to:
        return
    from alembic import command
    from alembic.script import ScriptDirectory

    config = alembic_config(conn)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if now is not None and now not in known:
        raise DatabaseFailed(
            found=f"a database with the schema {now!r} of a newer version",
            expected=f"{HEAD!r} or older",
            fix="upgrade: pip install -U 'labelwright[web]'; nothing was changed",
        )
    if now is None and inspect(conn).get_table_names():
        raise DatabaseFailed(
            found="a database that holds tables of something else",
            expected="an empty one, or one of the review app",
            fix="name another file or another database; nothing was changed",
        )
    command.upgrade(config, to)


def alembic_config(conn: Connection) -> Config:
    """Alembic's settings for a connection; its scripts are part of the package."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = conn
    return config


@contextmanager
def writing(engine: Engine, *, durable: bool = True) -> Iterator[Connection]:
    """One transaction that may write; committed at the end, rolled back on any error.

    On SQLite writers of this process go one after another, and BEGIN IMMEDIATE makes those of other processes wait.
    durable: on the disk when this returns. False is for leases, which may be lost with the power, though never half.

    Raises:
        DiskFull, DatabaseFailed: the database refused; nothing was changed.
    """
    lite = engine.dialect.name == "sqlite"
    lock = _locks.setdefault(engine, threading.RLock()) if lite else threading.RLock()
    with lock, _told(), engine.connect() as conn:
        if lite:
            conn = conn.execution_options(labelwright_durable=durable)
        with conn.begin():
            if not lite and not durable:
                conn.exec_driver_sql("SET LOCAL synchronous_commit TO off")
            yield conn


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One transaction that only reads; on SQLite it sees one state and stops no writer."""
    with _told(), engine.connect() as conn:
        conn = conn.execution_options(labelwright_reads=True)
        with conn.begin():
            yield conn


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except DBAPIError as err:
        if type(err).__name__ == "IntegrityError":
            raise
        said = str(err.orig).splitlines()[0][:200] if str(err.orig) else type(err).__name__
        full = any(word in said.lower() for word in ("is full", "no space", "disk i/o error"))
        if full:
            raise DiskFull(
                found=f"no room for the review database ({said})",
                expected="a disk with some room left",
                fix="free some room, then send the same answer again; nothing of it was kept, nothing is half-written",
            ) from err
        raise DatabaseFailed(
            found=f"a review database that did not do it ({said})",
            expected="a database that can be reached and written",
            fix="see that it is running and that you may write there, then do the same again; nothing was changed",
        ) from err


def _url(where: str | os.PathLike[str]) -> URL:
    given = os.fspath(where)
    if "://" not in given:
        return URL.create("sqlite", database=os.path.abspath(given))
    try:
        url = make_url(given)
        if url.drivername in ("postgresql", "postgres"):
            url = url.set(drivername="postgresql+psycopg")
        if url.drivername not in ("sqlite", "postgresql+psycopg"):
            raise ArgumentError(url.drivername)
        url.get_dialect().import_dbapi()
    except (ArgumentError, NoSuchModuleError) as err:
        raise OptionError(
            found=f"the database {given.split('://')[0][:40]!r}://…",
            expected="a path of an SQLite file, sqlite:///PATH or postgresql://USER@HOST/NAME",
            fix="leave it out to use a file beside the labels",
        ) from err
    except ImportError as err:
        raise MissingExtra(
            found="no package psycopg", expected="it, for PostgreSQL", fix='pip install "psycopg[binary]"'
        ) from err
    if url.drivername == "sqlite" and url.database in (None, "", ":memory:"):
        raise OptionError(
            found="an SQLite database in memory",
            expected="a file, since an answer must outlive the program",
            fix="sqlite:///PATH",
        )
    return url


def _sqlite(url: URL) -> Engine:
    """An engine that says BEGIN itself: the sqlite3 module would begin too late for BEGIN IMMEDIATE."""
    from sqlalchemy.pool import QueuePool

    arguments: dict[str, Any] = {"check_same_thread": False, "timeout": _BUSY / 1000, "isolation_level": None}
    engine = create_engine(url, poolclass=QueuePool, pool_size=_POOL, max_overflow=_POOL, connect_args=arguments)

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, record: Any) -> None:
        for pragma in (f"busy_timeout={_BUSY}", "journal_mode=WAL", "foreign_keys=ON", "cache_size=-16000"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        options = conn.get_execution_options()
        if options.get("labelwright_reads"):
            conn.exec_driver_sql("BEGIN")
        else:  # also for plain `engine.begin()`: a reader that turns writer may find the database locked
            conn.exec_driver_sql(
                f"PRAGMA synchronous={'FULL' if options.get('labelwright_durable', True) else 'NORMAL'}"
            )
            conn.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
