"""The study of implementations: targets by closed form, scores and ranks by the run's own scores."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from bench.config import Config
from bench.contracts import Classifier
from bench.registry import EXPLAINERS
from bench.report.frames.load import Frames, load_frames
from bench.report.frames.paired import title
from bench.report.studies.implementations import implementation_tables
from bench.store.folders import RunStore
from bench.store.records import CellKey
from bench.studies.implementations import ALIGNED, BY_THE_LIBRARY, UPSAMPLINGS, Probabilities, variants_of
from tests.support.made import registered_squares, run_tiny, tiny_config
from tests.support.tiny import tiny_classifiers

OTHERS = ("layercam", "xgradcam", "saliency", "inputxgradient")
IMAGES = 3
SETTING = ["implementation", "target", "upsampling"]


def config(**parameters: Any) -> Config:
    explainers = ["gradcam", *OTHERS, "random", "mask_oracle", "softcam"]
    settings = tiny_config(studies=["implementations"], explainers=explainers, metrics=["all"])
    return settings.model_copy(update={"studies": {"implementations": {"images": IMAGES} | parameters}})


@pytest.fixture(scope="module", autouse=True)
def squares() -> Iterator[None]:
    with registered_squares():
        yield


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Frames:
    folder = tmp_path_factory.mktemp("study") / "run"
    assert run_tiny(folder, config()).problems == []
    assert not run_tiny(folder, config()).computed
    return load_frames(folder)


def rows_of(frames: Frames, method: str = "gradcam", **about: str) -> pd.DataFrame:
    rows = frames.studies["implementations"].query("explainer == @method")
    for column, value in about.items():
        rows = rows[rows[column] == value]
    return rows


def test_probability_target_is_the_softmax_of_the_logits() -> None:
    """∂p_t = p_t (w_t − Σ p_c w_c) / (h·w): Grad-CAM of a linear head on the probability, in closed form."""
    classifier: Classifier = tiny_classifiers()["black box"]
    images, targets = torch.randn(2, 3, 32, 32), torch.tensor([0, 2])
    with torch.no_grad():
        features, weights = classifier.forward_features(images), classifier.head[-1].weight
        p = classifier(images).softmax(dim=1)
        slope = p.gather(1, targets[:, None]) * (weights[targets] - p @ weights)
        cam = torch.einsum("nd,ndhw->nhw", slope, features).relu() / features[0, 0].numel()
    maps = EXPLAINERS["gradcam"]().explain(Probabilities(classifier), images, targets)
    torch.testing.assert_close(maps, cam, rtol=1e-4, atol=1e-7)


def test_the_first_setting_is_what_the_run_scores(frames: Frames) -> None:
    own = rows_of(frames, implementation="gradcam", target="contrast", upsampling=ALIGNED)
    scores = frames.rows().query("explainer == 'gradcam' and head == 'blackbox'").astype({"image": str})
    localisation = [title(one) for one in frames.record.metrics if one.family == "localisation"]
    assert set(own["measure"]) == {"max_difference", "mean_difference", "rank_correlation", *localisation}
    for name in localisation:
        metric, _, variant = name.partition("@")
        stored = scores[(scores["metric"] == metric) & (scores["variant"] == variant)].set_index("image")["value"]
        measured = own[own["measure"] == name].set_index("image")["value"]
        assert len(measured) == IMAGES
        pd.testing.assert_series_equal(measured, stored[measured.index], check_names=False, rtol=1e-5)
    differences = own.set_index("measure")["value"]
    assert differences["max_difference"].max() == 0
    assert differences["rank_correlation"].to_numpy() == pytest.approx(1)


def test_every_implementation_target_and_enlargement_is_there(frames: Frames) -> None:
    for method in ("gradcam", "layercam"):
        found = rows_of(frames, method)
        assert set(found["implementation"]) == {method, *variants_of(method)}
        for name, part in found[found["reason"] == ""].groupby("implementation"):
            by_the_library = str(name).endswith("@pytorch-grad-cam")
            assert set(part["target"]) == {"contrast", "logit", "probability"}
            assert set(part["upsampling"]) == ({BY_THE_LIBRARY} if by_the_library else {ALIGNED, *UPSAMPLINGS})
    assert set(frames.studies["implementations"]["explainer"]) == {"gradcam", "layercam", "xgradcam"}
    assert set(frames.studies["implementations"]["head"]) == {"blackbox"}
    skipped = RunStore(frames.store.folder).cell(CellKey("squares", "compact", "softcam-sparse", 0)).record.studies
    assert skipped["implementations"][""].reason == "implementations are compared on the black box"


def test_scaling_leaves_ranks_alone_and_enlargement_does_not(frames: Frames) -> None:
    if "" not in set(rows_of(frames, implementation="gradcam@torchcam")["reason"]):
        pytest.skip("torchcam is not installed")
    scaled = rows_of(frames, implementation="gradcam@torchcam", target="contrast", upsampling=ALIGNED)
    assert scaled.query("measure == 'rank_correlation'")["value"].min() > 0.9999
    nearest = rows_of(frames, implementation="gradcam", target="contrast", upsampling="nearest")
    assert nearest.query("measure == 'rank_correlation'")["value"].max() < 0.999
    assert nearest.query("measure == 'max_difference'")["value"].min() > 0.05


def test_ranks_are_places_among_the_stored_scores(frames: Frames) -> None:
    tables = implementation_tables(frames)
    rows = rows_of(frames, "layercam")
    images = set(rows["image"].dropna())
    scores = frames.rows()[frames.rows()["image"].isin(images) & (frames.rows()["head"] == "blackbox")]
    rivals = scores[scores["explainer"].isin(["gradcam", *OTHERS]) & (scores["explainer"] != "layercam")]
    checked = 0
    for row in tables["implementations_ranks"].rows:
        if row["method"] != "layercam":
            continue
        part = rows[(rows[SETTING] == [row[key] for key in SETTING]).all(axis=1)]
        for metric in ("pixel_auroc", "activation_precision"):
            mean = part.loc[part["measure"] == metric, "value"].mean()
            means = rivals[rivals["metric"] == metric].groupby("explainer")["value"].mean()
            assert len(means) == 4
            assert row[metric].mean == 1 + sum(other > mean for other in means)
            assert row[metric].n == 5
            checked += 1
    assert checked >= 2 * (12 + 2)
    assert any(
        note.startswith("Rank of layercam on squares (compact): ") for note in tables["implementations_ranks"].notes
    )


def test_absent_library_and_other_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "torchcam" else find(name))
    run_tiny(tmp_path / "run", config())
    tables = implementation_tables(load_frames(tmp_path / "run"))
    notes = tables["implementations"].notes
    assert notes[1].startswith("Not run: gradcam@torchcam (torchcam is not installed: pip install")
    assert "gradcam@torchcam" not in {row["implementation"] for row in tables["implementations"].rows}
    run_tiny(tmp_path / "other", config(datasets=["shapes"]))
    assert implementation_tables(load_frames(tmp_path / "other")) == {}
