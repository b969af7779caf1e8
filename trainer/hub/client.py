"""Requests to the hub: listing a repository, fetching a file, and readable errors.

No message holds what the hub answered or what was sent to it, so none can hold the token.
"""

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

from datasets_tools.disk import remove_file, replace_file
from trainer.hub.choice import HubFile
from trainer.hub.content import has_content
from trainer.hub.errors import HubError
from trainer.runs.base_models import HubId

_SECONDS_TO_ANSWER = 30.0


class HubClient:
    """One repository of the hub.

    Args:
        hub_id: The repository and its revision.
        token: Sent with every request; empty sends none.

    Raises:
        HubError: the token or HF_ENDPOINT cannot be right.
    """

    def __init__(self, hub_id: HubId, token: str) -> None:
        self._hub_id = hub_id
        self._token = _check_token(token)
        self._endpoint = _find_endpoint()

    @contextlib.contextmanager
    def online(self) -> Iterator[None]:
        """Lets huggingface_hub use the network, silently, and turns its errors into sentences.

        Raises:
            HubError: what went wrong, and what to do.
        """
        from huggingface_hub import constants, errors, utils

        if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
            msg = "HF_HUB_OFFLINE is set, so nothing is downloaded. Unset it to use the hub."
            raise HubError(msg)
        before = constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY
        level = utils.logging.get_verbosity()
        constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY = False, True
        utils.disable_progress_bars()  # type: ignore[attr-defined]
        utils.logging.set_verbosity_error()
        # The class that all errors of the HTTP library have in common, whichever library it is.
        network_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
        try:
            yield
        except (network_error, ConnectionError) as error:
            raise HubError(self._explain(error)) from None
        finally:
            constants.HF_HUB_OFFLINE, constants.HF_HUB_DISABLE_TELEMETRY = before
            utils.logging.set_verbosity(level)

    def list_files(self) -> tuple[str, list[HubFile]]:
        """Returns the commit that the revision stands for now, and its files."""
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint, token=self._token or False)
        try:
            info = api.model_info(
                self._hub_id.repository,
                revision=self._hub_id.revision or None,
                timeout=_SECONDS_TO_ANSWER,
                files_metadata=True,
            )
            return str(info.sha), [_read_sibling(each) for each in info.siblings or ()]
        except (ValueError, TypeError, KeyError):
            msg = (
                f"{self._endpoint} does not answer as the hub does. Check HF_ENDPOINT, and whether "
                "the network asks for a login first."
            )
            raise HubError(msg) from None

    def fetch(
        self, commit: str, file: HubFile, folder: Path, report: Callable[[int], None]
    ) -> None:
        """Brings a file into a folder, from where an earlier try stopped.

        Raises:
            HubError: it broke off, or its content differs from the hub's checksum.
        """
        part = file.part(folder)
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab") as handle:
            if handle.tell() < file.size:
                self._append(commit, file, handle, report)
        if part.stat().st_size < file.size:
            msg = f"The download of {file.name} broke off. The same command continues it."
            raise HubError(msg)
        if not has_content(part, file):
            remove_file(part)
            msg = f"{file.name} arrived damaged: its checksum differs. Download it again."
            raise HubError(msg)
        replace_file(part, folder / file.name)

    def _append(
        self, commit: str, file: HubFile, handle: BinaryIO, report: Callable[[int], None]
    ) -> None:
        from huggingface_hub import hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

        name, endpoint = self._hub_id.repository, self._endpoint
        try:
            http_get(
                hf_hub_url(name, file.name, revision=commit, endpoint=endpoint),
                cast("BinaryIO", _Growing(handle, file, report)),
                resume_size=handle.tell(),
                headers=build_hf_headers(token=self._token or False),
                expected_size=file.size,
            )
        except OSError as error:
            # Its complaint about too few bytes has neither a number nor an answer.
            if error.errno is not None or hasattr(error, "response"):
                raise

    def _explain(self, error: Exception) -> str:
        """Returns a sentence for an error of the HTTP library or of huggingface_hub."""
        from huggingface_hub import errors

        name, host = self._hub_id, urlsplit(self._endpoint).netloc
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if isinstance(error, errors.GatedRepoError) or status == 403:
            return self._explain_gate()
        if isinstance(error, errors.RevisionNotFoundError):
            return f"{name.repository} has no revision {name.revision}. Check the name after @."
        if isinstance(error, errors.RepositoryNotFoundError) or status in {401, 404}:
            return (
                f"{host} shows no model {name.repository}: the name is wrong, or it is private and "
                "HF_TOKEN does not hold a token that may read it."
            )
        if status == 429:
            return f"{host} answers that there were too many requests. Try again in a few minutes."
        if status:
            return f"{host} answered {name} with the error {status}. Try again later."
        return (
            f"There is no connection to {host} ({type(error).__name__}). Check the network; the "
            "same command continues where it stopped."
        )

    def _explain_gate(self) -> str:
        page = f"{self._endpoint}/{self._hub_id.repository}"
        if self._token:
            return (
                f"{self._hub_id} is closed to the account of this token. Accept its licence on "
                f"{page}, and check that the token may read gated repositories."
            )
        return (
            f"{self._hub_id} asks for its licence to be accepted. Log in and accept it on {page}, "
            "then make a token in your account's settings and set it as HF_TOKEN."
        )


class _Growing:
    """What huggingface_hub writes a download to: a file that reports its length."""

    def __init__(self, handle: BinaryIO, file: HubFile, report: Callable[[int], None]) -> None:
        self._handle, self._file, self._report = handle, file, report
        self.tell, self.seek, self.truncate = handle.tell, handle.seek, handle.truncate

    def write(self, chunk: bytes) -> int:
        """Appends and reports.

        Raises:
            HubError: there comes more than the hub has announced.
        """
        size = self._handle.tell() + len(chunk)
        if size > self._file.size:
            msg = f"More arrives for {self._file.name} than the hub has announced. Try again later."
            raise HubError(msg)
        self._handle.write(chunk)
        self._report(size)
        return len(chunk)


def _read_sibling(sibling: Any) -> HubFile:
    return HubFile(
        str(sibling.rfilename),
        int(sibling.size or 0),
        str(sibling.lfs.sha256) if sibling.lfs else "",
        str(sibling.blob_id or ""),
    )


def _check_token(token: str) -> str:
    """An HTTP library would quote a token that cannot be a header in its error."""
    token = token.strip()
    if not re.fullmatch(r"[\x21-\x7e]*", token):
        msg = (
            "The token for the hub contains spaces or special characters. Copy it again into "
            "HF_TOKEN."
        )
        raise HubError(msg)
    return token


def _find_endpoint() -> str:
    endpoint = os.environ.get("HF_ENDPOINT", "").rstrip("/") or "https://huggingface.co"
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        msg = "HF_ENDPOINT is not a URL. Give one such as https://huggingface.co, or unset it."
        raise HubError(msg)
    return endpoint
