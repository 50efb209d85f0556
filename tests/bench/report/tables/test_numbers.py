"""Numbers of the report: those of an earlier engine, and means that are computed here from the stored files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from bench.report.contents import every_table
from bench.report.frames import paired
from bench.report.frames.load import load_frames
from bench.report.frames.stored import reader
from bench.report.tables.table import TableData
from bench.statistics import comparison
from bench.statistics.bootstrap import paired as columns
from bench.statistics.bootstrap import resampling
from tests.support.grouped import make_grouped

#: Tables that commit e648d7e made of the same run: it held all scores in pandas and resampled one comparison at a time.
#: Git keeps them as they are; a number that changes on purpose is copied from the new table, and the change is named in
#: docs/changelog.md.
EARLIER = sorted((Path(__file__).parent / "numbers").glob("*.csv"))
METHOD = ["dataset", "backbone", "explainer", "head"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("grouped")
    make_grouped(folder)
    return folder


@pytest.fixture(scope="module", params=[False, True], ids=["in memory", "one method at a time, on disk"])
def tables(run: Path, request: pytest.FixtureRequest) -> Iterator[dict[str, TableData]]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(reader, "KEPT_ROWS", 1)
            patch.setattr(reader, "TEXT_ROWS", 20)
            patch.setattr(paired, "KEPT", 0)
            patch.setattr(columns, "AT_ONCE", 1)
            patch.setattr(resampling, "KEPT", 0)
            patch.setattr(resampling, "_IMAGES", 1)
            patch.setattr(comparison, "_WAITING", 1)
        yield every_table(load_frames(run))


@pytest.fixture(scope="module")
def stored(run: Path) -> pd.DataFrame:
    """Every stored score without the steps of curves, read by pandas alone."""
    parts = []
    for file in run.glob("cells/*/*/scores/*.parquet"):
        backbone, head, seed = file.parents[1].name.split("-")
        about = {"dataset": file.parents[2].name, "backbone": backbone, "head": head, "seed": int(seed[1:])}
        parts.append(pd.read_parquet(file).assign(**about, explainer=file.stem))
    rows = pd.concat(parts, ignore_index=True)
    return rows[(rows["step"] < 0) & (rows["image"] != "")]


@pytest.mark.parametrize("file", EARLIER, ids=lambda file: file.stem)
def test_numbers_are_those_of_the_earlier_engine(file: Path, tables: dict[str, TableData]) -> None:
    earlier, now = pd.read_csv(file), tables[file.stem.replace("paper-", "paper/")].numbers()
    assert list(now.columns) == list(earlier.columns)
    assert len(now) == len(earlier)
    for name, values in earlier.dropna(axis=1, how="all").select_dtypes("number").items():
        np.testing.assert_allclose(
            pd.to_numeric(now[name].replace("", np.nan)), values, rtol=1e-12, atol=1e-12, err_msg=str(name)
        )
    for name in {*METHOD, "metric", "method", "against", "verdict", "stratum"} & set(earlier):
        assert list(now[name].astype(str)) == list(earlier[name].astype(str))


def test_means_are_over_seeds_then_images(tables: dict[str, TableData], stored: pd.DataFrame) -> None:
    checked = 0
    for family in ("localisation", "faithfulness", "consistency", "exactness", "complexity"):
        table = tables[f"{family}_all_weights"].numbers().set_index(METHOD)
        for (metric, variant), part in stored.groupby(["metric", "variant"]):
            column = f"{metric}@{variant}" if variant else str(metric)
            if f"{column}_mean" in table:
                images = part.groupby([*METHOD, "image"])["value"].mean()
                of_method = images.groupby(METHOD)
                shown = table.loc[of_method.mean().index]
                np.testing.assert_allclose(shown[f"{column}_mean"], of_method.mean(), rtol=1e-12)
                assert list(shown[f"{column}_n"]) == list(of_method.count())
                assert list(shown[f"{column}_undefined"]) == list(of_method.size() - of_method.count())
                checked += len(shown)
    assert checked > 150


def test_differences_are_over_seeds_then_images_then_groups(tables: dict[str, TableData], stored: pd.DataFrame) -> None:
    verdicts = tables["verdicts"].numbers()
    for row in verdicts.to_dict("records"):
        name, _, variant = row["metric"].partition("@")
        of_curve = name.endswith("_right")
        part = stored[(stored["metric"] == name.removesuffix("_right")) & (stored["variant"] == variant)]
        part = part[(part["dataset"] == row["dataset"])]
        if of_curve:
            part = part[part["predicted"] == part["label"]]
        ours, theirs = (
            part[(part["head"] == head) & (part["explainer"] == explainer)].set_index(["image", "seed"])
            for head, explainer in ((row["head"], row["explainer"]), (row["their_head"], row["their_explainer"]))
        )
        first, second = ours["value"].align(theirs["value"])
        apart = (first - second).where(~np.isclose(first, second, 1e-5, 1e-6), 0)  # scores are float32
        apart = apart.groupby("image").mean()
        groups = ours["group"].groupby("image").first()
        of_groups = apart.groupby(groups).mean()
        assert row["difference"] == pytest.approx(of_groups.mean(), rel=1e-12, abs=1e-12)
        assert (row["n"], row["groups"]) == (apart.count(), of_groups.count())
    assert len(verdicts) > 50
