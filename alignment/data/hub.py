"""Files of a data set on the Hugging Face hub, and in one line each why they can't be had.

The token is found where `huggingface_hub` looks for it: HF_TOKEN, or the stored login. Files go to
the library's own cache, so an interrupted download goes on, and what was fetched once is used when
the hub can't be reached.
"""

from dataclasses import dataclass
from pathlib import Path

from alignment.data.errors import (
    CacheWriteError,
    DataError,
    GatedSetError,
    HubUnreachableError,
    RefusedTokenError,
    UnknownHubSetError,
    UnknownRevisionError,
)

_UNAUTHORISED = 401


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A data set's files at one commit, on disk."""

    folder: Path
    commit: str


def fetch(repo_id: str, *, revision: str | None = None, files: str = "") -> Snapshot:
    """Download a data set, or only its files that match the pattern `files`.

    Raises `GatedSetError`, `UnknownHubSetError`, `UnknownRevisionError`, `RefusedTokenError`,
    `HubUnreachableError`, or `CacheWriteError` for a disk that takes no more.
    """
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repo_id,
            repo_type="dataset",
            revision=revision,
            allow_patterns=[files] if files else None,
        )
    except (HTTPError, OSError, ValueError) as error:
        raise _in_words(error, repo_id, revision) from error
    # The library names a snapshot's folder after its commit.
    return Snapshot(Path(folder), Path(folder).name)


def _in_words(error: Exception, repo_id: str, revision: str | None) -> DataError:
    from huggingface_hub import constants, get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    cause = error.__cause__
    if isinstance(error, LocalEntryNotFoundError) and isinstance(cause, HfHubHTTPError):
        # The library hides an answer it can't use behind "not found on disk".
        error = cause
    has_token = get_token() is not None
    if isinstance(error, GatedRepoError):
        return GatedSetError(repo_id, has_token=has_token)
    if isinstance(error, RepositoryNotFoundError):
        return UnknownHubSetError(repo_id, has_token=has_token)
    if isinstance(error, RevisionNotFoundError):
        return UnknownRevisionError(repo_id, revision or "main")
    if isinstance(error, HfHubHTTPError):
        if error.response.status_code == _UNAUTHORISED:
            return RefusedTokenError(repo_id)
        return HubUnreachableError(repo_id, f"the hub answered {error.response.status_code}")
    if constants.HF_HUB_OFFLINE or isinstance(cause, OfflineModeIsEnabled):
        return HubUnreachableError(repo_id, "HF_HUB_OFFLINE is set")
    if isinstance(error, OSError) and error.errno is not None:
        return CacheWriteError(Path(constants.HF_HUB_CACHE), error.strerror or str(error))
    return HubUnreachableError(repo_id, "the hub can't be reached")
