"""Carries out a Dockerfile's steps in a folder with a fresh Debian, without a container engine.

Only what our own Dockerfile uses: one stage, ARG, ENV, RUN, COPY, WORKDIR, USER; the rest is noted.
"""

import contextlib
import fnmatch
import json
import re
import shlex
import shutil
import subprocess


def read_steps(text):
    """Returns the instructions as (name, rest), with continued lines joined and no comments."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines() if line.strip()]


def list_context(folder, ignored):
    """Returns the files that a build is given, by the rules of .dockerignore that ours uses."""
    rules = [line for line in ignored.splitlines() if line.strip() and not line.startswith("#")]
    found = []
    for path in sorted(folder.rglob("*")):
        name, taken = path.relative_to(folder).as_posix(), True
        for rule in rules:
            pattern = rule.removeprefix("!")
            if _fits(name, pattern):
                taken = rule.startswith("!")
        if taken and path.is_file():
            found.append(name)
    return found


def _fits(name, pattern):
    parts = name.split("/")
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatchcase(part, pattern[3:]) for part in parts)
    depth = pattern.count("/") + 1  # what lies in a folder goes with it
    return len(parts) >= depth and all(
        fnmatch.fnmatchcase(part, rule)
        for part, rule in zip(parts, pattern.split("/"), strict=False)
    )


class Image:
    """A root folder, and what the Dockerfile says about running in it.

    `hosts` are variables for network access during the build, which are no part of the image.
    """

    def __init__(self, root, context, arguments, hosts):
        self.root, self.context, self.hosts = root, context, hosts
        self.arguments, self.variables = dict(arguments), {}
        self.user, self.folder, self.notes = "0:0", "/", {}

    def build(self, text):
        """Carries out the steps after FROM, whose system is in the root already."""
        defaults = {}
        for name, rest in read_steps(text):
            if name == "ARG":
                key, _, value = rest.partition("=")
                defaults[key] = self.arguments.get(key, value)
            elif name == "ENV":
                for pair in shlex.split(rest):
                    key, _, value = pair.partition("=")
                    self.variables[key] = value.replace("$PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            elif name == "WORKDIR":
                self.folder = rest
                (self.root / rest.lstrip("/")).mkdir(parents=True, exist_ok=True)
            elif name == "USER":
                self.user = rest
            elif name == "COPY":
                self._copy(rest.split())
            elif name == "RUN":
                self.run(["sh", "-c", rest], {**defaults, **self.hosts})
            else:
                self.notes[name] = rest

    def run(self, command, variables=None, **options):
        """Runs a command as the container would; returns what subprocess.run does."""
        done = subprocess.run(
            self.command(command, variables), capture_output=True, text=True, check=False, **options
        )
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
        return done

    def command(self, command, variables=None):
        """Returns the command with which another one is run inside."""
        home = "/root" if self.user.startswith("0") else "/home/lorasmith"
        values = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": home, **self.variables}
        pairs = [f"{key}={value}" for key, value in {**values, **(variables or {})}.items()]
        inside = ["env", "-i", *pairs, "sh", "-c", 'cd "$0" && exec "$@"', self.folder, *command]
        return ["chroot", f"--userspec={self.user}", str(self.root), *inside]

    def start_command(self):
        """Returns what a container runs, and its health check."""
        start = json.loads(self.notes["ENTRYPOINT"]) + json.loads(self.notes["CMD"])
        return start, json.loads(self.notes["HEALTHCHECK"].partition("CMD ")[2])

    def _copy(self, words):
        *sources, target = words
        names = list_context(self.context, (self.context / ".dockerignore").read_text())
        place = self.root / self.folder.lstrip("/") / target
        for name in names:
            if sources == ["."] or name in sources:
                made = place / name
                made.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.context / name, made)


@contextlib.contextmanager
def fresh_debian(root, suite, shared=()):
    """Makes a minimal Debian in a folder, with what a container has mounted.

    `shared` are folders of this computer that hold packages.
    """
    command = ["mmdebstrap", "--variant=minbase", "--quiet", suite, str(root)]
    subprocess.run(command, check=True, capture_output=True, text=True)
    (root / "etc" / "hosts").write_text("127.0.0.1 localhost\n")
    mounts = [["-t", "proc", "proc", root / "proc"], ["-t", "tmpfs", "tmpfs", root / "dev/shm"]]
    mounts += [["-o", "bind,ro", place, root / str(place).lstrip("/")] for place in shared]
    made = []
    try:
        for mount in mounts:
            mount[-1].mkdir(parents=True, exist_ok=True)
            subprocess.run(["mount", *map(str, mount)], check=True)
            made.append(mount[-1])
        yield root
    finally:
        for place in reversed(made):
            subprocess.run(["umount", "--lazy", str(place)], check=True)
        shutil.rmtree(root)  # a gigabyte; only where nothing is mounted in it any more
