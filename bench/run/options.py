"""Options of the command line that are not part of the config."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch


@dataclass(frozen=True)
class RunOptions:
    """Options of the command line that are not part of the config.

    Attributes:
        root: folder of the downloaded data sets.
        out: run folder.
        device: that everything is computed on.
        save_maps: keep the maps of all images.
        skip_bad: skip unreadable images and report how many.
        splits: folder of released split files.
        cache: folder of decoded images, which several runs may share.
        precision: of occluded images: ``float32``, ``bf16`` or ``auto``.
        workers: number of worker processes on this machine; ``gpus`` = one per visible GPU; None = chosen for the
            machine. One worker is this process.
        cluster: address of a scheduler, its JSON file, or a TOML file that describes jobs of a cluster; empty = this
            machine.
    """

    root: Path
    out: Path
    device: torch.device
    save_maps: bool = False
    skip_bad: bool = False
    splits: Path | None = None
    cache: Path | None = None
    precision: str = "auto"
    workers: int | Literal["gpus"] | None = None
    cluster: str = ""

    @property
    def cache_folder(self) -> Path:
        """The given folder, otherwise ``cache`` next to the run folder, which runs with other configs share."""
        return self.cache or self.out.parent / "cache"
