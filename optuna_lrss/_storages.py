"""Storages as the command line is given them: by URL or path, with passwords to be kept quiet."""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus
from urllib.parse import urlsplit

import optuna


if TYPE_CHECKING:
    from optuna.storages import BaseStorage


_REDIS = ("redis://", "rediss://")
#: What every SQLite database begins with (https://sqlite.org/fileformat2.html, section 1.3).
_SQLITE_HEADER = b"SQLite format 3\0"


class UsageError(Exception):
    """What the user can mend by another command line."""


def open_storage(storage: str, *, create: bool = False) -> BaseStorage:
    """Opens a storage. Reading creates nothing, no file and no table.

    Args:
        storage: URL of a database or of Redis, or path of a journal file or SQLite database.
        create: Whether it may be made anew.

    Raises:
        UsageError: If there is nothing to read.
    """
    if storage.startswith(_REDIS):
        from optuna.storages.journal import JournalRedisBackend

        with warnings.catch_warnings():  # who names Redis has chosen Optuna's experiment
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.storages.JournalStorage(JournalRedisBackend(storage))
    if "://" not in storage:
        return _open_path(storage, create)
    path = urlsplit(storage).path[1:]
    is_path = storage.startswith("sqlite") and not path.startswith("file:")
    if is_path and not create and not Path(path).is_file():
        raise UsageError(f"--storage {storage}: there is no file {path}.")
    return optuna.storages.RDBStorage(storage, skip_table_creation=not create)


def _open_path(storage: str, create: bool) -> BaseStorage:
    """A file by what it holds: an SQLite database, else a journal."""
    from optuna.storages.journal import JournalFileBackend

    path = Path(storage)
    if path.is_file():
        with path.open("rb") as file:
            is_sqlite = file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER
        if is_sqlite:
            return open_storage(f"sqlite:///{storage}", create=create)
    elif not create:
        raise UsageError(
            f"--storage {storage}: there is no such journal file; give a path, or a URL such "
            "as sqlite:///lr.db or postgresql://host/database."
        )
    try:
        return optuna.storages.JournalStorage(JournalFileBackend(storage))
    except (ValueError, LookupError, TypeError) as error:  # what its reader meets in other files
        raise UsageError(
            f"--storage {storage}: the file is neither a journal nor an SQLite database ({error})."
        ) from error


def storage_errors() -> tuple[type[Exception], ...]:
    """Base classes of what the storages in use raise when they cannot be reached or read."""
    import sqlalchemy.exc

    # Redis's client is loaded by the storage that needs it, if at all.
    redis = sys.modules.get("redis")
    of_redis = () if redis is None else (redis.exceptions.RedisError,)
    return (optuna.exceptions.OptunaError, sqlalchemy.exc.SQLAlchemyError, *of_redis)


def passwords(storage: str) -> set[str]:
    """Passwords of a URL, as written there and as meant; none for a URL without one."""
    _, slashes, rest = storage.partition("://")
    rest, _, query = (rest if slashes else storage).partition("?")
    # As SQLAlchemy reads it: an @ or / in a password need not have been escaped to be one.
    credentials, at, _ = rest.rpartition("@")
    _, colon, password = credentials.partition(":")
    found = {password} if at and colon else set()
    if not slashes and colon and ":" in password:
        # "postgresql:me:secret@host": mistyped, so whether a scheme comes first is a guess
        found.add(password.partition(":")[2])
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        if re.search("pass|pwd|secret|token", name, re.IGNORECASE):
            found.add(value)
    return {p for secret in found for p in (secret, unquote_plus(secret)) if p.strip("/")}
