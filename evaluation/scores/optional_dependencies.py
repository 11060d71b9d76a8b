"""Optional dependencies (the extra `evaluation`), imported where they are used."""

from importlib import import_module
from types import ModuleType

from ...configs.errors import UserError


def require(module: str) -> ModuleType:
    """Import a module.

    Raises:
        UserError: it is not installed; the message has the command to install it.
    """
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"evaluation needs {module.split('.')[0]}; run `pip install 'clinical-modernbert[evaluation]'`"
        ) from error
