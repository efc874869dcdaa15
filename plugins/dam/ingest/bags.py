"""BagIt bags (RFC 8493): read, and held to what they say of themselves."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from dam.ingest import checksums
from dam.ingest.checksums import Sums
from dam.ingest.paperwork import BAG, basename

_VERSION = re.compile(r"^BagIt-Version: ?(\d+)\.(\d+)\s*$", re.MULTILINE)
_ENCODING = re.compile(r"^Tag-File-Character-Encoding: ?(\S+)\s*$", re.MULTILINE)
_OXUM = re.compile(r"^Payload-Oxum: ?(\d+)\.(\d+)\s*$", re.MULTILINE)
_MANIFEST = re.compile(r"^(?P<tag>tag)?manifest-(?P<algorithm>[a-z0-9]+)\.txt$")
_FETCH = re.compile(r"^(\S+)\s+(\d+|-)\s+(\S.*)$")


@dataclass(slots=True)
class Bag:
    """A bag and what it says of itself; every path is relative to the batch.

    :param root: its folder, with a slash at the end; empty when the whole batch is the bag.
    :param payload: checksums of the files below ``data/``. :param tags: checksums of its other files.
    :param octets: how many bytes its payload has, where it says so. :param count: and how many files.
    :param elsewhere: path → address of files that the receiver is to fetch. :param faults: what is wrong with it.
    """

    root: str
    payload: Sums = field(default_factory=Sums)
    tags: Sums = field(default_factory=Sums)
    octets: int | None = None
    count: int | None = None
    elsewhere: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def holds(self, path: str) -> bool:
        """Return whether a file lies in the bag."""
        return path.startswith(self.root)

    def is_payload(self, path: str) -> bool:
        """Return whether a file is of the bag's payload; all else in it is paperwork."""
        return path.startswith(f"{self.root}data/")

    def missing(self, paths: Iterable[str]) -> list[str]:
        """Return the files that it lists and that are not among ``paths``."""
        return sorted({*self.payload.promised, *self.elsewhere, *self.tags.promised} - set(paths))

    def unlisted(self, paths: Iterable[str]) -> list[str]:
        """Return the payload files that it does not list, although it must."""
        return sorted(path for path in paths if self.is_payload(path) and path not in self.payload.promised)

    def oxum_fault(self, sizes: Mapping[str, int]) -> str | None:
        """Return what is wrong with the payload's number of files and bytes; None when nothing is.

        :param sizes: bytes of each file of the batch.
        """
        own = [length for path, length in sizes.items() if self.is_payload(path)]
        if self.count is None or self.octets is None or (len(own), sum(own)) == (self.count, self.octets):
            return None
        return (
            f"The bag says that it has {self.count} files of {self.octets} bytes together;"
            f" here are {len(own)} of {sum(own)} bytes."
        )


def roots(paths: Iterable[str]) -> list[str]:
    """Return the folders of the bags among the files of a batch; a bag inside another one's payload is payload."""
    found: list[str] = []
    for root in sorted(path.removesuffix(BAG) for path in paths if basename(path) == BAG):
        if not any(root.startswith(f"{outer}data/") for outer in found):
            found.append(root)
    return found


def read(root: str, paths: Iterable[str], content: Callable[[str], bytes]) -> Bag:
    """Return the bag in a folder.

    :param paths: of the batch. :param content: returns the bytes of one of them.
    """
    bag = Bag(root)
    own = {path.removeprefix(root): path for path in paths if path.startswith(root)}
    declaration = checksums.decode(content(own[BAG]))
    encoding = _declared(bag, declaration)
    manifests = [name for name in sorted(own) if _MANIFEST.match(name)]
    for name in manifests:
        sums = bag.tags if name.startswith("tag") else bag.payload
        sums.include(_manifest(root, name, content(own[name]).decode(encoding, "replace")))
    bag.payload.meet(own.values())
    bag.tags.meet(own.values())
    if not any(not name.startswith("tag") for name in manifests):
        bag.faults.append("It has no manifest of its payload.")
    if "bag-info.txt" in own and (match := _OXUM.search(content(own["bag-info.txt"]).decode(encoding, "replace"))):
        bag.octets, bag.count = int(match[1]), int(match[2])
    if "fetch.txt" in own:
        _elsewhere(bag, content(own["fetch.txt"]).decode(encoding, "replace"), set(own.values()))
    bag.faults += bag.payload.faults + bag.tags.faults
    return bag


def _declared(bag: Bag, declaration: str) -> str:
    """Return the encoding that a bag's declaration names; note what is wrong with the declaration."""
    version, encoding = _VERSION.search(declaration), _ENCODING.search(declaration)
    if version is None or int(version[1]) > 1:
        bag.faults.append("bagit.txt names no version of BagIt that is known here; it was read as 1.0.")
    try:
        return codecs.lookup(encoding[1] if encoding else "").name
    except LookupError:
        bag.faults.append("bagit.txt names no encoding that is known here; the bag was read as UTF-8.")
        return "utf-8"


def _manifest(root: str, name: str, text: str) -> Sums:
    """Return what a manifest lists; line breaks and percent signs in names are percent-encoded (RFC 8493, 2.1.3)."""
    plain = checksums.read(name, text)
    found = Sums(faults=plain.faults)
    for path, digests in plain.promised.items():
        for digest in digests.values():
            found.add(root + _decoded(path), digest)
    return found


def _decoded(path: str) -> str:
    return re.sub(r"%(0[AaDd]|25)", lambda match: chr(int(match[1], 16)), path)


def _elsewhere(bag: Bag, text: str, paths: set[str]) -> None:
    """Note the files that the sender left elsewhere; nothing is fetched from an address in a file."""
    for line in text.splitlines():
        if match := _FETCH.match(line):
            path = bag.root + _decoded(match[3].strip())
            if path not in paths:
                bag.elsewhere[path] = match[1]
