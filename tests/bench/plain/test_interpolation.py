"""Drawing without torch: the maps that torch draws, and a report that imports neither torch nor other slow packages."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch

from bench.maps import upsample
from bench.plain.interpolation import drawn
from tests.support.files import ROOT


class Cells(NamedTuple):
    start: tuple[float, float]
    stride: tuple[float, float]


@pytest.mark.parametrize("cells", [None, Cells((0.5, 3.25), (4, 4)), Cells((-5, 9.5), (3.7, 8))])
@pytest.mark.parametrize("size", [(28, 36), (64, 31), (4, 20), (7, 9)])
def test_maps_are_drawn_as_torch_draws_them(size: tuple[int, int], cells: Cells | None) -> None:
    maps = np.random.default_rng(0).normal(size=(3, 7, 9))
    expected = upsample(torch.from_numpy(maps), size, cells).numpy()
    np.testing.assert_allclose(drawn(maps, size, cells), expected, atol=1e-12)


def test_a_report_starts_without_slow_packages() -> None:
    code = "import sys, bench.report.making; print({'torch', 'seaborn', 'scipy.stats'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "set()"
