"""Compiling needs a process in which Triton does not interpret, which tests/kernels/test_compiled.py starts. In any
other process these tests are not collected."""

import os

collect_ignore_glob = [] if os.environ.get("CMBERT_COMPILED_KERNELS") == "1" else ["*test_*.py"]
