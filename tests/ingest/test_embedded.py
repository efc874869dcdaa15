"""What files say of themselves: read in the right encoding, reconciled, dated, and verified where it is signed."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any

import c2pa
import pyexiv2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given
from hypothesis import strategies as st

import world
from dam.ingest import embedded
from dam.settings import PROJECT
from dam.taxonomy import Taxonomy

SCHEMA = Taxonomy.load(PROJECT / "include" / "taxonomy").metadata


def photo(tmp_path: Path, *, exif=None, iptc=None, xmp=None, encoding="utf-8") -> Path:
    path = world.picture(tmp_path, "a.jpg", size=(80, 60), xmp={})
    with pyexiv2.Image(str(path)) as image:
        if exif:
            image.modify_exif(exif, encoding)
        if iptc:
            image.modify_iptc(iptc, encoding)
        if xmp:
            image.modify_xmp(xmp)
    return path


def told(path: Path) -> dict[str, Any]:
    return embedded.describe(embedded.read(path), SCHEMA).fields


def with_digest(path: Path, digest: bytes) -> None:
    """Put Photoshop's digest of the IIM block beside it, as a writer that knows XMP leaves it."""
    data = path.read_bytes()
    at = data.index(b"8BIM\x04\x04")
    length = int.from_bytes(data[at + 8 : at + 12], "big")
    end = at + 12 + length + length % 2
    resource = b"8BIM\x04\x25\x00\x00" + (16).to_bytes(4, "big") + digest
    segment = data.rindex(b"\xff\xed", 0, at)
    size = int.from_bytes(data[segment + 2 : segment + 4], "big") + len(resource)
    path.write_bytes(data[: segment + 2] + size.to_bytes(2, "big") + data[segment + 4 : end] + resource + data[end:])


def iim_block(path: Path) -> bytes:
    data = path.read_bytes()
    at = data.index(b"8BIM\x04\x04")
    return data[at + 12 : at + 12 + int.from_bytes(data[at + 8 : at + 12], "big")]


@pytest.mark.parametrize(
    ("encoding", "charset"), [("utf-8", {"Iptc.Envelope.CharacterSet": "\x1b%G"}), ("utf-8", {}), ("cp1252", {})]
)
def test_iim_is_read_in_its_encoding(encoding, charset, tmp_path):
    path = photo(tmp_path, iptc={**charset, "Iptc.Application2.Caption": "Größe 3 € – Müller"}, encoding=encoding)
    assert told(path)["description"] == "Größe 3 € – Müller"


def test_exif_of_older_programs_is_read_too_and_costs_nothing_else(tmp_path):
    path = photo(
        tmp_path, exif={"Exif.Image.Artist": "Jürgen Groß"}, xmp={"Xmp.dc.title": "Ein Titel"}, encoding="cp1252"
    )
    assert (told(path)["creator"], told(path)["title"]) == ("Jürgen Groß", "Ein Titel")


THREE = {
    "exif": {"Exif.Image.ImageDescription": "from Exif"},
    "iptc": {"Iptc.Application2.Caption": "from IIM"},
    "xmp": {"Xmp.dc.description": "from XMP"},
}


@pytest.mark.parametrize(
    ("families", "winner"),
    [(("exif", "iptc", "xmp"), "from Exif"), (("iptc", "xmp"), "from XMP"), (("iptc",), "from IIM")],
)
def test_the_working_groups_order(families, winner, tmp_path):
    path = photo(tmp_path, **{family: THREE[family] for family in families})
    described = embedded.describe(embedded.read(path), SCHEMA)
    assert described.fields["description"] == winner
    assert len(described.remarks) == (len(families) > 1)
    if described.remarks:
        assert described.remarks[0].count("says “from") == len(families) - 1


