"""What keeps a data set from being opened or used, each said in one line for the person at fault.

Messages about the hub name the page where access is asked for in words: the library's own messages
are several lines long and differ between a missing token, a refused one and a missing set.
"""

from pathlib import Path

from server.errors import SightwardError


class DataError(SightwardError):
    """A data set can't be opened or used."""


class ManifestError(DataError):
    """A manifest that can't be used; says which line and why. Line 0 is the file as a whole."""

    def __init__(self, path: Path, line: int, reason: str) -> None:
        super().__init__(f"{path}:{line}: {reason}")
        self.path = path
        self.line = line
        self.reason = reason


class PictureFileError(DataError):
    """A picture of a data set that can't be read or decoded."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


class UnknownSourceError(DataError):
    """`spec` is neither a folder here nor the id of a data set on the hub."""

    def __init__(self, spec: str) -> None:
        super().__init__(f"{spec!r} is no folder here, and no hub id either (those are OWNER/NAME)")
        self.spec = spec


class LayoutError(DataError):
    """A source whose files or columns can't be taken as labelled pictures."""

    def __init__(self, source: str, problem: str) -> None:
        super().__init__(f"{source}: {problem}")
        self.source = source
        self.problem = problem


class ColumnMapError(DataError):
    """A map of columns that says too little or contradicts itself."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"columns: {problem}")
        self.problem = problem


class UnnamedColumnsError(DataError):
    """A source whose columns nobody named and whose layout is none of the known ones."""

    def __init__(self, source: str, found: tuple[str, ...] = ()) -> None:
        has = f" (it has {', '.join(found)})" if found else ""
        super().__init__(
            f"{source}: its layout is none of the known ones{has}; "
            "name its columns, such as image=image,label=nsfw,unsafe=1"
        )
        self.source = source
        self.found = found


class GatedSetError(DataError):
    """A gated data set: there is no token, or its owner has not been granted access."""

    def __init__(self, repo_id: str, *, has_token: bool) -> None:
        page = f"huggingface.co/datasets/{repo_id}"
        advice = (
            f"the token in use has no access: ask for it at {page} with the token's account"
            if has_token
            else f"there is no token: ask for access at {page}, then put a token into HF_TOKEN"
        )
        super().__init__(f"the data set {repo_id} is gated and {advice}")
        self.repo_id = repo_id
        self.has_token = has_token


class UnknownHubSetError(DataError):
    """The hub has no such data set, or shows it to others only."""

    def __init__(self, repo_id: str, *, has_token: bool) -> None:
        who = "the token in use" if has_token else "a caller without a token (HF_TOKEN is not set)"
        super().__init__(
            f"there is no folder {repo_id!r} here, and the hub shows no data set {repo_id} to {who}"
        )
        self.repo_id = repo_id
        self.has_token = has_token


class UnknownRevisionError(DataError):
    """The data set is there, the revision is not."""

    def __init__(self, repo_id: str, revision: str) -> None:
        super().__init__(f"the data set {repo_id} has no revision {revision!r}")
        self.repo_id = repo_id
        self.revision = revision


class RefusedTokenError(DataError):
    """The hub does not know the token."""

    def __init__(self, repo_id: str) -> None:
        super().__init__(
            f"the hub refused the token while {repo_id} was asked for: "
            "it is mistyped, expired or revoked (HF_TOKEN, or the stored login)"
        )
        self.repo_id = repo_id


class HubUnreachableError(DataError):
    """The hub gives no usable answer, and nothing of the data set is stored here."""

    def __init__(self, repo_id: str, reason: str) -> None:
        super().__init__(
            f"the data set {repo_id} can't be fetched ({reason}) and no copy of it is stored here"
        )
        self.repo_id = repo_id
        self.reason = reason


class CacheWriteError(DataError):
    """The cache folder can't be written: full, read-only or not ours."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"can't write the data cache at {path}: {reason}")
        self.path = path
        self.reason = reason
