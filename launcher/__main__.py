"""`python -m clinical_modernbert.launcher` is `cmbert`."""

from .cli import main

main()
