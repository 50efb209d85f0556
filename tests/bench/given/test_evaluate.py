"""``evaluate`` gives the scores of a run, leaves the model alone, and refuses bad input in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from bench import Explainer, UserError, evaluate
from bench.commands.export.command import export_cell
from bench.given.results.result import Result
from bench.report.frames.load import load_frames
from tests.bench.given.user_model import UserNet, same_state, state_of, trained_net, user_images
from tests.support.made import squares as square_samples

QUICK = {"steps": 2, "gallery": 2, "batch_size": 8}
METRICS = ["activation_precision", "topk_precision", "pixel_auroc", "audc@zero"]
KEY = ["head", "explainer", "image", "metric", "variant"]


def magnitude(model: Any, images: Tensor, targets: Tensor) -> np.ndarray:
    """Size of the pixels, as an array with a channel axis."""
    return images.abs().mean(dim=1, keepdim=True).numpy()


@pytest.fixture(scope="module")
def user_net() -> UserNet:
    return trained_net()


@pytest.fixture(scope="module")
def result(user_net: UserNet) -> Result:
    images, masks, labels = user_images()
    explainers = ["gradcam", "softcam", magnitude]
    return evaluate(user_net, images, masks, labels, explainers, METRICS, mean=0, std=1, explain=QUICK)


@pytest.fixture(scope="module")
def exported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    export_cell(finished / "cells/squares/compact-blackbox-s0", folder / "model", onnx=False)
    return folder / "model" / "model.safetensors"


def difference(finished: Path, result: Result, explainers: list[str]) -> pd.Series:
    """Absolute differences of the scores that the run and the evaluation share; inf where only one is nan."""
    old, new = load_frames(finished).rows(), result.frames.rows()
    both = old[old["explainer"].isin(explainers)].merge(new, on=KEY, suffixes=("_run", ""))
    one_nan = both["value_run"].isna() != both["value"].isna()
    return (both["value_run"] - both["value"]).abs().fillna(0).mask(one_nan, np.inf)


@pytest.mark.usefixtures("squares")
def test_an_exported_classifier_has_the_scores_of_its_run(finished: Path, exported: Path) -> None:
    settings = {"diseased": 4, "healthy": 2, "faithful": 2, "steps": 3, "gallery": 2, "batch_size": 4}
    result = evaluate(exported, "squares", explainers=["gradcam"], metrics="all", precision="float32", explain=settings)
    rows = load_frames(finished).rows()
    shared = difference(finished, result, ["gradcam", "random", "mask_oracle"])
    assert len(shared) == (rows["head"] == "blackbox").sum()
    assert shared.max() <= 1e-6


def test_images_in_memory_have_the_scores_of_the_run(finished: Path, exported: Path) -> None:
    samples = square_samples(Path(), "test")
    images, masks = (torch.stack([getattr(one, part) for one in samples]) for part in ("image", "mask"))
    names = {"ids": [one.id for one in samples], "groups": [one.group for one in samples]}
    settings = {"steps": 3, "batch_size": 4, "gallery": 0}
    labels = [one.label for one in samples]
    result = evaluate(exported, images, masks, labels, "gradcam", "all", **names, precision="float32", explain=settings)
    shared = difference(finished, result, ["gradcam", "mask_oracle"])
    assert len(shared) > 100
    assert shared.max() <= 1e-6


def test_scores_are_a_long_frame_with_floor_and_ceiling(result: Result) -> None:
    assert set(result.scores["explainer"]) == {
        "gradcam",
        "softcam",
        "magnitude",
        "random",
        "mask_oracle",
        "grid_oracle",
    }
    assert set(result.scores.loc[result.scores["explainer"] == "softcam", "head"]) == {"tte"}
    by_method = result.scores[result.scores["metric"] == "activation_precision"].groupby("explainer")["value"].mean()
    assert by_method["mask_oracle"] == pytest.approx(1)
    assert by_method["random"] < by_method["gradcam"] < 1
    images, masks, _ = user_images()
    for row in result.scores.query("explainer == 'magnitude' and metric == 'pixel_auroc'").itertuples():
        place = int(row.image.removeprefix("image "))
        inside, outside = (images[place].mean(dim=0)[where] for where in (masks[place], ~masks[place]))
        assert row.value == pytest.approx(float((inside[:, None] > outside).double().mean()), abs=1e-6)


def test_the_model_and_the_images_are_left_as_they_were(user_net: UserNet) -> None:
    images, masks, labels = user_images(4)
    user_net.train()
    user_net.fc.weight.requires_grad_(False)
    user_net.fc.bias.grad = torch.ones(2)
    handle = user_net.body.register_forward_hook(lambda module, given, output: None)
    before, pixels = state_of(user_net), images.clone()
    try:
        evaluate(user_net, images, masks, labels, "gradcam", "pixel_auroc", mean=0, std=1, explain=QUICK)
        assert same_state(state_of(user_net), before)
        with pytest.raises(UserError):
            evaluate(user_net, images, masks, labels + 5, "gradcam", "pixel_auroc")
        assert same_state(state_of(user_net), before)
        assert torch.equal(images, pixels)
    finally:
        handle.remove()
        user_net.fc.weight.requires_grad_(True)
        user_net.fc.bias.grad = None
        user_net.eval()


def test_verdicts_say_difference_interval_p_and_words(result: Result) -> None:
    found = result.verdict("gradcam", "random", metric="pixel_auroc")
    assert found.metric == "pixel_auroc"
    assert found.low < found.difference < found.high
    values = result.scores.query("metric == 'pixel_auroc'").pivot(index="image", columns="explainer", values="value")
    assert found.difference == pytest.approx((values["gradcam"] - values["random"]).mean())
    assert found.p == pytest.approx(2 / 2**8)  # all eight differences have the same sign
    assert found.verdict == "better"
    assert str(found).startswith("gradcam locates better than random on images (pixel auroc +")
    with pytest.raises(UserError, match="no scores of 'gradcan'; did you mean gradcam"):
        result.verdict("gradcan", "random")
    with pytest.raises(UserError, match="the same maps"):
        result.verdict("random", "random")
    with pytest.raises(UserError, match="no scores of the metric 'gini'"):
        result.verdict("gradcam", "random", metric="gini")


def test_a_result_is_shown_as_a_table_with_the_answer(result: Result) -> None:
    text, page = repr(result), result._repr_html_()
    assert "test AUC 1.000, accuracy 1.000 (n = 16)" in text
    assert "UserNet: 2 logits in a tensor; feature map of 8 channels and 8×8 cells" in text
    for one in (text, page):
        assert result.answer in one
        assert "softcam" in one
    assert result.warnings == []


def test_figures_and_report_are_those_of_a_run(result: Result, tmp_path: Path, unsaved: None) -> None:
    assert len(result.plot.topk().figure.axes) == 1
    one, two = (result.plot.gallery(count).figure.get_figheight() for count in (1, 2))
    assert one < two
    page = result.save(tmp_path / "saved")
    assert page.is_file()
    assert (tmp_path / "saved/tables/localisation.csv").is_file()
    assert len(load_frames(tmp_path / "saved").rows()) == len(result.frames.rows())
    (tmp_path / "other").mkdir()
    (tmp_path / "other/notes.txt").write_text("mine")
    with pytest.raises(UserError, match="not a run folder and not empty"):
        result.save(tmp_path / "other")


def test_a_temporary_folder_goes_with_the_result_and_a_named_one_stays(user_net: UserNet, tmp_path: Path) -> None:
    images, masks, labels = user_images(4)
    given = (user_net, images, masks, labels, "gradcam", "pixel_auroc")
    folder = evaluate(*given, mean=0, std=1, explain=QUICK).folder
    assert not folder.exists()
    kept = evaluate(*given, mean=0, std=1, explain=QUICK, out=tmp_path / "run")
    file = tmp_path / "run/cells/images/UserNet-given-s0/scores/gradcam.parquet"
    written = file.stat().st_mtime_ns
    again = evaluate(*given, mean=0, std=1, explain=QUICK, out=tmp_path / "run")
    assert file.stat().st_mtime_ns == written
    pd.testing.assert_frame_equal(kept.scores, again.scores)


def test_predictions_at_chance_are_warned_about(user_net: UserNet) -> None:
    images, _, _ = user_images()
    labels = torch.arange(16) // 2 % 2
    with pytest.warns(UserWarning, match=r"predictions are at chance on these images \(AUC 0.5"):
        evaluate(user_net, images, None, labels, "gradcam", "gini", mean=0, std=1, explain=QUICK)


def test_targets_can_be_the_predicted_or_given_classes(user_net: UserNet) -> None:
    images, masks, labels = user_images(4)
    wrong = 1 - labels
    given = {"mean": 0, "std": 1, "explain": QUICK, "healthy": None}
    with pytest.warns(UserWarning, match="at chance"):
        predicted = evaluate(user_net, images, masks, wrong, "gradcam", "gini", targets="predicted", **given)
    assert predicted.scores.groupby("image")["target"].first().tolist() == labels.tolist()
    named = evaluate(user_net, images, masks, labels, "gradcam", "gini", targets=[1, 1, 0, 0], **given)
    assert named.scores.groupby("image")["target"].first().tolist() == [1, 1, 0, 0]


@pytest.mark.parametrize("batched", [False, True])
def test_a_dataset_or_loader_holds_images_labels_and_masks(user_net: UserNet, batched: bool, result: Result) -> None:
    images, masks, labels = user_images()
    data: Any = TensorDataset(images, labels, masks)
    data = DataLoader(data, batch_size=5) if batched else data
    found = evaluate(user_net, data, None, None, "gradcam", METRICS, mean=0, std=1, explain=QUICK)
    mine, theirs = (one.scores[one.scores["explainer"] == "gradcam"].reset_index(drop=True) for one in (found, result))
    pd.testing.assert_frame_equal(mine, theirs)


class Broken(Explainer):
    name, family, signed, paper = "broken", "post-hoc", True, ""

    def explain(self, classifier: Any, images: Tensor, targets: Tensor) -> Tensor:
        raise RuntimeError("no map today")


def test_an_explainer_that_fails_is_a_warning_and_not_the_end(user_net: UserNet) -> None:
    images, masks, labels = user_images(4)
    with pytest.warns(UserWarning, match="explainer 'broken' failed: RuntimeError: no map today"):
        found = evaluate(
            user_net, images, masks, labels, ["gradcam", Broken], "pixel_auroc", mean=0, std=1, explain=QUICK
        )
    assert set(found.scores["explainer"]) == {"gradcam", "random", "mask_oracle", "grid_oracle"}


IMAGES, MASKS, LABELS = user_images(4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": LABELS + 1}, "labels reach from 1 to 2, but the 2 outputs of the model are 0…1; renumber"),
        ({"labels": LABELS[:3]}, "there are 3 labels for 4 images"),
        ({"labels": None}, "labels are missing; give one class index per image"),
        ({"labels": torch.eye(2)[LABELS]}, r"labels have the shape \(4, 2\); give one class index per image"),
        ({"masks": MASKS[:, :16]}, "the mask of image 0 is 16×32, the image 32×32 pixels; they must be equal"),
        ({"masks": MASKS[:2]}, "there are 2 masks for 4 images"),
        ({"images": IMAGES[:, :2]}, r"image 0 has the shape \(2, 32, 32\)"),
        ({"images": IMAGES * 300, "mean": 0.5, "std": 0.2}, "the images lie in .* neither pixels in"),
        ({"images": IMAGES.long()}, "the images are torch.int64; give uint8, or floats"),
        ({"images": IMAGES[:, :, :16], "masks": None}, "not squares of one size .the first one is 16×32.; give size="),
        ({"mean": 0.5}, "mean and std belong together"),
        ({"mean": 0.5, "std": 0}, "std=0 is not one positive number, or three"),
        ({"explainers": ["gradcan"]}, "unknown explainer 'gradcan'; did you mean gradcam"),
        ({"explainers": [3]}, "a int is not an explainer; give a name, an Explainer, or a function"),
        ({"metrics": "auc"}, "unknown metric 'auc'"),
        ({"targets": "truth"}, "unknown targets 'truth'; give label, predicted, or one class index per image"),
        ({"targets": [0, 1, 2, 0]}, "target 2 is not an output of the model"),
        ({"healthy": "normal"}, "healthy='normal' is not a class; known: class 0, class 1"),
        ({"classes": ["a", "b", "c"]}, "the model has 2 outputs, but 3 classes are named"),
        ({"ids": ["a", "a", "b", "c"]}, "ids must be unique"),
        ({"device": "cuda:99"}, "device 'cuda:99' is not usable here"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"model": UserNet(form="probabilities")}, "are probabilities"),
    ],
)
def test_bad_input_is_one_line_with_the_remedy(changes: dict[str, Any], message: str) -> None:
    given = {"model": UserNet(), "images": IMAGES, "masks": MASKS, "labels": LABELS, "explainers": "gradcam"}
    with pytest.raises(UserError, match=message) as caught:
        evaluate(**given | {"metrics": "pixel_auroc"} | changes)
    assert "\n" not in str(caught.value)
