"""Search for the images and masks of a folder of the user by names, which also finds files that nothing uses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.data.readers.class_order import ordered_classes
from bench.data.readers.faults import Fault, Kind
from bench.data.readers.images import SUFFIXES
from bench.data.readers.places import CLUTTER
from bench.data.sources.layout.names import bases_of, derived_from, is_plain_mask, names_masks, normal, split_of
from bench.errors import MissingData
from bench.text.media import is_printable

LAYOUT = "images/<class>/*, and optionally masks/ and splits.csv (docs/data.md)"
_USED = ("images", "masks", "splits.csv")


@dataclass(frozen=True)
class Place:
    """Folder with the images of one class, in one split if folders assign splits (otherwise empty)."""

    folder: Path
    name: str
    split: str = ""


@dataclass
class Found:
    """Files of a data folder.

    Attributes:
        classes: names of the class folders, in the order of grades or of the alphabet.
        masks: image file -> its mask files, whose union is its mask; empty if it has none. The keys are all images.
        splits: image file -> its split, if folders assign splits; otherwise empty.
        bad: files that cannot be used.
        unused: files that are not used although they may have been meant to be.
        ordered: the classes are grades, in ascending order.
        unread: columns of ``splits.csv`` that nothing reads.
        drawn: whether the seed assigned the splits.
        derived: file -> name of the image that it was probably made from, such as ``a_overlay.png`` from ``a.png``.
    """

    classes: tuple[str, ...]
    masks: dict[Path, list[Path]] = field(default_factory=dict)
    splits: dict[Path, str] = field(default_factory=dict)
    bad: list[Fault] = field(default_factory=list)
    unused: list[Fault] = field(default_factory=list)
    ordered: bool = False
    unread: list[str] = field(default_factory=list)
    drawn: bool = False
    derived: dict[Path, str] = field(default_factory=dict)


def find_files(folder: Path, grades: Sequence[str] = ()) -> Found:
    """Scans ``folder`` by file names only; for ``grades`` see ``ordered_classes``.

    The class folders are in ``images/``, ``images/<split>/``, ``<split>/``, ``<split>/images/`` or ``folder`` itself.

    Raises:
        MissingData: there is no class folder; folders of splits and of classes are mixed; folders assign splits, but
            not for training and test; or a class has the name of a folder of masks.
        UserError: ``grades`` are not exactly the class folders.
    """
    places, masks = _places(folder)
    names, ordered = ordered_classes({normal(place.name) for place in places}, [normal(one) for one in grades])
    found = Found(names, ordered=ordered)
    stems: dict[str, list[Path]] = defaultdict(list)  # "split/class/stem", "class/stem", … and "stem" -> images
    doubtful: list[tuple[Place, Path]] = []
    for place in places:
        files = _pictures(place.folder, found)
        known = {normal(file.stem) for file in files}
        for file in files:
            stem = normal(file.stem)
            if is_plain_mask(stem) or any(base in known and base != stem for base in bases_of(stem)):
                doubtful.append((place, file))
                continue
            if base := derived_from(stem, known):
                found.derived[file] = base
                continue
            found.masks[file] = []
            if place.split:
                found.splits[file] = place.split
            for key in _keys(place, stem):
                stems[key].append(file)
    for place, file in doubtful:
        _attach(file, [f"{_keys(place, '')[0]}{base}" for base in bases_of(normal(file.stem))], stems, found)
    for prefix, place_of_masks in masks:
        for keys, file in _mask_folder(prefix, place_of_masks, found):
            _attach(file, keys, stems, found)
    _name_unused(folder, places, found)
    return found


def class_of(file: Path) -> str:
    """Returns the class of an image file, which is the name of its folder."""
    return normal(file.parent.name)


def _places(folder: Path) -> tuple[list[Place], list[tuple[str, Path]]]:
    """Finds the class folders, and the folders of masks, each with the prefix of the keys of its images."""
    images = folder / "images"
    top = _folders(images if images.is_dir() else folder)
    splits = [one for one in top if split_of(one.name)]
    if not images.is_dir():
        top = splits or [one for one in top if not names_masks(one.name) and _has_pictures(one)]
    if not splits or not any(_folders(one) for one in splits):
        places = [Place(one, one.name) for one in top]
        masks = [("", folder / "masks")]
    else:
        if len(splits) < len(top):
            other = next(one for one in top if one not in splits)
            raise MissingData(f"{images} mixes folders of splits and of classes ({splits[0].name}, {other.name})")
        _require_splits(splits)
        places, masks = [], [("", folder / "masks")]
        for one in splits:
            inner = one / "images"
            places += [
                Place(name, name.name, split_of(one.name))
                for name in _folders(inner if inner.is_dir() else one)
                if inner.is_dir() or name.name != "masks"
            ]
            masks.append((f"{split_of(one.name)}/", one / "masks"))
    if wrong := next((place for place in places if names_masks(place.name)), None):
        raise MissingData(f"{wrong.folder} has the name of a folder of masks; move it to {folder / 'masks'}")
    if not places or (places[0].folder.parent == folder and (len(places) < 2 or _share_names(places))):
        raise MissingData(f"no class folder in {images}; expected in {folder}: {LAYOUT}{_seen(folder)}")
    if hidden := next((place.folder for place in places if not is_printable(str(place.folder))), None):
        raise MissingData(f"{hidden} has hidden characters or undecodable bytes in its name; rename it")
    return places, masks


def _share_names(places: Sequence[Place]) -> bool:
    """Tells whether folders next to each other hold files of the same names, as images and their masks do."""
    names = [{entry.stem for entry in _visible(place.folder) if _is_picture(entry)} for place in places]
    return len(set().union(*names)) < sum(map(len, names))


def _require_splits(splits: Sequence[Path]) -> None:
    """Raises MissingData for two folders of one split, and without one for training or test."""
    by_split: dict[str, Path] = {}
    for one in splits:
        other = by_split.setdefault(split_of(one.name), one)
        if other != one:
            raise MissingData(f"{other} and {one.name} are the same split; join these folders")
    for needed in ("train", "test"):
        if needed not in by_split:
            there = ", ".join(one.name for one in splits)
            remedy = "rename the one for validation" if "val" in by_split else "add one"
            reason = f"the folders {there} assign the splits, but none is for {needed}; {remedy}"
            raise MissingData(f"{splits[0].parent}: {reason} (without val/, 15 % of train/ are used for validation)")


def _seen(folder: Path) -> str:
    """Returns a hint if classes or splits are where they are not looked for."""
    inner = [one.name for base in (folder, folder / "images") for one in _folders(base) if one.name not in _USED]
    if not inner:
        return ""
    return f"; found the folders {', '.join(inner[:5])}: move the folders of classes into images/"


def _folders(folder: Path) -> list[Path]:
    return [entry for entry in _visible(folder) if entry.is_dir()]


def _visible(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    hidden = (".", "~")
    return sorted(e for e in folder.iterdir() if not e.name.startswith(hidden) and e.name.lower() not in CLUTTER)


def _is_picture(entry: Path) -> bool:
    return entry.suffix.lower() in SUFFIXES


def _has_pictures(folder: Path) -> bool:
    return any(map(_is_picture, _visible(folder)))


def _pictures(folder: Path, found: Found) -> list[Path]:
    """Returns the image files of a folder; everything else in it is added to ``found.bad``."""
    files = []
    for entry in _visible(folder):
        if not is_printable(entry.name):
            reason = "has hidden characters or undecodable bytes in its name; rename it"
            found.bad.append(Fault(str(entry), reason, Kind.LAYOUT))
        elif entry.is_file() and _is_picture(entry):
            files.append(entry)
        elif entry.is_file():
            found.bad.append(Fault(str(entry), "is not PNG, JPEG, TIFF or BMP"))
        elif not entry.is_dir():
            found.bad.append(Fault(str(entry), "is a link that leads nowhere; mend or remove it", Kind.LAYOUT))
        elif _is_picture(entry):
            found.bad.append(Fault(str(entry), "is a folder with the name of an image; rename it", Kind.LAYOUT))
        elif count := _count(entry):
            reason = f"is a folder in {folder.name} with images that are not used ({count}); move them one level up"
            found.bad.append(Fault(str(entry), reason, Kind.LAYOUT))
    return files


def _count(folder: Path) -> int:
    """Counts the image files anywhere in a folder; links to folders are not followed, because they may be loops."""
    if folder.is_symlink():
        return sum(_is_picture(entry) for entry in _visible(folder))
    return sum(_count(e) if e.is_dir() else _is_picture(e) for e in _visible(folder))


def _keys(place: Place, stem: str) -> list[str]:
    """Returns the keys by which masks find an image, the most specific first."""
    name = normal(place.name)
    keys = [f"{name}/{stem}", stem]
    return [f"{place.split}/{name}/{stem}", f"{place.split}/{stem}", *keys] if place.split else keys


def _mask_folder(prefix: str, folder: Path, found: Found) -> Iterator[tuple[list[str], Path]]:
    """Yields the files of ``masks/`` and its folders of classes, splits or both, with the keys of their images."""
    inner = [(f"{prefix}{split_of(one.name) or normal(one.name)}/", one) for one in _folders(folder)]
    deeper = [(f"{key}{normal(two.name)}/", two) for key, one in inner if split_of(one.name) for two in _folders(one)]
    known = {one for _, one in (*inner, *deeper)}
    for key, place in [(prefix, folder), *inner, *deeper]:
        inside = Found(())
        files = _pictures(place, inside)
        found.bad += [fault for fault in inside.bad if Path(fault.file) not in known]
        for file in files:
            stem = normal(file.stem)
            yield [f"{key}{base}" for base in (stem, *bases_of(stem))], file


def _attach(mask: Path, keys: Sequence[str], stems: dict[str, list[Path]], found: Found) -> None:
    images = next((stems[key] for key in keys if stems.get(key)), [])
    if len(images) == 1:
        found.masks[images[0]].append(mask)
    elif images:
        both = " and ".join(f"{image.parent.name}/{image.name}" for image in images[:2])
        reason = f"belongs to both {both}; rename them, or put masks into masks/<class>/"
        found.bad.append(Fault(str(mask), reason, Kind.STRAY_MASK))
    else:
        reason = "belongs to no image, because no image has this name; rename or remove it"
        found.bad.append(Fault(str(mask), reason, Kind.STRAY_MASK))


def _name_unused(folder: Path, places: Sequence[Place], found: Found) -> None:
    """Adds images next to the class folders, and other folders with images, to ``found``."""
    for parent in dict.fromkeys(place.folder.parent for place in places):
        for entry in _visible(parent):
            if entry.is_dir():
                continue
            if _is_picture(entry) and parent != folder:
                reason = "is not in the folder of a class and is not used; move or remove it"
                found.unused.append(Fault(str(entry), reason, Kind.LAYOUT))
            elif not entry.is_file():
                found.unused.append(Fault(str(entry), "is a link that leads nowhere", Kind.LAYOUT))
    _name_others(folder, places, found)


def _name_others(folder: Path, places: Sequence[Place], found: Found) -> None:
    for entry in _visible(folder):
        if entry.name in _USED or (entry.is_dir() and any(entry in place.folder.parents for place in places)):
            continue
        if entry.is_dir() and not any(place.folder == entry for place in places) and (count := _count(entry)):
            place = found.bad if names_masks(entry.name) and not any(found.masks.values()) else found.unused
            what = "; masks belong into masks/" if names_masks(entry.name) else ""
            place.append(Fault(str(entry), f"is a folder with images that are not used ({count}){what}", Kind.LAYOUT))
        elif _is_picture(entry) and entry.is_file():
            reason = "is not in the folder of a class and is not used; move or remove it"
            found.unused.append(Fault(str(entry), reason, Kind.LAYOUT))
        elif entry.name.lower().startswith("splits."):
            found.bad.append(Fault(str(entry), "is not used; splits are read from splits.csv only", Kind.LAYOUT))
