"""What a run did not measure, why, and how to add it."""

from __future__ import annotations

from bench.report import counterfactual, soundness
from bench.report.frames import Frames
from bench.report.summary import gaps, skipped_probes
from bench.report.tables import TableData

#: Table -> the probes that make it; those of ``_OF_PHANTOMS`` only where the truth is known.
_NEEDED = {
    "counterfactual": (counterfactual.PROBE,),
    "metric_soundness": (soundness.PROBE,),
    "sanity": ("sanity", "agreement"),
    "fair_resolution": ("fair_resolution",),
    "implementations": ("implementations",),
}
_OF_PHANTOMS = ("counterfactual", "metric_soundness")
#: Table that lacks something without another one -> what it lacks, and that one.
_NOTED = {
    "localisation": {"metric_soundness": "which metrics are sound"},
    "faithfulness": {
        "counterfactual": "the counterfactual columns",
        "metric_soundness": "which metrics are sound",
    },
}


def without_probes(frames: Frames) -> dict[str, tuple[str, ...]]:
    """Table that this run asked no probe for -> the probes that make it."""
    phantoms = any(record.get("twins") for record in frames.cells["record"])
    asked = frames.record.get("probes", {})
    return {
        table: probes
        for table, probes in _NEEDED.items()
        if not set(probes) & set(asked) and (phantoms or table not in _OF_PHANTOMS)
    }


def missing(frames: Frames) -> list[str]:
    """One line for all tables that lack their probes, if there are any."""
    absent = without_probes(frames)
    probes = [name for names in absent.values() for name in names]
    return [f"not there: {', '.join(absent)}: {how_to_add(frames, probes)}"] if absent else []


def how_to_add(frames: Frames, probes: list[str]) -> str:
    """What computes these probes and nothing else anew."""
    names = ",".join(dict.fromkeys([*frames.record.get("probes", {}), *probes]))
    return f"repeat the command of the run with --probes {names}, which computes only what is not there"


def note_missing(frames: Frames, tables: dict[str, TableData]) -> None:
    """Say below the tables what they lack without the probes that the run did not ask for."""
    absent = without_probes(frames)
    for name, lacking in _NOTED.items():
        for table, what in lacking.items():
            if name in tables and table in absent:
                tables[name].notes.append(f"Not measured: {what}; {how_to_add(frames, list(absent[table]))}.")


def gaps_table(frames: Frames, lacking: list[str]) -> TableData:
    """Everything that this run's tables do not hold, one line each.

    Args:
        lacking: what could be added, as lines.
    """
    kinds = {"problem": gaps(frames), "can be added": lacking, "by design": skipped_probes(frames)}
    caption = (
        "Gaps: what failed or could not be read, what the same command can add, and what is left out by design, "
        "because it would measure nothing there."
    )
    rows = [{"kind": kind, "gap": line} for kind, lines in kinds.items() for line in lines]
    return TableData(caption, ["kind", "gap"], [], rows, [False] * len(rows))
