"""Configs and plans: every name and key is checked before any compute."""

from __future__ import annotations

from pathlib import Path

import pytest

import baselines  # noqa: F401
import bench.data
import bench.metrics
import bench.models.backbones
import bench.models.timm_backbones
import bench.studies  # noqa: F401
import softcam  # noqa: F401
from bench.cli.overrides import Flags, merged_values
from bench.config import load_config, parse_config, shipped_configs
from bench.contracts import UserError
from bench.evaluation.requests import resolve_metrics
from bench.run.plan import make_plan


def test_shipped_configs_make_plans() -> None:
    assert {"quick", "standard", "smoke"} <= set(shipped_configs())
    for name in shipped_configs():
        config = load_config(name)
        if name in ("paper", "real"):  # which need data
            config = config.model_copy(update={"run": config.run.model_copy(update={"datasets": ["cxr-phantom"]})})
        plan = make_plan(config, Path("nowhere"))
        assert plan.cells
        assert plan.metrics


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"run": {"datsets": ["all"]}}, "unknown key 'run.datsets'; did you mean datasets"),
        ({"trainning": {}}, "unknown key 'trainning'; did you mean training"),
        ({"dataset": {"elpv": {}}}, "unknown key 'dataset'; did you mean datasets"),
        ({"explainer": {"gradcam": {}}}, "unknown key 'explainer'; did you mean explainers"),
        ({"size": 64}, "unknown key 'size'; size belongs to [data]"),
        ({"run": {"size": 64}}, "unknown key 'run.size'; size belongs to [data]"),
        ({"data": {"epoch": 64}}, "unknown key 'data.epoch'; did you mean epochs"),
        ({"run": {"training": {}}}, "unknown key 'run.training'; did you mean training"),
        ({"datasets": {"elpv": {"trainning": {}}}}, "unknown key 'datasets.elpv.trainning'; did you mean training"),
        ({"datasets": {"elpv": {"size": 3}}}, "unknown key 'datasets.elpv.size'; size belongs to [data]"),
        ({"explain": {"align": "cells"}}, "explain.align: Input should be 'receptive-field' or 'grid'"),
        ({"training": {"epochs": 0}}, "training.epochs: Input should be greater than or equal to 1"),
        ({"datasets": {"elpv": {"data": {"sise": 3}}}}, "unknown key 'sise'; did you mean size"),
    ],
)
def test_wrong_key_or_value_is_one_line(values: dict, said: str) -> None:
    with pytest.raises(UserError, match="config made") as caught:
        parse_config(values, "made")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_probes_are_studies_for_one_more_release(tmp_path: Path) -> None:
    values = {"run": {"probes": ["sanity"]}, "probes": {"sanity": {"images": 3}}}
    config = parse_config(values, "made")
    assert (config.run.studies, config.studies) == (["sanity"], {"sanity": {"images": 3}})
    assert config == parse_config({"run": {"studies": ["sanity"]}, "studies": {"sanity": {"images": 3}}}, "made")
    (tmp_path / "old.toml").write_text(
        'extends = "smoke"\n[run]\nprobes = ["agreement"]\n[probes.sanity]\nimages = 9\n'
    )
    old, smoke = load_config(str(tmp_path / "old.toml")), load_config("smoke")
    assert old.run.studies == ["agreement"]
    assert old.studies == smoke.studies | {"sanity": smoke.studies["sanity"] | {"images": 9}}


def test_only_the_paper_draws_maps_by_the_convention() -> None:
    asked = {name: load_config(name).explain.align for name in shipped_configs()}
    assert {name for name, align in asked.items() if align == "grid"} == {"paper", "paper-quick"}
    assert set(asked.values()) == {"grid", "receptive-field"}


@pytest.mark.parametrize(
    ("values", "where"), [({"run": {"probes": [], "studies": []}}, "run."), ({"probes": {}, "studies": {}}, "")]
)
def test_both_names_of_studies_are_an_error(values: dict, where: str) -> None:
    with pytest.raises(UserError, match=f"config made: {where}probes is the old name of {where}studies; keep only"):
        parse_config(values, "made")


