"""What holds for all tests."""

import os

# Every process of pytest-xdist has a processor, and libraries would each take all of them.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
