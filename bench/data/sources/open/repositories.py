"""Public repositories with images, each pinned to one commit, so that everyone who names a data set means one thing."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.data.readers.places import home_of


@dataclass(frozen=True)
class Repository:
    """A public git repository with images.

    Attributes:
        name: data set that ``get`` takes.
        folder: its folder below the data root.
        url: address from which git fetches it.
        commit: the commit that is read.
        tree: git's digest of the content of that commit.
        files: number of its files.
        megabytes: size of the download.
    """

    name: str
    folder: str
    url: str
    commit: str
    tree: str
    files: int
    megabytes: int

    def home(self, root: Path) -> Path:
        """Returns the folder of the repository below a data root, or the root itself."""
        return home_of(root, (self.folder, self.url.rpartition("/")[2]))

    def absent(self, root: Path, *patterns: str) -> str:
        """Returns an empty text, or that no file below the home matches one of ``patterns``, and how to get it."""
        home = self.home(root)
        wanted = next((one for one in patterns if next(home.glob(one), None) is None), None)
        if wanted is None:
            return ""
        return f"no {wanted} in {home}; run_benchmark.py get {self.name} clones {self.url} there ({self.megabytes} MB)"


HEI_MED = Repository(
    "fundus-hei",
    "hei-med",
    "https://github.com/lgiancaUTH/HEI-MED",
    "2d5b282e0f5c47d90b725855feb1f1e9f89b96eb",
    "fe4187d91730e342c4c3ad16e2de55e2ad9c18ad",
    files=858,
    megabytes=343,
)
CODRAS = Repository(
    "fundus-boxes",
    "codras",
    "https://github.com/chrisvoncsefalvay/codras",
    "401960011ea97988b42dd9f7f1cd4d89a5d12e9c",
    "f29d1ea2c70011d28d0086db794ca6da06fd60f7",
    files=1210,
    megabytes=236,
)
COVID = Repository(
    "cxr-covid",
    "covid-cxr",
    "https://github.com/GeneralBlockchain/covid-19-chest-xray-segmentations-dataset",
    "377a49490e910a66a7f7aee1b92cdc3d5ac4bddf",
    "5d6bc353cb65bb42e5faaeee7efa048d9243f0e6",
    files=692,
    megabytes=53,
)
#: Repository by the data set that ``get`` takes.
REPOSITORIES = {one.name: one for one in (HEI_MED, CODRAS, COVID)}
