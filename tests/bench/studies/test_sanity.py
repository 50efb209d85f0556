"""The sanity probes against closed forms, and their way from a run to the table."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import Tensor

from bench.config import Config
from bench.contracts import Classifier, Explainer
from bench.data.prepare import TrainingData
from bench.data.selection import Selection
from bench.data.split import Split
from bench.evaluation.context import EvaluationContext
from bench.models.factory import build_classifier
from bench.registry import EXPLAINERS, HEADS
from bench.report.build import build_report
from bench.report.contents import every_table
from bench.report.frames.load import load_frames
from bench.report.studies.sanity import agreement, missing_sanity, randomisation, sanity_tables
from bench.seeds import generator
from bench.store.folders import CellKey, RunStore
from bench.studies import Agreement, Sanity
from bench.studies.base import Subject
from bench.studies.random_labels import permuted, random_label_twin
from bench.training.classifier import CellClassifier
from bench.training.loop import train
from tests.support.made import registered_squares, run_tiny, squares, tiny_config
from tests.support.report_store import make_run
from tests.support.tiny import tiny_classifiers

STD = (0.5, 0.25, 2.0)


class Linear(Explainer):
    """A known linear function of the image alone: red minus twice green."""

    name, family, signed, paper = "linear", "control", True, ""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        return images[:, 0] - 2 * images[:, 1]


class Opposite(Explainer):
    """The image's red, with the sign of the class."""

    name, family, signed, paper = "opposite", "post-hoc", True, ""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        return images[:, 0] * torch.where(targets == 1, 1, -1)[:, None, None]


class Flat(Explainer):
    """The same everywhere, for every image."""

    name, family, signed, paper = "flat", "control", False, ""

    def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
        return torch.ones(len(images), 4, 4)


def split_of(name: str) -> Split:
    samples = squares(Path(), name)
    return Split(
        name=name,
        images=torch.stack([(255 * sample.image).byte() for sample in samples]).numpy(),
        labels=np.array([sample.label for sample in samples]),
        masks=np.stack([sample.mask for sample in samples]),
        has_mask=np.ones(len(samples), dtype=bool),
        fov=None,
        ids=tuple(sample.id for sample in samples),
        groups=tuple(sample.group for sample in samples),
        classes=("plain", "square"),
        excluded=(),
        ignored=None,
        digest=name,
    )


def subject(classifier: Classifier | None = None) -> Subject:
    """Four explained images, all of class 1, with made-up logits of three classes of which 2 is the next."""
    split = split_of("test")
    context = EvaluationContext(
        classifier=classifier or tiny_classifiers()["black box"],
        split=split,
        explained=Selection(np.array([1, 3, 5, 7]), np.ones(4, dtype=bool), 4),
        section=tiny_config().explain,
        logits=np.array([[0.0, 3.0, 1.0]] * 4),
        targets=np.ones(4, dtype=int),
        healthy=0,
        mean=(0.4, 0.4, 0.4),
        std=STD,
        device=torch.device("cpu"),
        gallery=[],
        seed_names=("squares", "tiny", "head", 0),
    )
    trained: Any = SimpleNamespace()
    return Subject(trained, context, {}, [], {})


def study(explainer: Explainer, classifier: Classifier | None = None, **parameters: Any) -> pd.DataFrame:
    return Sanity(**{"images": 4} | parameters).measure(subject(classifier), explainer.name, explainer)


def check(rows: pd.DataFrame, name: str) -> np.ndarray:
    return rows.loc[rows["check"] == name, "value"].to_numpy(dtype=float)


@pytest.mark.parametrize("name", ["edges", "center_gaussian", "mask_oracle"])
def test_map_of_the_image_alone_outlives_every_weight(name: str) -> None:
    rows = study(EXPLAINERS[name]())
    cascade = rows[rows["check"] == "cascade"]
    assert sorted(cascade["stage"].unique()) == list(range(1, cascade["fresh"].nunique() + 1))
    assert list(cascade.sort_values("stage")["fresh"].unique()[[0, -1]]) == ["head", "all"]
    assert cascade.groupby("stage")["image"].nunique().eq(4).all()
    np.testing.assert_allclose(check(rows, "cascade"), 1)
    np.testing.assert_allclose(check(rows, "complexity_rise"), 0)
    np.testing.assert_allclose(check(rows, "class_sensitivity"), 0, atol=1e-12)


