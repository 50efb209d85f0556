"""Git in a folder that may lie inside of another repository, without questions and without the user's own settings."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError

#: Line endings stay as they are, and nothing of the user's runs when files are written.
_SETTINGS = ("core.autocrlf=false", "core.fsmonitor=false", f"core.hooksPath={os.devnull}", "gc.auto=0")


class GitError(UserError):
    """Failure of a git command; the text is the last line that git wrote."""


class NoGit(UserError):
    """Git is not installed."""


@dataclass(frozen=True)
class Git:
    """The repository of a folder, which git does not look for in the folders above."""

    folder: Path

    @property
    def exists(self) -> bool:
        """Whether the folder itself is a repository."""
        return (self.folder / ".git").is_dir()

    def __call__(self, *arguments: str, names: Iterable[str] = ()) -> str:
        """Runs a git command and returns what it wrote.

        Args:
            *arguments: the command.
            names: file names for its standard input, separated by a null character.

        Raises:
            GitError: the command failed.
            NoGit: git is not installed.
        """
        program = shutil.which("git")
        if program is None:
            raise NoGit("git is not installed")
        settings = [part for setting in _SETTINGS for part in ("-c", setting)]
        where = [f"--git-dir={self.folder / '.git'}", f"--work-tree={self.folder}"]
        done = subprocess.run(
            [program, *settings, *where, *arguments],
            input="\0".join(names).encode(),
            capture_output=True,
            env=_environment(),
            check=False,
        )
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise GitError(lines[-1] if lines else f"git ended with exit code {done.returncode}")
        return done.stdout.decode(errors="surrogateescape")

    def listed(self, *arguments: str) -> list[str]:
        """Returns the file names that a git command with ``-z`` lists, without repetitions."""
        return list(dict.fromkeys(filter(None, self(*arguments, "-z").split("\0"))))


def _environment() -> dict[str, str]:
    """Returns the environment without variables of git, such as the repository of a hook that runs this program."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return kept | {"GIT_TERMINAL_PROMPT": "0", "GIT_LITERAL_PATHSPECS": "1", "LC_ALL": "C"}
