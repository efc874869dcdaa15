from __future__ import annotations

import hashlib
from datetime import date
from itertools import combinations
from pathlib import Path

import numpy as np
import pyexiv2
import pytest
import pyvips

from dam.demo import photos
from dam.errors import BadInput

TODAY = date(2027, 3, 1)
NAMES = ["SPRING27-HERO-A", "SPRING27-HERO-B", "SPRING27-BANNER"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> photos.PhotoSet:
    return photos.make(tmp_path_factory.mktemp("photos"), today=TODAY, project_names=NAMES, client="ACME")


def digests(files: list[Path]) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def phash(path: Path) -> np.ndarray:
    """64 bits of perceptual hash: low frequencies of a 32 × 32 grey picture against their median."""
    grey = pyvips.Image.thumbnail(str(path), 32, height=32, size="force").colourspace("b-w")[0].numpy()
    n = np.arange(32)
    basis = np.cos(np.pi * (2 * n[None, :] + 1) * n[:, None] / 64)
    low = (basis @ grey.astype(float) @ basis.T)[:8, :8].flatten()
    return low > np.median(low[1:])


def test_wrong_requests_are_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at most"):
        photos.make(tmp_path, today=TODAY, project_names=[f"P{n}" for n in range(99)])
    with pytest.raises(BadInput, match="each once"):
        photos.make(tmp_path, today=TODAY, project_names=["A", "A"])
    with pytest.raises(BadInput, match="no version number"):
        photos.next_version(tmp_path / "holiday.jpg", tmp_path)


@pytest.mark.slow
def test_a_library_at_camera_size_under_the_names_asked_for(made: photos.PhotoSet) -> None:
    assert len(made.files) == len(set(made.files)) >= 24
    assert [path.name for path in made.good[:3]] == [f"{name}_ACME_20270301_v01.jpg" for name in NAMES]
    assert {path.suffix for path in made.good} == {".jpg", ".png", ".tif"}
    for path in [*made.good, made.near_duplicate, made.wrong_extension, made.without_rights]:
        image = pyvips.Image.new_from_file(str(path))
        assert 12e6 <= image.width * image.height <= 24e6, path.name
        assert image.get_typeof("icc-profile-data") != 0, path.name
        if path.suffix == ".jpg" and path != made.near_duplicate:
            assert 1.9e6 <= path.stat().st_size <= 9e6, path.name


@pytest.mark.slow
def test_every_photograph_tells_what_it_shows_and_who_made_it(made: photos.PhotoSet) -> None:
    located = 0
    for path in made.good:
        with pyexiv2.Image(str(path)) as image:
            exif, iptc, xmp = image.read_exif(), image.read_iptc(), image.read_xmp()
        assert exif["Exif.Image.Model"], path.name
        assert exif["Exif.Photo.OffsetTimeOriginal"] == "+02:00", path.name
        assert exif["Exif.Photo.DateTimeOriginal"] < "2027:03:01", path.name
        assert iptc["Iptc.Application2.Caption"].endswith("."), path.name
        assert len(iptc["Iptc.Application2.Keywords"]) >= 4, path.name
        assert iptc["Iptc.Application2.Byline"] == xmp["Xmp.dc.creator"], path.name
        assert xmp["Xmp.xmpRights.WebStatement"].startswith("https://"), path.name
        assert xmp["Xmp.dc.rights"]['lang="x-default"'] == iptc["Iptc.Application2.Copyright"], path.name
        assert xmp["Xmp.iptc.AltTextAccessibility"]['lang="x-default"'], path.name
        located += "Exif.GPSInfo.GPSLatitude" in exif
    assert located == 2


@pytest.mark.slow
def test_the_special_files_are_what_they_are_called(made: photos.PhotoSet) -> None:
    assert made.duplicate.read_bytes() == made.good[0].read_bytes()
    assert (phash(made.near_duplicate) != phash(made.good[4])).sum() <= 4
    assert made.near_duplicate.read_bytes() != made.good[4].read_bytes()
    assert made.wrong_extension.suffix == ".png"
    assert made.wrong_extension.read_bytes()[:3] == b"\xff\xd8\xff"
    damaged = pyvips.Image.new_from_file(str(made.damaged), fail_on="truncated")
    with pytest.raises(pyvips.Error):
        damaged.avg()
    with pyexiv2.Image(str(made.without_rights)) as image:
        told = " ".join([*image.read_exif(), *image.read_iptc(), *image.read_xmp()])
    for field in ("Artist", "Copyright", "Byline", "Credit", "rights", "creator", "xmpRights"):
        assert field not in told
    assert "Caption" in told


@pytest.mark.slow
def test_no_two_photographs_look_alike(made: photos.PhotoSet) -> None:
    hashes = {path.name: phash(path) for path in [*made.good, made.wrong_extension, made.without_rights]}
    alike = {
        (a, b): distance for a, b in combinations(hashes, 2) if (distance := int((hashes[a] != hashes[b]).sum())) < 12
    }
    assert not alike


@pytest.mark.slow
def test_the_same_day_gives_the_same_bytes_and_a_stamp_saves_the_work(made: photos.PhotoSet, tmp_path: Path) -> None:
    again = photos.make(tmp_path, today=TODAY, project_names=NAMES, client="ACME")
    assert digests(again.files) == digests(made.files)
    written = {path: path.stat().st_mtime_ns for path in again.files}
    assert photos.make(tmp_path, today=TODAY, project_names=NAMES, client="ACME") == again
    assert {path: path.stat().st_mtime_ns for path in again.files} == written


@pytest.mark.slow
def test_the_next_version_is_reworked_and_keeps_its_metadata(made: photos.PhotoSet, tmp_path: Path) -> None:
    for path in (made.good[0], made.good[3]):
        new = photos.next_version(path, tmp_path / "round2")
        assert new.name == path.name.replace("_v01", "_v02")
        assert new.read_bytes() == photos.next_version(path, tmp_path / "again").read_bytes()
        old_image, new_image = (pyvips.Image.new_from_file(str(one)) for one in (path, new))
        assert (new_image.width, new_image.height) == (old_image.width, old_image.height)
        assert new_image.avg() > old_image.avg() + 5
        with pyexiv2.Image(str(path)) as old, pyexiv2.Image(str(new)) as now:
            assert now.read_xmp() == old.read_xmp()
            assert now.read_iptc() == old.read_iptc()
            assert now.read_exif() == old.read_exif()
            assert now.read_icc() == old.read_icc()
