"""What every registered metric of ours must do, called as the harness calls it."""

from __future__ import annotations

import pytest
import torch

from bench import metrics
from bench.contracts import METRIC_INPUTS
from bench.maps import upsample
from bench.registry import METRICS
from bench.text.definition import definition

OURS = [name for name in METRICS if METRICS[name].function.__module__.startswith("bench.metrics.")]
N, SIZE, PATCH, STRIDE = 7, 32, 8, 4
EMPTY_MASK, NAN_MAP = 1, 2
WEIGHTS = torch.randn(3, 3 * SIZE * SIZE, generator=torch.Generator().manual_seed(1)) / 30


def predict(images):
    return images.flatten(1) @ WEIGHTS.T


def make_inputs():
    """Random images, among them every awkward map and mask."""
    source = torch.Generator().manual_seed(0)
    native = torch.randn(N, 8, 8, generator=source)
    native[NAN_MAP, 3, 3] = torch.nan
    native[3], native[4], native[5] = 0.0, -native[4].abs() - 0.1, 2.0  # empty, only against the class, constant
    masks = torch.rand(N, SIZE, SIZE, generator=source) < 0.05
    masks[EMPTY_MASK] = False
    masks[6] = True
    images = torch.randn(N, 3, SIZE, SIZE, generator=source)
    targets = predict(images).argmax(dim=1)
    targets[4:] = torch.tensor([1, 2, 0])  # among them a wrong prediction
    ignored = torch.zeros(N, SIZE, SIZE, dtype=torch.bool)
    ignored[:4, :6] = True  # of four images, so that masks of the whole image and others without any are among them
    return {"native_maps": native, "masks": masks, "ignored": ignored, "images": images, "targets": targets}


def complete(inputs, ids):
    """All that a metric may need, made as the harness makes it."""
    maps, images, targets = upsample(inputs["native_maps"], SIZE), inputs["images"], inputs["targets"]
    filled = metrics.fill_images(images, "zero", PATCH)

    def logits(least_first=False, reveal=False):
        order = metrics.patch_order(maps, PATCH, ids, least_first=least_first)
        return metrics.occlusion_logits(predict, images, order, 20, PATCH, filled, reveal=reveal)

    return inputs | {
        "maps": maps,
        "logits": predict(images),
        "explained_logits": predict(images),
        "pooled_map": inputs["native_maps"].mean(dim=(1, 2)),
        "signed": True,
        "predict": predict,
        "deletion_curve": metrics.target_probability(logits(), targets),
        "reverse_deletion_curve": metrics.target_probability(logits(least_first=True), targets),
        "insertion_curve": metrics.target_probability(logits(reveal=True), targets),
        "deletion_hits": metrics.still_target(logits(), targets),
        "topk_hits": metrics.topk_patch_hits(maps, inputs["masks"], 10, PATCH, STRIDE, ignored=inputs["ignored"]),
    }


def call(name, inputs):
    info = METRICS[name]
    return info.function(*(inputs[need] for need in info.needs))


def test_metrics_of_ours_are_those_of_the_definitions():
    assert set(OURS) == {
        "activation_precision", "activation_sensitivity", "topk_precision", "pointing_game", "pixel_auroc",
        "pixel_auprc", "iou_at_area", "audc", "audc_accuracy", "auic", "srg", "positive_ratio", "negative_ratio",
        "false_alarm_area", "evidence_gap", "gini", "entropy", "largest_evidence",
    }  # fmt: skip
    assert set(complete(make_inputs(), range(N))) == set(METRIC_INPUTS)
    for name in OURS:
        assert getattr(metrics, name) is METRICS[name].function


@pytest.mark.parametrize("name", OURS)
def test_one_value_per_image_in_range_or_nan(name):
    values = call(name, complete(make_inputs(), range(N)))
    assert values.shape == (N,)
    assert values.is_floating_point()
    lowest, highest = METRICS[name].value_range
    assert (values.isnan() | (values >= lowest) & (values <= highest) & values.isfinite()).all()
    assert not values[0].isnan(), "an ordinary image must have a value"


@pytest.mark.parametrize("name", OURS)
def test_a_map_with_a_nan_is_nan(name):
    assert call(name, complete(make_inputs(), range(N)))[NAN_MAP].isnan()


@pytest.mark.parametrize("name", [name for name in OURS if {"masks", "topk_hits"} & set(METRICS[name].needs)])
def test_an_empty_mask_is_nan(name):
    assert call(name, complete(make_inputs(), range(N)))[EMPTY_MASK].isnan()


@pytest.mark.parametrize("name", OURS)
def test_a_batch_is_its_images_one_by_one(name):
    inputs = make_inputs()
    together = call(name, complete(inputs, range(N)))
    for i in range(N):
        one = {key: value[i : i + 1] for key, value in inputs.items()}
        torch.testing.assert_close(call(name, complete(one, [i])), together[i : i + 1], equal_nan=True)


@pytest.mark.parametrize("name", OURS)
def test_inputs_are_not_modified(name):
    inputs, untouched = (complete(make_inputs(), range(N)) for _ in range(2))
    call(name, inputs)
    for key, value in untouched.items():
        if isinstance(value, torch.Tensor):
            torch.testing.assert_close(inputs[key], value, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", OURS)
def test_facts_are_stated(name):
    info = METRICS[name]
    assert info.paper.startswith(("arXiv:", "doi:"))
    assert info.function.__doc__
    assert (info.higher_is_better is None) == (info.family == "complexity" or name == "largest_evidence")


def shifted(by: float) -> dict[str, object]:
    """Inputs of ordinary maps to all of whose pixels a constant is added, in float64 so that nothing else changes."""
    inputs = make_inputs()
    ordinary = [0, 6]
    native = torch.randn(2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    chosen = {name: value[ordinary] for name, value in inputs.items()} | {"native_maps": native + by}
    chosen["masks"][1, 5:9] = False  # a mask of the whole image would hide a difference
    chosen["targets"] = predict(chosen["images"]).argmax(dim=1)
    return complete(chosen, ordinary)


@pytest.mark.parametrize("name", [name for name in OURS if METRICS[name].family != "exactness"])
def test_metrics_state_whether_they_use_the_zero_of_the_map(name):
    info, before = METRICS[name], call(name, shifted(0))
    after = [call(name, shifted(by)).nan_to_num(nan=1e9) for by in (-3.0, -0.8, 0.4)]
    changes = [(one - before).abs().max().item() for one in after]
    assert before.isfinite().all()
    if info.reads_zero(next(iter(info.variants), "")):
        assert max(changes) > 1e-3
    else:
        assert max(changes) < 1e-6


@pytest.mark.parametrize("name", OURS)
def test_definitions_are_a_sentence_that_a_page_can_show(name):
    about = definition(METRICS[name].function)
    assert about.split()[0] in ("The", "Tests")
    assert about.endswith(".")
    assert len(about) < 150
    assert not set("`\n") & set(about)


@pytest.mark.parametrize("rule", metrics.RULES)
def test_orders_that_are_free_of_the_zero_do_not_change_with_it(rule):
    """Of an image whose last patches are cut, because a constant adds less to the sum of a smaller patch."""
    maps = torch.randn(5, 35, 37, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    before = metrics.patch_order(maps, PATCH, rule=rule)
    same = all(torch.equal(metrics.patch_order(maps + by, PATCH, rule=rule), before) for by in (-3.0, -0.8, 0.4, 5.0))
    for name in ("audc", "audc_accuracy", "auic", "srg"):
        assert METRICS[name].reads_zero("" if rule == metrics.RULES[0] else rule) == (not same)
