"""Packages are found, not listed; the root is `clinical_modernbert`, whatever the checkout is called."""

from setuptools import find_packages, setup

PACKAGE = "clinical_modernbert"

setup(packages=[PACKAGE, *(f"{PACKAGE}.{name}" for name in find_packages(exclude=["tests*", "benchmarks*", "build*"]))])
