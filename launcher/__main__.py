"""`python -m clinical_modernbert.launcher` runs `cmbert`."""

from .cli import main

main()
