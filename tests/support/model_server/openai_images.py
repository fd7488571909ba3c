"""OpenAI's Images API as the model server speaks it, by the name of the model.

`address` gives an address in place of image data, `many?N` N images, `empty` none, `rejects?A` refuses the parameter A,
`moderated` the prompt, and `broken` sends what is no base64. A model that is asked for `response_format` answers as the
older ones do, with a revised prompt; otherwise as the newer ones, with a format and token counts.
"""

from base64 import b64encode
from typing import Any, Final

from tests.support.model_server.request_log import Reply

PATH: Final = "/v1/images/generations"
PNG: Final = b"\x89PNG\r\n\x1a\n\x00\xff"
JPEG: Final = b"\xff\xd8\xff\xe0\x00\x10JFIF"


async def answer_images(behaviour: str, body: dict[str, Any], reply: Reply) -> None:
    """Answer one call as its behaviour says."""
    word, _, rest = behaviour.partition("?")
    if word == "rejects" and rest in body:
        error = {"message": f"Unknown parameter: '{rest}'.", "type": "invalid_request_error", "param": rest}
        await reply.json(400, {"error": {**error, "code": "unknown_parameter"}})
    elif word == "moderated":
        error = {"message": "Your request was rejected by the safety system.", "type": "image_generation_user_error"}
        await reply.json(400, {"error": {**error, "code": "moderation_blocked"}})
    else:
        await reply.json(200, build_document(word, rest, body))


def build_document(word: str, rest: str, body: dict[str, Any]) -> dict[str, Any]:
    """Return the response of a model."""
    coded = b64encode(JPEG if word == "jpeg" else PNG).decode()
    datum: dict[str, Any] = {"b64_json": "???" if word == "broken" else coded}
    if word == "address":
        datum = {"url": "http://169.254.169.254/latest/picture.png"}
    if "response_format" in body:
        return {"created": 1, "data": [{**datum, "revised_prompt": f"A fine {body['prompt']}"}]}
    number = {"empty": 0, "many": int(rest or 1) if rest.isdigit() else 1}.get(word, 1)
    usage = {"input_tokens": 7, "output_tokens": 272, "total_tokens": 279}
    return {"created": 1, "data": [datum] * number, "output_format": "png", "size": "1024x1024", "usage": usage}
