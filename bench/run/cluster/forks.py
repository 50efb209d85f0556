"""Server process that local workers are copies of, so that their packages are imported only once.

It is apart from what imports heavy packages: it is started first, and imports while this process does.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import chdir, contextmanager
from multiprocessing import forkserver
from pathlib import Path

#: What a worker needs: the packages that the program registers, and the worker's side of the engine.
_PRELOADED = (
    *("baselines", "softcam", "bench.data", "bench.metrics", "bench.studies"),
    *("bench.models.backbones", "bench.models.timm_backbones", "distributed.nanny", "bench.run.cluster.worker"),
)


def start_server() -> None:
    """Starts the server, unless it runs already, and does not wait until it has imported everything.

    It ignores Ctrl-C, because this process ends the workers, and is started in the root of the project, because it
    looks for modules in its working folder.
    """
    forkserver.set_forkserver_preload(list(_PRELOADED))
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
