"""Modalities: what may be done to an image for training without changing what it shows."""

from __future__ import annotations

from dataclasses import dataclass

from bench.errors import UserError
from bench.specs import closest


@dataclass(frozen=True)
class Modality:
    """Changes that leave an image of a modality possible and its class as it is.

    Attributes:
        mirrored: left and right may be exchanged.
        upturned: above and below may be exchanged.
        turned: degrees by which an image may be rotated either way.
    """

    mirrored: bool = True
    upturned: bool = False
    turned: float = 0.0


_FULL_TURN = 180.0
#: Name -> its allowed changes. In an upright modality, above and below differ: in depth (ultrasound: the probe is
#: above; oct), or by the way the body is placed (cxr, mammography with the pectoral muscle above, mri, ct).
MODALITIES: dict[str, Modality] = {
    "fundus": Modality(upturned=True, turned=_FULL_TURN),
    "oct": Modality(),
    "cxr": Modality(turned=30.0),
    "ultrasound": Modality(),
    "mammography": Modality(turned=10.0),
    "mri": Modality(turned=10.0),
    "ct": Modality(turned=10.0),
    "dermoscopy": Modality(upturned=True, turned=_FULL_TURN),
    "histology": Modality(upturned=True, turned=_FULL_TURN),
    "endoscopy": Modality(upturned=True, turned=_FULL_TURN),
    "electroluminescence": Modality(upturned=True),
    "other": Modality(mirrored=False),  # unknown: it may show text, or differ between left and right
}


def require_modality(name: str) -> str:
    """Returns the name of a modality.

    Raises:
        UserError: there is no such modality; names the closest ones.
    """
    if name not in MODALITIES:
        raise UserError(f"unknown modality {name!r}; {closest(name, list(MODALITIES))}")
    return name
