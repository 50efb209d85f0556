"""The shortcut test on models whose use of the tag is known, and on maps that show it or do not."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from bench.configs.sections import ExplainSection
from bench.contracts import Batch, Classifier, Explainer
from bench.data.loading import Request, load_split
from bench.data.selection import Selection
from bench.evaluation.context import EvaluationContext
from bench.registry import DATASETS
from bench.report.contents import draw_figures, every_table
from bench.report.frames.load import load_frames
from bench.report.studies.shortcut import (
    DETECTS,
    FALSE_ALARM,
    MISSES,
    NO,
    SILENT,
    YES,
    shortcut_table,
    use_table,
    uses,
)
from bench.seeds import seed_of
from bench.store.manifest import Manifest
from bench.studies.base import Subject
from bench.studies.shortcut import ShortcutMaps, ShortcutUse
from tests.support.made import run_tiny, tiny_config

SIZE, COUNT = 64, 24
PLAIN, PLANTED = "fundus-phantom", "fundus-phantom@shortcut=tag:0.9"


class Corner(nn.Module):
    """Images (N,3,H,W) in [0, 1] -> (N,1,1,1), the brightest pixel of the lower left corner: 0 without a tag."""

    def forward(self, images: Tensor) -> Tensor:
        low, left = round(0.88 * images.shape[2]), round(0.15 * images.shape[3])
        return images[:, :, low:, :left].amax(dim=(1, 2, 3)).reshape(-1, 1, 1, 1)


class ReadsTag(nn.Module):
    """Logits (0, 8·brightness - 4): disease if and only if there is a tag."""

    def forward(self, features: Tensor) -> Tensor:
        return torch.cat([torch.zeros(len(features), 1), 8 * features.flatten(1) - 4], dim=1)


class Blind(nn.Module):
    """Redness of the upper half, which no tag reaches."""

    def forward(self, features: Tensor) -> Tensor:
        red = (features[:, 0] - features[:, 1])[:, : features.shape[2] // 2].mean(dim=(1, 2))
        return torch.stack([torch.zeros_like(red), red], dim=1)


READER, BLIND = Classifier(Corner(), ReadsTag(), 2), Classifier(nn.Identity(), Blind(), 2)


class Shown(Explainer):
    """A map known for every image: 1 on a region."""

    name, family, signed, paper = "shown", "control", False, "this test"

    def __init__(self, regions: dict[int, Tensor]) -> None:
        self.regions = regions

    def explain_batch(self, classifier: Classifier, batch: Batch) -> Tensor:
        return torch.stack([self.regions[seed].float() for seed in batch.seeds])


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The test split of a phantom with a shortcut, and its samples."""
    info, counts = DATASETS[PLAIN], {"test": COUNT}
    request = Request(Path("nowhere"), SIZE, 0, counts, shortcut="tag:0.9")
    split = load_split(info, request, "test", tmp_path_factory.mktemp("cache"))
    samples = info.builder(Path("nowhere"), "test", size=SIZE, count=COUNT, shortcut="tag:0.9")
    return {"info": info, "split": split, "samples": samples}


def subject(parts: dict[str, Any], classifier: Classifier) -> Subject:
    context = EvaluationContext(
        classifier=classifier.eval(),
        split=parts["split"],
        explained=Selection(np.arange(0), np.zeros(0, dtype=bool), 0),
        section=ExplainSection(batch_size=5),
        logits=np.zeros((0, 2)),
        targets=np.zeros(0, dtype=int),
        gallery=[],
        healthy=0,
        device=torch.device("cpu"),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        seed_names=("made",),
    )
    prepared = SimpleNamespace(info=parts["info"], samples=parts["samples"])
    trained: Any = SimpleNamespace(prepared=prepared)
    return Subject(trained, context, {}, [], {})


def shown(parts: dict[str, Any], region: Any) -> Shown:
    """``region(index)`` is the map of an image."""
    names = enumerate(parts["split"].ids)
    return Shown({seed_of("made", "shown", name): region(index) for index, name in names})


def rows_of(parts: dict[str, Any], classifier: Classifier, region: Any, images: int = COUNT) -> pd.DataFrame:
    rows = ShortcutMaps(images).measure(subject(parts, classifier), "shown", shown(parts, region))
    return rows.assign(seed=0)


