"""Models from the hub: how their files come into a folder.

A download grows in `.partial/` and is moved into place when every file has the checksum that the
hub reports; an interrupted one continues where it stopped.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from datasets_tools.disk import remove_file, remove_folder, rename, replace_file
from datasets_tools.files import explain_os_error
from datasets_tools.names import explain_name
from trainer.hub.choice import HubFile, choose_files, choose_matching
from trainer.hub.client import HubClient
from trainer.hub.content import has_content
from trainer.hub.errors import HubError
from trainer.runs.base_models import HubId, parse_hub_id

Report = Callable[[int, int], None]  # bytes so far, bytes in all
Choose = Callable[[Sequence[HubFile]], list[HubFile]]  # from all files to those to download


def download_base_model(
    hub_id: str, to: Path, token: str, report: Report, *, half: bool = True
) -> Path:
    """Downloads a base model, unless it is there already, and returns where it lies.

    Args:
        hub_id: "owner/name", "owner/name@revision" or "owner/name/file.safetensors".
        to: The workspace's folder of base models.
        token: Sent to the hub; empty means anonymous.
        report: Called with the bytes so far and in all.
        half: Takes weights in fp16 where the repository offers them in both formats.

    Raises:
        HubError: what is missing there, or went wrong here, and what to do. What has arrived
            stays for the next try.
    """
    parsed = _read_hub_id(hub_id)

    def choose(offered: Sequence[HubFile]) -> list[HubFile]:
        return choose_files(parsed, offered, half=half)

    return _download_files(parsed, to / parsed.entry, token, report, choose)


def download_matching(
    hub_id: str, place: Path, patterns: Sequence[str], token: str, report: Report
) -> Path:
    """Downloads some of a repository's files into a folder, unless it is there already.

    Args:
        hub_id: "owner/name" or "owner/name@revision".
        place: The folder, which appears when it is complete.
        patterns: Names of the files to download; a `*` stands for any letters within one.
        token: Sent to the hub; empty means anonymous.
        report: Called with the bytes so far and in all.

    Returns:
        The folder.

    Raises:
        HubError: as `download_base_model`.
    """
    parsed = _read_hub_id(hub_id)

    def choose(offered: Sequence[HubFile]) -> list[HubFile]:
        return choose_matching(parsed, offered, patterns)

    return _download_files(parsed, place, token, report, choose)


def _read_hub_id(text: str) -> HubId:
    parsed = parse_hub_id(text)
    if parsed is None:
        msg = (
            f"{text!r} is not a hub id. It has the form OWNER/NAME, OWNER/NAME@REVISION or "
            "OWNER/NAME/FILE.safetensors."
        )
        raise HubError(msg)
    for part in parsed.file.split("/") if parsed.file else ():
        if problem := explain_name(part):
            raise HubError(problem)
    return parsed


def _download_files(hub_id: HubId, place: Path, token: str, report: Report, choose: Choose) -> Path:
    if place.exists():
        return place
    partial = place.parent / ".partial" / place.name
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with FileLock(partial.with_name(f"{place.name}.lock"), timeout=0):
            _fetch_into(partial, hub_id, HubClient(hub_id, token), report, choose)
            _move_into_place(hub_id, partial, place)
    except Timeout:
        msg = f"{hub_id} is being downloaded by another process. Wait until that one is done."
        raise HubError(msg) from None
    except OSError as error:
        msg = f"{place.parent} cannot be written: {explain_os_error(error)}"
        raise HubError(msg) from error
    return place


def _fetch_into(
    partial: Path, hub_id: HubId, client: HubClient, report: Report, choose: Choose
) -> None:
    with client.online():
        commit, offered = client.list_files()
        files = choose(offered)
        _remove_others(partial, files)
        total = sum(file.size for file in files)
        left = [file for file in files if not has_content(partial / file.name, file)]
        _check_space(hub_id, partial, left)
        done = total - sum(file.size for file in left)
        report(done, total)
        for file in left:
            client.fetch(commit, file, partial, _count_from(done, total, report))
            done += file.size


def _count_from(done: int, total: int, report: Report) -> Callable[[int], None]:
    return lambda size: report(done + size, total)


def _check_space(hub_id: HubId, partial: Path, left: Sequence[HubFile]) -> None:
    begun = sum(min(file.size, file.part_size(partial)) for file in left)
    needed = sum(file.size for file in left) - begun
    free = shutil.disk_usage(partial).free
    if needed > free:
        msg = (
            f"{hub_id} needs {needed:,} bytes more on this disk, and {free:,} are free. Free some "
            "space, "
            "or choose another --workspace."
        )
        raise HubError(msg)


def _remove_others(partial: Path, files: Sequence[HubFile]) -> None:
    """Removes files of an earlier try that are not needed, such as another commit's weights."""
    expected = {partial / file.name for file in files} | {file.part(partial) for file in files}
    for path in partial.rglob("*"):
        if path.is_file() and path not in expected:
            remove_file(path)


def _move_into_place(hub_id: HubId, partial: Path, place: Path) -> None:
    if hub_id.file:
        replace_file(partial / hub_id.file, place)
        remove_folder(partial)
    else:
        rename(partial, place)
