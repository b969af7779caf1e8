"""The real app and the real commands on a computer that seems to have two GPUs.

Both compute on the CPU: what a run is given is the lock of a device, and `train.device` is auto.

two_devices.py serve WORKSPACE PORT     the app
two_devices.py queue devices --json     two devices
two_devices.py queue work ...           the worker of the queue, which starts this file again
two_devices.py WORDS                    as `lorasmith WORDS`
"""

import json
import sys
from pathlib import Path

COMMAND = (sys.executable, str(Path(__file__).resolve()))
DEVICES = ("cuda:0", "cuda:1")


def main(words):
    match words:
        case ["serve", root, port]:
            from app.core.workspace import Workspace
            from app.web.server import launch

            launch(Workspace(Path(root), (), COMMAND), port=int(port))
        case ["queue", "devices", *_]:
            print(json.dumps(DEVICES))
        case ["queue", "work", option]:
            from trainer.runs.queue import serve_queue

            serve_queue(Path(option.removeprefix("--workspace=")), COMMAND)
        case _:
            from app.cli import main as run_command

            return run_command(words)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
