"""Soak test of the run folder and the cache: what must be equal after kills, damage and rivals is equal.

    python docs/measurements/soak.py --minutes 20

A small run is disturbed at random moments: parent or worker are killed, Ctrl-C is pressed, a second run starts in the
same folder or on the same cache, a report is built in between, a random byte range of a random file is damaged, and all
files are dated a day ahead, as after a clock was set back. Then the same command runs to its end, and every table
except those of durations is compared with an undisturbed run. Exit code 1: a table differed, a traceback was shown, or
a command did not come to an end. A table or figure that was damaged may be an edit of the user: a run names it, leaves
it and ends with exit code 1, and the test deletes it then.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import psutil
import typer

ROOT = Path(__file__).parents[2]
CONFIG = """
extends = "smoke"
[run]
datasets = ["cxr-phantom", "oct-phantom"]
heads = ["blackbox", "softcam-sparse"]
explainers = ["softcam", "gradcam", "random", "mask_oracle"]
on_inherent = ["gradcam"]
metrics = ["activation_precision", "pixel_auroc", "audc@zero", "positive_ratio", "false_alarm_area"]
studies = ["counterfactual", "agreement"]
"""
_LONGEST = 600  # seconds that one command may take before it counts as hanging
_TRIES = 3  # commands that may be needed until an undisturbed one ends with exit code 0
_DAY = 24 * 3600
_CHANGED = " was changed since it was written and is left as it is"


@dataclass
class Soak:
    """One soak test: its random numbers, places and counts.

    Attributes:
        place: temporary folder that holds run folder and cache of each round.
        random: every decision comes from here; moments also hang on the load of the machine.
        counts: what happened -> how often.
        faults: what must not happen, a line each.
        duration: seconds of the undisturbed run.
    """

    place: Path
    random: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    duration: float = 0.0

    def start(self, out: Path, cache: Path, *words: str) -> subprocess.Popen[str]:
        """Starts a run in a process group of its own, or another command given by its words."""
        (self.place / "soak.toml").write_text(CONFIG)
        options = ["--config", str(self.place / "soak.toml"), "--out", str(out), "--cache", str(cache)]
        return subprocess.Popen(
            [sys.executable, str(ROOT / "run_benchmark.py"), *(words or [*options, "--workers", "2"])],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def finish(self, process: subprocess.Popen[str], what: str) -> tuple[int, str]:
        """Waits for a command, looks for tracebacks in what it said, and returns its exit code and that."""
        try:
            said, _ = process.communicate(timeout=_LONGEST)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            said, _ = process.communicate()
            self.faults.append(f"{what}: did not end within {_LONGEST} s: {said[-300:]!r}")
        if "Traceback" in said:
            self.faults.append(f"{what}: {said[said.index('Traceback') :][-600:]!r}")
        return process.returncode, said

    def undisturbed(self, out: Path, cache: Path) -> dict[str, bytes]:
        """Runs to the end, up to three times, and returns the tables; does what the run asks for."""
        for _ in range(_TRIES):
            begun = time.monotonic()
            code, said = self.finish(self.start(out, cache), "undisturbed run")
            if code == 0:
                self.duration = self.duration or time.monotonic() - begun
                return tables(out)
            self.counts["run that had to be repeated"] += 1
            for line in said.splitlines():
                if _CHANGED in line:  # it may be an edit of the user
                    Path(line.partition(_CHANGED)[0]).unlink()
                    self.counts["changed table or figure named, and deleted as the line says"] += 1
        self.faults.append(f"no run of {_TRIES} ended with exit code 0")
        return {}


def tables(out: Path) -> dict[str, bytes]:
    """Returns name -> content of every table without durations."""
    files = [file for file in sorted((out / "tables").rglob("*")) if file.is_file() and "cost" not in file.name]
    return {str(file.relative_to(out)): file.read_bytes() for file in files}


def phase(out: Path) -> str:
    """Says how far a run got, from the files that it left."""
    cells = list(out.glob("cells/*/*"))
    if not any((cell / "weights.safetensors").exists() for cell in cells):
        return "before the first weights"
    if not (out / "scores.parquet").exists():
        return "training and explaining"
    return "report"


def kill_parent(soak: Soak, process: subprocess.Popen[str], out: Path, cache: Path) -> str:
    """SIGKILL of the run alone: its workers must notice."""
    process.kill()
    return f"run killed: {phase(out)}"


def kill_worker(soak: Soak, process: subprocess.Popen[str], out: Path, cache: Path) -> str:
    """SIGKILL of any process below the run."""
    try:
        soak.random.choice(psutil.Process(process.pid).children(recursive=True)).kill()
    except (IndexError, psutil.NoSuchProcess):
        return "no worker to kill"
    return f"worker killed: {phase(out)}"


def interrupt(soak: Soak, process: subprocess.Popen[str], out: Path, cache: Path) -> str:
    """Ctrl-C."""
    os.killpg(process.pid, signal.SIGINT)
    return f"Ctrl-C: {phase(out)}"


def rival(soak: Soak, process: subprocess.Popen[str], out: Path, cache: Path) -> str:
    """A second run in the same folder ends with one line unless the first one has ended."""
    code, _ = soak.finish(soak.start(out, cache), "second run in one folder")
    return f"second run in one folder, exit code {code}"


def neighbour(soak: Soak, process: subprocess.Popen[str], out: Path, cache: Path) -> str:
    """A second run on the same cache, killed at a random moment."""
    other = soak.start(out.with_name("neighbour"), cache)
    time.sleep(soak.random.uniform(0, soak.duration))
    os.killpg(other.pid, signal.SIGKILL)
    soak.finish(other, "second run on one cache")
    return "second run on one cache, killed"


def report(soak: Soak, process: subprocess.Popen[str], out: Path, cache: Path) -> str:
    """A report is built of whatever a killed run left."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    code, _ = soak.finish(soak.start(out, cache, "report", str(out)), "report of a killed run")
    return f"report of a killed run, exit code {code}"


