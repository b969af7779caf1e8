"""The code runs where people are: no module that Windows lacks is needed to import or to train."""

import ast

import pytest

# Of the standard library, on Linux or macOS alone.
POSIX_ONLY = {
    "curses", "fcntl", "grp", "posix", "pty", "pwd", "readline", "resource", "syslog", "termios",
    "tty",
}  # fmt: skip
WINDOWS_ONLY = {"msvcrt", "nt", "winreg", "winsound", "_winapi"}
ONE_SYSTEM = POSIX_ONLY | WINDOWS_ONLY


def find_unguarded(tree):
    """Returns the lines that import a module of one system with no look at the system before.

    A look is an `if` on `sys.platform` around the import, or one before it in the same function
    that leaves the function.
    """
    return [line for line, names in walk_imports(tree.body, guarded=False) if names & ONE_SYSTEM]


def walk_imports(body, *, guarded):
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom) and not guarded:
            yield node.lineno, read_modules(node)
        elif isinstance(node, ast.If) and looks_at_system(node.test):
            guarded = guarded or isinstance(node.body[-1], ast.Return | ast.Raise)
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            inner_guard = guarded and not isinstance(node, ast.FunctionDef | ast.ClassDef)
            for name in ("body", "orelse", "finalbody", "handlers"):
                yield from walk_imports(getattr(node, name, []), guarded=inner_guard)


def read_modules(node):
    if isinstance(node, ast.ImportFrom):
        return {(node.module or "").split(".")[0]}
    return {alias.name.split(".")[0] for alias in node.names}


def looks_at_system(test):
    return "sys.platform" in ast.unparse(test)


def test_no_module_of_one_system_is_imported_unguarded(package_trees):
    found = {name: lines for name, tree in package_trees.items() if (lines := find_unguarded(tree))}
    assert found == {}


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("import resource", [1]),
        ("from pwd import getpwnam", [1]),
        ("def f():\n    import fcntl", [2]),
        ("class A:\n    import os, termios", [2]),
        ("try:\n    import winreg\nexcept ImportError:\n    import pwd", [2, 4]),
        ("if x:\n    import pwd", [2]),
        ("if sys.platform != 'win32':\n    import pwd", []),
        ("def f():\n    if sys.platform == 'win32':\n        return 1\n    import resource", []),
        ("def f():\n    if sys.platform == 'win32':\n        x = 1\n    import resource", [4]),
        ("import os.path, importlib.resources", []),
    ],
)
def test_the_guard_sees_such_imports(text, lines):
    assert find_unguarded(ast.parse(text)) == lines


# Signals and processes differ between systems: one module decides, so that one test sees it all.
DECIDES = {"trainer/runs/systems.py"}
DIFFERS = {
    "os.kill", "os.killpg", "os.fork", "os.setsid", "os.getuid", "os.geteuid", "os.getpgid",
    "signal.signal", "signal.SIGKILL", "signal.SIGHUP", "signal.SIGUSR1", "signal.SIGALRM",
    "signal.SIGBREAK", "signal.alarm", "signal.pause",
}  # fmt: skip


def find_different(tree):
    return [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in DIFFERS)
        or (isinstance(node, ast.keyword) and node.arg in {"start_new_session", "creationflags"})
    ]


def test_one_module_decides_about_signals_and_processes(package_trees):
    found = {
        name: lines
        for name, tree in package_trees.items()
        if name not in DECIDES and (lines := find_different(tree))
    }
    assert found == {}


def test_the_guard_sees_signals_and_flags():
    assert find_different(ast.parse("os.kill(pid, 9)")) == [1]
    assert find_different(ast.parse("Popen(words, start_new_session=True)")) == [1]
    assert find_different(ast.parse("os.path.join('a', 'b')")) == []
