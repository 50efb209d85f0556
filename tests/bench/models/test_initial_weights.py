"""Weights from elsewhere: no code of theirs runs, what fits is loaded, and nothing passes for what it is not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bench.contracts import Classifier, UserError
from bench.models.backbones import CompactResNet
from bench.models.initial_weights import read_initial_weights
from bench.registry import BACKBONES, HEADS
from bench.report.frames.load import load_frames
from bench.store.folders import RunStore
from bench.store.records import InitFacts
from bench.training.loop import TrainingLoop
from tests.support.made import run_tiny, stopped_in_second_epoch, tiny_config


def classifier(head: str, seed: int, num_classes: int = 2, backbone: str = "compact") -> Classifier:
    torch.manual_seed(seed)
    return HEADS[head]().build(BACKBONES[backbone].build(False)[0], num_classes)


def plain(seed: int = 1) -> CompactResNet:
    """A backbone whose batch norms have statistics of their own."""
    torch.manual_seed(seed)
    model = CompactResNet()
    model(torch.randn(4, 3, 32, 32))
    return model.eval()


def test_own_weights_come_back_whole(tmp_path: Path) -> None:
    theirs, ours = classifier("softcam-dense", 1), classifier("softcam-sparse", 2)
    save_file(theirs.state_dict(), tmp_path / "a.safetensors")
    said = read_initial_weights(tmp_path / "a.safetensors").load_into(ours, "random")
    assert all(torch.equal(ours.state_dict()[name], value) for name, value in theirs.state_dict().items())
    total = sum(value.is_floating_point() for name, value in ours.state_dict().items() if name[:9] == "features.")
    assert f": {total} of {total} tensors of the feature extractor, 2 of 2 of the head" in said
    assert "random" not in said
    assert "unused" not in said


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: state,
        lambda state: {"state_dict": state, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda state: {"model": {f"module.{name}": value for name, value in state.items()}},
        lambda state: {"model_state_dict": {f"module._orig_mod.{name}": value for name, value in state.items()}},
        lambda state: {"state_dict": {f"model.{name}": value.half() for name, value in state.items()}},
    ],
)
@pytest.mark.parametrize("head", ["blackbox", "softcam-dense"])
def test_plain_backbone_in_any_wrapper(tmp_path: Path, wrap: Any, head: str) -> None:
    model, ours = plain(), classifier(head, 2).eval()
    fresh = {name: value.clone() for name, value in ours.head.state_dict().items()}
    torch.save(wrap(model.state_dict()), tmp_path / "a.pt")
    said = read_initial_weights(tmp_path / "a.pt").load_into(ours, "random")
    images = torch.randn(2, 3, 32, 32)
    expected = model.stages(model.stem(images))
    torch.testing.assert_close(ours.forward_features(images), expected, atol=0.02, rtol=0.02)  # half has 3 digits
    if head == "blackbox":
        torch.testing.assert_close(ours.head.state_dict()["fc.weight"], model.fc.weight, atol=1e-3, rtol=0)
        assert "2 of 2 of the head" in said
    else:
        assert all(torch.equal(fresh[name], value) for name, value in ours.head.state_dict().items())
        assert "0 of 2 of the head, 2 in the file unused" in said


def test_other_number_of_classes_leaves_the_head_fresh(tmp_path: Path) -> None:
    ours = classifier("blackbox", 2, num_classes=5)
    before = ours.head.state_dict()["fc.weight"].clone()
    torch.save(plain().state_dict(), tmp_path / "a.pth")
    said = read_initial_weights(tmp_path / "a.pth").load_into(ours, "random")
    assert torch.equal(ours.head.state_dict()["fc.weight"], before)
    assert "0 of 2 of the head" in said


def test_other_architecture_is_refused_though_half_of_it_fits(tmp_path: Path) -> None:
    large, ours = BACKBONES["resnet50"].build(False)[0], classifier("blackbox", 2, backbone="resnet18")
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    save_file(large.state_dict(), tmp_path / "a.safetensors")
    state = {name.removeprefix("features."): value for name, value in before.items() if value.dtype == torch.float32}
    theirs = large.state_dict()
    there = sum(one.numel() for name, one in state.items() if name in theirs and theirs[name].shape == one.shape)
    total = sum(one.numel() for name, one in before.items() if name[:9] == "features." and one.dtype == torch.float32)
    assert there > total / 2
    with pytest.raises(UserError) as refused:
        read_initial_weights(tmp_path / "a.safetensors").load_into(ours, "random")
    assert f"holds {there / total:.0%} of the feature extractor (90% are needed)" in str(refused.value)
    assert "'layer1.0.conv1.weight' is (64, 64, 1, 1) and not (64, 64, 3, 3)" in str(refused.value)
    assert "is unexpected" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert all(torch.equal(before[name], value) for name, value in ours.state_dict().items())


def test_nothing_in_common_names_a_missing_and_an_unexpected_key(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.ones(3)}, tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"holds 0% .*'stem.0.weight' is missing, 'encoder.weight' is unexpected"):
        read_initial_weights(tmp_path / "a.pt").load_into(classifier("blackbox", 0), "random")


def test_most_of_the_features_is_enough_and_the_rest_is_said(tmp_path: Path) -> None:
    state = plain().state_dict()
    state["stem.0.weight"] = state["stem.0.weight"].mean(dim=1, keepdim=True)  # made for grey images
    torch.save(state, tmp_path / "grey.pt")
    ours = classifier("blackbox", 2)
    said = read_initial_weights(tmp_path / "grey.pt").load_into(ours, "random initialisation")
    assert "; the rest: random initialisation" in said
    assert torch.equal(ours.state_dict()["features.stem.1.running_mean"], state["stem.1.running_mean"])


class _Evil:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.marker), "w")


def test_pickled_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    torch.save({"state_dict": plain().state_dict(), "extra": _Evil(marker)}, tmp_path / "evil.pt")
    with pytest.raises(UserError, match=r"contains pickled objects \(\w*io.open\).* could execute code; .*safetensors"):
        read_initial_weights(tmp_path / "evil.pt")
    assert not marker.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)["extra"].close()
    assert marker.exists()  # it would have


def _damage(path: Path) -> None:
    torch.save(plain().state_dict(), path)
    path.write_bytes(path.read_bytes()[:1000])


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        ("whole.pt", lambda path: torch.save(nn.Linear(2, 2), path), "objects (torch.nn.modules.linear.Linear)"),
        ("cut.pt", _damage, "cannot be read as a file of tensors (RuntimeError"),
        ("text.pt", lambda path: path.write_text("hello"), "cannot be read as a file of tensors"),
        ("list.pt", lambda path: torch.save([torch.ones(2)], path), "holds no weights by name"),
        ("empty.pt", lambda path: torch.save({"epoch": 3}, path), "holds no weights by name"),
        ("text.safetensors", lambda path: path.write_text("hello"), "are not a complete safetensors file"),
        ("nowhere.pt", lambda path: None, "cannot be read: No such file or directory"),
    ],
)
def test_unusable_file_is_one_line(tmp_path: Path, name: str, make: Any, said: str) -> None:
    make(tmp_path / name)
    with pytest.raises(UserError) as refused:
        read_initial_weights(tmp_path / name)
    assert said in str(refused.value)
    assert str(tmp_path / name) in str(refused.value)
    assert "\n" not in str(refused.value)


# --- In a run --------------------------------------------------------------------------------------------------------


def config(init: Path | None, **section: Any) -> Any:
    named = {"explainers": ["random"], "heads": ["softcam-sparse"]} | section
    return tiny_config(**named, **({"init": str(init)} if init else {}))


@pytest.mark.usefixtures("squares")
def test_training_starts_from_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(plain().state_dict(), tmp_path / "a.pt")
    started: list[dict[str, Tensor]] = []

    def look(loop: TrainingLoop, *rest: object) -> None:
        started.append({name: value.clone() for name, value in loop.classifier.features.state_dict().items()})
        raise RuntimeError("seen enough")

    monkeypatch.setattr("bench.training.training_run.train", look)
    run_tiny(tmp_path / "run", config(tmp_path / "a.pt", heads=["blackbox", "softcam-sparse"]))
    assert len(started) == 2
    assert all(torch.equal(one[name], plain().state_dict()[name]) for one in started for name in one)


@pytest.mark.usefixtures("squares")
def test_another_file_is_another_training(tmp_path: Path) -> None:
    out, first, second = tmp_path / "run", tmp_path / "a.pt", tmp_path / "b.pt"
    torch.save(plain(1).state_dict(), first)
    torch.save(plain(2).state_dict(), second)
    assert run_tiny(out, config(None)).computed
    weights = [load_file(next(out.rglob("compact-softcam-sparse-s0/weights.safetensors")))]
    for file in (first, second):
        assert run_tiny(out, config(file)).computed
        assert not run_tiny(out, config(file)).computed
        weights.append(load_file(out / "cells/squares/compact-softcam-sparse-s0/weights.safetensors"))
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        assert RunStore(out).record.init == InitFacts(file=str(file), sha256=digest)
        (record,) = load_frames(out).cells["record"]
        assert f"initial weights {file.name} (sha256 {digest[:16]})" in record.weights_from
    assert not any(
        torch.equal(weights[0]["features.stem.0.weight"], one["features.stem.0.weight"]) for one in weights[1:]
    )
    assert not torch.equal(weights[1]["features.stem.0.weight"], weights[2]["features.stem.0.weight"])
    assert not run_tiny(out, config(first)).computed  # set aside, and brought back
    assert not run_tiny(out, config(None)).computed
    first.write_bytes(second.read_bytes())
    assert not run_tiny(out, config(first)).computed  # the content counts, not the name


@pytest.mark.usefixtures("squares")
def test_interrupted_training_goes_on_from_its_own_weights_not_from_the_file(tmp_path: Path) -> None:
    torch.save(plain().state_dict(), tmp_path / "a.pt")
    with stopped_in_second_epoch(), pytest.raises(KeyboardInterrupt):
        run_tiny(tmp_path / "stopped", config(tmp_path / "a.pt"))
    for run in ("stopped", "undisturbed"):
        assert run_tiny(tmp_path / run, config(tmp_path / "a.pt")).problems == []
    ours, theirs = (
        load_file(next((tmp_path / run).rglob("weights.safetensors"))) for run in ("stopped", "undisturbed")
    )
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.usefixtures("squares")
def test_backbone_that_it_does_not_fit_fails_alone(tmp_path: Path) -> None:
    torch.save(plain().state_dict(), tmp_path / "a.pt")
    outcome = run_tiny(tmp_path / "run", config(tmp_path / "a.pt", backbones=["compact", "resnet18"]))
    (problem,) = outcome.problems
    assert "squares · resnet18 · softcam-sparse · seed 0 failed: initial weights" in problem
    assert "do not fit" in problem
    assert load_frames(tmp_path / "run").cells["status"].tolist() == ["ok", "failed"]
    records = [json.loads(file.read_text()) for file in sorted((tmp_path / "run" / "cells").rglob("cell.json"))]
    assert "'conv1.weight' is missing" in records[1]["reason"]
