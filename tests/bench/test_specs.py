"""Names with parameters, and the heads and data sets that they plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import baselines  # noqa: F401
import bench.data
import bench.metrics
import bench.models.backbones
import bench.models.timm_backbones
import bench.studies  # noqa: F401
import softcam  # noqa: F401
from bench.config import load_config, parse_config
from bench.contracts import UserError
from bench.run.plan import make_plan
from bench.specs import Spec, parse_spec, short_names
from bench.store.records import CellKey


@pytest.mark.parametrize(
    ("text", "base", "parameters"),
    [
        ("gradcam++", "gradcam++", {}),
        ("fundus-phantom@grades", "fundus-phantom@grades", {}),
        ("softcam-sparse@l1=1e-4", "softcam-sparse", {"l1": 1e-4}),
        ("softcam-elastic@l1=1e-4@l2=2", "softcam-elastic", {"l1": 1e-4, "l2": 2}),
        ("softcam-dense@pooling=max", "softcam-dense", {"pooling": "max"}),
        ("fundus-phantom@grades@size=96", "fundus-phantom@grades", {"size": 96}),
        ("folder:/data/a=b/c@d", "folder:/data/a=b/c@d", {}),
        ("size=96", "size=96", {}),
    ],
)
def test_parameters_are_taken_off_the_end(text: str, base: str, parameters: dict[str, Any]) -> None:
    assert parse_spec(text) == Spec(text, base, parameters)


def plan_of(**run: Any) -> Any:
    values = load_config("smoke").model_dump()
    values["run"] |= run
    return make_plan(parse_config(values, "made"), Path("nowhere"))


def test_a_head_gets_the_parameters_of_its_name() -> None:
    plan = plan_of(heads=["softcam-sparse", "softcam-sparse@l1=1e-3"])
    planned = {key.head: one for key, one in plan.cells.items()}
    assert planned["softcam-sparse"].parameters["l1"] == 5e-5
    assert planned["softcam-sparse@l1=1e-3"].parameters == planned["softcam-sparse"].parameters | {"l1": 1e-3}
    assert planned["softcam-sparse@l1=1e-3"].head.elastic_net.l1 == 1e-3
    assert {one.base for one in planned.values()} == {"softcam-sparse"}


@pytest.mark.parametrize(
    ("run", "said"),
    [
        ({"heads": ["softcam-sparse@l3=1"]}, "head 'softcam-sparse@l3=1' cannot be made with {'l3': 1}"),
        ({"heads": ["softcam-spars@l1=1"]}, "did you mean softcam-sparse"),
        ({"heads": ["softcam-sparse@l1=-1"]}, "l1 must be a number of at least 0"),
        ({"datasets": ["cxr-phantom@sise=64"]}, "unknown key 'data.sise'; did you mean size"),
        ({"datasets": ["cxr-phantom@size=8"]}, "data.size: Input should be greater than or equal to 32"),
    ],
)
def test_wrong_parameters_are_one_line(run: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        plan_of(**run)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sizes_multiply_the_data_sets() -> None:
    plan = plan_of(datasets=["cxr-phantom", "oct-phantom@classes"], sizes=[48, 64])
    assert {name: plan.configs[name].data.size for name in plan.datasets} == {
        "cxr-phantom@size=48": 48,
        "cxr-phantom@size=64": 64,
        "oct-phantom@classes@size=48": 48,
        "oct-phantom@classes@size=64": 64,
    }
    assert {info.name for info in plan.datasets.values()} == {"cxr-phantom", "oct-phantom@classes"}


def test_all_takes_parameters_too() -> None:
    names = set(plan_of(datasets=["all@size=48"]).datasets)
    assert {"cxr-phantom@size=48", "fundus-phantom@size=48", "oct-phantom@size=48"} <= names


def test_the_name_wins_over_backbone_over_variant_over_data_set_over_common() -> None:
    def table(l1: float) -> dict[str, Any]:
        return {"softcam-sparse": {"l1": l1}}

    values: dict[str, Any] = {
        "run": {
            "datasets": ["fundus-phantom", "fundus-phantom@grades", "cxr-phantom"],
            "backbones": ["compact", "resnet18"],
            "heads": ["softcam-sparse", "softcam-sparse@l1=9"],
        },
        "heads": table(1),
        "datasets": {
            "fundus-phantom": {"heads": table(2), "backbones": {"resnet18": {"heads": table(3)}}},
            "fundus-phantom@grades": {"backbones": {"compact": {"heads": table(4), "training": {"epochs": 5}}}},
        },
    }
    config = parse_config(values, "made")
    plan = make_plan(config, Path("nowhere"))

    def l1(dataset: str, backbone: str, head: str = "softcam-sparse") -> float:
        return plan.cells[CellKey(dataset, backbone, head, 0)].parameters["l1"]

    assert l1("cxr-phantom", "compact") == 1
    assert l1("fundus-phantom", "compact") == 2
    assert l1("fundus-phantom", "resnet18") == 3
    assert l1("fundus-phantom@grades", "compact") == 4
    assert l1("fundus-phantom@grades", "resnet18") == 3
    assert l1("fundus-phantom@grades", "compact", "softcam-sparse@l1=9") == 9
    assert config.for_dataset("fundus-phantom@grades", "compact").training.epochs == 5
    assert config.for_dataset("fundus-phantom@grades", "resnet18").training.epochs == 70


def test_published_penalties_reach_the_cells() -> None:
    """paper.md: λ₁ by data set and backbone, λ₂ for X-rays."""
    config = load_config("paper")
    published = {
        ("fundus", "resnet50"): {"l1": 5e-5},
        ("fundus", "vgg16"): {"l1": 1e-6},
        ("fundus@grades", "vgg16"): {"l1": 1e-6},
        ("oct", "resnet50"): {"l1": 9e-4},
        ("oct", "vgg16"): {"l1": 3e-6},
        ("cxr", "resnet50"): {"l2": 7e-5},
        ("cxr", "vgg16"): {"l2": 2e-4},
    }
    for (dataset, backbone), expected in published.items():
        heads = config.for_dataset(dataset, backbone).heads
        stated = heads["softcam-sparse" if "l1" in expected else "softcam-ridge"]
        assert stated == expected, (dataset, backbone)


@pytest.mark.parametrize(
    ("specs", "names"),
    [
        (["folder:/data/busi"], ["busi"]),
        (["folder:/data/busi/"], ["busi"]),
        (["folder:/data/busi@size=96@seed=1", "elpv@size=64"], ["busi@size=96@seed=1", "elpv@size=64"]),
        (["folder:/a/images", "folder:/b/images"], ["a/images", "b/images"]),
        (["folder:/a/x/images", "folder:/b/x/images", "folder:/c"], ["a/x/images", "b/x/images", "c"]),
        (["folder:/data/elpv", "elpv"], ["data/elpv", "elpv"]),
        (["folder:/data/elpv"], ["data/elpv"]),  # a registered name, even if it is not in the run
        (["folder:/data/odd@name"], ["folder:/data/odd@name"]),
        (["folder:/data/busi@size=96", "folder:/data/busi@size=64"], ["busi@size=96", "busi@size=64"]),
        (["folder:/data/busi@modality=ultrasound@healthy=benign"], ["busi"]),
        (["folder:/data/busi@modality=ct@size=96@mask_values=[2]"], ["busi@size=96"]),
        (["folder:/data/busi@healthy=a", "folder:/data/busi@healthy=b"], ["busi@healthy=a", "busi@healthy=b"]),
        (["folder:/data/busi@healthy=a", "folder:/data/busi"], ["busi@healthy=a", "busi"]),
        (["folder:/a/busi@healthy=a", "folder:/b/busi"], ["a/busi", "b/busi"]),
        (["folder:/data/elpv@modality=ct"], ["data/elpv"]),
    ],
)
def test_folders_are_named_by_their_last_folder(specs: list[str], names: list[str]) -> None:
    assert short_names(specs, ["elpv"]) == dict(zip(names, specs, strict=True))
