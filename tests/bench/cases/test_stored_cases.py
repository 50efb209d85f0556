"""Cases of a run: what it keeps for the page, also when it is stopped, extended, or was made by an earlier version."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from torch import Tensor

from bench.cases.grids import LEVELS, Grids, read_grids
from bench.cases.pictures import read_pictures
from bench.config import Config
from bench.contracts import Batch, Classifier, Explainer
from bench.registry import EXPLAINERS
from bench.store.folders import CellStore, RunStore
from bench.store.maps import read_arrays
from tests.support.made import run_tiny, tiny_config

pytestmark = pytest.mark.usefixtures("squares")
NAMES = ["gradcam", "mask_oracle", "random", "softcam"]


def config(shown: Any = 200, batch_size: int = 4, **run_section: Any) -> Config:
    made = tiny_config(**run_section)
    explain = made.explain.model_copy(update={"batch_size": batch_size})
    report = made.report.model_copy(update={"page_images": shown})
    return made.model_copy(update={"explain": explain, "report": report})


def one_head(shown: Any = 200, batch_size: int = 4) -> Config:
    return config(shown, batch_size, heads=["blackbox"], explainers=["gradcam", "random"])


def cell_of(out: Path, at: int = 0) -> CellStore:
    store = RunStore(out)
    return store.cell(store.record.cells[at])


def grids_of(out: Path, explainer: str, at: int = 0) -> Grids:
    return read_grids(cell_of(out, at).cases_file(explainer))


def scores(out: Path, explainer: str) -> pd.DataFrame:
    rows = pd.read_parquet(cell_of(out).scores_file(explainer))
    return rows[rows["image"] != ""].reset_index(drop=True)


def test_every_explained_image_is_kept(tmp_path: Path) -> None:
    assert run_tiny(tmp_path / "run", config(), save_maps=True).problems == []
    store = RunStore(tmp_path / "run")
    explained = pd.read_parquet(cell_of(tmp_path / "run").explained)["image"].tolist()
    pictures = read_pictures(store.cases_file("squares"))
    assert pictures.ids == explained
    assert [bool(mask) for mask in pictures.masks] == [True] * 4 + [False] * 2
    for at, key in enumerate(store.record.cells):
        names = [name for name in NAMES if name != "softcam" or key.head != "blackbox"]
        assert sorted(file.stem for file in (cell_of(tmp_path / "run", at).folder / "cases").iterdir()) == names
        for name in names:
            grids = grids_of(tmp_path / "run", name, at)
            assert grids.ids.tolist() == explained
            raw = read_arrays(cell_of(tmp_path / "run", at).maps_file(name))
            for place, image in enumerate(explained):
                found = grids.values[place] / LEVELS * grids.scales[place]
                np.testing.assert_allclose(found, raw[image], atol=grids.scales[place] * 0.51 / LEVELS + 1e-12)


def test_the_kept_images_are_bounded_and_more_are_added_without_scoring(tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert run_tiny(out, one_head(1)).computed
    assert len(grids_of(out, "gradcam").ids) == 5
    before, weights = scores(out, "gradcam"), cell_of(out).weights.stat().st_mtime_ns
    assert not run_tiny(out, one_head(1)).computed
    assert run_tiny(out, one_head("all")).computed
    assert len(grids_of(out, "gradcam").ids) == len(read_pictures(RunStore(out).cases_file("squares")).ids) == 6
    pd.testing.assert_frame_equal(scores(out, "gradcam"), before)
    assert cell_of(out).weights.stat().st_mtime_ns == weights
    assert not run_tiny(out, one_head(1)).computed  # it holds more than it needs


def test_one_more_explainer_adds_one_file(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, config(heads=["blackbox"], explainers=["gradcam"]))
    before = cell_of(out).cases_file("gradcam").stat().st_mtime_ns
    run_tiny(out, one_head())
    assert cell_of(out).cases_file("gradcam").stat().st_mtime_ns == before
    assert grids_of(out, "random").ids.tolist() == grids_of(out, "gradcam").ids.tolist()


def test_a_run_may_keep_none(tmp_path: Path) -> None:
    assert run_tiny(tmp_path / "run", one_head(0)).problems == []
    assert not list((tmp_path / "run").glob("**/*cases*"))


def test_a_run_of_an_earlier_version_gets_them(tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_tiny(out, one_head())
    store, cell = RunStore(out), cell_of(out)
    expected, before = grids_of(out, "gradcam"), scores(out, "gradcam")
    store.files.remove(store.cases_file("squares"))
    for name in ("gradcam", "random"):
        cell.files.remove(cell.cases_file(name))
    assert run_tiny(out, one_head()).problems == []
    assert (grids_of(out, "gradcam").values == expected.values).all()
    assert store.cases_file("squares").exists()
    pd.testing.assert_frame_equal(scores(out, "gradcam"), before)


def _stopping(real: Callable[..., Tensor], at: int) -> Callable[..., Tensor]:
    calls = []

    def explain(self: Explainer, classifier: Classifier, batch: Batch) -> Tensor:
        calls.append(1)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(self, classifier, batch)

    return explain


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_stopped_run_has_them_in_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    real = EXPLAINERS["gradcam"].explain_batch
    monkeypatch.setattr(EXPLAINERS["gradcam"], "explain_batch", _stopping(real, at))
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "run", one_head(batch_size=2))
    assert not cell_of(tmp_path / "run").cases_file("gradcam").exists()
    assert run_tiny(tmp_path / "run", one_head(batch_size=2)).problems == []
    monkeypatch.undo()
    run_tiny(tmp_path / "whole", one_head(batch_size=2))
    for name in ("gradcam", "random"):
        ours, theirs = grids_of(tmp_path / "run", name), grids_of(tmp_path / "whole", name)
        assert ours.ids.tolist() == theirs.ids.tolist()
        assert (ours.values == theirs.values).all()
        assert (ours.scales == theirs.scales).all()


def test_pieces_without_the_wanted_maps_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = EXPLAINERS["gradcam"].explain_batch
    monkeypatch.setattr(EXPLAINERS["gradcam"], "explain_batch", _stopping(real, 3))
    with pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "run", one_head(0, batch_size=2))
    assert run_tiny(tmp_path / "run", one_head("all", batch_size=2)).problems == []
    assert len(grids_of(tmp_path / "run", "gradcam").ids) == 6


def test_the_number_of_shares_does_not_matter(tmp_path: Path) -> None:
    for size in (2, 6):
        run_tiny(tmp_path / str(size), one_head(batch_size=size))
    few, many = (grids_of(tmp_path / size, "gradcam") for size in ("2", "6"))
    assert few.ids.tolist() == many.ids.tolist()
    np.testing.assert_allclose(few.scales, many.scales, rtol=1e-4)
    assert np.abs(few.values.astype(int) - many.values).max() <= 1