def test_a_config_extends_another(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('extends = "quick"\n[run]\nseeds = [7]\n[datasets.elpv.data]\ntrain = 9\n')
    (tmp_path / "again.toml").write_text('extends = "mine.toml"\n[training]\nepochs = 3\n')
    quick, again = load_config("quick"), load_config(str(tmp_path / "again.toml"))
    assert (again.run.seeds, again.training.epochs) == ([7], 3)
    assert again.run.heads == quick.run.heads
    assert again.datasets["elpv"].data == {"size": 56, "train": 9}
    (tmp_path / "loop.toml").write_text('extends = "loop.toml"\n')
    with pytest.raises(UserError, match="extends itself"):
        load_config(str(tmp_path / "loop.toml"))
    (tmp_path / "lost.toml").write_text('extends = "quik"\n')
    with pytest.raises(UserError, match="no config 'quik': did you mean quick"):
        load_config(str(tmp_path / "lost.toml"))


def test_absent_and_broken_config_files(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no config 'quik': did you mean quick"):
        load_config("quik")
    broken = tmp_path / "broken.toml"
    broken.write_text("[run\n")
    with pytest.raises(UserError, match="cannot be read"):
        load_config(str(broken))


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("datasets", "cxr-fantom", "unknown data set 'cxr-fantom'; did you mean cxr-phantom"),
        ("backbones", "resnet51", "unknown backbone 'resnet51'; did you mean resnet50"),
        ("heads", "softcam-spars", "did you mean softcam-sparse"),
        ("explainers", "grad-cam", "did you mean gradcam"),
        ("metrics", "activation_precison", "did you mean activation_precision"),
        ("metrics", "audc@purple", "metric 'audc' has no variant 'purple'; known: black, blur, donor"),
    ],
)
def test_unknown_name_shows_the_closest(key: str, name: str, said: str) -> None:
    values = load_config("smoke").model_dump()
    values["run"][key] = [name]
    with pytest.raises(UserError) as caught:
        make_plan(parse_config(values, "made"), Path("nowhere"))
    assert said in str(caught.value)


def test_wrong_parameter_of_a_method_names_it() -> None:
    values = load_config("smoke").model_dump() | {"explainers": {"smoothgrad": {"sample": 3}}}
    with pytest.raises(UserError, match="explainer 'smoothgrad' cannot be made with"):
        make_plan(parse_config(values, "made"), Path("nowhere"))
    values["explainers"] = {"smoothgrat": {}}
    with pytest.raises(UserError, match="did you mean smoothgrad"):
        make_plan(parse_config(values, "made"), Path("nowhere"))


def test_folder_that_is_not_there_says_where_it_looked(tmp_path: Path) -> None:
    values = load_config("smoke").model_dump()
    values["run"]["datasets"] = [f"folder:{tmp_path}/absent"]
    with pytest.raises(UserError, match="absent"):
        make_plan(parse_config(values, "made"), Path("nowhere"))


def test_overrides_of_a_data_set_hold_for_its_variants() -> None:
    config = parse_config({"datasets": {"oct-phantom": {"data": {"size": 64}}}}, "made")
    assert config.for_dataset("oct-phantom@classes").data.size == 64
    assert config.for_dataset("cxr-phantom").data.size == config.data.size


def test_metric_without_a_variant_is_the_first_and_all_is_every_one() -> None:
    assert [request.name for request in resolve_metrics(["audc"])] == ["audc@zero"]
    every = {request.name for request in resolve_metrics(["all"])}
    assert {"audc@zero", "audc@black", "audc@blur", "pixel_auroc"} <= every


def test_inherent_models_run_their_own_and_what_is_asked_for() -> None:
    values = load_config("smoke").model_dump()
    values["run"] |= {"on_inherent": ["gradcam"], "explainers": ["softcam", "gradcam", "layercam"]}
    plan = make_plan(parse_config(values, "made"), Path("nowhere"))
    by_head = {key.head: list(plan.explainers_of(key)) for key in plan.cells}
    assert by_head["blackbox"] == ["softcam", "gradcam", "layercam"]
    assert by_head["softcam-sparse"] == ["softcam", "gradcam"]


@pytest.mark.parametrize(("given", "expected"), [(None, 200), ("all", "all"), ("0", 0), ("17", 17)])
def test_page_images_of_the_command_line(given: str | None, expected: object) -> None:
    values = merged_values("smoke", Flags(page_images=given))
    assert parse_config(values, "flags").report.page_images == expected
