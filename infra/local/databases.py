"""SQLite, as the services keep their state in it."""

import sqlite3


def copied(database: sqlite3.Connection) -> sqlite3.Connection:
    """A copy in memory of what is committed."""
    copy = sqlite3.connect(":memory:", check_same_thread=False)
    database.backup(copy)
    return copy