def test_noise_is_unlike_itself() -> None:
    """A random map asked twice: correlations of 49 cells have a standard deviation of 1/√48."""
    rows = study(EXPLAINERS["random"](), images=4, weight_draws=4)
    values = check(rows, "cascade")
    assert abs(values.mean()) < 4 / np.sqrt(48 * len(values))
    assert values.std() == pytest.approx(1 / np.sqrt(48), rel=0.5)
    assert abs(check(rows, "class_sensitivity").mean() - 1) < 4 / np.sqrt(48 * 4)


def test_max_sensitivity_of_a_constant_map_is_zero() -> None:
    rows = study(Flat())
    np.testing.assert_array_equal(check(rows, "max_sensitivity"), 0)
    assert np.isnan(check(rows, "cascade")).all()  # it has no ranks


def test_max_sensitivity_of_a_linear_map_has_a_closed_form() -> None:
    """The change is the map of the noise, in units of the normalised image: radius/std a channel."""
    rows = study(Linear(), radius=0.1, noise_draws=3)
    split, expected = split_of("test"), []
    for index in (1, 3, 5, 7):
        image = (torch.from_numpy(split.images[index]) / 255 - 0.4) / torch.tensor(STD)[:, None, None]
        changes = []
        for draw in range(3):
            noise = 2 * torch.rand(3, 32, 32, generator=generator("noise", f"test-{index}", draw)) - 1
            assert noise.abs().max() <= 1
            changes.append(0.1 * (noise[0] / STD[0] - 2 * noise[1] / STD[1]).norm())
        expected.append(max(changes) / (image[0] - 2 * image[1]).norm())
    np.testing.assert_allclose(check(rows, "max_sensitivity"), expected, rtol=1e-4)


def test_sensitivity_grows_with_the_radius_in_proportion_for_a_linear_map() -> None:
    near, far = (check(study(Linear(), radius=radius), "max_sensitivity") for radius in (0.01, 0.03))
    np.testing.assert_allclose(far, 3 * near, rtol=1e-4)


def test_opposite_evidence_is_as_class_sensitive_as_can_be() -> None:
    np.testing.assert_allclose(check(study(Opposite()), "class_sensitivity"), 2)


def test_rival_is_the_most_likely_other_class() -> None:
    asked: list[list[int]] = []

    class Asked(Linear):
        def explain(self, classifier: Classifier, images: Tensor, targets: Tensor) -> Tensor:
            asked.append(targets.tolist())
            return super().explain(classifier, images, targets)

    study(Asked())
    assert [2] * 4 in asked
    assert all(targets in ([2] * 4, [1] * 4, [1] * 2) for targets in asked)


def test_a_learned_map_changes_and_the_classifier_does_not() -> None:
    classifier = tiny_classifiers()["black box"]
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    random, modes = torch.get_rng_state(), [part.training for part in classifier.modules()]
    rows = study(EXPLAINERS["inputxgradient"](), classifier)
    assert np.abs(check(rows, "cascade")[-4:]).mean() < 0.5
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [part.training for part in classifier.modules()] == modes
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in classifier.modules())
    again = study(EXPLAINERS["inputxgradient"](), classifier)
    pd.testing.assert_frame_equal(rows, again)


def test_small_maps_are_means_over_cells() -> None:
    rows = Agreement(images=3, grid=8).measure(subject(), "linear", Linear())
    image = (torch.from_numpy(split_of("test").images[3]) / 255 - 0.4) / torch.tensor(STD)[:, None, None]
    expected = (image[0] - 2 * image[1]).reshape(8, 4, 8, 4).mean((1, 3))
    assert list(rows["image"]) == ["test-1", "test-3", "test-5"]
    np.testing.assert_allclose(rows["map"][1], expected.flatten(), rtol=1e-4, atol=1e-5)


