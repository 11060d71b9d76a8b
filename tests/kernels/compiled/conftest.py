"""Compiling needs a process in which Triton does not interpret: that is what tests/kernels/test_compiled.py starts.
Elsewhere these tests are not collected."""

import os

collect_ignore_glob = [] if os.environ.get("CMBERT_COMPILED_KERNELS") == "1" else ["test_*.py"]