def test_iim_that_was_changed_after_the_xmp_wins_over_it(tmp_path):
    path = photo(tmp_path, iptc=THREE["iptc"], xmp=THREE["xmp"])
    with_digest(path, md5(iim_block(path)).digest())
    assert told(path)["description"] == "from XMP", "the digest says that the XMP is as new"
    stale = photo(tmp_path / "stale", iptc=THREE["iptc"], xmp=THREE["xmp"])
    with_digest(stale, md5(b"what it was before").digest())
    assert told(stale)["description"] == "from IIM"


def test_values_that_iim_cut_off_are_no_contradiction(tmp_path):
    title = "A very long title that a newsroom's system of the nineties cuts off at sixty-four characters"
    path = photo(tmp_path, iptc={"Iptc.Application2.ObjectName": title[:64]}, xmp={"Xmp.dc.title": title})
    described = embedded.describe(embedded.read(path), SCHEMA)
    assert described.fields["title"] == title
    assert described.remarks == []


@pytest.mark.parametrize("noise", ["OLYMPUS DIGITAL CAMERA", "DSC_0042", "Untitled", "???"])
def test_what_cameras_write_into_every_file_says_nothing(noise, tmp_path):
    path = photo(
        tmp_path, exif={"Exif.Image.ImageDescription": noise}, xmp={"Xmp.dc.description": "A red cup on a table"}
    )
    assert told(path)["description"] == "A red cup on a table"


SHOT = {"Exif.Photo.DateTimeOriginal": "2027:03:01 14:30:00"}
BERLIN = datetime.fromisoformat("2027-03-01T14:30:00+01:00")


@pytest.mark.parametrize(
    ("exif", "iptc", "xmp", "moment"),
    [
        (SHOT | {"Exif.Photo.OffsetTimeOriginal": "+01:00"}, None, None, BERLIN),
        (
            SHOT | {"Exif.GPSInfo.GPSDateStamp": "2027:03:01", "Exif.GPSInfo.GPSTimeStamp": "13/1 30/1 20/1"},
            None, None, BERLIN,
        ),
        (None, {"Iptc.Application2.DateCreated": "2027-03-01", "Iptc.Application2.TimeCreated": "14:30:00+01:00"},
         None, BERLIN),
        (None, None, {"Xmp.photoshop.DateCreated": "2027-03-01T14:30:00+01:00"}, BERLIN),
        (SHOT, None, None, datetime(2027, 3, 1, 14, 30, tzinfo=UTC)),
        ({"Exif.Photo.DateTimeOriginal": "0000:00:00 00:00:00"}, None, None, None),
    ],
    ids=["offset", "gps", "iim", "xmp", "no zone", "no date"],
)  # fmt: skip
def test_dates_are_aware(exif, iptc, xmp, moment, tmp_path):
    path = photo(tmp_path, exif=exif, iptc=iptc, xmp=xmp)
    described = embedded.describe(embedded.read(path), SCHEMA)
    found = described.fields.get("date_created")
    assert found == moment
    if moment is not None:
        assert found.utcoffset() == moment.utcoffset()
    assert any("no time zone" in remark for remark in described.remarks) == (exif == SHOT)


@given(st.dictionaries(st.sampled_from(sorted(key for f in SCHEMA.fields.values() for key in f.exif + f.xmp + f.iim)),
                       st.text(max_size=60) | st.lists(st.text(max_size=9), max_size=3)))  # fmt: skip
def test_whatever_a_file_says_is_mapped_without_a_fault(raw):
    described = embedded.describe(raw, SCHEMA)
    assert set(described.fields) <= set(SCHEMA.fields)
    moment = described.fields.get("date_created")
    assert moment is None or moment.tzinfo is not None


