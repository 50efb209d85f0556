"""Parts of the last report that still hold: tables and figures whose code and inputs have not changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from bench.report.contents import TOPICS, Part, Topic
from bench.report.figures.style import Caption
from bench.report.frames.load import Frames
from bench.report.incremental.inputs import input_digests
from bench.report.incremental.stored import FOLDER, read_part, write_part
from bench.store.code_digest import digest
from bench.store.manifest import Manifest

Captions = dict[str, Caption]


@dataclass
class Reuse:
    """What a report may take from the last one.

    Attributes:
        files: notes of the run folder.
        code: digest of the code of the report.
        inputs: kind of input -> digest.
        figures: topic -> key and captions of its figures in the last report; those of this one replace them.
        allowed: whether anything is taken.
    """

    files: Manifest
    code: str
    inputs: dict[str, str]
    figures: dict[str, Any] = field(default_factory=dict)
    allowed: bool = True

    @classmethod
    def of(cls, files: Manifest, frames: Frames, code: str, figures: Any, allowed: bool) -> Reuse:
        """Returns what may be taken for the present content of the run folder."""
        inputs = input_digests(frames, {kind for topic in TOPICS for kind in topic.reads})
        return cls(files, code, inputs, figures if isinstance(figures, dict) else {}, allowed)

    def key(self, topic: Topic) -> str:
        """Returns the digest of everything that a topic depends on."""
        drawn = [draw.__name__ for draw in topic.figures if hasattr(draw, "__name__")]
        return digest(self.code, topic.name, drawn, {kind: self.inputs[kind] for kind in sorted(topic.reads)})

    def part(self, topic: Topic) -> Part | None:
        """Returns tables and gaps of a topic in the last report; None if they must be made again."""
        stored = read_part(self.files.folder, topic.name, self.key(topic)) if self.allowed else None
        if stored:
            self.files.keep(f"{FOLDER}/{topic.name}.json")
        return stored

    def note_part(self, topic: Topic, part: Part, failed: bool) -> None:
        """Writes tables and gaps of a topic for the next report."""
        if not failed:
            write_part(self.files, topic.name, self.key(topic), part)

    def drawn(self, topic: Topic) -> Captions | None:
        """Returns the captions of the figures of a topic in the last report; None if they must be drawn again."""
        known = self.figures.get(topic.name)
        if not self.allowed or not isinstance(known, dict) or known.get("key") != self.key(topic):
            return None
        captions = {stem: Caption(*texts) for stem, texts in known["captions"].items()}
        names = [f"figures/{stem}.{suffix}" for stem in captions for suffix in ("png", "pdf")]
        if not all(map(self.files.is_ours, names)):
            return None
        self.files.keep(*names)
        return captions

    def note(self, topic: Topic, captions: Captions, failed: bool) -> None:
        """Notes the figures of a topic for the next report."""
        self.figures.pop(topic.name, None)
        if not failed:
            texts = {stem: list(caption) for stem, caption in captions.items()}
            self.figures[topic.name] = {"key": self.key(topic), "captions": texts}
