"""Addresses on the Hugging Face hub: `hub:owner/name[@revision]` becomes a folder on this machine.

Without a revision the newest one is taken; a commit's hash pins it. What was fetched once is there without a
network, too. Downloads resume where they stopped.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import httpx
from huggingface_hub import hf_hub_download, snapshot_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from genius.schema import UserError

PREFIX = "hub:"
BUNDLE_FILES = ("*.json", "*.safetensors", "*.txt", "README.md")
"""What a bundle consists of: no pickle is ever fetched with one."""
INDEX_FILES = ("index.json", "ids.txt", "*.npy", "*.bin", "README.md")
"""What an index consists of; the first tells that it is one."""

Kind = Literal["model", "dataset"]
_UNREACHABLE = (
    *(LocalEntryNotFoundError, OfflineModeIsEnabled),
    *(ConnectionError, TimeoutError, httpx.TransportError),
)
_ADDRESS = re.compile(r"hub:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")


@dataclass(frozen=True)
class HubAddress:
    """A repository and, if it is pinned, its revision (a commit's hash, a tag or a branch)."""

    repo: str
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> HubAddress:
        """From `hub:owner/name[@revision]`; UserError when it is none."""
        match = _ADDRESS.fullmatch(text)
        if match is None:
            raise UserError(f"{text!r} is no hub address. Write hub:owner/name or hub:owner/name@revision.")
        return cls(match["repo"], match["revision"])

    def __str__(self) -> str:
        return f"{PREFIX}{self.repo}" + (f"@{self.revision}" if self.revision else "")


def is_hub(where: str | Path) -> bool:
    """Whether this names something on the hub rather than a folder."""
    return str(where).startswith(PREFIX)


def local_bundle(where: str | Path) -> Path:
    """The folder of a bundle; one on the hub is fetched first. `~` is a person's home."""
    if not is_hub(where):
        return Path(where).expanduser()
    return fetch_folder(HubAddress.parse(str(where)), "model", BUNDLE_FILES)


def local_index(where: str | Path) -> Path:
    """The folder of an index; one on the hub is fetched first. An address of no index stays what it is.

    In full, since what lies beside an index is named after it, and `.` has no name.
    """
    if not is_hub(where):
        return Path(where).expanduser().resolve()
    address = HubAddress.parse(str(where))
    if not _has(address, "dataset", INDEX_FILES[0]):
        return Path(where)
    return fetch_folder(address, "dataset", INDEX_FILES)


def fetch_folder(address: HubAddress, kind: Kind, patterns: Sequence[str]) -> Path:
    """Files of a repository, in a folder on this machine.

    Raises
    ------
    UserError
        If there is no such repository or revision, it cannot be reached and was not fetched before, or the
        disk is full.
    """
    with _explained(address):
        return Path(
            snapshot_download(
                address.repo, repo_type=kind, revision=address.revision, allow_patterns=list(patterns)
            )
        )


def fetch_file(address: HubAddress, kind: Kind, name: str) -> Path:
    """One file of a repository, on this machine; errors as in `fetch_folder`, or if there is no such file."""
    with _explained(address):
        return Path(hf_hub_download(address.repo, name, repo_type=kind, revision=address.revision))


def _has(address: HubAddress, kind: Kind, name: str) -> bool:
    """Whether a repository has a file of this name; no, if that cannot be told now."""
    with _explained(address):
        try:
            hf_hub_download(address.repo, name, repo_type=kind, revision=address.revision)
        except EntryNotFoundError:
            return False
    return True


@contextmanager
def _explained(address: HubAddress) -> Iterator[None]:
    """Whatever goes wrong with the hub becomes a sentence."""
    try:
        yield
    except GatedRepoError as error:
        raise UserError(
            f"{address} asks for its terms to be accepted. Do so on huggingface.co, and set HF_TOKEN."
        ) from error
    except RevisionNotFoundError as error:
        raise UserError(
            f"{address.repo} has no revision {address.revision}. Check it, or leave it out."
        ) from error
    except RepositoryNotFoundError as error:
        raise UserError(
            f"There is no {address} on the hub, or it is private: check the name, or set HF_TOKEN."
        ) from error
    except _UNREACHABLE as error:
        raise UserError(
            f"{address} is not on this machine yet and the hub cannot be reached. Connect to the network, or "
            "name a folder instead."
        ) from error
    except EntryNotFoundError as error:
        raise UserError(f"{address} lacks a file: {error}") from error
    except HfHubHTTPError as error:
        raise UserError(f"The hub would not give {address}: {error}. Try again later.") from error
    except HFValidationError as error:
        raise UserError(f"{address} is no hub address: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"The disk is full: {address} does not fit. Free some, or set HF_HOME."
            ) from error
        raise UserError(f"{address} could not be fetched: {error}. Try again; it resumes.") from error
