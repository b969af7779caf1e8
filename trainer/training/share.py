"""What the other processes of a run do: their share of each step, and nothing on the disk."""

from pathlib import Path

import torch

from trainer.runs import RunFolder
from trainer.runs.children import Link
from trainer.training.group import ProcessGroup
from trainer.training.loop import read_batches
from trainer.training.session import open_session
from trainer.training.step import take_step


def compute_shares(
    link: Link, run: str, cache: str, index: int, count: int, threads: int, store: str
) -> None:
    """Computes a process's share of every step that is left of a run.

    Args:
        link: To the process that owns the run's folder.
        run: That folder.
        cache: Folder of encoded images and captions.
        index: Of this process.
        count: Of all processes.
        threads: That it may use.
        store: A file by which they find each other.

    Raises:
        LorasmithError: the run could not be opened, or the connection was lost.
    """
    torch.set_num_threads(threads)
    link.receive()  # the settings are final, and everything is encoded
    group = ProcessGroup(index, count, threads, Path(store))
    session = open_session(RunFolder(Path(run), index), Path(cache), group=group)
    link.send("ready")
    session.state.start_learning()
    group.connect(session.fingerprint, session.context.device)
    batches = read_batches(session)
    while session.state.step < session.config.train.steps:
        take_step(session, batches)
