"""Amazon Rekognition: DetectLabels on the preview, its labels taken as words of the vocabulary."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from dam.enrich.taggers import Failed, Options, Said, Tagger
from dam.enrich.taggers.pictures import preview

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dam.catalog.models import Version
    from dam.taxonomy import Taxonomy

#: The most that DetectLabels takes as bytes, and what it takes.
MOST_BYTES = 5 * 1024 * 1024
_TAKES = frozenset({"image/jpeg", "image/png"})
#: Refusals of this kind pass, and are not billed. Waits between tries, in seconds.
_BUSY = frozenset({"ThrottlingException", "ProvisionedThroughputExceededException"})
_WAITS = (0.5, 1.0, 2.0, 4.0)


class RekognitionOptions(Options):
    """What is asked for. :param labels: at most so many. :param confidence: and none less sure (0..1)."""

    labels: int = Field(20, ge=1, le=1000)
    confidence: float = Field(0.55, ge=0, le=1)


class Rekognition(Tagger):
    """Sees what a service far away sees, for money."""

    slow: ClassVar[bool] = True
    options_model: ClassVar[type[Options]] = RekognitionOptions

    @property
    def model(self) -> str:
        """The operation; its answer tells the model's version."""
        return "Rekognition DetectLabels"

    @property
    def version(self) -> str:
        """The operation's generation; tags have the version of the label model that answered."""
        return "3"

    @cached_property
    def _client(self) -> Any:
        return self.services.aws("rekognition")

    def say(self, session: Session, version: Version, taxonomy: Taxonomy) -> Iterator[Said]:
        """Yield the labels that are words of the vocabulary, each with its parents' and aliases' help."""
        answer = self._ask(self._picture(session, version))
        matcher = taxonomy.vocabulary.matcher
        for label in answer.get("Labels", []):
            other = [alias["Name"] for alias in label.get("Aliases", [])]
            for name in (label["Name"], *other):
                if named := matcher.named(name, "en") or matcher.named(name):
                    because = f"it saw “{label['Name']}”"
                    confidence = round(float(label["Confidence"]) / 100, 4)
                    yield Said(named[0], confidence, because, str(answer.get("LabelModelVersion", "")))
                    break

    def _picture(self, session: Session, version: Version) -> bytes:
        picture = preview(self.services, session, version)
        if picture.media_type not in _TAKES or len(picture.data) > MOST_BYTES:
            raise Failed("The preview is no JPEG or PNG of at most 5 MB.", billed=False)
        return picture.data

    def _ask(self, data: bytes) -> dict[str, Any]:
        """Ask once: an answer that got lost may have been billed, so only refusals are tried again."""
        from botocore.exceptions import BotoCoreError, ClientError, ConnectTimeoutError, EndpointConnectionError

        for wait in (*_WAITS, None):
            try:
                told: dict[str, Any] = self._client.detect_labels(
                    Image={"Bytes": data}, MaxLabels=self.options.labels, MinConfidence=self.options.confidence * 100
                )
                return told
            except ClientError as error:
                code = error.response["Error"]["Code"]
                if code not in _BUSY or wait is None:
                    raise Failed(
                        f"Rekognition refused: {error.response['Error'].get('Message', code)}", billed=False
                    ) from error
            except (EndpointConnectionError, ConnectTimeoutError) as error:
                raise Failed(f"Rekognition can't be reached: {error}", billed=False) from error
            except BotoCoreError as error:
                raise Failed(f"Rekognition did not answer: {error}") from error
            time.sleep(wait)
        raise Failed("Rekognition is busy.", billed=False)
