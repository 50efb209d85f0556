"""The command ``evaluate``, and a given model as a head of a run."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from torchvision.utils import save_image
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.cli.plugins import load_plugins
from bench.errors import UserError
from bench.given.models.sources import load_weights, model_builder, named_dataset, open_model
from bench.report.frames.load import load_frames
from bench.store.folders import RunStore
from tests.bench.given.user_model import SIDE, UserNet, trained_net, user_images
from tests.support.made import run_tiny, tiny_config

NET = """
from tests.bench.given.user_model import UserNet

def build(classes):
    return UserNet(outputs=classes)
"""
HEAD = """
from bench import Head, adapt, register_head
from tests.bench.given.user_model import SIDE, trained_net

@register_head
class Mine(Head):
    name, family, paper, given = "mine", "black box", "", True
    normalisation = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def build(self, model, num_classes):
        return adapt(trained_net(), size=SIDE)
"""


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A folder with images, masks, a builder and the trained weights."""
    images, masks, labels = user_images(12)
    for place, (image, mask, label) in enumerate(zip(images, masks, labels, strict=True)):
        name = ("plain", "square")[int(label)]
        for folder, picture in (("images", image), ("masks", mask.float().expand(3, -1, -1))):
            if folder == "images" or label:
                file = tmp_path / "own" / folder / name / f"{place}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                save_image(picture, file)
    save_file(trained_net().state_dict(), tmp_path / "my.safetensors")
    (tmp_path / "my_net.py").write_text(NET, encoding="utf-8")
    return tmp_path


def test_a_model_from_a_file_is_evaluated_on_a_folder(own: Path, unsaved: None) -> None:
    flags = {
        "--model": f"{own}/my_net.py:build",
        "--weights": f"{own}/my.safetensors",
        "--classes": "2",
        "--datasets": f"folder:{own}/own",
        "--size": str(SIDE),
        "--explainers": "gradcam,softcam",
        "--metrics": "activation_precision,pixel_auroc",
        "--out": f"{own}/run",
        "--device": "cpu",
    }
    words = [word for flag in flags.items() for word in flag]
    done = CliRunner().invoke(app, ["evaluate", *words], obj=run_benchmark.register)
    assert done.exit_code == 0, done.output
    assert "UserNet: 2 logits in a tensor" in done.output
    assert "test AUC 1.000" in done.output
    assert (own / "run/report.html").is_file()
    frames = load_frames(own / "run")
    assert set(frames.record.heads) == {"given", "tte"}
    assert frames.record.datasets[f"folder:{own}/own"].images == {"test": [6, 6]}  # all images of the folder
    assert not list((own / "run/cells").rglob("training.csv"))


def test_a_given_head_is_a_row_of_a_run_beside_trained_ones(tmp_path: Path, squares: None) -> None:
    file = tmp_path / "mine.py"
    file.write_text(HEAD, encoding="utf-8")
    assert load_plugins([file]) == []
    config = tiny_config(heads=["softcam-dense", "mine", "tte@of=mine"], metrics=["pixel_auroc"])
    assert run_tiny(tmp_path / "run", config).problems == []
    frames = load_frames(tmp_path / "run")
    scored = frames.rows()[["head", "explainer"]].drop_duplicates().apply(tuple, axis=1)
    assert {("mine", "gradcam"), ("tte@of=mine", "softcam"), ("softcam-dense", "softcam")} <= set(scored)
    store = RunStore(tmp_path / "run")
    trained = {key.head: store.cell(key).training.exists() for key in frames.record.cells}
    assert trained == {"softcam-dense": True, "mine": False, "tte@of=mine": False}
    logits = [
        pd.read_parquet(store.cell(key).predictions).filter(like="logit_").to_numpy()
        for key in frames.record.cells
        if key.head != "softcam-dense"
    ]
    torch.testing.assert_close(*map(torch.tensor, logits), rtol=0, atol=1e-5)
    assert not run_tiny(tmp_path / "run", config).computed


def test_weights_must_fit_the_model(tmp_path: Path) -> None:
    state = trained_net().state_dict()
    save_file({f"module.{name}": value for name, value in state.items()}, tmp_path / "parallel.safetensors")
    net = UserNet()
    load_weights(net, tmp_path / "parallel.safetensors")
    assert all(torch.equal(net.state_dict()[name], value) for name, value in state.items())
    with pytest.raises(
        UserError, match=r"does not fit UserNet: 2 of another shape .such as fc.weight.; check the builder"
    ):
        open_model(tmp_path / "parallel.safetensors", lambda: UserNet(outputs=3))
    save_file({name: value for name, value in state.items() if "fc" not in name}, tmp_path / "part.safetensors")
    with pytest.raises(UserError, match=r"2 missing .such as fc.weight"):
        load_weights(net, tmp_path / "part.safetensors")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnet50", "not of a known form; give torchvision:NAME"),
        ("torchvision:resnet5", "model torchvision:resnet5 cannot be built"),
        ("nowhere.py:build", "there is no Python file nowhere.py"),
        ("timm:no_such_net", r"model timm:no_such_net (cannot be built|needs timm: pip install timm)"),
    ],
)
def test_unknown_models_are_refused(spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        model_builder(spec, 2)[0]()


def test_named_models_are_built_with_the_asked_number_of_outputs() -> None:
    build, normalisation = model_builder("torchvision:shufflenet_v2_x0_5", 3)
    assert build()(torch.rand(2, 3, 64, 64)).shape == (2, 3)
    assert normalisation is not None
    assert normalisation[0] == (0.485, 0.456, 0.406)


def test_test_images_that_a_folder_names_are_the_only_ones(own: Path) -> None:
    lines = [f"{name},test" for name in ("plain/0.png", "square/1.png")]
    (own / "own/splits.csv").write_text("\n".join(["file,split", *lines]), encoding="utf-8")
    name, info = named_dataset(own / "own", own)
    assert name == f"folder:{own}/own"
    assert len(info.builder(own, "test")) == 2
    (own / "own/splits.csv").unlink()
    assert len(named_dataset(own / "own", own)[1].builder(own, "test")) == 12
