"""One run or report at a time in a folder, also if the other one is on another machine."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.errors import UserError
from bench.store import run_folder as run_lock
from bench.store.run_folder import OWNER_FILE, check_run_folder, owns


def claimed(folder: Path, host: str, age: float = 0) -> Path:
    """The file that an owner on a machine has left, renewed some seconds ago."""
    folder.mkdir(exist_ok=True)
    file = folder / OWNER_FILE
    file.write_text(json.dumps({"token": "theirs", "host": host, "process": 1}))
    os.utime(file, (time.time() - age, time.time() - age))
    return file


def test_the_owner_is_named_as_long_as_it_works(tmp_path: Path) -> None:
    with run_lock.run_lock(tmp_path / "run") as token:
        assert owns(tmp_path / "run", token)
        assert not owns(tmp_path / "run", "another")
        with pytest.raises(UserError, match="another run or report is working in"), run_lock.run_lock(tmp_path / "run"):
            pass
        assert owns(tmp_path / "run", token)
    assert not (tmp_path / "run" / OWNER_FILE).exists()


def test_an_owner_on_another_machine_that_lives_keeps_the_folder(tmp_path: Path) -> None:
    claimed(tmp_path / "run", "elsewhere", age=20)
    with pytest.raises(UserError, match="on elsewhere; wait for it"), run_lock.run_lock(tmp_path / "run"):
        pass
    assert owns(tmp_path / "run", "theirs")
    assert not list((tmp_path / "run").glob("*.tmp"))


@pytest.mark.parametrize(("host", "age"), [("elsewhere", 90), ("", 0)], ids=["silent", "this machine"])
def test_an_owner_that_is_gone_does_not(tmp_path: Path, host: str, age: float) -> None:
    claimed(tmp_path / "run", host or run_lock.socket.gethostname(), age)
    with run_lock.run_lock(tmp_path / "run") as token:
        assert owns(tmp_path / "run", token)
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["lock"]


def test_an_owner_renews_its_file_and_no_other_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_lock, "_RENEWED", 0.01)
    with run_lock.run_lock(tmp_path / "run"):
        file = tmp_path / "run" / OWNER_FILE
        os.utime(file, (0, 0))
        assert _becomes(lambda: file.stat().st_mtime > 1)
        claimed(tmp_path / "run", "elsewhere")
        os.utime(file, (0, 0))
        time.sleep(0.1)
        assert file.stat().st_mtime == 0
    assert file.exists()  # it belongs to another one


def _becomes(found: Callable[[], bool]) -> bool:
    for _ in range(500):
        if found():
            return True
        time.sleep(0.01)
    return False


def test_what_a_killed_run_leaves_is_no_reason_to_refuse_a_folder(tmp_path: Path) -> None:
    claimed(tmp_path / "run", "elsewhere")
    assert check_run_folder(tmp_path / "run") == ""
    (tmp_path / "run" / OWNER_FILE).write_text('{"owner": "a person"}')
    with pytest.raises(UserError, match="is not a run folder and not empty"):
        check_run_folder(tmp_path / "run")