DISTURBANCES: list[Callable[[Soak, subprocess.Popen[str], Path, Path], str]] = [
    *(kill_parent, kill_worker, interrupt, rival, neighbour, report)
]


DAMAGES = ["deleted", "emptied", "cut", "tail of zeros", "flipped"]


def damage(soak: Soak, *folders: Path) -> str:
    """Damages one file at random and says how."""
    files = [file for folder in folders for file in sorted(folder.rglob("*")) if file.is_file() and file.name != "lock"]
    if not files:
        return "no file to damage"
    file, kind = (
        soak.random.choice(files),
        soak.random.choice(["deleted", "emptied", "cut", "tail of zeros", "flipped"]),
    )
    content = bytearray(file.read_bytes())
    if kind == "deleted":
        file.unlink()
        return "file deleted"
    if kind == "emptied":
        content.clear()
    elif content:
        at = soak.random.randrange(len(content))
        if kind == "cut":
            del content[at:]
        elif kind == "flipped":
            content[at] ^= 255
        else:
            content[at:] = bytes(len(content) - at)
    file.write_bytes(content)
    return f"file {kind}"


def set_clock_back(soak: Soak, *folders: Path) -> str:
    """Dates every file a day ahead, as those that were written before the clock was set back."""
    ahead = time.time() + _DAY
    for folder in folders:
        for file in folder.rglob("*"):
            os.utime(file, (ahead, ahead), follow_symlinks=False)
    return "clock set back"


def play(soak: Soak, expected: dict[str, bytes], number: int) -> None:
    """Plays one round: disturbed tries with damage between them, then a run to the end and the comparison."""
    out, cache = soak.place / f"round{number}" / "run", soak.place / f"round{number}" / "cache"
    for _ in range(soak.random.randint(1, 3)):
        process = soak.start(out, cache)
        time.sleep(soak.random.uniform(0, soak.duration))
        happened = soak.random.choice(DISTURBANCES)(soak, process, out, cache)
        soak.counts[happened] += 1
        soak.finish(process, happened)
        between = soak.random.choice([damage, damage, set_clock_back, None])
        if between:
            soak.counts[between(soak, out, cache)] += 1
    found = soak.undisturbed(out, cache)
    if soak.random.random() < 0.5:  # a finished run heals, too
        soak.counts[damage(soak, out, cache)] += 1
        found = soak.undisturbed(out, cache)
    differing = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    soak.counts["tables compared"] += len(expected)
    soak.counts["tables that differ"] += len(differing)
    if differing:
        soak.faults.append(f"round {number}: {', '.join(differing)} (kept in {out})")
        return
    shutil.rmtree(out.parent)


def main(
    minutes: Annotated[float, typer.Option(min=0, help="duration; the round that is played is finished")] = 20,
    seed: Annotated[int, typer.Option(help="of the random decisions")] = 0,
    place: Annotated[Path | None, typer.Option(help="folder of the runs [a temporary one]")] = None,
) -> None:
    """Disturbs runs for a while and compares their tables with those of an undisturbed run."""
    soak = Soak(place or Path(tempfile.mkdtemp(prefix="soak-")), random.Random(seed))
    soak.place.mkdir(parents=True, exist_ok=True)
    expected = soak.undisturbed(soak.place / "undisturbed" / "run", soak.place / "undisturbed" / "cache")
    print(f"undisturbed run: {soak.duration:.0f} s, {len(expected)} tables; runs in {soak.place}", flush=True)
    end, rounds = time.monotonic() + 60 * minutes, 0
    while time.monotonic() < end or rounds == 0:
        rounds += 1
        play(soak, expected, rounds)
        print(
            f"round {rounds}: {soak.counts['tables that differ']} tables differ, {len(soak.faults)} faults", flush=True
        )
    for what, count in sorted(soak.counts.items()):
        print(f"{count:6}  {what}")
    print("\n".join(soak.faults) or "no faults")
    raise typer.Exit(1 if soak.faults or not expected else 0)


if __name__ == "__main__":
    typer.run(main)
