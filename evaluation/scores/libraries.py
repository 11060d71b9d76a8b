"""Libraries of the extra `evaluation`, imported where they are first needed."""

from importlib import import_module
from types import ModuleType

from ...configs.errors import UserError


def require(module: str) -> ModuleType:
    """The module, or a UserError that says how to install it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise UserError(
            f"evaluation needs {module.split('.')[0]}; run `pip install 'clinical-modernbert[evaluation]'`"
        ) from error
