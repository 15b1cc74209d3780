"""Workers that run side by side get a share of the processors each, or their threads would wait for one another.

This runs before any library is imported: each counts the processors once and starts as many threads.
"""

import os

worker, workers = os.environ.get("PYTEST_XDIST_WORKER", ""), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
cores = sorted(os.sched_getaffinity(0))
if worker and len(cores) >= workers:
    os.sched_setaffinity(0, cores[int(worker.removeprefix("gw")) % workers :: workers])
