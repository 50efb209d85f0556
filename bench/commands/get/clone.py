"""Clone of a public repository at its pinned commit, in parts, so that a second call continues where one stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout

from bench.commands.get.git import Git, GitError, NoGit
from bench.data.sources.open.repositories import Repository
from bench.errors import UserError

#: Files that are downloaded and written at a time; what is written is not downloaded again.
_PART = 50
#: Locks that git leaves behind when it is killed.
_LOCKS = ("index.lock", "shallow.lock", "HEAD.lock", "config.lock")
_NO_CONTENTS = "--filter=blob:none"


def clone(repository: Repository, folder: Path, tell: Callable[[str], None]) -> int:
    """Writes the files of the pinned commit into a folder, as far as they are absent or differ.

    Args:
        repository: what to clone.
        folder: its folder, which is created.
        tell: called with a line about progress.

    Returns:
        Number of files that were written.

    Raises:
        UserError: git is not installed, the repository cannot be reached, the folder holds something else, or the
            files are not those that are pinned. The same call continues after any of them.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.parent / f".{folder.name}.lock", timeout=0):
            git = _opened(repository, folder)
            _require_pinned(git, repository, folder)
            return _write_files(git, repository, tell)
    except Timeout:
        raise UserError(f"{folder}: another get is writing there; wait until it has finished") from None
    except OSError as error:
        raise UserError(f"{folder}: cannot be written ({error.strerror or error})") from error


def _opened(repository: Repository, folder: Path) -> Git:
    """Returns the repository of the folder with the pinned commit and the names of its files."""
    git = Git(folder)
    try:
        _require_own(git, repository)
        if not git.exists:
            folder.mkdir(exist_ok=True)
            git("init", "--quiet")
        _remove_stale_locks(git)
        _fetch_list(git, repository)
    except GitError as error:
        raise UserError(
            f"{repository.url} cannot be fetched ({error}); give the same command again when it can be reached, or "
            f"copy the repository at commit {repository.commit[:7]} to {folder}"
        ) from error
    except NoGit as error:
        raise UserError(f"{error}; install it, or unpack {_archive(repository)} as {folder}") from error
    return git


def _archive(repository: Repository) -> str:
    return f"{repository.url}/archive/{repository.commit}.zip"


def _require_own(git: Git, repository: Repository) -> None:
    """Raises UserError if the folder holds files or a repository of the user's."""
    remedy = "remove or rename it, or give another folder with --data-root"
    if not git.exists:
        if git.folder.exists() and (not git.folder.is_dir() or any(git.folder.iterdir())):
            raise UserError(f"{git.folder} exists and is no clone of {repository.url}; {remedy}")
        return
    try:
        origin = git("config", "remote.origin.url").strip()
    except GitError:  # interrupted before the address was written
        return
    if _plain(origin) != _plain(repository.url):
        raise UserError(f"{git.folder} is a clone of {origin}, not of {repository.url}; {remedy}")


def _plain(url: str) -> str:
    return url.rstrip("/").removesuffix(".git").lower()


def _remove_stale_locks(git: Git) -> None:
    """Removes the locks of a git that was killed; it would otherwise refuse to write for good."""
    for name in _LOCKS:
        (git.folder / ".git" / name).unlink(missing_ok=True)


def _fetch_list(git: Git, repository: Repository) -> None:
    """Fetches the commit and the names of its files; their contents follow when they are written."""
    git("config", "remote.origin.url", repository.url)
    try:
        git("cat-file", "-e", f"{repository.commit}^{{tree}}")
    except GitError:
        git("config", "remote.origin.promisor", "true")
        git("config", "remote.origin.partialclonefilter", "blob:none")
        git("fetch", "--quiet", "--no-tags", "--depth=1", _NO_CONTENTS, "origin", repository.commit)
    git("update-ref", "--no-deref", "HEAD", repository.commit)
    git("read-tree", repository.commit)


def _require_pinned(git: Git, repository: Repository, folder: Path) -> None:
    """Raises UserError unless git's digest of the listing and the number of files are the pinned ones."""
    tree = git("rev-parse", f"{repository.commit}^{{tree}}").strip()
    count = len(git.listed("ls-files"))
    if (tree, count) != (repository.tree, repository.files):
        raise UserError(
            f"{folder}: {count} files with the digest {tree[:10]}, {repository.files} with {repository.tree[:10]} are "
            "expected; remove the folder and get it again"
        )


def _write_files(git: Git, repository: Repository, tell: Callable[[str], None]) -> int:
    """Downloads and writes every file that is absent or whose content differs -> their number.

    Raises:
        UserError: the download stopped, or a file still differs.
    """
    wanted = _differing(git)
    for start in range(0, len(wanted), _PART):
        part = wanted[start : start + _PART]
        tell(f"{repository.folder}: files {start + 1:,} to {start + len(part):,} of {len(wanted):,}")
        try:
            git("checkout", "--quiet", "HEAD", "--pathspec-from-file=-", "--pathspec-file-nul", names=part)
        except GitError as error:
            raise UserError(
                f"{repository.url}: stopped after {start:,} of {len(wanted):,} files ({error}); the same command "
                "continues there"
            ) from error
    if left := _differing(git):
        raise UserError(
            f"{git.folder / left[0]} and {len(left) - 1} more differ from the commit after they were written"
        )
    return len(wanted)


def _differing(git: Git) -> list[str]:
    """Returns the files that are absent, or whose content has another digest than the commit states."""
    return sorted(git.listed("ls-files", "--deleted", "--modified"))
