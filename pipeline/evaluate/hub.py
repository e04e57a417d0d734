"""Where the rows of a task come from: a data set of the Hub, or its copy in a folder; and what a failure means."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO, cast

from pipeline.errors import CurationError, NetworkError, SourceError

#: The revision of data in a folder.
UNCHECKED = "a folder of this machine"
#: Read ahead in a file of the Hub.
BLOCK_BYTES = 1 << 25


def is_folder(path: str) -> bool:
    """Whether a data set's path is a folder of this machine, not a repository.

    >>> is_folder("mteb/T2Retrieval")
    False
    """
    return os.path.isabs(path)


def fetched(path: str, revision: str, files: Iterable[str]) -> tuple[Path, str | None]:
    """A folder that holds these files (patterns) of a data set, and the commit they are of; None for a folder's own.

    What is on this machine already is not asked for again where the Hub cannot be asked.
    """
    if is_folder(path):
        return Path(path), None
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(path, repo_type="dataset", revision=revision, allow_patterns=list(files)))
    return folder, folder.name


def opened(path: str, commit: str, file: str) -> BinaryIO:
    """A file of a data set, to be read from its beginning; of a Hub file no more is sent than is read."""
    if is_folder(path):
        return (Path(path) / file).open("rb")
    from huggingface_hub import HfFileSystem

    whole = f"datasets/{path}@{commit}/{file}"
    return cast(BinaryIO, HfFileSystem().open(whole, "rb", block_size=BLOCK_BYTES))


def explained(task: str, path: str, error: Exception) -> CurationError:
    """Our error for what stopped a task: NetworkError where waiting or a folder helps, else SourceError.

    Nothing of a Hub's exception but its kind gets through: it may hold a token.
    """
    import httpx2
    from datasets import exceptions
    from huggingface_hub import errors

    place, elsewhere = f"task {task}", "or give a folder that holds ORG/NAME as on the Hub: --data DIR"
    if isinstance(error, CurationError):
        return error
    if is_folder(path):
        cause = f"{path} cannot be read ({type(error).__name__}: {_line(error)})"
        return SourceError(place, cause, "it must hold the files of the data set as they lie on the Hub")
    match error:
        case exceptions.DatasetNotFoundError() | errors.RepositoryNotFoundError() | errors.GatedRepoError():
            cause = f"the Hub has no data set {path} that this token may read"
            return SourceError(place, cause, f"set HF_TOKEN to a token that may read it, {elsewhere}")
        case exceptions.DataFilesNotFoundError() | errors.EntryNotFoundError() | FileNotFoundError():
            return SourceError(
                place, f"{path} does not hold the files that the task reads", f"look at its page, {elsewhere}"
            )
        case errors.RevisionNotFoundError():
            return SourceError(
                place, f"{path} has not the revision that the task reads", f"look at its page, {elsewhere}"
            )
        case errors.OfflineModeIsEnabled():
            cause = f"{path} is not on this machine, and HF_HUB_OFFLINE forbids to ask the Hub"
            return NetworkError(place, cause, f"run once without HF_HUB_OFFLINE, {elsewhere}")
        case errors.HfHubHTTPError():
            cause = f"the Hub refuses {path} ({error.response.status_code})"
            return NetworkError(place, cause, f"try again later, {elsewhere}")
        case ConnectionError() | TimeoutError() | httpx2.HTTPError() | errors.LocalEntryNotFoundError():
            cause = f"{path} is not on this machine, and the Hub cannot be reached"
            return NetworkError(place, cause, f"check the network and HF_ENDPOINT, {elsewhere}")
        case RuntimeError() if "script" in str(error):
            cause = f"{path} is a loading script, which `datasets` no longer runs"
            return SourceError(place, cause, f"take another task, {elsewhere}")
        case _:
            cause = f"{path} cannot be evaluated ({type(error).__name__}: {_line(error)})"
            return SourceError(place, cause, "look at the data set's page; its rows are not what the task reads")


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:200]


def folder_for(path: str, data: Path | None) -> str:
    """The folder below `data` that holds a copy of the repository, else the repository."""
    found = data / path if data is not None else None
    return str(found.resolve()) if found is not None and found.is_dir() else path


def relocated(task: Any, data: Path | None) -> Any:
    """The task, reading from a folder below `data` if there is one; its revision then says so, for nobody checked it."""
    dataset = dict(task.metadata.dataset)
    if (found := folder_for(dataset["path"], data)) != dataset["path"]:
        dataset |= {"path": found, "revision": UNCHECKED}
        task.metadata = task.metadata.model_copy(update={"dataset": dataset})
    return task
