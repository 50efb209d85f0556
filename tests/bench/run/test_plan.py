"""Plans of runs: names that the report compares with are checked before anything is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench.config import parse_config
from bench.errors import UserError
from bench.run.plan import make_plan
from tests.support.datasets.fundus import save
from tests.support.made import registered_squares

RUN = {"datasets": ["squares"], "heads": ["blackbox", "softcam-dense"], "explainers": ["gradcam"]}


@pytest.mark.parametrize(
    ("report", "message"),
    [
        ({"reference": "grad-cam"}, "unknown explainer 'grad-cam'.*gradcam"),
        ({"head": "softcam-sparse"}, r"\[report\] head = 'softcam-sparse' is not one of the run.*softcam-dense"),
        ({"primary": {"localisation": "iou"}}, "unknown metric 'iou'"),
        ({"primary": {"localisation": "audc@zero"}}, "audc@zero belongs to faithfulness, not to localisation"),
    ],
)
def test_wrong_names_of_the_report_are_one_line(report: dict[str, object], message: str, tmp_path: Path) -> None:
    with registered_squares(), pytest.raises(UserError, match=message) as caught:
        make_plan(parse_config({"run": RUN, "report": report}, "made"), tmp_path)
    assert "\n" not in str(caught.value)


def test_known_names_and_no_reference_are_accepted(tmp_path: Path) -> None:
    report = {"reference": "", "head": "softcam-dense", "primary": {"faithfulness": "audc@zero"}}
    with registered_squares():
        plan = make_plan(parse_config({"run": RUN | {"heads": ["all"]}, "report": report}, "made"), tmp_path)
    assert len(plan.cells) > 2


@pytest.mark.parametrize("base", ["own", "own@left"])
def test_each_folder_has_its_own_settings(tmp_path: Path, base: str) -> None:
    """Those of its path, over those of all folders; the path of no folder of the run is a mistake."""
    for name in (base, "other"):
        for label in ("healthy", "sick"):
            save(tmp_path / name / "images" / label / "0.png", np.zeros((32, 32, 3), dtype=np.uint8))
    own, other = f"folder:{tmp_path / base}", f"folder:{tmp_path / 'other'}"
    values = {
        "run": RUN | {"datasets": [own, other]},
        "datasets": {"folder": {"data": {"mask_values": [1], "size": 64}}, own: {"data": {"mask_values": [2]}}},
    }
    configs = make_plan(parse_config(values, "made"), tmp_path).configs
    read = {name: (config.data.mask_values, config.data.size) for name, config in configs.items()}
    assert read == {own if "@" in base else "own": ([2], 64), "other": ([1], 64)}
    values["datasets"] = {f"{own}s": {"data": {"mask_values": [2]}}}
    with pytest.raises(UserError, match=rf"\[datasets.'folder:.*{base}s'\] is no data set of the run: did you mean"):
        make_plan(parse_config(values, "made"), tmp_path)


def test_the_predicted_finding_is_not_explained_in_the_place_of_a_pair_s(tmp_path: Path) -> None:
    """Its map would be compared with the mask of another finding."""
    run = RUN | {"datasets": ["cxr-phantom@findings"]}
    with pytest.raises(UserError, match="'predicted' does not apply to several findings"):
        make_plan(parse_config({"run": run, "explain": {"explained_class": "predicted"}}, "made"), tmp_path)
    assert make_plan(parse_config({"run": run}, "made"), tmp_path).cells
