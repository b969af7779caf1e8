"""What a wheel holds; everything else about the project stands in pyproject.toml.

The examples and the pages of docs/ go into the wheel under names of their own, beside the packages:
their names in the repository are too common for an environment that others share. Such a mapping
can't be written down in pyproject.toml together with packages that are found by name.
"""

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

PACKAGES = find_packages(
    include=[
        f"{name}{below}"
        for name in ("app", "trainer", "datasets_tools", "presets")
        for below in ("", ".*")
    ]
)
# In the wheel: the folder of the repository. They hold no modules, only what package-data lists.
FILES_ONLY = {"lorasmith_examples": "examples", "lorasmith_docs": "docs"}


class BuildPackages(build_py):
    """Leaves the scripts in `examples` and `docs` out."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """Returns the modules of a package."""
        return [] if package in FILES_ONLY else super().find_package_modules(package, package_dir)


setup(
    packages=[*PACKAGES, *FILES_ONLY],
    package_dir=FILES_ONLY,
    cmdclass={"build_py": BuildPackages},
)
