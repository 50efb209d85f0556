"""Data sets: importing this package registers the built-in ones; ``folder_dataset`` makes one from the user's files."""

# The order of these lines is the order of data sets in every list and table.
from bench.data.sources import elpv, eyepacs, idrid, kermany  # isort: skip
from bench.data import phantoms  # isort: skip
from bench.data.sources import rsna  # isort: skip
from bench.data.sources.open import codras, covid, hei_med  # isort: skip
from bench.data.sources.folder import folder_dataset

__all__ = ["codras", "covid", "elpv", "eyepacs", "folder_dataset", "hei_med", "idrid", "kermany", "phantoms", "rsna"]
