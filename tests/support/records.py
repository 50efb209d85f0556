"""Records with the facts that a test does not care about filled in."""

from __future__ import annotations

from typing import Any

from bench.store.records import MachineFacts, RunRecord

MACHINE = MachineFacts(
    device="cpu", gpu="none", cpu="an abacus", processes=1, threads=1, bf16="False", platform="a desk"
)


def run_record(**facts: Any) -> RunRecord:
    """A record of a run; everything that is not given is empty."""
    empty: dict[str, Any] = {"config": {}, "cells": [], "plan": "this", "explained_by": {}, "datasets": {}}
    empty |= {"explainers": {}, "heads": {}, "metrics": [], "packages": {}, "machine": MACHINE, "started": ""}
    return RunRecord.model_validate(empty | facts)