def test_a_model_that_reads_only_the_tag_uses_it(parts: dict[str, Any]) -> None:
    rows = ShortcutUse(COUNT).measure(subject(parts, READER), "", None)
    assert len(rows) == COUNT
    assert (rows["target"] == 1).all()
    assert (rows["predicted_without"] == 0).all()
    assert (rows["predicted_with"] == 1).all()
    for row in rows.itertuples():
        index = parts["split"].ids.index(row.image)
        brightest = parts["samples"].with_tag(index, tagged=True)[:, 57:, :9].max().item() / 255
        assert row.logit_drop == pytest.approx(8 * brightest, abs=1e-4)
        chance = 1 / (1 + np.exp(4 - 8 * brightest))
        assert row.probability_drop == pytest.approx(chance - 1 / (1 + np.exp(4)), abs=1e-4)
    assert uses(rows.assign(seed=0)) == YES


def test_a_blind_model_does_not(parts: dict[str, Any]) -> None:
    rows = ShortcutUse(COUNT).measure(subject(parts, BLIND), "", None)
    assert (rows["logit_drop"] == 0).all()
    assert uses(rows.assign(seed=0)) == NO


def test_half_of_the_scenes_are_diseased_and_a_subset_stays_when_more_are_asked_for(parts: dict[str, Any]) -> None:
    few, more = (ShortcutUse(count).measure(subject(parts, BLIND), "", None) for count in (6, 14))
    assert few["label"].value_counts().to_dict() == {0: 3, 1: 3}
    assert set(few["image"]) < set(more["image"])


