"""The command ``get``, with a local git repository in the place of the public one."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from filelock import FileLock
from rich.console import Console
from typer.testing import CliRunner

import run_benchmark
from bench.cli.main import app
from bench.commands.get import clone as cloning
from bench.commands.get.clone import clone
from bench.commands.get.command import get_dataset
from bench.commands.get.git import Git
from bench.contracts import UserError
from bench.data.sources.open import repositories
from bench.data.sources.open.repositories import CODRAS, COVID, HEI_MED, Repository
from bench.registry import DATASETS
from tests.support.datasets.repositories import make_codras, make_covid, make_hei

MAKERS = {HEI_MED.name: make_hei, CODRAS.name: make_codras, COVID.name: make_covid}
WHO = {f"GIT_{role}_{what}": "nobody@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(folder: Path, *arguments: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, env=kept | WHO)
    return done.stdout.strip()


def publish(name: str, folder: Path) -> Repository:
    """Creates a repository in the layout of a data set, with a later commit on top of the pinned one."""
    MAKERS[name](folder)
    git(folder, "init", "--quiet")
    for setting in ("allowFilter", "allowAnySHA1InWant"):
        git(folder, "config", f"uploadpack.{setting}", "true")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=images")
    commit, tree = git(folder, "rev-parse", "HEAD", "HEAD^{tree}").split()
    count = len(git(folder, "ls-files").splitlines())
    (folder / "later.txt").write_text("not pinned")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message=later")
    known = repositories.REPOSITORIES[name]
    return replace(known, url=folder.as_uri(), commit=commit, tree=tree, files=count)


@pytest.fixture
def hei(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    published = publish(HEI_MED.name, tmp_path / "published")
    monkeypatch.setitem(repositories.REPOSITORIES, HEI_MED.name, published)
    return published


def files(folder: Path) -> dict[str, bytes]:
    found = [file for file in folder.rglob("*") if file.is_file() and ".git" not in file.parts]
    return {str(file.relative_to(folder)): file.read_bytes() for file in found}


def pinned(repository: Repository) -> dict[str, bytes]:
    folder = Path(repository.url.removeprefix("file://"))
    return {name: content for name, content in files(folder).items() if name != "later.txt"}


def quiet(line: str) -> None:
    """Listens to no progress."""


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_get_writes_the_pinned_files_that_the_loader_finds(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = publish(name, tmp_path / "published")
    monkeypatch.setitem(repositories.REPOSITORIES, name, published)
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["get", name], obj=run_benchmark.register)
    assert done.exit_code == 0, done.output
    assert files(tmp_path / "data" / published.folder) == pinned(published)
    info = DATASETS[name]
    assert info.missing(tmp_path / "data") == ""
    for part in (f"Licence: {info.licence}", f"Cite: {info.citation}", published.tree[:10], f"check-data {name}"):
        assert part in done.output


def test_a_stopped_download_continues_with_the_next_part(
    hei: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloning, "_PART", 60)
    lines: list[str] = []

    def stop(line: str) -> None:
        lines.append(line)
        if len(lines) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clone(hei, tmp_path / "data", stop)
    assert len(files(tmp_path / "data")) == 60
    written = {file: file.stat().st_mtime_ns for file in (tmp_path / "data/DMED").iterdir()}
    lines.clear()
    assert clone(hei, tmp_path / "data", lines.append) == hei.files - 60
    assert lines[0] == f"hei-med: files 1 to 60 of {hei.files - 60}"
    assert files(tmp_path / "data") == pinned(hei)
    assert {file: file.stat().st_mtime_ns for file in written} == written


def test_contents_are_downloaded_part_by_part(hei: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cloning, "_PART", 60)
    counts: list[int] = []

    def count(line: str) -> None:
        packed = Git(tmp_path / "data")("cat-file", "--batch-all-objects", "--batch-check=%(objecttype)")
        counts.append(packed.split().count("blob"))

    clone(hei, tmp_path / "data", count)
    assert counts[0] == 0
    assert counts == sorted(set(counts))


def test_a_complete_copy_needs_no_network_and_a_damaged_file_is_mended(hei: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    clone(hei, folder, quiet)
    before = pinned(hei)
    shutil.move(tmp_path / "published", tmp_path / "away")
    assert clone(hei, folder, quiet) == 0
    damaged = folder / "DMED/(00000003).map.gz"
    damaged.write_bytes(damaged.read_bytes()[:-5])
    (folder / "DMED/(00000004).jpg").unlink()
    assert clone(hei, folder, quiet) == 2
    assert files(folder) == before


def test_a_killed_git_leaves_nothing_that_stops_the_next_one(hei: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    clone(hei, folder, quiet)
    (folder / "DMED/(00000004).jpg").unlink()
    for name in ("index.lock", "shallow.lock", "HEAD.lock", "config.lock"):
        (folder / ".git" / name).touch()
    assert clone(hei, folder, quiet) == 1


def test_two_of_them_do_not_write_at_once(hei: Repository, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".data.lock"), pytest.raises(UserError, match="data: another get is writing there"):
        clone(hei, tmp_path / "data", quiet)


def test_a_clone_of_the_user_at_another_commit_is_used(hei: Repository, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", hei.url, "HEI-MED")
    assert clone(hei, tmp_path / "HEI-MED", quiet) == 0  # the later file is not pinned, and stays
    assert git(tmp_path / "HEI-MED", "rev-parse", "HEAD") == hei.commit


def test_offline_is_one_line_with_the_address(hei: Repository, tmp_path: Path) -> None:
    shutil.move(tmp_path / "published", tmp_path / "away")
    with pytest.raises(UserError, match=rf"^{hei.url} cannot be fetched \(.+\); give the same command again") as caught:
        clone(hei, tmp_path / "data", quiet)
    assert "\n" not in str(caught.value)
    shutil.move(tmp_path / "away", tmp_path / "published")
    assert clone(hei, tmp_path / "data", quiet) == hei.files


def test_a_connection_lost_between_parts_is_one_line(
    hei: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloning, "_PART", 60)

    def lose(line: str) -> None:
        if "61 to" in line:
            shutil.move(tmp_path / "published", tmp_path / "away")

    with pytest.raises(UserError, match=rf"^{hei.url}: stopped after 60 of {hei.files} files \(.+\); the same command"):
        clone(hei, tmp_path / "data", lose)


def test_without_git_is_one_line_with_the_address(
    hei: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.commands.get.git.shutil.which", lambda name: None)
    with pytest.raises(UserError, match=rf"git is not installed; install it, or unpack {hei.url}/archive/.+\.zip as "):
        clone(hei, tmp_path / "data", quiet)


def test_other_contents_than_the_pinned_ones_are_refused(hei: Repository, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{hei.files} files with the digest {hei.tree[:10]}, 858 with {'0' * 10} are"):
        clone(replace(hei, tree="0" * 40, files=858), tmp_path / "data", quiet)
    assert files(tmp_path / "data") == {}


def test_what_is_not_ours_is_left_alone(hei: Repository, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"data exists and is no clone of .*; remove or rename it, or give another"):
        clone(hei, folder, quiet)
    git(folder, "init", "--quiet")
    git(folder, "remote", "add", "origin", "https://example.org/thesis")
    with pytest.raises(UserError, match=r"data is a clone of https://example.org/thesis, not of file:"):
        clone(hei, folder, quiet)
    assert files(folder) == {"thesis.txt": b"mine"}


def test_a_repository_around_the_data_root_is_not_touched(hei: Repository, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    git(project, "init", "--quiet")
    git(project, "commit", "--quiet", "--allow-empty", "--message=mine")
    before = git(project, "rev-parse", "HEAD")
    clone(hei, project / "data/hei-med", quiet)
    assert git(project, "rev-parse", "HEAD") == before
    assert git(project, "config", "--list", "--local").count("remote.origin") == 0


@pytest.mark.parametrize("name", ["fundus", "fundus@grades", "fundus-idrid", "cxr", "oct"])
def test_data_sets_that_need_a_browser_are_explained(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(width=10_000)
    assert not get_dataset(DATASETS[name], tmp_path, console, lambda: pytest.fail("there is nothing to check"))
    said = capsys.readouterr().out
    assert f"{name} is not there: " in said
    assert "1. " in said
    assert "https://" in said
    assert f"{tmp_path}/" in said.split("\n1. ")[1]
    assert f"Licence: {DATASETS[name].licence}" in said
    assert "docs/data.md" in said


def test_what_the_user_has_downloaded_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = replace(DATASETS["cxr"], missing=lambda root: "")
    for sound in (True, False):
        assert get_dataset(there, tmp_path, Console(), lambda sound=sound: sound) is sound
    assert "check-data reads it now" in capsys.readouterr().out


def test_a_generated_data_set_needs_no_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert get_dataset(DATASETS["cxr-phantom"], tmp_path, Console(), lambda: False)
    assert "cxr-phantom is generated" in capsys.readouterr().out


def test_an_unknown_name_is_one_line() -> None:
    done = CliRunner().invoke(app, ["get", "fundus-hai"], obj=run_benchmark.register)
    assert isinstance(done.exception, UserError)
    assert "did you mean fundus-hei" in str(done.exception)
