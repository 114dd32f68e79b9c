"""Run by Alembic inside the transaction of the connection that `database.migrate` hands over."""

from alembic import context

from labelwright.webapp.tables import metadata

if context.config.attributes.get("connection") is None:
    raise RuntimeError("the review app migrates its database itself when it opens it")
context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=False)
context.run_migrations()
