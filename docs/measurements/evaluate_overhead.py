"""Time of ``bench.evaluate`` next to that of the bare scorer on the same model, images, explainers and metrics.

    python docs/measurements/evaluate_overhead.py --images 64 --repeats 3

Prints the CPU seconds of both, each the least of the repeats, and what ``evaluate`` adds: reading the model and the
images, digests, the run folder and its record.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))
import torch

from bench import evaluate
from bench.evaluation.batch import batches
from bench.evaluation.explainer_jobs import Shares
from bench.evaluation.scoring import score_batch
from bench.models.backbones import CompactResNet


def seconds(call: Callable[[], Any]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


def main() -> None:
    flags = argparse.ArgumentParser()
    for name, default in (("--images", 64), ("--size", 96), ("--repeats", 3)):
        flags.add_argument(name, type=int, default=default)
    asked = flags.parse_args()
    draw = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (asked.images, 3, asked.size, asked.size), generator=draw, dtype=torch.uint8)
    masks = torch.zeros(asked.images, asked.size, asked.size, dtype=torch.bool)
    masks[1::2, 20:40, 30:60] = True
    model, labels = CompactResNet().eval(), torch.arange(asked.images) % 2
    work: list[tuple[Any, Any]] = []
    real = Shares.finish

    def noting(shares: Shares, jobs: Any) -> None:
        work.append(([job for job in jobs if job.is_waiting], shares.context))
        real(shares, jobs)

    def bare() -> None:
        for jobs, context in work:
            for batch in batches(context):
                for job in jobs:
                    score_batch(batch, job.name, job.explainer, job.missing, set())

    def whole() -> None:
        work.clear()
        evaluate(model, images, masks, labels, mean=0.5, std=0.25, precision="float32")

    Shares.finish = noting  # type: ignore[method-assign]
    warnings.filterwarnings("ignore", "the predictions are at chance")
    whole()  # imports and digests of code, once per process
    pairs = [(seconds(whole), seconds(bare)) for _ in range(asked.repeats)]
    ours, theirs = (min(times) for times in zip(*pairs, strict=True))
    print(f"{asked.images} images of {asked.size} pixels: evaluate {ours:.2f} s, bare scorer {theirs:.2f} s of CPU")
    print(f"evaluate adds {ours - theirs:.2f} s ({(ours / theirs - 1):.1%})")


if __name__ == "__main__":
    main()
