"""Execution of probes: computes the rows that the store does not hold, and records the probes that fail.

It is apart from ``bench.probes`` because the digest of a probe covers what its file imports: how rows are stored and
shown must not be part of that.
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Iterator
from typing import Any

from bench.contracts import Explainer
from bench.errors import one_line
from bench.evaluation.context import Scorer
from bench.store.code_digest import code_digest
from bench.store.fingerprints import digest
from bench.store.folders import CellStore
from bench.store.scores import write_probe
from bench.studies.base import Probe, Subject


def run_probes(subject: Subject, probes: dict[str, tuple[Probe, dict[str, Any]]], store: CellStore) -> Iterator[str]:
    """Compute and store what the store does not hold -> a line for everything that was computed or failed ("" = well).

    Args:
        probes: name -> probe and its parameters.
    """
    for name, (probe, parameters) in probes.items():
        concerned = {of: one for of, one in subject.explainers.items() if probe.concerns(one)}
        explainers = concerned if probe.per_explainer else {"": None}
        step, progress = f"probe {name}", subject.trained.progress
        if reason := probe.applies_to(subject):
            store.note_probe(name, {"": {"status": "skipped", "reason": reason}})
            progress.skip(step)
            continue
        wanted = {of: _fingerprint(subject, probe, parameters, of) for of in explainers}
        missing = [of for of, fingerprint in wanted.items() if not store.probe_is_current(name, of, fingerprint)]
        if not missing:
            progress.skip(step)
            continue
        with progress.step(step, f"{subject.trained.key}: {step}"):
            for of in missing:
                yield _study(subject, probe, of, explainers[of], wanted[of], store)


def _study(
    subject: Subject, probe: Probe, of: str, explainer: Explainer | None, fingerprint: str, store: CellStore
) -> str:
    try:
        write_probe(store.probe_file(probe.name, of), probe.study(subject, of, explainer), fingerprint=fingerprint)
        store.note_probe(probe.name, {of: {"status": "ok", "fingerprint": fingerprint}})
        return ""
    except Exception as error:  # a study that fails must not take the scores with it
        reason = one_line(error)
        store.note_probe(probe.name, {of: {"status": "failed", "reason": reason, "traceback": traceback.format_exc()}})
        return f"{subject.trained.key}: probe {probe.name!r}{f' of {of!r}' if of else ''} failed: {reason}"


def _fingerprint(subject: Subject, probe: Probe, parameters: dict[str, Any], of: str) -> str:
    trained, explained = subject.trained, subject.scorer.explained
    explainer = subject.explainers.get(of)
    return digest(
        trained.fingerprint,
        subject.prepared.explain.digest,
        explained.indices.tolist(),
        probe.name,
        json.dumps(parameters, sort_keys=True, default=str),
        # the builder: a probe may have it render what the split does not hold
        code_digest(probe, Scorer, subject.prepared.info.builder, *([explainer] if explainer else [])),
        subject.scorer.inference.precision,
        of,
        subject.parameters.get(of, {}),
        {} if probe.per_explainer else {one.name: code_digest(one.info.function) for one in subject.metrics},
        probe.depends_on(subject, explainer),
    )
