"""Execution of studies: computes the rows that the store does not hold, and records the studies that fail.

It is apart from ``bench.studies.base`` because the digest of a study covers what its file imports: how rows are stored
and shown must not be part of that.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from typing import Any

from bench.contracts import Explainer
from bench.errors import disk_fault, is_stop, one_line
from bench.evaluation.scoring import score_batch
from bench.store.code_digest import code_digest, digest
from bench.store.folders import CellStore
from bench.store.records import StudyOutcome
from bench.store.scores import write_study
from bench.studies.base import Study, Subject


def run_studies(subject: Subject, studies: dict[str, tuple[Study, dict[str, Any]]], store: CellStore) -> Iterator[str]:
    """Computes and stores what the store does not hold.

    Args:
        subject: the classifier of the cell and its explained images.
        studies: name -> study and its parameters.
        store: files of the cell.

    Yields:
        After every computation a line that says why it failed; empty if it did not.
    """
    for name, (study, parameters) in studies.items():
        try:
            concerned = {of: one for of, one in subject.explainers.items() if study.concerns(one)}
            reason = study.applies_to(subject)
        except BaseException as error:
            yield _failed(subject, study, "", error, store)
            continue
        explainers = concerned if study.per_explainer else {"": None}
        if reason:
            store.note_study(name, {"": StudyOutcome(status="skipped", reason=reason)})
            continue
        wanted = {of: _fingerprint(subject, study, parameters, of) for of in explainers}
        missing = [of for of, fingerprint in wanted.items() if not store.study_is_current(name, of, fingerprint)]
        for of in missing:
            subject.trained.progress.update(f"{subject.trained.key}: study {name}{f' of {of}' if of else ''}")
            yield _study(subject, study, of, explainers[of], wanted[of], store)


def _study(
    subject: Subject, study: Study, of: str, explainer: Explainer | None, fingerprint: str, store: CellStore
) -> str:
    try:
        rows = study.measure(subject, of, explainer)
        write_study(store.files.writing(store.study_file(study.name, of)), rows, fingerprint=fingerprint)
        store.note_study(study.name, {of: StudyOutcome(status="ok", fingerprint=fingerprint)})
        return ""
    except BaseException as error:
        return _failed(subject, study, of, error, store)


def _failed(subject: Subject, study: Study, of: str, error: BaseException, store: CellStore) -> str:
    """Records what a study raised -> a line; a study that fails must not take the scores with it."""
    if is_stop(error) or disk_fault(error):
        raise error
    reason = one_line(error)
    outcome = StudyOutcome(status="failed", reason=reason, traceback="".join(traceback.format_exception(error)))
    store.note_study(study.name, {of: outcome})
    return f"{subject.trained.key}: study {study.name!r}{f' of {of!r}' if of else ''} failed: {reason}"


def _fingerprint(subject: Subject, study: Study, parameters: dict[str, Any], of: str) -> str:
    trained, explained = subject.trained, subject.context.explained
    explainer = subject.explainers.get(of)
    return digest(
        trained.fingerprint,
        subject.prepared.explain.digest,
        explained.indices.tolist(),
        study.name,
        parameters,
        # the builder: a study may have it render what the split does not hold
        code_digest(study, score_batch, subject.prepared.info.builder, *([explainer] if explainer else [])),
        subject.context.inference.precision,
        subject.context.alignment,
        subject.context.target,
        of,
        subject.parameters.get(of, {}),
        {} if study.per_explainer else {one.name: code_digest(one.info.function) for one in subject.metrics},
        study.depends_on(subject, explainer),
    )
