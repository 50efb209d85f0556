"""What every registered data set of ours owes its caller, on tiny files in the layout of its publisher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import pytest
import torch

from bench.configs.modalities import MODALITIES
from bench.contracts import NO_FINDING, DatasetInfo, MissingData, Sample, Samples, UserError
from bench.data.loading import Request, build_samples, load_splits
from bench.data.sources import elpv
from bench.data.sources.folder import folder_dataset
from bench.data.split import Split
from bench.registry import DATASETS
from tests.support.datasets.folder import make_findings, make_folder
from tests.support.datasets.fundus import make_eyepacs, make_idrid
from tests.support.datasets.oct import SIZES, make_oct, write_mask
from tests.support.datasets.repositories import make_codras, make_covid, make_hei
from tests.support.datasets.rsna import make_rsna

OURS = {name for name in DATASETS if DATASETS[name].builder.__module__.startswith("bench.")}
SIZE = 64
#: Enough for five classes in every split, and few enough to decode in a second.
COUNTS = {"train": 10, "val": 5, "test": 10, "mosaic": 8, "findings": 10}


def nothing(root: Path) -> None:
    """Generated images need no files, and those of elpv are in its package."""


def eyepacs(root: Path) -> None:
    make_eyepacs(root)


def idrid(root: Path) -> None:
    make_idrid(root / "idrid")


def oct2017(root: Path) -> None:
    """The publisher has no masks; these are added by the user."""
    make_oct(root / "oct2017")
    for index, name in enumerate(SIZES):
        if name != "NORMAL":
            write_mask(root / "oct2017", f"{name}-{200 + 20 * index}-1.png", *SIZES[name])


def rsna(root: Path) -> None:
    make_rsna(root / "rsna", 45)


def hei(root: Path) -> None:
    make_hei(root / "hei-med")


def codras(root: Path) -> None:
    make_codras(root / "codras")


def covid(root: Path) -> None:
    make_covid(root / "covid-cxr")


PHANTOMS = (
    *("cxr-phantom", "cxr-phantom@findings", "fundus-phantom", "fundus-phantom@grades"),
    *("oct-phantom", "oct-phantom@classes"),
)
#: Data set -> writes its files below a root.
MAKERS: dict[str, Callable[[Path], None]] = {
    "elpv": nothing,
    **dict.fromkeys(("fundus", "fundus@onset2", "fundus@grades"), eyepacs),
    "fundus-idrid": idrid,
    **dict.fromkeys(("oct", "oct@classes"), oct2017),
    "cxr": rsna,
    "fundus-hei": hei,
    "fundus-boxes": codras,
    **dict.fromkeys(("cxr-covid", "cxr-covid@findings"), covid),
    **dict.fromkeys(PHANTOMS, nothing),
}
#: What the message about missing data names, by maker: the files it looks for, and where they are to be had.
LOOKED_FOR = {
    eyepacs: ("_left.jpeg", "train.zip", "https://www.kaggle.com/c/diabetic-retinopathy-detection"),
    idrid: ("A. Segmentation", "B. Disease Grading", "https://ieee-dataport.org/"),
    oct2017: ("train/DRUSEN", "OCT2017", "https://data.mendeley.com/datasets/rscbjbr9sj/3"),
    rsna: ("stage_2_train_labels.csv", "kaggle.com/c/rsna-pneumonia-detection-challenge"),
    hei: ("DMED/*.jpg", "run_benchmark.py get fundus-hei", "https://github.com/lgiancaUTH/HEI-MED"),
    codras: ("images/*.jpg", "run_benchmark.py get fundus-boxes", "https://github.com/chrisvoncsefalvay/codras"),
    covid: ("structure.csv", "run_benchmark.py get cxr-covid", "https://github.com/GeneralBlockchain/"),
}
NEEDS = {"elpv": "elpv_dataset", "cxr": "pydicom"}
FOLDER = "folder of the user's"
FINDINGS = "folder of the user's with findings"
every_data_set = pytest.mark.parametrize("name", sorted(MAKERS))
every_source = pytest.mark.parametrize("name", [*sorted(MAKERS), FOLDER, FINDINGS])


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[Callable[..., object], Path]:
    """A folder for each maker, filled when first asked for."""
    made: dict[Callable[..., object], Path] = {}

    class Roots(dict[Callable[..., object], Path]):
        def __missing__(self, make: Callable[[Path], object]) -> Path:
            self[make] = tmp_path_factory.mktemp(make.__name__)
            make(self[make])
            return self[make]

    return Roots(made)


Given = tuple[DatasetInfo, Path]


@pytest.fixture
def given(name: str, roots: dict[Callable[..., object], Path]) -> Given:
    """The data set and the root with its files."""
    if name in NEEDS:
        pytest.importorskip(NEEDS[name])
    if name in (FOLDER, FINDINGS):
        make = make_folder if name == FOLDER else make_findings
        return folder_dataset(roots[make]), roots[make]
    return DATASETS[name], roots[MAKERS[name]]


def splits_of(info: DatasetInfo) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*info.splits, info.explain_split)))


def read(given: Given, split: str, **counts: int) -> Sequence[Sample] | Samples:
    info, root = given
    return build_samples(info, Request(root, SIZE, 0, COUNTS | counts), split)


def load(given: Given, cache: Path, seed: int = 0) -> dict[str, Split]:
    info, root = given
    return load_splits(info, Request(root, SIZE, seed, COUNTS), cache)


def test_every_data_set_of_ours_is_tested() -> None:
    assert set(MAKERS) == OURS


@every_data_set
def test_facts_are_stated(name: str) -> None:
    info = DATASETS[name]
    assert all(text.strip() for text in (info.source, info.licence, info.citation))
    assert len(set(info.classes)) == len(info.classes) >= 2
    assert info.healthy is None or info.healthy in range(len(info.classes))
    assert info.modality in MODALITIES
    for counts in info.published.values():
        assert len(counts) == len(info.classes)
    for total in info.totals:
        assert len(total) in (1, len(info.classes))


@every_data_set
def test_normalisation_is_that_of_values_between_0_and_1(name: str) -> None:
    info = DATASETS[name]
    assert (info.mean is None) == (info.std is None)
    for mean, std in zip(info.mean or (), info.std or (), strict=True):
        assert 0 < mean < 1
        assert 0 < std <= (mean * (1 - mean)) ** 0.5, "no values in [0, 1] with this mean vary so much"


@every_data_set
def test_message_about_missing_data_says_which_files_and_where_they_are(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info, wanted = DATASETS[name], LOOKED_FOR.get(MAKERS[name], ())
    if name == "elpv":
        monkeypatch.setattr(elpv, "_PACKAGE", "elpv_dataset_that_is_not_there")
        wanted = ("pip install elpv-dataset==1.0.0.post1",)
    said = info.missing(tmp_path)
    assert bool(said) == bool(wanted)
    assert "\n" not in said
    assert [part for part in wanted if part not in said] == []
    if said:
        with pytest.raises(MissingData, match=f"data set {name}: "):
            load_splits(info, Request(tmp_path, SIZE, 0), tmp_path / "cache")
    else:
        assert name in PHANTOMS
        assert info.source == "generated"


@every_source
def test_nothing_is_missing_once_the_files_are_there(given: Given) -> None:
    info, root = given
    assert info.missing(root) == ""


@every_source
@pytest.mark.usefixtures("one_drawing")
def test_splits_share_no_image_and_no_group(given: Given, tmp_path: Path) -> None:
    splits = load(given, tmp_path)
    assert set(splits) == set(splits_of(given[0]))
    for split in splits.values():
        assert len(set(split.ids)) == len(split) > 0
    for (first, one), (second, other) in combinations(splits.items(), 2):
        assert not set(one.ids) & set(other.ids)
        if {first, second} != {"test", given[0].explain_split}:  # mosaics of test images are no other patients
            assert not set(one.groups) & set(other.groups)


@every_source
@pytest.mark.usefixtures("one_drawing")
def test_the_seed_alone_decides(given: Given, tmp_path: Path) -> None:
    first, again, other = (
        {name: split.digest for name, split in load(given, tmp_path / cache, seed).items()}
        for cache, seed in (("first", 5), ("again", 5), ("other", 6))
    )
    assert first == again
    assert first != other


@every_source
def test_samples_keep_the_contract(given: Given) -> None:
    info = given[0]
    for split in splits_of(info):
        samples = read(given, split)
        classes = getattr(samples, "classes", info.classes)
        for index in range(len(samples)):
            sample = samples[index]
            assert sample.image.dtype == torch.uint8 or 0 <= sample.image.min() <= sample.image.max() <= 1
            assert sample.image.ndim == 3
            assert sample.image.shape[0] in (1, 3)
            if info.multilabel and split != info.explain_split:
                assert isinstance(sample.label, tuple)
                assert len(sample.label) == len(classes)
                assert set(sample.label) <= {-1, 0, 1}
            else:
                assert sample.label in range(NO_FINDING if info.multilabel else 0, len(classes))
            for region in (sample.mask, sample.ignored, sample.fov):
                assert region is None or (region.dtype, region.shape) == (torch.bool, sample.image.shape[1:])
            if sample.mask is not None:
                assert info.masks in ("pixel", "box"), "a data set without masks returned one"
                diseased = sample.label != info.lesion_free
                # "No or mild DR" holds photographs with lesions.
                assert sample.mask.any() or not diseased
                assert diseased or not sample.mask.any() or info.name == "fundus@onset2"
                assert not sample.mask.all()
                assert sample.ignored is None or not (sample.mask & sample.ignored).any()


@every_source
def test_diseased_images_to_be_explained_have_masks(given: Given) -> None:
    samples = read(given, given[0].explain_split)
    found = [samples[index] for index in range(len(samples))]
    assert any(sample.mask is not None and sample.mask.any() for sample in found)
    if MAKERS.get(given[0].name) is eyepacs:
        assert any(sample.ignored is not None and sample.ignored.any() for sample in found)


@every_source
def test_a_sample_depends_on_its_index_alone(given: Given) -> None:
    forwards, backwards = read(given, given[0].explain_split), read(given, given[0].explain_split)
    there = [forwards[index] for index in range(len(forwards))]
    back = [backwards[index] for index in reversed(range(len(backwards)))][::-1]
    for one, other in zip(there, back, strict=True):
        assert (one.id, one.group, one.label) == (other.id, other.group, other.label)
        assert torch.equal(one.image, other.image)
        assert (one.mask is None) == (other.mask is None)
        assert one.mask is None or torch.equal(one.mask, other.mask)


@every_source
def test_more_images_contain_the_fewer(given: Given) -> None:
    split = given[0].splits[0]
    few, more = (read(given, split, **{split: count}) for count in (6, 10))
    ids = [{samples[index].id for index in range(len(samples))} for samples in (few, more)]
    assert [len(each) for each in ids] == [6, 10]
    assert ids[0] < ids[1]


@every_source
def test_unknown_split_is_refused(given: Given) -> None:
    with pytest.raises(UserError, match="'tests'") as caught:
        read(given, "tests")
    assert "\n" not in str(caught.value)
