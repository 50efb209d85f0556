"""Server process that local workers are copies of, so that their packages are imported only once.

It is apart from what imports Dask: it is started first, and imports while this process does.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from multiprocessing import forkserver
from pathlib import Path

_PACKAGES = ("bench", "baselines", "softcam")
_WORKER = ("distributed", "distributed.nanny", "bench.run.cluster.worker")


def start_server() -> None:
    """Starts the server with the modules that this process has imported, unless it runs already.

    It ignores Ctrl-C, because this process ends the workers, and is started in the root of the project, because it
    looks for modules in its working folder.
    """
    ours = [name for name in sys.modules if name.split(".")[0] in _PACKAGES]
    forkserver.set_forkserver_preload([*ours, *_WORKER])
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")  # the run reports what happens to its workers
    with _deaf(), chdir(Path(__file__).parents[3]):
        forkserver.ensure_running()


@contextmanager
def _deaf() -> Iterator[None]:
    """Ignores SIGINT inside the block, in the main thread; processes that are started in it inherit that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
