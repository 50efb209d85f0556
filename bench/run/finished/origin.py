"""Identity of everything that a data set is read from, found without decoding an image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bench.contracts import DatasetInfo
from bench.data.cache import decoder_versions
from bench.data.loading import Request, arguments_of
from bench.errors import is_stop
from bench.store.code_digest import digest

#: What a builder may state about its files; see ``bench.contracts.Samples``.
_STATED = ("classes", "excluded", "groups", "targets", "unchecked", "unused_faults")


def origin_of(info: DatasetInfo, request: Request) -> str | None:
    """Returns the digest of names, sizes and times of a data set's files, their decoders, and what its builder states.

    Returns:
        The digest; None if a builder does not list its files, or if it fails, which the loading of the images tells.
    """
    try:
        parts = list(_parts(info, request))
    except BaseException as error:  # a plugin may raise anything, such as the end of the program
        if is_stop(error):
            raise
        return None
    return None if None in parts else digest(parts)


def _parts(info: DatasetInfo, request: Request) -> Iterator[Sequence[object] | None]:
    yield decoder_versions()
    for split in dict.fromkeys((*info.splits, info.explain_split)):
        samples = info.builder(request.root, split, **arguments_of(info, request, split))
        if not hasattr(samples, "files"):
            yield None
            continue
        stamps = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in sorted(samples.files)]
        yield [split, len(samples), stamps, *(repr(getattr(samples, name, "")) for name in _STATED)]
