"""Base models from the hub: which files are needed, and how they come into a folder.

A download grows in `.partial/` and is moved into place when every file has the checksum that the
hub tells; a broken one continues where it stopped.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from trainer.hub.choice import HubFile, choose_files
from trainer.hub.client import HubClient
from trainer.hub.content import has_content
from trainer.hub.errors import HubError
from trainer.runs.base_models import HubId, parse_hub_id

Report = Callable[[int, int], None]  # bytes so far, bytes in all


def download_base_model(
    hub_id: str, to: Path, token: str, report: Report, *, half: bool = True
) -> Path:
    """Downloads a base model, unless it is there already, and returns where it lies.

    Args:
        hub_id: "owner/name", "owner/name@revision" or "owner/name/file.safetensors".
        to: The workspace's folder of base models.
        token: Sent to the hub; empty asks as a stranger.
        report: Called with the bytes so far and in all.
        half: Takes weights in fp16 where the repository offers them in both formats.

    Raises:
        HubError: what is missing there, or went wrong here, and what to do. What has arrived
            stays for the next try.
    """
    wanted = parse_hub_id(hub_id)
    if wanted is None:
        msg = (
            f"{hub_id!r} is no hub id. It has the form OWNER/NAME, OWNER/NAME@REVISION or "
            "OWNER/NAME/FILE.safetensors."
        )
        raise HubError(msg)
    place = to / wanted.entry
    if place.exists():
        return place
    partial = to / ".partial" / wanted.entry
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with FileLock(partial.with_name(f"{wanted.entry}.lock"), timeout=0):
            _download(wanted, partial, HubClient(wanted, token), report, half=half)
            _move_into_place(wanted, partial, place)
    except Timeout:
        msg = f"{hub_id} is being downloaded by another process. Wait until that one is done."
        raise HubError(msg) from None
    except OSError as error:
        msg = f"{to} cannot be written: {error.strerror or error}. Check its rights and its disk."
        raise HubError(msg) from error
    return place


def _download(
    wanted: HubId, partial: Path, client: HubClient, report: Report, *, half: bool
) -> None:
    with client.online():
        commit, offered = client.list_files()
        files = choose_files(wanted, offered, half=half)
        _remove_others(partial, files)
        total = sum(file.size for file in files)
        left = [file for file in files if not has_content(partial / file.name, file)]
        _check_space(wanted, partial, left)
        done = total - sum(file.size for file in left)
        report(done, total)
        for file in left:
            client.fetch(commit, file, partial, _count_from(done, total, report))
            done += file.size


def _count_from(done: int, total: int, report: Report) -> Callable[[int], None]:
    return lambda size: report(done + size, total)


def _check_space(wanted: HubId, partial: Path, left: Sequence[HubFile]) -> None:
    begun = sum(min(file.size, file.part_size(partial)) for file in left)
    needed = sum(file.size for file in left) - begun
    free = shutil.disk_usage(partial).free
    if needed > free:
        msg = (
            f"{wanted} needs {needed:,} bytes more on this disk, and {free:,} are free. Make room, "
            "or choose another --workspace."
        )
        raise HubError(msg)


def _remove_others(partial: Path, files: Sequence[HubFile]) -> None:
    """What an earlier try brought and is not wanted any more, such as another commit's weights."""
    wanted = {partial / file.name for file in files} | {file.part(partial) for file in files}
    for path in partial.rglob("*"):
        if path.is_file() and path not in wanted:
            path.unlink()


def _move_into_place(wanted: HubId, partial: Path, place: Path) -> None:
    if wanted.file:
        (partial / wanted.file).replace(place)
        shutil.rmtree(partial)
    else:
        partial.rename(place)
