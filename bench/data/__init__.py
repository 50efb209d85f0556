"""Data sets: importing this package registers the built-in ones; ``folder_dataset`` makes one from the user's files."""

from bench.data import phantoms
from bench.data.sources import elpv, eyepacs, idrid, kermany, rsna
from bench.data.sources.folder import folder_dataset

__all__ = ["elpv", "eyepacs", "folder_dataset", "idrid", "kermany", "phantoms", "rsna"]