def test_further_fields_are_kept_and_the_place_is_for_those_who_may_see_it(services, tmp_path):
    from dam.catalog.models import Version
    from dam_web import views

    path = world.picture(tmp_path, "A_ACME_20270301_v01.jpg", xmp=world.METADATA | {
        "Xmp.photoshop.City": "Berlin",
        "Xmp.iptcExt.DigitalSourceType": "http://cv.iptc.org/newscodes/digitalsourcetype/digitalCapture",
    })  # fmt: skip
    with pyexiv2.Image(str(path)) as image:
        image.modify_exif({"Exif.GPSInfo.GPSLatitude": "52/1 31/1 12/1", "Exif.GPSInfo.GPSLatitudeRef": "N"})
    world.ingest(services, world.drop(services, "drops/a", [path]))
    with services.session() as session:
        [version] = session.query(Version).all()
        assert version.description.custom["city"] == "Berlin"
        assert version.description.custom["digital_source_type"].endswith("digitalCapture")
        hidden, shown = (views.version_row(services, version, see_place=see) for see in (False, True))
    assert any("GPS" in key for key in shown["embedded"])
    assert not any("GPS" in key for key in hidden["embedded"])
    assert (hidden["place_hidden"], shown["place_hidden"]) == (True, False)


# -------------------------------------------------------------------------------------------------- C2PA


def _certificate(name: str, key, issuer=None, issuer_key=None, *, authority: bool):
    subject = x509.Name(
        [x509.NameAttribute(NameOID.COMMON_NAME, name), x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ACME Studio")]
    )
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key((issuer_key or key).public_key()), critical=False
        )
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
                key_agreement=False, key_cert_sign=authority, crl_sign=authority, encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
    )  # fmt: skip
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(issuer_key or key, hashes.SHA256())


@pytest.fixture(scope="module")
def signer():
    """A signer with a certificate of its own small authority."""
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    root = _certificate("ACME Root", root_key, authority=True)
    leaf = _certificate("ACME Signer", key, root, root_key, authority=False)
    pem = serialization.Encoding.PEM
    return c2pa.Signer.from_info(
        c2pa.C2paSignerInfo(
            alg=b"es256",
            sign_cert=leaf.public_bytes(pem) + root.public_bytes(pem),
            private_key=key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
            ta_url=None,
        )
    )


def signed(path: Path, signer) -> Path:
    source = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
    manifest = {
        "claim_generator_info": [{"name": "acme-generator", "version": "1"}],
        "title": "A generated cup",
        "assertions": [
            {"label": "c2pa.actions", "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": source}]}}
        ],
    }
    target = path.with_name("signed.jpg")
    with c2pa.Builder(json.dumps(manifest)) as builder, path.open("rb") as given_file, target.open("w+b") as made:
        builder.sign(signer, "image/jpeg", given_file, made)
    return target


def test_content_credentials_are_verified(tmp_path, signer):
    path = signed(world.picture(tmp_path, "a.jpg", size=(300, 200)), signer)
    said = world.look(path)["told"]["embedded"]["C2PA"]
    assert said["state"] == "valid"
    assert said["title"] == "A generated cup"
    assert said["claim_generator"] == "acme-generator"
    assert said["signed_by"] == "ACME Studio"
    assert said["actions"] == ["c2pa.created"]
    assert said["source_types"] == ["http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"]


def test_content_credentials_of_other_bytes_do_not_hold_and_the_receipt_says_so(tmp_path, signer):
    path = signed(world.picture(tmp_path, "a.jpg", size=(300, 200)), signer)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"\xff\xdb") + 30] ^= 1  # in the quantisation: still a picture, no longer the signed one
    path.write_bytes(data)
    told = world.look(path)["told"]
    assert told["embedded"]["C2PA"]["state"] == "invalid"
    assert "assertion.dataHash.mismatch" in told["embedded"]["C2PA"]["problems"]
    assert told["notes"][0].startswith("Its Content Credentials do not hold:")


def test_a_file_without_credentials_says_nothing_of_them(tmp_path):
    assert "C2PA" not in world.look(world.picture(tmp_path, "a.jpg", size=(300, 200)))["told"]["embedded"]
