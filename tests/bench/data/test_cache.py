"""The cache of decoded images: what renews it, what it survives, and who shares it."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.contracts import Sample, UserError
from bench.data import cache, loading
from bench.data.checks import BadFiles
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import BadFile
from bench.run.runner import RunOptions
from tests.bench.data.generated import SIDE, Generated, assert_same, load

IN_CHILD = multiprocessing.get_context("fork")


class Uneven(Generated):
    """Regions that begin late, and a bad file: everything that a resumed split could get wrong."""

    def __getitem__(self, index: int) -> Sample:
        one = super().__getitem__(index)
        region = torch.arange(SIDE * SIDE).view(SIDE, SIDE) % (index + 2) == 0
        if index == 4:
            raise BadFile("fourth.png", "is damaged")
        return replace(
            one,
            mask=one.mask if index in (2, 5) else None,
            fov=region if index > 2 else None,
            ignored=region & ~one.mask if index in (5, 7) else None,
        )


def uneven(fail_at: int = -1) -> Callable[..., Uneven]:
    return lambda root, split: Uneven("train", 8, fail_at)


def folders(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache/made").iterdir())


# --- What is decoded again -------------------------------------------------------------------------------------------


def test_what_the_builder_does_not_ask_for_is_no_reason(tmp_path: Path) -> None:
    made = Generated("train", 8)
    first = load(lambda root, split: made, tmp_path)
    for change in ({"seed": 1}, {"skip_bad": True}, {"splits": Path("released")}, {"count": 8}):
        assert load(lambda root, split: made, tmp_path, **change).digest == first.digest
    assert made.made == 8


def test_a_relative_root_is_the_same_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Generated("train", 8)
    made.files = (tmp_path / "data/a",)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/a").touch()
    monkeypatch.chdir(tmp_path)
    load(lambda root, split: made, tmp_path, root=tmp_path / "data")
    made.files = (Path("data/a"),)
    load(lambda root, split: made, tmp_path, root=Path("data"))
    assert made.made == 8


def test_a_builder_may_ask_for_skip_bad_and_splits(tmp_path: Path) -> None:
    made = Generated("train", 8)

    def builder(root: Path, split: str, skip_bad: bool, splits: Path | None) -> Generated:
        return made

    for turn, change in enumerate(({}, {"skip_bad": True}, {"splits": Path("released")}), start=1):
        load(builder, tmp_path, **change)
        assert made.made == 8 * turn


def test_bad_files_found_while_decoding_are_remembered_for_skip_bad(tmp_path: Path) -> None:
    made = Uneven("train", 8)
    with pytest.raises(BadFiles, match=r"fourth.png \(is damaged\)"):
        load(lambda root, split: made, tmp_path)
    split = load(lambda root, split: made, tmp_path, skip_bad=True)
    assert split.excluded == (Fault("fourth.png", "is damaged", Kind.UNUSABLE),)
    assert made.made == 8


@pytest.mark.parametrize("stray_first", [True, False])
def test_what_the_builder_leaves_out_is_looked_for_in_every_run(tmp_path: Path, stray_first: bool) -> None:
    made = Generated("train", 8)
    for stray in (stray_first, not stray_first, stray_first):
        made.excluded = [("stray.png", "belongs to no image")] if stray else []
        if stray:
            with pytest.raises(BadFiles, match=r"stray\.png"):
                load(lambda root, split: made, tmp_path)
        skipping = load(lambda root, split: made, tmp_path, skip_bad=True)
        assert [fault.file for fault in skipping.excluded] == ["stray.png"] * stray
        if not stray:
            load(lambda root, split: made, tmp_path)
    assert made.made == 8


@pytest.mark.parametrize("package", ["pydicom", "pylibjpeg-libjpeg", "pillow"])
def test_another_decoder_decodes_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    made = Generated("train", 8)
    load(lambda root, split: made, tmp_path)
    real = cache.version
    monkeypatch.setattr(cache, "version", lambda name: "99.0" if name == package else real(name))
    load(lambda root, split: made, tmp_path)
    assert made.made == 16


def test_runs_share_a_folder_beside_their_own() -> None:
    quick, mine = (RunOptions(Path("data"), Path("results") / name, torch.device("cpu")) for name in ("quick", "mine"))
    assert quick.cache_folder == mine.cache_folder == Path("results/cache")
    assert replace(mine, cache=Path("elsewhere")).cache_folder == Path("elsewhere")


# --- Interruption ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", range(8))
def test_an_interrupted_decode_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    monkeypatch.setattr(loading, "usable_threads", lambda: 1)
    whole = load(uneven(), tmp_path / "whole", root=tmp_path, skip_bad=True)
    with pytest.raises(KeyboardInterrupt):
        load(uneven(stop), tmp_path, skip_bad=True)
    assert [name.startswith(".tmp-train-") for name in folders(tmp_path)] == [True]
    made = Uneven("train", 8)
    assert_same(load(lambda root, split: made, tmp_path, skip_bad=True), whole)
    assert made.made == 8 - stop
    assert [name.startswith("train-") for name in folders(tmp_path)] == [True]


def test_killed_in_the_middle_of_a_write(tmp_path: Path) -> None:
    """A real SIGKILL, and files that hold a part of the image that was being written."""

    class Killed(Uneven):
        def __getitem__(self, index: int) -> Sample:
            if index == 6:
                os.kill(os.getpid(), signal.SIGKILL)
            return super().__getitem__(index)

    whole = load(uneven(), tmp_path / "whole", root=tmp_path, skip_bad=True)
    child = IN_CHILD.Process(target=lambda: load(lambda root, split: Killed("train", 8), tmp_path, skip_bad=True))
    child.start()
    child.join(60)
    assert child.exitcode == -signal.SIGKILL
    (left,) = (tmp_path / "cache/made").iterdir()
    for name, torn in {"images": b"1234", "masks": b"\1", "ignored": b"\0" * 999, "journal": b'{"id": "tra'}.items():
        with (left / name).open("ab") as file:
            file.write(torn)
    assert_same(load(uneven(), tmp_path, skip_bad=True), whole)


@pytest.mark.parametrize("damage", ["journal", "images"])
def test_what_a_crash_of_the_machine_damaged_is_decoded_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    monkeypatch.setattr(loading, "usable_threads", lambda: 1)
    with pytest.raises(KeyboardInterrupt):
        load(uneven(6), tmp_path, skip_bad=True)
    (left,) = (tmp_path / "cache/made").iterdir()
    content = (left / damage).read_bytes()
    (left / damage).write_bytes(b"\0" * 100 + b"\n" if damage == "journal" else content[:-1])
    made = Uneven("train", 8)
    split = load(lambda root, split: made, tmp_path, skip_bad=True)
    assert made.made == 8
    assert_same(split, load(uneven(), tmp_path / "whole", root=tmp_path, skip_bad=True))


def test_what_is_abandoned_for_long_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(KeyboardInterrupt):
        load(uneven(5), tmp_path, skip_bad=True)
    load(lambda root, split: Generated("train", 9), tmp_path, size=8)
    assert len(folders(tmp_path)) == 2
    monkeypatch.setattr(cache, "_ABANDONED_AFTER", -1.0)
    load(lambda root, split: Generated("train", 9), tmp_path, size=4)
    assert not [name for name in folders(tmp_path) if name.startswith(".tmp-")]


def test_a_disk_that_is_full_is_not_kept_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("bench.data.writer.SplitWriter._write", full)
    with pytest.raises(UserError, match=r"cannot write the cache of decoded images .*No space left"):
        load(uneven(), tmp_path, skip_bad=True)
    assert folders(tmp_path) == []


# --- Two runs at once ------------------------------------------------------------------------------------------------


def test_two_processes_at_once(tmp_path: Path) -> None:
    """Both are in the middle of the same split at the same moment; each gets it whole, and one is kept."""
    meet, results = IN_CHILD.Barrier(2), IN_CHILD.Queue()

    class Meeting(Uneven):
        def __getitem__(self, index: int) -> Sample:
            if index == 3:
                meet.wait(60)
            return super().__getitem__(index)

    def run() -> None:
        split = load(lambda root, split: Meeting("train", 8), tmp_path, skip_bad=True)
        results.put((split.digest, hashlib.sha256(split.images.tobytes()).hexdigest()))

    children = [IN_CHILD.Process(target=run) for _ in range(2)]
    for child in children:
        child.start()
    found = [results.get(timeout=60) for _ in children]
    for child in children:
        child.join(60)
    whole = load(uneven(), tmp_path / "whole", root=tmp_path, skip_bad=True)
    assert found == [(whole.digest, hashlib.sha256(whole.images.tobytes()).hexdigest())] * 2
    assert [name.startswith("train-") for name in folders(tmp_path)] == [True]


def test_a_locked_folder_is_left_to_its_run(tmp_path: Path) -> None:
    """The lock goes with the process that holds it, and a folder that was renamed is not the one that was locked."""
    folder = tmp_path / ".tmp-train-1"
    locked, stop = IN_CHILD.Event(), IN_CHILD.Event()

    def hold() -> None:
        lock = cache._claim(folder)
        assert lock is not None
        locked.set()
        stop.wait(60)

    child = IN_CHILD.Process(target=hold)
    child.start()
    assert locked.wait(60)
    assert cache._claim(folder) is None
    child.kill()
    child.join(60)
    lock = cache._claim(folder)
    assert lock is not None
    assert cache._claim(folder) is None
    folder.rename(tmp_path / "train-1")
    other = cache._claim(folder)  # a new folder of the same name
    assert other is not None
    for file in (lock, other):
        file.close()


def test_a_lock_file_that_was_replaced_after_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, folder = cache.lock_descriptor, tmp_path / ".tmp-train-1"

    def renamed_meanwhile(descriptor: int, **options: Any) -> bool:
        folder.rename(tmp_path / "train-1")
        folder.mkdir()
        (folder / "lock").touch()
        return real(descriptor, **options)

    monkeypatch.setattr(cache, "lock_descriptor", renamed_meanwhile)
    assert cache._claim(folder) is None


def test_where_a_folder_with_an_open_file_cannot_be_renamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: the file that holds the lock is closed before the split gets its name."""
    claim, publish, locks, closed = cache._claim, cache._publish, [], []

    def noted(folder: Path) -> Any:
        locks.append(claim(folder))
        return locks[-1]

    def renamed(temporary: Path, folder: Path) -> Path:
        closed.append(locks[-1].closed)
        return publish(temporary, folder)

    monkeypatch.setattr(cache, "_claim", noted)
    monkeypatch.setattr(cache, "_publish", renamed)
    for size, renames in ((SIDE, True), (8, False)):
        monkeypatch.setattr(cache, "_RENAMES_OPEN_FILES", renames)
        load(lambda root, split: Generated("train", 8), tmp_path, size=size)
    assert closed == [False, True]
    assert all(name.startswith("train-") for name in folders(tmp_path))
