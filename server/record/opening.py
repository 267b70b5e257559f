"""Which store a setting means: a folder, or a database's URL."""

from pathlib import Path

from server.record.folder_store import FolderStore
from server.record.sql_store import SqlStore
from server.record.store import AuditStore

DEFAULT_MAX_FILE_BYTES = 100 * 1024 * 1024


def is_database(place: str) -> bool:
    """Whether `place` is a database's URL rather than a folder."""
    return "://" in place


def open_store(place: str, *, max_file_bytes: int = DEFAULT_MAX_FILE_BYTES) -> AuditStore:
    """The store at `place`; raises `AuditLogError`."""
    if is_database(place):
        return SqlStore(place)
    return FolderStore(Path(place), max_file_bytes=max_file_bytes)
