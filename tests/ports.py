"""A free port for a server in another process, which nothing else can take on the way there."""

import contextlib
import socket
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def hold_port() -> Iterator[int]:
    """Yields a free port that stays reserved until the block ends.

    The socket is bound but does not listen. On Linux a server that sets SO_REUSEADDR, as Gradio's
    does, may listen there all the same, while a port of the system's choice is never this one.
    """
    with socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        if sys.platform != "linux":  # two sockets may not share an address there
            reserved.close()
        yield port
