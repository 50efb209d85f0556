"""Runs of random configs with invented scores: real files in the store's layout, no model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from bench.config import parse_config
from bench.contracts import OWN_CLASS, DatasetInfo
from bench.evaluation.metric_inputs import KEPT_CURVES, NEEDS_MASKS
from bench.files import replacing
from bench.run.record import new_record
from bench.store.cell_facts import LesionReliance
from bench.store.folders import CellStore, RunStore
from bench.store.records import CellKey, CellRecord, DatasetFacts, ExplainerOutcome, RunRecord, StudyOutcome
from bench.store.scores import write_scores
from tests.support.made import options_of
from tests.support.subsets.configs import Drawn

STEPS, HITS = 3, 30  # of curves


def write_run(folder: Path, drawn: Drawn) -> RunStore:
    """Writes the run folder of a drawn run."""
    store, plan = RunStore(folder), drawn.plan
    base = new_record(parse_config(drawn.config, "drawn"), plan, options_of(folder), workers=1)
    unprepared = {name for place, name in enumerate(plan.datasets) if place in drawn.unprepared}
    facts = {name: _dataset(drawn, base, name, name in unprepared) for name in plan.datasets}
    record = base.changed(datasets=facts, finished=base.started)
    store.write_record(record)
    for name in set(plan.datasets) - unprepared:
        _write_images(store.images_file(name), drawn, plan.datasets[name])
    for place, key in enumerate(plan.cells):
        cell = store.cell(key)
        if key.dataset in unprepared or place in drawn.lost:
            cell.write_record(CellRecord(status="failed", plan=record.plan, reason="it broke"))
        elif -place - 1 not in drawn.lost:
            _Cell(drawn, record, key, cell, place).write()
    return store


def _dataset(drawn: Drawn, record: RunRecord, name: str, unprepared: bool) -> DatasetFacts:
    """Facts of a data set; those of one that could not be read are few."""
    if unprepared:
        return record.datasets[name]
    info, has_masks = drawn.plan.datasets[name], drawn.plan.datasets[name].masks != "none"
    each = [4] * len(info.classes)
    return record.datasets[name].changed(
        classes=list(info.classes),
        masks=info.masks,
        healthy=info.healthy,
        ordered=info.ordered,
        images={"train": each, "val": each, "test": each},
        side={"train": 32, "explain": 32},
        excluded=[],
        explained_diseased=drawn.images[0],
        explained_healthy=drawn.images[1] if info.healthy is not None else 0,
        explained_faithful=drawn.images[0],
        prevalence=0.1 if has_masks else None,
        topk_chance=0.2 if has_masks else None,
    )


def _write_images(file: Path, drawn: Drawn, info: DatasetInfo) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    names = _explained(drawn, info)["image"].iloc[: drawn.kept]
    masks = np.zeros((len(names), 32, 32), bool)
    masks[:, 4:8, 4:8] = info.masks != "none"
    labels = _explained(drawn, info)["label"].iloc[: drawn.kept].to_numpy()
    pixels = np.zeros((len(names), 3, 32, 32), np.uint8)
    np.savez(file, images=pixels, masks=masks, labels=labels, ids=names.to_numpy(dtype=str))


def _explained(drawn: Drawn, info: DatasetInfo) -> pd.DataFrame:
    """Image, group, label and diseased of every explained image."""
    diseased, healthy = drawn.images
    classes = [index for index in range(len(info.classes)) if index != info.healthy]
    labels = [classes[index % len(classes)] for index in range(diseased)]
    labels += [info.healthy] * healthy if info.healthy is not None else []
    names = [f"i{index}" for index in range(len(labels))]
    groups = [f"g{index % drawn.groups}" for index in range(len(labels))]
    columns = {"image": np.array(names, dtype=object), "group": np.array(groups, dtype=object)}
    frame = pd.DataFrame(columns | {"label": np.array(labels, dtype=np.int64)})
    return frame.assign(diseased=np.arange(len(labels)) < diseased)


@dataclass
class _Cell:
    """A finished cell of a drawn run."""

    drawn: Drawn
    record: RunRecord
    key: CellKey
    cell: CellStore
    place: int

    def __post_init__(self) -> None:
        self.draw = np.random.default_rng([self.drawn.seed, self.place])
        self.info = self.drawn.plan.datasets[self.key.dataset]
        self.metrics = [
            one for one in self.drawn.plan.metrics if self.has_masks or not NEEDS_MASKS & set(one.info.needs)
        ]

    @property
    def has_masks(self) -> bool:
        return self.info.masks != "none"

    def write(self) -> None:
        """Writes the record, predictions, training, scores, cost and maps."""
        planned = self.drawn.plan.cells[self.key]
        skipped = {one.info.name: "no masks" for one in self.drawn.plan.metrics if one not in self.metrics}
        self.cell.folder.mkdir(parents=True)
        predictions = self._predictions()
        predictions.to_parquet(self.cell.predictions, index=False)
        if not planned.head.converts:
            history = {"epoch": [0, 1], "train_loss": [0.7, 0.6], "val_auc": [0.5, np.nan], "val_loss": [0.7, 0.5]}
            pd.DataFrame(history).to_csv(self.cell.training, index=False)
        explained = self._with_predictions(predictions)
        self.cell.write_record(
            CellRecord(
                status="ok",
                plan=self.record.plan,
                base=planned.base,
                parameters=planned.parameters,
                best_epoch=None if planned.head.converts else 1,
                weights_from="random initialisation",
                evidence_grid=(4, 4) if planned.head.family == "inherent" else None,
                near_zero=0.4 if planned.head.family == "inherent" else None,
                metrics_skipped=skipped,
                lesion_reliance=LesionReliance(true_positives=0, called_healthy=0.0) if self.drawn.rendered else None,
                target=self.drawn.config["explain"]["target"],
                explainers={name: self._explainer(name, explained) for name in self.record.explained_by[self.key.head]},
                studies={name: {"": StudyOutcome(status="skipped", reason="no")} for name in self.record.studies},
            )
        )

    def _predictions(self) -> pd.DataFrame:
        """Logits of the test images: the explained ones and two others per class."""
        known = _explained(self.drawn, self.info)[["image", "group", "label"]]
        labels = np.arange(2 * len(self.info.classes)) % len(self.info.classes)
        names = [f"other{index}" for index in range(len(labels))]
        others = pd.DataFrame({"image": names, "group": names, "label": labels})
        frame = pd.concat([known, others], ignore_index=True)
        if self.drawn.predictions == "one image":
            frame = frame.iloc[:1]
        logits = self.draw.normal(size=(len(frame), len(self.info.classes)))
        if self.drawn.predictions == "one class":
            logits[:, -1] = 9
        elif self.drawn.predictions == "right":
            logits += 9 * np.eye(len(self.info.classes))[frame["label"]]
        return frame.assign(**{f"logit_{index}": logits[:, index] for index in range(len(self.info.classes))})

    def _with_predictions(self, predictions: pd.DataFrame) -> pd.DataFrame:
        """The explained images with the predicted and the explained class."""
        explained = _explained(self.drawn, self.info)
        best = predictions.filter(like="logit_").to_numpy().argmax(axis=1)
        by_name = dict(zip(predictions["image"], best, strict=True))
        predicted = np.array([by_name.get(name, 0) for name in explained["image"]], dtype=np.int64)
        target = explained["label"].where(explained["diseased"], len(self.info.classes) - 1)
        return explained.assign(predicted=predicted, target=target)

    def _explainer(self, name: str, explained: pd.DataFrame) -> ExplainerOutcome:
        """Writes scores and maps of an explainer, unless it does not apply or failed."""
        explainer, head = self.drawn.plan.explainers[name], self.drawn.plan.cells[self.key].head
        if explainer.family == "inherent" and head.family != "inherent":
            return ExplainerOutcome(status="skipped", reason="no evidence")
        if explainer.needs_masks and not self.has_masks:
            return ExplainerOutcome(status="skipped", reason="no masks")
        place = list(self.drawn.plan.explainers).index(name)
        if (self.place, place) in self.drawn.failed:
            return ExplainerOutcome(status="failed", reason="it broke", traceback="…")
        how = self.drawn.values[place % len(self.drawn.values)]
        write_scores(
            replacing(self.cell.scores_file(name)), [self._rows(explained, how)], fingerprint="x", metrics="{}"
        )
        kept = explained["image"].iloc[: self.drawn.kept]
        self.cell.gallery_file(name).parent.mkdir(exist_ok=True)
        np.savez(self.cell.gallery_file(name), *self._values(how, (len(kept), 4, 4)))
        if len(self.info.classes) > 2:
            self._own_class(name, explained, how)
        return ExplainerOutcome(status="ok", fingerprint="x", bad_maps=["i0"] if how == "some nan" else [])

    def _own_class(self, name: str, explained: pd.DataFrame, how: str) -> None:
        part = self.cell.part(OWN_CLASS)
        rows = self._rows(explained[~explained["diseased"]].assign(target=lambda rows: rows["label"]), how)
        write_scores(replacing(part.scores_file(name)), [rows], fingerprint="x", metrics="{}")
        outcomes = part.record.explainers | {name: ExplainerOutcome(status="ok", fingerprint="x")}
        part.write_record(CellRecord(plan=self.record.plan, explainers=outcomes))

    def _rows(self, explained: pd.DataFrame, how: str) -> pd.DataFrame:
        """Long rows of every metric, its curves, and the cost."""
        wanted = {"diseased": explained["diseased"], "healthy": ~explained["diseased"], "all": explained["label"] >= 0}
        cost = explained.iloc[:0].reindex([0]).assign(image="", group="", label=-1, predicted=-1, target=-1)
        parts = [
            cost.assign(diseased=False, metric=name, variant="", step=-1, value=1.0)
            for name in ("forwards_per_map", "backwards_per_map", "seconds_per_map", "peak_memory_mib")
        ]
        for request in self.metrics:
            images = explained[wanted[request.info.images]]
            parts.append(self._metric(images, request.info.name, request.variant, how, 1).assign(step=-1))
            for curve in KEPT_CURVES & set(request.info.needs):
                steps = HITS if curve == "topk_hits" else STEPS + 1
                parts.append(self._metric(images, curve, request.variant, how, steps))
        return pd.concat(parts, ignore_index=True).drop_duplicates(["image", "metric", "variant", "step"])

    def _metric(self, images: pd.DataFrame, metric: str, variant: str, how: str, steps: int) -> pd.DataFrame:
        rows = images.loc[images.index.repeat(steps)].assign(metric=metric, variant=variant)
        return rows.assign(step=np.tile(np.arange(steps), len(images)), value=self._values(how, (len(rows),)))

    def _values(self, how: str, shape: tuple[int, ...]) -> np.ndarray:
        """Numbers in [0, 1] as one entry of ``VALUES`` says."""
        values = self.draw.uniform(size=shape)
        if how == "some nan":
            values[self.draw.uniform(size=shape) < 0.4] = np.nan
        return {"all nan": values * np.nan, "constant": values * 0 + 0.5, "zero": values * 0}.get(how, values)
