"""Packages are found, not listed; the repository's root is `clinical_modernbert`, whatever the checkout is called."""

from tempfile import TemporaryDirectory

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

PACKAGE = "clinical_modernbert"


class BuildModules(build_py):
    """The root is a package, but this file is not a module of it."""

    def find_package_modules(self, package, package_dir):
        return [found for found in super().find_package_modules(package, package_dir) if found[1] != "setup"]


# Elsewhere than in ./build, whose files of earlier builds would be packaged too.
with TemporaryDirectory() as build:
    setup(
        packages=[
            PACKAGE,
            *(f"{PACKAGE}.{name}" for name in find_packages(exclude=["tests*", "benchmarks*", "build*"])),
        ],
        cmdclass={"build_py": BuildModules},
        options={"build": {"build_base": build}},
    )
