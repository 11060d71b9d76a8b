"""Optional dependencies (the extra `evaluation`), imported where they are used."""

from collections.abc import Collection
from importlib import import_module
from types import ModuleType

from ...configs.errors import UserError
from ...configs.preconditions import Check, check_all

EXTRA = "evaluation"
_MODULES = {
    "matplotlib": ("matplotlib.pyplot",),
    "scikit-learn": ("sklearn.metrics", "sklearn.manifold", "sklearn.feature_extraction.text"),
    "scipy": ("scipy.stats",),
    "seqeval": ("seqeval.metrics", "seqeval.scheme"),
}
"""The modules of each package that evaluation imports."""


def import_packages(names: Collection[str]) -> None:
    """Import what will compute the scores, before any model is trained: a package can be installed and broken.

    Raises:
        UserError: some cannot be imported.
    """
    check_all(_importing(module) for name in sorted(names) for module in _MODULES[name])


def _importing(module: str) -> Check:
    return lambda: require(module)


def require(module: str) -> ModuleType:
    """Import a module of one of these packages.

    Raises:
        UserError: it cannot be imported; the message has the command to install its package.
    """
    try:
        return import_module(module)
    except ImportError as error:
        root = module.partition(".")[0]
        [package] = [name for name, modules in _MODULES.items() if modules[0].startswith(f"{root}.")]
        raise UserError(
            f"evaluation: {module} cannot be imported ({error}): run `pip install --upgrade {package}`"
        ) from error