def test_masses_of_known_maps(parts: dict[str, Any]) -> None:
    samples, diseased = parts["samples"], np.array([label > 0 for label in parts["split"].labels])
    on_tag = rows_of(parts, READER, samples.tag_mask)
    np.testing.assert_allclose(on_tag["tag_mass"], 1, atol=1e-6)
    np.testing.assert_allclose(on_tag["tag_area"], (8 / SIZE) ** 2)
    assert on_tag["lesion_mass"].isna().sum() == (~diseased).sum()
    on_lesion = rows_of(parts, READER, samples.exact_mask)
    assert (on_lesion["tag_mass"] == 0).all()
    np.testing.assert_allclose(on_lesion["lesion_mass"].dropna(), 1, atol=1e-6)
    left = torch.zeros(SIZE, SIZE)
    left[:, : SIZE // 2] = 1
    spread = rows_of(parts, READER, lambda index: left)
    np.testing.assert_allclose(spread["tag_mass"], 64 / (SIZE**2 / 2), rtol=1e-5)


def frames(
    rows: dict[tuple[str, str], pd.DataFrame], effects: dict[str, pd.DataFrame], explainers: tuple[str, ...]
) -> Any:
    """What the tables read, of one head; rows by data set and explainer, effects by data set."""
    cell = {"backbone": "small", "head": "plain", "seed": 0}
    maps = [part.assign(dataset=name, explainer=one, family="post-hoc", **cell) for (name, one), part in rows.items()]
    of_cells = [part.assign(dataset=name, explainer="", family="", **cell) for name, part in effects.items()]
    return SimpleNamespace(
        studies={"shortcut": pd.concat(maps), "shortcut_use": pd.concat(of_cells)},
        cells=pd.DataFrame({"backbone": ["small"]}),
        record=SimpleNamespace(
            datasets={name: SimpleNamespace(healthy=0) for name in (PLAIN, PLANTED)},
            explainers={
                name: SimpleNamespace(family="control" if name == "noise" else "post-hoc") for name in explainers
            },
            heads={"plain": SimpleNamespace()},
        ),
    )


@pytest.mark.slow
def test_only_the_map_on_the_tag_detects_and_only_for_the_model_that_uses_it(parts: dict[str, Any]) -> None:
    samples, noise = parts["samples"], torch.rand(SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    regions = {"on_tag": samples.tag_mask, "on_lesion": samples.exact_mask, "noise": lambda index: noise}
    honest = {"on_tag": samples.exact_mask}  # a faithful method shows the lesion of the model that sees only lesions
    models = {PLANTED: READER, PLAIN: BLIND}
    effects = {name: ShortcutUse(COUNT).measure(subject(parts, model), "", None) for name, model in models.items()}
    rows = {(PLANTED, name): rows_of(parts, READER, region) for name, region in regions.items()}
    rows |= {(PLAIN, name): rows_of(parts, BLIND, honest.get(name, region)) for name, region in regions.items()}
    rows[PLAIN, "always_tag"] = rows_of(parts, BLIND, samples.tag_mask)
    rows[PLANTED, "always_tag"] = rows_of(parts, READER, samples.tag_mask)
    made = frames(rows, effects, (*regions, "always_tag"))
    found = {(row["dataset"], row["explainer"]): row for row in shortcut_table(made).rows}
    assert {name: found[PLANTED, name]["verdict"] for name in (*regions, "always_tag")} == {
        "on_tag": DETECTS,
        "on_lesion": MISSES,
        "noise": MISSES,
        "always_tag": MISSES,  # it says the same of a model that does not use the tag
    }
    assert found[PLANTED, "noise"]["above_reference"].mean == 0
    assert found[PLANTED, "on_tag"]["auroc"].mean == 1
    assert found[PLANTED, "always_tag"]["auroc"].mean == 0.5
    assert found[PLANTED, "on_tag"]["uses the tag"] == YES
    assert {found[PLAIN, name]["uses the tag"] for name in regions} == {NO}
    assert found[PLAIN, "on_tag"]["verdict"] == SILENT
    assert found[PLAIN, "always_tag"]["verdict"] == FALSE_ALARM
    scenes, note = shortcut_table(made).notes
    assert scenes.endswith(" test scenes with a tag, half of them diseased.")
    assert note == f"{PLANTED} · small · plain uses the tag; 1 of 3 explainers show it: on_tag."
    table = {row["dataset"]: row for row in use_table(made).rows}
    accuracies = [table[PLANTED][f"accuracy_{kind}"].mean for kind in ("with_tag", "without_tag")]
    assert accuracies == [0.5, 0.5]  # it calls all diseased, then all healthy
    assert table[PLANTED]["accuracy_tag_agrees"].mean == table[PLANTED]["flips"].mean == 1
    assert table[PLANTED]["accuracy_tag_conflicts"].mean == table[PLAIN]["flips"].mean == 0


@pytest.mark.slow
def test_a_run_stores_tables_and_figures(tmp_path: Path) -> None:
    names = ["cxr-phantom", "cxr-phantom@shortcut=tag:0.9"]
    config = tiny_config(
        datasets=names, heads=["blackbox"], explainers=["gradcam", "edges"], studies=["shortcut_use", "shortcut"]
    )
    data = config.data.model_copy(update={"size": 64, "train": 16, "val": 8, "test": 16})
    studies = {"shortcut": {"images": 6}, "shortcut_use": {"images": 10}}
    config = config.model_copy(update={"data": data, "studies": studies})
    assert run_tiny(tmp_path / "run", config).problems == []
    found = load_frames(tmp_path / "run")
    tables = every_table(found)
    assert [row["dataset"] for row in tables["shortcut_use"].rows] == names
    edges = {row["dataset"]: row for row in tables["shortcut"].rows if row["explainer"] == "edges"}
    assert edges[names[1]]["above_reference"].mean == 0  # the same scenes, and no model in it
    assert edges[names[1]]["tag_mass"].n == 6
    captions = draw_figures(found, Manifest(tmp_path / "figures"))
    (forest,) = [stem for stem in captions if stem.startswith("shortcut_")]
    assert (tmp_path / "figures" / f"{forest}.png").exists()
    outlined = [stem for stem in captions if "planted tag" in captions[stem].reading]
    with np.load(found.store.images_file(names[1])) as kept:
        samples = DATASETS["cxr-phantom"].builder(tmp_path, "test", size=64, count=16, shortcut="tag:0.9")
        numbers = [int(name.rsplit("-", 1)[1]) for name in kept["ids"]]
        expected = [samples.tag_mask(at).numpy() & samples.is_tagged(at) for at in numbers]
        np.testing.assert_array_equal(kept["tags"], np.stack(expected))
        assert len(outlined) == int(kept["tags"].any())
    with np.load(found.store.images_file(names[0])) as kept:
        assert not kept["tags"].any()
