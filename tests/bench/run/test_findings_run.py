"""A run on the phantom with several findings: training with unknown labels, pairs, tables per finding, verdicts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
import torch
from torch import Tensor

from bench import registry
from bench.config import Config
from bench.contracts import NO_FINDING
from bench.data.findings.pairs import image_of
from bench.data.phantoms.findings import FINDINGS, NAME, FindingsPhantom
from bench.data.prepare import TrainingData, prepare
from bench.data.selection import choose_explained, target_class
from bench.data.split import Split
from bench.outputs import SIGMOID
from bench.registry import DATASETS
from bench.report.contents import every_table
from bench.report.figures.gallery import load_images, row_names
from bench.report.frames.load import Frames, load_frames
from bench.report.frames.paired import pairs
from bench.report.frames.settings import explained_by_logit
from bench.store.records import CellKey
from bench.studies.implementations import Probabilities
from bench.training.loop import TrainingLoop
from tests.support.made import run_tiny, tiny_config
from tests.support.tiny import tiny_classifiers

SIZE = 64
HEADS = ("blackbox", "softcam-sparse")
HEAD = registry.HEADS["blackbox"]


def config(**training: Any) -> Config:
    tiny = tiny_config(datasets=[NAME], heads=list(HEADS), metrics=["activation_precision", "pixel_auroc", "audc@zero"])
    return tiny.model_copy(
        update={
            "data": tiny.data.model_copy(update={"size": SIZE, "train": 32, "val": 16, "test": 32}),
            "training": tiny.training.model_copy(update={"class_weights": True} | training),
            "explain": tiny.explain.model_copy(update={"diseased": 24, "healthy": 4, "faithful": 12, "gallery": 4}),
        }
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("findings") / "run"
    assert run_tiny(out, config()).problems == []
    return out


@pytest.fixture(scope="module")
def frames(folder: Path) -> Frames:
    return load_frames(folder)


def truth(split: str = "test", count: int = 32) -> FindingsPhantom:
    return FindingsPhantom(split, SIZE, count, 0)


# --- Training --------------------------------------------------------------------------------------------------------


@dataclass
class Noise:
    """Images of noise with these labels (N,F)."""

    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, indices: Tensor) -> Tensor:
        draw = torch.Generator().manual_seed(0)
        return torch.randint(0, 256, (len(indices), 3, 32, 32), dtype=torch.uint8, generator=draw)


def loop_on(labels: np.ndarray) -> TrainingLoop:
    """The tiny black box with three outputs, to be trained on noise with these labels."""
    split: Any = Noise(labels)
    data = TrainingData(split, split, "other", (0.5,) * 3, (0.2,) * 3, SIGMOID)
    settings = config(augmentation="none", weight_decay=0.0, batch_size=4).training
    return TrainingLoop(tiny_classifiers()["black box"], HEAD(), data, settings, torch.device("cpu"))


def test_a_finding_without_labels_is_not_trained() -> None:
    torch.manual_seed(0)
    labels = np.array([[index % 2, -1, index // 2 % 2] for index in range(8)])
    loop = loop_on(labels)
    before = loop.classifier.head[-1].weight.detach().clone()  # type: ignore[index]
    loop.run_epoch(0)
    changed = (loop.classifier.head[-1].weight.detach() != before).any(dim=1)  # type: ignore[index]
    assert changed.tolist() == [True, False, True]


def test_class_weights_are_those_of_known_labels() -> None:
    labels = np.array([[1, -1, 0]] + [[0, 1, 1]] * 3 + [[-1, 0, 1]] * 4)
    weights = loop_on(labels).class_weights
    assert weights is not None
    np.testing.assert_allclose(weights.numpy(), [[4 / 6, 7 / 8, 8 / 2], [4 / 2, 7 / 6, 8 / 14]], rtol=1e-6)


def test_validation_loss_and_auc_are_those_of_the_stored_classifier(frames: Frames) -> None:
    assert frames.training["val_loss"].between(0.3, 1.5).all()
    assert frames.training["val_auc"].between(0, 1).all()
    assert set(frames.training["head"]) == set(HEADS)


# --- Predictions -----------------------------------------------------------------------------------------------------


def test_predictions_hold_every_label_and_scores_equal_scikit_learn(frames: Frames) -> None:
    rows = frames.predictions.where(head=["blackbox"]).rows().sort_values("image")
    labels = rows[[f"label_{at}" for at in range(3)]].to_numpy(dtype=int)
    assert labels.tolist() == [list(labels) for labels in truth().label_rows]
    logits = rows[[f"logit_{at}" for at in range(3)]].to_numpy()
    tables = every_table(frames)
    (row,) = [row for row in tables["classification"].rows if row["head"] == "blackbox"]
    assert row["auc"].mean == pytest.approx(sk.roc_auc_score(labels, logits, average="macro"))
    by_finding = {row["finding"]: row for row in tables["classification_findings"].rows if row["head"] == "blackbox"}
    assert list(by_finding) == list(FINDINGS)
    for at, finding in enumerate(FINDINGS):
        assert by_finding[finding]["auc"].mean == pytest.approx(sk.roc_auc_score(labels[:, at], logits[:, at]))
        assert by_finding[finding]["auc"].n == 32


# --- Pairs -----------------------------------------------------------------------------------------------------------


def test_pairs_are_explained_for_their_finding_and_healthy_images_for_the_likeliest(frames: Frames) -> None:
    rows = frames.rows().drop_duplicates(["image", "head"])
    phantom = truth()
    for row in rows.itertuples():
        name, _, finding = str(row.image).removesuffix("]").partition(" [")
        index = phantom.id_rows.index(name)
        assert row.group == phantom.group_rows[index]
        if row.diseased:
            assert finding == FINDINGS[int(row.label)]
            assert row.target == row.label
            assert phantom.truth(index)[int(row.label)] == 1
        else:
            assert (finding, row.label) == ("no finding", NO_FINDING)
            assert phantom.truth(index) == (0, 0, 0)
    counts = rows[rows["diseased"]].groupby(["head", "label"]).size()
    assert counts.tolist() == [8] * 6  # 24 pairs of three findings


def test_predicted_is_right_where_the_probability_exceeds_a_half(frames: Frames) -> None:
    cell = frames.store.cell(CellKey(NAME, "compact", "blackbox", 0))
    explained = pd.read_parquet(cell.explained).set_index("image")
    rows = frames.rows()[frames.rows()["head"] == "blackbox"].drop_duplicates("image").set_index("image")
    for name, row in rows.iterrows():
        logit = explained.loc[name, f"logit_{row['target']}"]
        assert row["predicted"] == (row["target"] if logit > 0 else NO_FINDING)


def test_curves_begin_at_the_sigmoid_of_the_target_s_logit(frames: Frames) -> None:
    cell = frames.store.cell(CellKey(NAME, "compact", "softcam-sparse", 0))
    explained = pd.read_parquet(cell.explained).set_index("image")
    stored = pd.read_parquet(cell.scores_file("softcam"))
    starts = stored[(stored["metric"] == "deletion_curve") & (stored["step"] == 0)]
    assert len(starts) == 12
    for row in starts.itertuples():
        logit = explained.loc[row.image, f"logit_{row.target}"]
        assert row.value == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)


def test_maps_explain_the_logit_although_the_config_says_contrast(frames: Frames) -> None:
    assert config().explain.target == "contrast"
    assert set(frames.cells["record"].map(lambda record: record.target)) == {"logit"}
    assert explained_by_logit(frames) == ()  # a sigmoid identifies its logit
    tables = every_table(frames)
    assert not any("not identified" in note for table in tables.values() for note in table.notes)


def test_the_mask_of_the_finding_is_the_ceiling_and_random_is_at_chance(frames: Frames) -> None:
    scores = frames.rows()[frames.rows()["metric"] == "activation_precision"]
    oracle = scores[scores["explainer"] == "mask_oracle"]
    assert oracle["value"].eq(1).all()
    random, phantom = scores[(scores["explainer"] == "random") & (scores["head"] == "blackbox")], truth()
    for label, finding in enumerate(FINDINGS):
        mine = random[random["label"] == label]
        indices = [phantom.id_rows.index(name.partition(" [")[0]) for name in mine["image"]]
        share = np.mean([phantom.finding_mask(index, label).float().mean().item() for index in indices])
        assert mine["value"].mean() == pytest.approx(share, rel=0.6), finding


# --- Tables and verdicts ---------------------------------------------------------------------------------------------


def test_macro_table_averages_findings_and_per_class_tables_list_them(frames: Frames) -> None:
    tables = every_table(frames)
    scores = frames.rows()
    for row in tables["macro"].rows:
        mine = scores[(scores["explainer"] == row["explainer"]) & (scores["head"] == row["head"])]
        values = mine[(mine["metric"] == "activation_precision") & mine["diseased"]]
        by_finding = values.groupby("label")["value"].mean()
        assert len(by_finding) == 3
        assert row["activation_precision"].mean == pytest.approx(by_finding.mean())
        assert row["activation_precision"].n == len(values)
        for label, mean in by_finding.items():
            (entry,) = [
                one
                for one in tables["per_class_localisation"].rows
                if (one["class"], one["explainer"], one["head"]) == (FINDINGS[label], row["explainer"], row["head"])
            ]
            assert entry["activation_precision"].mean == pytest.approx(mean)
    assert {row["class"] for row in tables["per_class"].rows} == set(FINDINGS)


def test_pairs_of_a_patient_are_one_group(frames: Frames) -> None:
    metric = next(one for one in frames.record.metrics if one.name == "activation_precision")
    ((_, _, paired),) = pairs(frames, metric)
    assert len(set(paired.images)) == len(paired.images) == 24
    assert 12 <= len(set(paired.groups)) <= 16  # patients with a finding, of two images each


def test_an_explained_selection_takes_findings_in_turns() -> None:
    labels = np.array([0, 0, 0, 0, 0, 1, 2, NO_FINDING])
    split = Split("findings", np.zeros((8, 3, 1, 1), np.uint8), labels, None, labels >= 0, None, None,
                  tuple("abcdefgh"), tuple("abcdefgh"), FINDINGS, (), "")  # fmt: skip
    section = config().explain.model_copy(update={"diseased": 3, "healthy": 1, "faithful": None})
    found = choose_explained(DATASETS[NAME], split, section)
    assert sorted(split.labels[found.indices[:3]]) == [0, 1, 2]
    assert found.indices[3] == 7
    assert found.diseased.tolist() == [True, True, True, False]


def test_target_of_an_image_without_findings_is_the_likeliest() -> None:
    logits = np.array([[0.1, 2.0, 5.0], [3.0, -1.0, 0.0]])
    assert target_class(logits, np.array([NO_FINDING, 2]), NO_FINDING).tolist() == [2, 2]


def test_a_second_run_computes_nothing(folder: Path) -> None:
    assert not run_tiny(folder, config()).computed


def test_data_set_facts(folder: Path, frames: Frames) -> None:
    facts = frames.record.datasets[NAME]
    assert facts.multilabel
    assert facts.images["test"] == [16, 16, 16]  # images with each finding, of 32
    assert facts.brightness_auc is None
    prepared = prepare(DATASETS[NAME], config(), folder, folder.parent / "cache")
    assert prepared.test.labels.shape == (32, 3)
    assert prepared.explain.labels.ndim == 1
    assert (prepared.data.train.labels == -1).any()


def test_a_lesion_reliance_is_counted_by_findings(frames: Frames) -> None:
    for record in frames.cells["record"]:
        reliance = record.lesion_reliance
        assert reliance is not None
        assert reliance.true_positives <= 100
        assert np.isnan(reliance.called_healthy) or 0 <= reliance.called_healthy <= 1


def test_figures_name_the_finding_and_its_probability(frames: Frames) -> None:
    images = load_images(frames, NAME)
    assert images is not None
    rows = frames.rows()[frames.rows()["head"] == "blackbox"].drop_duplicates("image").set_index("image")
    lines = row_names(frames, NAME, images, "blackbox", rows["target"])
    predictions = frames.predictions.where(head=["blackbox"]).rows().set_index("image")
    for name, label, line in zip(images.ids, images.labels, lines, strict=True):
        finding = FINDINGS[label] if label >= 0 else "no finding"
        if label < 0:  # no metric of this run is read on images without findings
            assert line[1:] == [finding]
            continue
        target = int(rows.loc[name, "target"])
        logit = predictions.loc[image_of(name, finding), f"logit_{target}"]
        assert line[1:] == [finding, f"p({FINDINGS[target]}) = {1 / (1 + np.exp(-logit)):.2f}"]


def test_subgroups_are_named_by_findings(frames: Frames) -> None:
    strata = every_table(frames)["strata"].numbers()
    assert set(strata[strata["by"] == "class"]["stratum"]) <= {*FINDINGS, "no finding"}
    assert set(FINDINGS) <= set(strata[strata["by"] == "class"]["stratum"])


def test_probabilities_of_a_finding_do_not_depend_on_the_others() -> None:
    classifier = tiny_classifiers()["black box"]
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    found = Probabilities(classifier, SIGMOID)(images)
    torch.testing.assert_close(found, 1 / (1 + (-classifier(images)).exp()))
