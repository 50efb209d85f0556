"""The origin of a data set changes with its files and with what its builder states, and is unknown without a list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.data.loading import Request
from bench.registry import DATASETS
from bench.run.finished.origin import origin_of
from tests.support.made import squares

pytestmark = pytest.mark.usefixtures("squares")


class Listed(list[Any]):
    """Samples with a list of their files."""

    def __init__(self, samples: Any, files: list[Path]) -> None:
        super().__init__(samples)
        self.files, self.excluded = files, [("a.png", "it is empty")]


def origin(tmp_path: Path, change: Callable[[Listed], object] = lambda samples: None) -> str | None:
    """Returns the origin of a data set with one file per split, after a change of what its builder returns."""

    def build(root: Path, split: str) -> Listed:
        samples = Listed(squares(root, split), [tmp_path / "image.png"])
        change(samples)
        return samples

    return origin_of(replace(DATASETS["squares"], builder=build), Request(tmp_path, 32, 0))


def test_the_origin_changes_with_files_statements_and_decoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "image.png"
    file.write_bytes(b"1")
    first = origin(tmp_path)
    assert first is not None
    assert origin(tmp_path) == first
    assert origin(tmp_path, lambda samples: samples.pop()) != first
    assert origin(tmp_path, lambda samples: samples.excluded.clear()) != first
    file.write_bytes(b"12")
    second = origin(tmp_path)
    assert second != first
    monkeypatch.setattr("bench.run.finished.origin.decoder_versions", lambda: ["another Pillow"])
    assert origin(tmp_path) != second


def test_the_origin_is_unknown_without_a_list_of_files_and_where_a_builder_fails(tmp_path: Path) -> None:
    assert origin(tmp_path) is None  # the file is missing
    (tmp_path / "image.png").write_bytes(b"1")
    assert origin(tmp_path, lambda samples: delattr(samples, "files")) is None
    assert origin_of(DATASETS["squares"], Request(tmp_path, 32, 0)) is None
