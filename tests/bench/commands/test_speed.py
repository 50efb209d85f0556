"""The command ``speed``: what is forwarded is counted, the arithmetic of its ratios checked; nothing is timed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import run_benchmark
from bench.commands.speed import explainers, forward, occlusion, timing, training
from bench.commands.speed.memory import in_fresh_process, peak_of
from bench.commands.speed.scene import CLASSES, Scene, Setting, Task, make_scene
from bench.commands.speed.tables import bars, rows, write
from bench.commands.speed.targets import FORWARD, Target, targets
from bench.commands.speed.tasks import all_tasks
from bench.evaluation.result import CostMeter
from bench.registry import EXPLAINERS
from bench.store.manifest import Manifest

CPU = torch.device("cpu")
TINY = Setting("compact", size=32, batch=4, images=3, repeats=3, steps=5)
CHANNELS = 64


@pytest.fixture(scope="module")
def scene() -> Scene:
    return make_scene(TINY, CPU)


@pytest.fixture(scope="module")
def costs(scene: Scene) -> explainers.Costs:
    return explainers.count_passes(scene)


def forwards(task: Task, classifier: nn.Module) -> tuple[int, int]:
    """Images that the task says it did, and images that its classifier was given."""
    meter = CostMeter(classifier, CPU)
    with meter:
        done = task.run()
    return done, meter.cost.forwards


def test_bare_forwards_are_of_the_same_function(scene: Scene) -> None:
    assert not any(isinstance(part, nn.BatchNorm2d) for part in scene.blackbox.modules())
    torch.testing.assert_close(scene.blackbox(scene.images), scene.plain(scene.images))
    assert [task.run() for task in forward.forward_tasks(scene)] == [4] * (1 + len(forward.precisions(scene)))


def test_passes_of_a_map_are_those_of_its_definition(costs: explainers.Costs) -> None:
    counted = {name: (cost.forwards, cost.backwards) for name, cost in costs[explainers.BLACK_BOX].items()}
    assert counted["gradcam"] == (1, 0)
    assert counted["saliency"] == (1, 1)
    assert counted["integrated_gradients"][1] == 50
    assert counted["scorecam"] == (CHANNELS + 1, 0)
    assert counted["edges"] == (0, 0)
    assert counted["gradcam@captum"][0] == 1
    assert "softcam" in costs[explainers.ON_SOFTCAM]
    assert not any("@" in name for name in costs[explainers.ON_SOFTCAM])


def test_feature_map_cams_are_told_by_their_passes(costs: explainers.Costs) -> None:
    found = {
        name
        for name, cost in costs[explainers.BLACK_BOX].items()
        if explainers.is_feature_map_cam(EXPLAINERS[name](), cost)
    }
    assert found == {"gradcam", "gradcam++", "layercam", "hirescam", "xgradcam", "eigencam"}


def test_single_maps_forward_what_was_counted(scene: Scene, costs: explainers.Costs) -> None:
    for task in explainers.explainer_tasks(scene, costs):
        if task.group == explainers.ALL_CLASSES or EXPLAINERS[task.what].family == "control":
            continue  # controls read no more than the size of the feature map
        own = scene.plain if task.maker == "peer" else scene.blackbox
        done, given = forwards(task, scene.softcam if task.group == explainers.ON_SOFTCAM else own)
        assert done >= 1
        assert given == done * costs[task.group][task.what].forwards, task.name


def test_quick_leaves_out_what_takes_more_than_a_batch() -> None:
    quick = explainers.count_passes(make_scene(Setting("compact", size=32, batch=4, quick=True), CPU))
    assert "gradcam" in quick[explainers.BLACK_BOX]
    assert "saliency" in quick[explainers.BLACK_BOX]
    assert not {"scorecam", "occlusion", "smoothgrad", "scorecam@pytorch-grad-cam"} & set(quick[explainers.BLACK_BOX])


def test_softcam_maps_of_all_classes_are_one_pass(scene: Scene, costs: explainers.Costs) -> None:
    tasks = {task.what: task for task in explainers.explainer_tasks(scene, costs)}
    assert forwards(tasks["softcam"], scene.softcam) == (4, 4)
    assert tasks[explainers.CAMS].run() == 4


def test_curves_forward_every_variant(scene: Scene) -> None:
    tasks = {task.what: task for task in occlusion.occlusion_tasks(scene)}
    variants = TINY.images * (TINY.steps + 1)
    assert forwards(tasks["harness float32"], scene.blackbox) == (variants, -(-variants // TINY.batch) * TINY.batch)
    assert forwards(tasks[occlusion.LOOP], scene.plain) == (TINY.steps + 1, TINY.steps + 1)


def test_loop_blanks_the_highest_patch_first() -> None:
    score = np.zeros((6, 6))
    score[5, 0], score[0, 3], score[2, 2] = 3, 2, 1
    assert occlusion._ranked(score, 2)[:3] == [(4, 0), (0, 2), (2, 2)]


def test_quantus_forwards_what_it_says(scene: Scene) -> None:
    pytest.importorskip("quantus")
    task = next(task for task in occlusion.occlusion_tasks(scene) if task.what == occlusion.QUANTUS)
    done, given = forwards(task, scene.plain)
    assert done == given


def test_training_tasks_see_every_image(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    original = F.cross_entropy

    def count(logits: Tensor, *others: Tensor, **options: Tensor) -> Tensor:
        seen.append(len(logits))
        return original(logits, *others, **options)

    monkeypatch.setattr(F, "cross_entropy", count)
    for task in training.training_tasks(scene):
        seen.clear()
        assert task.run() == sum(seen) == 4
    assert not any(weight.requires_grad for weight in scene.plain.parameters())


def test_tasks_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_SHORTEST", 0.0)
    log: list[str] = []

    def task(name: str) -> Task:
        return Task("work", name, lambda: log.append(name) or 2)

    monkeypatch.setattr("time.perf_counter", _ticks().__next__)
    seconds = timing.seconds_per_image([task("a"), task("b")], 3, CPU, lambda number: None)
    assert log == ["a", "b"] * 4  # runs of three seconds are long
    assert {name: values.tolist() for name, values in seconds.items()} == {"work: a": [1.5] * 3, "work: b": [1.5] * 3}


def test_a_short_first_run_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_SHORTEST", 0.5)
    log: list[str] = []
    task = Task("work", "a", lambda: log.append("a") or 2)
    monkeypatch.setattr("time.perf_counter", _ticks(0.25).__next__)
    seconds = timing.seconds_per_image([task], 1, CPU, lambda number: None)
    assert len(log) == 2 * (1 + 2)
    assert seconds["work: a"].tolist() == [0.125]


def _ticks(step: float = 3.0) -> Iterator[float]:
    """A clock that shows a step more whenever it is read."""
    now = 0.0
    while True:
        yield now
        now += step


SECONDS = {"slow": np.array([8.0, 10.0, 30.0]), "fast": np.array([1.0, 2.0, 5.0]), FORWARD: np.array([2.0, 1.0, 4.0])}


def test_ratios_are_taken_within_a_round() -> None:
    assert timing.multiples(SECONDS, "slow", "fast").tolist() == [8, 5, 6]
    assert timing.multiples(SECONDS, "slow", "fast", 2).tolist() == [4, 2.5, 3]


def test_targets_bound_cost_from_above_and_speed_from_below() -> None:
    cost = Target("slow", "fast", 6, 1, "a fast one", is_speed=False)
    assert (cost.ratio(SECONDS), cost.is_met(SECONDS), cost.text()) == (6, True, "≤ 6 × a fast one")
    assert not Target("slow", "fast", 5.9, 1, "", is_speed=False).is_met(SECONDS)
    speed = Target("fast", "slow", 12, 2, "two slow ones")
    assert (speed.ratio(SECONDS), speed.is_met(SECONDS)) == (12, True)
    assert speed.text() == "≥ 12 × the speed of two slow ones"
    assert not Target("fast", "slow", 12.1, 2, "").is_met(SECONDS)


def test_every_target_has_its_tasks(scene: Scene, costs: explainers.Costs) -> None:
    names = [task.name for task in all_tasks(scene, costs)]
    assert len(set(names)) == len(names)
    scorecam = f"{explainers.ALL_CLASSES}: {explainers.scorecam_in('bf16')}"
    found = targets(scene, [*names, f"{occlusion.GROUP}: harness bf16", f"{forward.GROUP}: best bf16", scorecam])
    assert sorted(target.bound for target in found if "Quantus" not in target.words) == sorted(
        [1.2, 1.02, 0.9, 4, 0.9, 4, 0.95, 0.95, 0.9, 5, 0.9, 9]
    )
    shares = {target.words: target.factor for target in found}
    assert shares[f"{CHANNELS + 1} best float32 forwards"] == CHANNELS + 1
    assert shares["pytorch-grad-cam for 2 classes"] == CLASSES


def test_table_and_bars(tmp_path: Path) -> None:
    tasks = [
        Task("forward pass", "float32", lambda: 1, "limit"),
        Task("a", "slow", lambda: 1),
        Task("a", "fast", lambda: 1, "peer"),
    ]
    seconds = {FORWARD: SECONDS[FORWARD], "a: slow": SECONDS["slow"], "a: fast": SECONDS["fast"]}
    goals = [Target("a: slow", "a: fast", 2, 1, "fast", is_speed=False)]
    table = rows(tasks, seconds, goals, {"a: slow": 12.4})
    write(table, "Caption.", ["Note."], Manifest(tmp_path))
    read = pd.read_csv(tmp_path / "speed.csv").set_index("what")
    assert read.loc["slow", ["seconds", "seconds_low", "seconds_high"]].tolist() == [10, 8, 30]
    assert read.loc["slow", ["x_forward", "x_forward_low", "x_forward_high"]].tolist() == [7.5, 4, 10]
    assert read.loc["slow", "met"] == "no (6.00)"
    assert np.isnan(read.loc["fast", "peak_memory_mib"])
    text = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "| a | fast | other code | 2000 [1000, 5000] | 1.250 [0.500, 2.000] | – |  |  |" in text
    assert "| 12 | ≤ 2 × fast | no (6.00) |" in text
    assert "- Note." in text
    assert {"speed.png", "speed.pdf"} <= {file.name for file in tmp_path.iterdir()}


def test_bars_leave_out_what_costs_nothing_and_cut_nothing_off() -> None:
    tasks = [
        Task("forward pass", "float32", lambda: 1, "limit"),
        Task("a", "slow", lambda: 1),
        Task("a", "no", lambda: 1),
    ]
    seconds = {FORWARD: SECONDS[FORWARD], "a: slow": SECONDS["slow"] * 100, "a: no": SECONDS["fast"] / 1e4}
    _, panel = bars(rows(tasks, seconds, [], {}), "").axes
    assert [label.get_text() for label in panel.get_yticklabels()] == ["slow"]
    low, high = panel.get_xlim()
    assert low < 1
    assert high > 1000


def _peak_of_64_mebibytes() -> float:
    return peak_of(Task("", "", lambda: len(torch.ones(1, 2**24))), CPU)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory cannot be measured here")
def test_memory_of_a_fresh_process() -> None:
    ballast = torch.ones(2**26)  # what this process holds must not count
    assert in_fresh_process(run_benchmark.register, _peak_of_64_mebibytes) == pytest.approx(64, abs=4)
    assert len(ballast) == 2**26
