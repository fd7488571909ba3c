"""Images and other files in requests and responses: their media types, and replies that a browser does not run."""

import re
from typing import Any, Final

from domain.payload import Payload
from gateway.http.headers import Headers
from gateway.http.rejections import MediaTypeUnsupported
from gateway.http.replies import Reply
from store.contents import JSON

UNKNOWN_TYPE: Final = "application/octet-stream"
SHOWN_TYPES: Final = (
    JSON,
    "image/png",
    "image/jpeg",
    "image/gif",
    "image/webp",
    "image/avif",
    "audio/mpeg",
    "audio/wav",
    "audio/ogg",
    "audio/mp4",
    "video/mp4",
    "video/webm",
    "application/pdf",
)
"""Other types are sent as `application/octet-stream`: a browser must not run what somebody wrote."""
DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE: Final = re.compile(r"[a-z0-9][a-z0-9.+-]{0,99}/[a-z0-9][a-z0-9.+-]{0,99}")


def parse_upload_type(headers: Headers) -> str:
    """Return the media type of an uploaded file. Raises MediaTypeUnsupported for none, and for JSON."""
    sent = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
    if not _MEDIA_TYPE.fullmatch(sent) or sent == JSON:
        raise MediaTypeUnsupported(
            "`Content-Type` must be the media type of the file, such as `image/png`; JSON is for other types of assets."
        )
    return sent


def is_media(payload: Payload) -> bool:
    """Return whether a payload is a file, and not JSON."""
    return payload.ref is not None and payload.media_type != JSON


def show_media(payload: Payload, path: str) -> dict[str, Any]:
    """Return what is said of a file: its reference, and where its bytes are, below the path of what has it."""
    digest = (payload.ref or "").rpartition(":")[2]
    return {
        "content": payload.ref,
        "media_type": payload.media_type,
        "bytes": payload.bytes,
        "url": f"{path}/contents/{digest}",
    }


def create_media_reply(content: bytes, media_type: str) -> Reply:
    """Return the response with the bytes of a file."""
    shown = media_type if media_type in SHOWN_TYPES else UNKNOWN_TYPE
    headers = [
        (b"content-type", shown.encode()),
        (b"content-disposition", b"inline" if shown != UNKNOWN_TYPE else b"attachment"),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
        (b"x-content-type-options", b"nosniff"),
        (b"cache-control", b"private, max-age=31536000, immutable"),
    ]
    return Reply(200, headers, content)
