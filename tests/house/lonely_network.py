"""A network with nobody in it: notes which names its processes look up, and what they send.

    python -m tests.house.lonely_network REQUEST.json REPORT.json

runs in a network and mount namespace of its own (`unshare --net --mount`, which needs root). A
name server there answers every question with an address that no route leads to, and the kernel
counts the packets for it. So native code is seen as well as Python's.
"""

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_SET_FLAGS, _UP_AND_RUNNING = 0x8914, 0x41  # SIOCSIFFLAGS, IFF_UP | IFF_RUNNING
_NOWHERE = bytes([203, 0, 113, 5])  # RFC 5737: an address of documentation


def watch(folder, processes, seconds):
    """Returns what processes did: the names they looked up, and how many packets they sent.

    Args:
        folder: For files of the watch.
        processes: Python code of each, by name.
        seconds: How long each stays alive after its code.
    """
    request, report = folder / "request.json", folder / "report.json"
    request.write_text(json.dumps({"processes": processes, "seconds": seconds}))
    command = ["unshare", "--net", "--mount", sys.executable, "-m", "tests.house.lonely_network"]
    subprocess.run([*command, str(request), str(report)], cwd=ROOT, check=True)
    return json.loads(report.read_text())


def _raise_loopback():
    with socket.socket() as any_socket:
        row = struct.pack("16sh", b"lo", _UP_AND_RUNNING).ljust(40, b"\0")
        fcntl.ioctl(any_socket, _SET_FLAGS, row)


def _use_own_name_server(folder):
    place = folder / "resolv.conf"
    place.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    subprocess.run(["mount", "--bind", str(place), "/etc/resolv.conf"], check=True)


def _answer_questions(names):
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 53))

    def serve():
        while True:
            data, asker = server.recvfrom(4096)
            labels, at = [], 12
            while data[at]:
                labels.append(data[at + 1 : at + 1 + data[at]].decode("latin-1"))
                at += data[at] + 1
            names.append(".".join(labels))
            question = data[12 : at + 5]
            counts = struct.pack(">HHHH", 1, 1, 0, 0)
            answer = struct.pack(">HHHIH", 0xC00C, 1, 1, 60, 4) + _NOWHERE
            server.sendto(data[:2] + b"\x81\x80" + counts + question + answer, asker)

    threading.Thread(target=serve, daemon=True).start()


def _count_packets():
    rows = [line.split() for line in Path("/proc/net/snmp").read_text().splitlines()]
    names, values = [row for row in rows if row[0] == "Ip:"]
    return int(values[names.index("OutNoRoutes")])


def main(request, report):
    asked = json.loads(Path(request).read_text())
    with tempfile.TemporaryDirectory() as name:
        folder, names = Path(name), []
        _raise_loopback()
        _use_own_name_server(folder)
        _answer_questions(names)
        running = {}
        for number, (title, code) in enumerate(asked["processes"].items()):
            home = folder / f"home-{number}"
            home.mkdir()
            lasting = f"{code}\nimport time\ntime.sleep({asked['seconds']})"
            environment = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT)}
            command = [sys.executable, "-c", lasting]
            running[title] = subprocess.Popen(command, env=environment, cwd=ROOT)
        rows = {title: {"exit code": each.wait()} for title, each in running.items()}
        time.sleep(0.2)  # an answer that is on its way
        found = {"processes": rows, "names": names, "packets": _count_packets()}
        subprocess.run(["umount", "/etc/resolv.conf"], check=False)
    Path(report).write_text(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
