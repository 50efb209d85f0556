"""The receipt of a run: a second run opens no image and writes no file, and a receipt that does not fit is not used."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import bench.run.record
import bench.run.workspace
from bench.config import Config, parse_config
from bench.contracts import Sample
from bench.registry import EXPLAINERS, dataset
from bench.run import runner
from bench.run.finished import RECEIPT
from bench.run.finished.receipt import asked_digest
from bench.run.plan import make_plan
from bench.run.record import new_record
from bench.run.runner import Outcome, run
from bench.store.code_digest import source_digest
from bench.store.folders import RunStore
from tests.support.made import forgotten_afterwards, options_of, squares, tiny_config

CONFIG = tiny_config(
    datasets=["listed"], heads=["softcam-sparse"], explainers=["softcam"], metrics=["gini"], studies=[]
)


class Listed(list[Sample]):
    """Samples with a list of their files."""

    files: tuple[Path, ...] = ()


def listed(root: Path, split: str) -> Listed:
    """Samples that state the file ``image`` of the root, if it exists; none, as generated ones do, otherwise."""
    samples = Listed(squares(root, split))
    samples.files = tuple(root.glob("image"))
    return samples


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Registers the data set of this module."""
    with forgotten_afterwards():
        facts: dict[str, Any] = {"masks": "pixel", "in_all": False}
        dataset("listed", "other", ("plain", "square"), source="made", licence="-", citation="-", **facts)(listed)
        yield


def run_again(out: Path, **options: Any) -> Outcome:
    """Runs the config as the command line does, in this process."""
    asked = options_of(out, **{"workers": 1} | options)
    return run(CONFIG, make_plan(CONFIG, out), asked, Console(quiet=True), [], register=lambda: None)


@pytest.fixture(scope="module")
def first(registered: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("finished") / "run"
    outcome = run_again(out)
    assert outcome.computed
    assert not outcome.problems
    return out


@pytest.fixture
def finished(first: Path, tmp_path: Path) -> Iterator[Path]:
    """A copy of a finished run, in the folder that it was computed in before."""
    saved = tmp_path / "saved"
    shutil.copytree(first, saved)
    yield first
    shutil.rmtree(first)
    shutil.copytree(saved, first)


def states(folder: Path) -> dict[Path, tuple[int, int]]:
    """Inode and time of the last change of every file."""
    return {file: (file.stat().st_ino, file.stat().st_mtime_ns) for file in folder.rglob("*") if file.is_file()}


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the data sets whose images are loaded."""
    names: list[str] = []
    real: Callable[..., Any] = bench.run.workspace.prepare

    def prepare(info: Any, *arguments: Any) -> Any:
        names.append(info.name)
        return real(info, *arguments)

    monkeypatch.setattr(bench.run.workspace, "prepare", prepare)
    return names


def test_a_second_run_loads_no_image_and_writes_no_file(finished: Path, prepared: list[str]) -> None:
    before, facts = states(finished), RunStore(finished).record.datasets
    outcome = run_again(finished)
    assert not outcome.computed
    assert not outcome.problems
    assert not prepared
    assert states(finished) == before
    assert RunStore(finished).record.datasets == facts
    assert facts["listed"].digests


def test_a_second_run_starts_no_worker(finished: Path, prepared: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*arguments: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(runner, "_work_on_workers", start)
    before = states(finished)
    assert not run_again(finished, workers=4).computed
    assert not prepared
    assert states(finished) == before


def damage_scores(folder: Path) -> None:
    file = next(folder.glob("cells/*/*/scores/*.parquet"))
    file.write_bytes(file.read_bytes()[:-1] + b"?")


def remove_images(folder: Path) -> None:
    next(folder.glob("data/*.npz")).unlink()


def damage_receipt(folder: Path) -> None:
    (folder / RECEIPT).write_text("{")


def damage_record(folder: Path) -> None:
    (folder / "run.json").write_text("{")


@pytest.mark.parametrize("harm", [damage_scores, remove_images, damage_receipt, damage_record])
def test_a_change_of_a_stored_file_is_found_and_mended(
    finished: Path, prepared: list[str], harm: Callable[[Path], None]
) -> None:
    harm(finished)
    assert not run_again(finished).problems
    assert prepared == ["listed"]
    prepared.clear()
    run_again(finished)
    assert not prepared


def test_a_file_that_changes_while_the_run_works_is_found(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = finished / "image"
    file.write_bytes(b"1")
    real, loaded = bench.run.workspace.prepare, []

    def prepare(*arguments: Any) -> Any:
        loaded.append(1)
        prepared = real(*arguments)
        if len(loaded) == 1:
            file.write_bytes(b"12")
        return prepared

    monkeypatch.setattr(bench.run.workspace, "prepare", prepare)
    for _ in range(3):
        run_again(finished)
    assert len(loaded) == 2, "the results of the second run are those of the changed file"


def test_a_run_that_computes_nothing_keeps_the_machine_and_the_times_of_its_results(
    finished: Path, prepared: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before, stored = states(finished), RunStore(finished).record
    machine = {name: str(value) for name, value in stored.machine} | {"processes": 1, "threads": 99, "cpu": "another"}
    monkeypatch.setattr(bench.run.record, "describe_machine", lambda *arguments: machine)
    run_again(finished)
    assert not prepared
    assert states(finished) == before
    monkeypatch.setattr(bench.run.record, "describe_machine", lambda *arguments: machine | {"bf16": "another"})
    run_again(finished)
    assert prepared == ["listed"], "training depends on it"
    assert RunStore(finished).record.machine.threads == 99


def test_a_run_that_was_stopped_is_not_finished(finished: Path, prepared: list[str]) -> None:
    store = RunStore(finished)
    store.write_record(store.record.changed(finished=""))
    run_again(finished)
    assert prepared == ["listed"]
    assert store.record.finished


@pytest.mark.parametrize("change", [{"skip_bad": True}, {"precision": "bf16"}, {"save_maps": True}, {"root": Path()}])
def test_other_options_ask_for_something_else(tmp_path: Path, change: dict[str, Any]) -> None:
    assert asked(CONFIG, tmp_path, **change) != asked(CONFIG, tmp_path) is not None


@pytest.mark.parametrize(
    ("section", "values"), [("report", {"page_images": 3}), ("data", {"allow_duplicates": True}), ("data", {"seed": 1})]
)
def test_other_settings_ask_for_something_else(tmp_path: Path, section: str, values: dict[str, Any]) -> None:
    changed = CONFIG.model_dump()
    changed[section] |= values
    assert asked(parse_config(changed, "changed"), tmp_path) != asked(CONFIG, tmp_path)


def asked(config: Config, out: Path, **options: Any) -> str | None:
    plan, chosen = make_plan(config, out), options_of(out, **options)
    return asked_digest(config, plan, chosen, new_record(config, plan, chosen, 1))


def test_maps_that_are_asked_for_now_are_computed(finished: Path) -> None:
    assert run_again(finished, save_maps=True).computed
    assert list(finished.glob("cells/*/*/maps/softcam.npz"))


def test_other_code_of_a_plugin_is_found(finished: Path) -> None:
    known: Any = EXPLAINERS["softcam"]

    class Other(known):
        """The same explainer, written elsewhere."""

    plan = make_plan(CONFIG, finished)
    before = source_digest(*plan.explainers.values())
    assert source_digest(Other()) != before == source_digest(*plan.explainers.values())
