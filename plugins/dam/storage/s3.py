"""A store below a prefix of an S3 bucket."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from dam.errors import NotFound
from dam.storage.keys import checked
from dam.storage.store import CHUNK, Entry, Source, Store, Stored, StoreFailed, reading

#: Larger objects go up in parts; a put that is killed leaves no object, only parts that S3 expires.
TRANSFER = TransferConfig(multipart_threshold=16 << 20, multipart_chunksize=16 << 20, max_concurrency=4)


def make_client(options: dict[str, str] | None) -> Any:
    """Return an S3 client; without options it takes credentials from the usual AWS places."""
    return boto3.client(
        "s3", config=Config(retries={"max_attempts": 5, "mode": "standard"}), **cast(Any, options or {})
    )


class _Hashing(io.RawIOBase):
    """A stream that hashes and counts what is read through it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream, self.digest, self.length = stream, hashlib.sha256(), 0

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Read as much as was asked for: whoever uploads takes less for the end, but streams may give less."""
        chunk = self.stream.read(size)
        while size > 0 and len(chunk) < size and (more := self.stream.read(size - len(chunk))):
            chunk += more
        self.digest.update(chunk)
        self.length += len(chunk)
        return chunk


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Tell S3's errors as ours, so that whoever works many objects can go on with the others.

    :raises NotFound: there is no such object. :raises StoreFailed: anything else.
    """
    try:
        yield
    except (ClientError, BotoCoreError, Boto3Error) as error:
        code = error.response["Error"]["Code"] if isinstance(error, ClientError) else ""
        if code in ("404", "NoSuchKey", "NotFound"):
            raise NotFound("is not there", where=where) from error
        raise StoreFailed(
            f"S3 did not do it: {error}",
            where=where,
            remedy="Check that S3 is up and what our account may do there, then run it again.",
        ) from error


class _Body(io.RawIOBase):
    """An object's bytes as they come over the wire."""

    def __init__(self, body: Any, where: str) -> None:
        self.body, self.where = body, where

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _told(self.where):
            chunk = self.body.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def readall(self) -> bytes:
        with _told(self.where):
            return bytes(self.body.read())

    def close(self) -> None:
        self.body.close()
        super().close()


class S3Store(Store):
    """Objects as S3 objects; S3 itself makes a put atomic."""

    def __init__(self, name: str, client: Any, bucket: str, prefix: str, storage_class: str = "") -> None:
        super().__init__(name)
        self.client, self.bucket, self.prefix = client, bucket, prefix
        self.storage_class = storage_class

    def _key(self, key: str) -> str:
        return self.prefix + checked(key)

    def where(self, key: str) -> str:
        """Return the object's ``s3://`` address."""
        return f"s3://{self.bucket}/{self.prefix}{key}"

    def put(self, key: str, source: Source, *, media_type: str | None = None) -> Stored:
        """Upload, in parts when it is large; memory stays bounded by the parts under way."""
        extra = {"ContentType": media_type} if media_type else {}
        if self.storage_class:
            extra["StorageClass"] = self.storage_class
        with reading(source) as stream, _told(self.uri(key)):
            hashing = _Hashing(stream)
            self.client.upload_fileobj(hashing, self.bucket, self._key(key), ExtraArgs=extra, Config=TRANSFER)
        return Stored(self.uri(key), hashing.digest.hexdigest(), hashing.length)

    def open(self, key: str, *, start: int = 0) -> BinaryIO:
        """Open the object as a stream over the wire."""
        only = {"Range": f"bytes={start}-"} if start else {}
        with _told(self.uri(key)):
            body = self.client.get_object(Bucket=self.bucket, Key=self._key(key), **only)["Body"]
        return io.BufferedReader(_Body(body, self.uri(key)), CHUNK)

    def part(self, key: str, *, start: int, length: int) -> bytes:
        """Return a part of the object; no more than that comes over the wire."""
        wanted = f"bytes={start}-{start + length - 1}"
        with _told(self.uri(key)):
            body = self.client.get_object(Bucket=self.bucket, Key=self._key(key), Range=wanted)["Body"]
            return bytes(body.read())

    @contextmanager
    def local(self, key: str) -> Iterator[Path]:
        """Download to a temporary file that keeps the name, so that decoders see its extension."""
        with tempfile.TemporaryDirectory(prefix="dam-") as folder:
            target = Path(folder) / key.rsplit("/", 1)[-1]
            with _told(self.uri(key)):
                self.client.download_file(self.bucket, self._key(key), str(target), Config=TRANSFER)
            yield target

    def exists(self, key: str) -> bool:
        """Return whether there is an object."""
        try:
            self.size(key)
        except NotFound:
            return False
        return True

    def size(self, key: str) -> int:
        """Return the object's length."""
        with _told(self.uri(key)):
            return int(self.client.head_object(Bucket=self.bucket, Key=self._key(key))["ContentLength"])

    def promised(self, key: str) -> dict[str, str]:
        """Return the SHA-256 that the sender gave to S3, or else the MD5 that S3 keeps of what came in one part.

        An ETag is the MD5 only of an object of one part that is not encrypted by a key of its own.
        """
        with _told(self.uri(key)):
            head = self.client.head_object(Bucket=self.bucket, Key=self._key(key), ChecksumMode="ENABLED")
        given = str(head.get("ChecksumSHA256", ""))
        if given and "-" not in given:  # one over parts says how many: it is not the object's own
            return {"sha256": base64.b64decode(given).hex()}
        own_key = "SSECustomerAlgorithm" in head or str(head.get("ServerSideEncryption", "")).startswith("aws:kms")
        etag = str(head.get("ETag", "")).strip('"').lower()
        return {"md5": etag} if re.fullmatch(r"[0-9a-f]{32}", etag) and not own_key else {}

    def list(self, prefix: str = "") -> Iterator[Entry]:
        """List page by page; S3 sorts by the keys' UTF-8 bytes. What consoles put for a folder is no object here."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        with _told(self.uri(prefix)):
            for page in pages:
                for found in page.get("Contents", []):
                    if found["Key"].endswith("/"):
                        continue
                    yield Entry(found["Key"][len(self.prefix) :], found["Size"], found["LastModified"])

    def delete(self, key: str) -> None:
        """Delete the object."""
        with _told(self.uri(key)):
            self.client.delete_object(Bucket=self.bucket, Key=self._key(key))
