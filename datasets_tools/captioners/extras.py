"""Packages that one captioner alone needs, and that Lorasmith therefore does not require."""

from importlib.util import find_spec

from datasets_tools.errors import DatasetError


def require_package(package: str, extra: str) -> None:
    """Checks that a package is installed, without importing it.

    Args:
        package: The name under which it is imported.
        extra: Which of Lorasmith's extras brings it.

    Raises:
        DatasetError: it is not, with the command that installs it.
    """
    if find_spec(package) is None:
        msg = (
            f"The captioner {extra} needs the package {package}, which is not installed. "
            f'Install it with `pip install "lorasmith[{extra}]"`.'
        )
        raise DatasetError(msg)
