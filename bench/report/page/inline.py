"""Scripts, styles, data and pictures inside the page, so that it is one file and loads nothing."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from PIL import Image

from bench.text.media import visible

_HERE = Path(__file__).parent
#: Characters that could end a data block, or a line of JavaScript, as JSON writes them inside of strings.
_ESCAPED = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})
_WIDEST = 1400  # pixels of a picture; twice the width of a text column
_COLOURS = 64
#: Area of a picture above which it is a photograph, if it also has many colours.
_MANY_COLOURS = 20_000


class Picture(NamedTuple):
    """Picture as the page holds it: a ``data:`` address, and its size in pixels."""

    address: str
    width: int
    height: int


def asset(name: str) -> str:
    """Reads a script or style from ``assets``, or a library from ``vendor``.

    Scripts must have no ``</script`` and no ``<!--``, because they stand between tags.

    Raises:
        ValueError: the file has one of them.
    """
    folder = next(folder for folder in ("assets", "vendor") if (_HERE / folder / name).exists())
    text = (_HERE / folder / name).read_text(encoding="utf-8")
    text = re.sub(r"\n//# sourceMappingURL=.*", "", text)
    if re.search("</script|</style|<!--", text, re.IGNORECASE):
        raise ValueError(f"{folder}/{name} cannot be put into a page: it holds a tag that ends a script")
    return text


def policy(scripts: Iterable[str], styles: Iterable[str]) -> str:
    """Returns the content security policy of a page that loads nothing and runs only these scripts."""
    hashes = {"script-src": scripts, "style-src": styles}
    allowed = [f"{rule} {' '.join(dict.fromkeys(map(_hash, texts)))}" for rule, texts in hashes.items()]
    return "; ".join(["default-src 'none'", *allowed, "img-src data:", "base-uri 'none'", "form-action 'none'"])


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def json_block(data: Any) -> Markup:
    """Returns JSON for an element ``<script type="application/json">``; no text in it can end the element."""
    text = json.dumps(_plain(data), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPED))


def _plain(value: Any) -> Any:
    """Returns a value that JSON can hold: numbers that are not finite are None, hidden characters are written out."""
    if isinstance(value, str):
        return visible(value)
    if isinstance(value, Mapping):
        return {visible(str(key)): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(one) for one in value]
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    return value


def picture(file: Path) -> Picture | None:
    """Returns a figure, made smaller for the page; None if there is none that can be read.

    Drawings become PNG with few colours, galleries WebP.
    """
    try:
        with Image.open(file) as found:
            image = found.convert("RGB")
    except (OSError, ValueError):
        return None
    image.thumbnail((_WIDEST, 4 * _WIDEST), reducing_gap=2)
    packed = io.BytesIO()
    if image.getcolors(_MANY_COLOURS) is None:
        kind = "webp"
        image.save(packed, "WEBP", quality=78, method=2)
    else:
        kind = "png"
        image.quantize(_COLOURS, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(packed, "PNG")
    address = f"data:image/{kind};base64,{base64.b64encode(packed.getvalue()).decode()}"
    return Picture(address, *image.size)
