"""A folder made for the hub, brought there."""

from pathlib import Path
from urllib.parse import urlsplit

from trainer.hub.client import HubClient
from trainer.hub.errors import HubError
from trainer.runs.base_models import parse_hub_id


def upload_hub_folder(folder: Path, repo_id: str, private: bool, token: str) -> str:
    """Uploads a folder as one commit, into a repository that is made where there is none.

    Args:
        folder: What `make_hub_folder` made.
        repo_id: "owner/name" on the hub.
        private: A new repository is seen by its owner alone; an old one stays as it is.
        token: Of an account that may write there.

    Returns:
        The repository's address.

    Raises:
        HubError: nothing was changed on the hub, or only an empty repository was made; the message
            states why and what to do.
    """
    parsed = parse_hub_id(repo_id)
    if parsed is None or parsed.file or parsed.revision:
        msg = f"{repo_id!r} is not a repository name. It has the form OWNER/NAME."
        raise HubError(msg)
    if not (folder / "README.md").is_file() or not any(folder.glob("*.safetensors")):
        msg = (
            f"{folder} contains no adapter with a model card. Make the folder with `lorasmith "
            f"bundle` "
            "first."
        )
        raise HubError(msg)
    if not token:
        msg = (
            "Uploading needs a token that may write. Make one in your account's settings on the "
            "hub and set it as HF_TOKEN."
        )
        raise HubError(msg)
    return _Uploader(parsed, token).upload(folder, private=private)


class _Uploader(HubClient):
    """A repository of the hub that is written to."""

    def upload(self, folder: Path, *, private: bool) -> str:
        from huggingface_hub import HfApi

        api = HfApi(endpoint=self._endpoint, token=self._token)
        repository = self._hub_id.repository
        with self.online():
            try:
                api.create_repo(repository, private=private, exist_ok=True)
                api.upload_folder(
                    repo_id=repository, folder_path=folder, commit_message="Upload the adapter"
                )
            except (RuntimeError, ValueError, KeyError) as error:
                # huggingface_hub wraps what happens to a single large file.
                raise HubError(self._explain(_find_cause(error))) from None
        return f"{self._endpoint}/{repository}"

    def _explain(self, error: Exception) -> str:
        host = urlsplit(self._endpoint).netloc
        repository = self._hub_id.repository
        status = getattr(getattr(error, "response", None), "status_code", 0)
        if status in {401, 403, 404}:
            owner = repository.partition("/")[0]
            return (
                f"{host} does not let this token write to {repository}. Check that the token has "
                f"the right to write, and that its account may publish under {owner}."
            )
        if status == 429:
            return f"{host} answers that there were too many requests. Try again in a few minutes."
        if status:
            return f"{host} answered the upload to {repository} with the error {status}."
        return (
            f"The upload to {host} broke off ({type(error).__name__}). Check the network and run "
            "the same command again."
        )


def _find_cause(error: Exception) -> Exception:
    """Returns the error of the network below an error of huggingface_hub."""
    cause: BaseException | None = error
    while cause is not None:
        if getattr(cause, "response", None) is not None:
            return cause if isinstance(cause, Exception) else error
        cause = cause.__cause__
    return error
