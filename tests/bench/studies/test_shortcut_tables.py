"""Measures and verdicts of the shortcut tables, by hand and compared with scipy and scikit-learn."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from bench.report.studies.shortcut import (
    UNDECIDED,
    YES,
    measure,
    missing_shortcut,
    reference,
    use_auroc,
    verdict,
)
from bench.statistics.agreement import spearman
from bench.statistics.comparison import mean_differences
from bench.statistics.intervals import Estimate


def test_without_a_reference_the_area_is_chance() -> None:
    rows = pd.DataFrame({"image": list("abcd"), "group": list("abcd"), "tag_mass": [0.3, 0.4, 0.5, 0.2]})
    rows = rows.assign(
        tag_area=0.1, lesion_mass=np.nan, logit_drop=[1, 3, 4, 0], probability_drop=[0.05, 0.2, 0.3, 0], seed=0
    )
    found = measure(rows, None)
    assert found["above_reference"].mean == pytest.approx(0.25)
    assert found["tag_lift"].mean == pytest.approx(3.5)
    assert found["rank_correlation"].mean == pytest.approx(1)
    assert found["auroc"].mean == 1


def test_mass_above_the_reference_is_paired_by_image_and_seed() -> None:
    """A shift by seed that both models share leaves no trace, one that only ours has widens the interval."""
    generator = np.random.default_rng(2)
    rows = pd.DataFrame([{"image": f"i{at}", "seed": seed} for at in range(12) for seed in (0, 1, 2)])
    facts = {"lesion_mass": np.nan, "logit_drop": 1.0, "probability_drop": 0.5, "tag_area": 0.1}
    rows = rows.assign(group=rows["image"], **facts)
    seed_shift, gain = 0.2 * rows["seed"], generator.uniform(0.1, 0.2, size=len(rows))
    theirs = rows.assign(tag_mass=0.1 + seed_shift).sample(frac=1, random_state=0)
    shared = measure(rows.assign(tag_mass=0.1 + seed_shift + gain), theirs)["above_reference"]
    assert shared.mean == pytest.approx(gain.mean())
    expected = mean_differences(gain.reshape(12, 3).T[..., None], rows["group"].unique().astype(object)).iloc[0]
    assert (shared.low, shared.high, shared.n) == pytest.approx((expected["low"], expected["high"], 12))
    alone = measure(rows.assign(tag_mass=0.1 + 2 * seed_shift + gain), theirs)["above_reference"]
    assert alone.high - alone.low > 5 * (shared.high - shared.low)


def test_weighted_rank_correlation_is_that_of_the_repeated_images() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.integers(0, 6, 15) * 1.0, generator.normal(size=15)
    weights = generator.multinomial(15, np.full(15, 1 / 15), size=20).astype(float)
    expected = [
        stats.spearmanr(np.repeat(first, row.astype(int)), np.repeat(second, row.astype(int))).statistic
        for row in weights
    ]
    np.testing.assert_allclose(spearman(first[None], second[None], weights), expected, atol=1e-12)
    assert np.isnan(spearman(np.ones((1, 15)), second[None], weights)).all()


def test_auroc_agrees_with_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    mass, drop = generator.integers(0, 5, 30) / 5, generator.uniform(0, 0.2, 30)
    names = [f"i{index}" for index in range(30)]
    rows = pd.DataFrame({"image": names, "group": names, "tag_mass": mass, "probability_drop": drop})
    assert use_auroc(rows).mean == pytest.approx(roc_auc_score(drop >= 0.1, mass))
    assert np.isnan(use_auroc(rows.assign(probability_drop=0.0)).mean)


def test_undecided_models_get_no_verdict() -> None:
    assert verdict(UNDECIDED, Estimate(0.3, 0.2, 0.4, 9)) == UNDECIDED
    assert verdict(YES, Estimate(0.3, np.nan, np.nan, 1)) == UNDECIDED


def test_reference_has_all_other_parameters_in_common() -> None:
    names = ("a", "a@size=64", "b@shortcut=tag:0.9", "a@size=64@shortcut=tag:0.9", "a@shortcut=tag:0.9@size=96")
    made: Any = SimpleNamespace(record=SimpleNamespace(datasets=dict.fromkeys(names)), studies={})
    assert [reference(made, name) for name in names] == ["", "", "", "a@size=64", ""]
    untested = [one.what for one in missing_shortcut(made)]
    assert untested == [f"shortcut and shortcut_use on {name}" for name in names if "shortcut" in name]
