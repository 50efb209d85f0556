"""Plans of runs: names that the report compares with are checked before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.config import parse_config
from bench.errors import UserError
from bench.run.plan import make_plan
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