def cell() -> CellClassifier:
    """What the twin needs to know of a cell."""
    data = TrainingData(split_of("train"), split_of("val"), "other", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
    facts: Any = SimpleNamespace(
        names=("squares", "compact", "blackbox", 0),
        data=data,
        config=tiny_config(),
        head=SimpleNamespace(head=HEADS["blackbox"]()),
        device=torch.device("cpu"),
        prepared=SimpleNamespace(classes=("plain", "square")),
        init=None,
    )
    return facts


def test_twin_is_the_training_on_labels_permuted_by_hand(tmp_path: Path) -> None:
    trained = cell()
    random = torch.get_rng_state()
    twin, accuracy = random_label_twin(trained)
    assert torch.equal(torch.get_rng_state(), random)
    data, by_hand = trained.data, {}
    for name in ("train", "val"):
        split = getattr(data, name)
        order = torch.randperm(len(split), generator=generator("random_labels", name, name)).tolist()
        by_hand[name] = replace(split, labels=np.array([split.labels[at] for at in order]))
    data = replace(data, **by_hand)
    with torch.random.fork_rng():
        expected, _ = build_classifier(trained.names, trained.head.head, 2, False)
        arguments = (trained.config.training, trained.names, trained.device, tmp_path / "x", lambda row: None)
        train(expected, trained.head.head, data, *arguments)
    assert all(torch.equal(value, expected.state_dict()[name]) for name, value in twin.state_dict().items())
    images = (torch.from_numpy(by_hand["train"].images) / 255 - 0.5) / 0.2
    right = expected.eval()(images).argmax(dim=1).numpy() == by_hand["train"].labels
    assert accuracy == pytest.approx(right.mean())


def test_permuted_labels_are_the_same_ones_elsewhere() -> None:
    split = split_of("train")
    other = permuted(split)
    assert sorted(other.labels) == sorted(split.labels)
    assert (other.labels != split.labels).any()
    assert (split.labels == split_of("train").labels).all()
    assert other.images is split.images


# --- From a run to the table -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two seeds of a black box and its conversion, with every probe."""
    run = tmp_path_factory.mktemp("sanity") / "run"
    with registered_squares():
        assert run_tiny(run, config()).problems == []
        yield run


def config(**section: Any) -> Config:
    settings = tiny_config(
        **{
            "heads": ["blackbox", "tte"],
            "explainers": ["softcam", "gradcam", "inputxgradient", "random", "edges"],
            "on_inherent": [],
            "seeds": [0, 1],
            "probes": ["sanity", "agreement", "random_labels"],
        }
        | section
    )
    small = {"images": 4}
    return settings.model_copy(update={"probes": {"sanity": small, "agreement": small, "random_labels": small}})


def row_of(folder: Path, explainer: str) -> dict[str, Any]:
    (row,) = [row for row in sanity_tables(load_frames(folder))["sanity"].rows if row["explainer"] == explainer]
    return row


def test_edges_are_reported_as_failing_and_noise_is_not(folder: Path) -> None:
    table = sanity_tables(load_frames(folder))["sanity"]
    edges, random = row_of(folder, "edges"), row_of(folder, "random")
    assert (edges["randomisation"], random["randomisation"]) == ("fails", "passes")
    for name in ("correlation, head fresh", "correlation, all fresh", "correlation, random labels"):
        assert edges[name].mean == pytest.approx(1)
        assert abs(random[name].mean) < 0.6
    for name in ("seeds: correlation", "seeds: IoU of top"):
        assert edges[name].mean == pytest.approx(1)
    assert edges["class sensitivity"].mean == pytest.approx(0, abs=1e-9)
    assert [note for note in table.notes if "edges on blackbox" in note]
    assert not any("random on" in note for note in table.notes)
    (lacking,) = missing_sanity(load_frames(folder))
    assert lacking.what == "agreement between backbones (sanity)"
    assert lacking.below == {"sanity": "agreement between backbones"}


def test_a_row_is_the_mean_over_seeds_then_images(folder: Path) -> None:
    rows = load_frames(folder).studies["sanity"]
    rows = rows[(rows["explainer"] == "inputxgradient") & (rows["fresh"] == "all")]
    assert len(rows) == 8
    expected = rows.groupby("image")["value"].mean().mean()
    found = row_of(folder, "inputxgradient")["correlation, all fresh"]
    assert (found.mean, found.n) == (pytest.approx(expected), 4)


def test_conversion_has_no_twin_but_all_other_checks(folder: Path) -> None:
    record = RunStore(folder).cell(CellKey("squares", "compact", "tte", 0)).record["probes"]
    assert record["random_labels"][""]["reason"] == "its classifier is converted, not trained"
    row = row_of(folder, "softcam")
    assert "correlation, random labels" not in row
    assert np.isfinite(row["max sensitivity"].mean)


def test_scores_and_weights_are_those_of_a_run_without_probes(folder: Path, tmp_path: Path) -> None:
    run_tiny(tmp_path / "run", config(studies=[], seeds=[0]))
    key = CellKey("squares", "compact", "blackbox", 0)
    ours, plain = (RunStore(run).cell(key) for run in (folder, tmp_path / "run"))
    weights, expected = load_file(ours.weights), load_file(plain.weights)
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    columns = ["image", "metric", "variant", "step", "value"]
    for name in ("gradcam", "random"):
        tables = [pd.read_parquet(one.scores_file(name))[columns] for one in (ours, plain)]
        tables = [table[table["image"] != ""].reset_index(drop=True) for table in tables]
        pd.testing.assert_frame_equal(*tables)


def test_figure_draws_every_stage(folder: Path) -> None:
    (drawing,) = randomisation(load_frames(folder))
    axis = drawing.figure.axes[0]
    assert [label.get_text() for label in axis.get_xticklabels()] == ["head", "+ 1/3", "+ 2/3", "all"]
    lines = [line.get_ydata() for line in axis.get_lines() if len(line.get_xdata()) == 4]
    assert len(lines) == 5
    assert any(np.allclose(line, 1) for line in lines)


def test_old_run_says_what_is_missing_and_how_to_add_it(tmp_path: Path) -> None:
    make_run(tmp_path / "run")
    console = Console(file=io.StringIO(), width=100)
    build_report(tmp_path / "run", console)
    assert not (tmp_path / "run" / "tables" / "sanity.csv").exists()
    said = " ".join(console.file.getvalue().split())
    studies = "--studies sanity,agreement,fair_resolution,implementations"
    assert f"Not computed: sanity, fair_resolution, implementations. Re-run the same command with {studies}" in said
    assert "can be added" in (tmp_path / "run" / "tables" / "gaps.csv").read_text()
    assert list(randomisation(load_frames(tmp_path / "run"))) == []


def test_table_says_which_study_was_not_asked_for(folder: Path) -> None:
    frames = load_frames(folder)
    without = {name: rows for name, rows in frames.studies.items() if name != "random_labels"}
    (note,) = [
        note
        for note in every_table(replace(frames, studies=without))["sanity"].notes
        if "the model trained on permuted labels" in note
    ]
    assert note.startswith("Not computed: ")
    assert "Re-run the same command with --studies sanity,agreement,random_labels" in note


def test_agreement_by_hand() -> None:
    ramp = np.arange(20.0)
    facts = {"dataset": "d", "head": "h", "explainer": "e", "group": "g", "image": "i", "target": 1, "seed": 0}
    rows = pd.DataFrame(
        [
            facts | {"backbone": "a", "map": ramp},
            facts | {"backbone": "b", "map": -ramp},
            facts | {"backbone": "c", "map": ramp**2},
            facts | {"backbone": "c", "map": ramp, "target": 2},
        ]
    )
    found = agreement(rows, "backbone").set_index(["backbone", "backbone_other"])
    assert len(found) == 6  # each pair both ways; another class is no pair
    assert found.loc[("a", "c"), "correlation"] == pytest.approx(1)
    assert found.loc[("a", "b"), "correlation"] == pytest.approx(-1)
    assert found.loc[("a", "b"), "overlap"] == 0
    assert found.loc[("c", "a"), "overlap"] == 1
    assert len(agreement(rows, "seed")) == 0
