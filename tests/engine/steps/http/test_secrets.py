"""Cutting secrets out: in whatever form they come back, where they overlap, and in time by the length of the text."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from decimal import Decimal
from html import escape
from time import process_time
from urllib.parse import quote, quote_plus

import httpx2
import msgspec
import pytest

from domain.graphs.graph import ErrorClass
from engine.settings import OutgoingSettings
from engine.steps.http.secrets import SHOWN_CHARACTERS_MAX, SHOWN_MAX, HttpSecret, Redactor
from engine.steps.http.step import TOO_MANY_SECRET_TEXTS, HttpSteps
from tests.engine.providers.conftest import LOCAL
from tests.engine.steps.http.test_step import expect_failure
from tests.support.engine.workers import create_evaluator

SECRET = 'pä\'ss<Wort>/λ+~&^ "Σίσυφος"'  # noqa: S105  # of nobody
NOBODY = "http://127.0.0.1:1"
"""Where a request would find nobody."""
COMES_BACK: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": lambda secret: "".join(sign.upper() for sign in secret),
    "in a header": lambda secret: secret.encode().decode("latin-1"),
    "in JSON": json.dumps,
    "in JSON of PHP": lambda secret: json.dumps(secret).replace("/", r"\/"),
    "in JSON of Go": lambda secret: (
        json.dumps(secret, ensure_ascii=False).replace("<", r"\u003c").replace(">", r"\u003e").replace("&", r"\u0026")
    ),
    "in JSON within JSON": lambda secret: json.dumps(json.dumps(secret)),
    "quoted": quote,
    "quoted throughout": lambda secret: quote(secret, safe=""),
    "in a form": quote_plus,
    "by encodeURIComponent": lambda secret: quote(secret, safe="!'()*"),
    "in a path of ours": lambda secret: httpx2.URL(f"http://h/{secret}").raw_path.decode(),
    "in a query of ours": lambda secret: httpx2.URL(f"http://h/?q={secret}").raw_path.decode(),
    "in HTML": escape,
    "in HTML by Liquid": lambda secret: escape(secret, quote=False).replace('"', "&#34;").replace("'", "&#39;"),
    "in base64": lambda secret: b64encode(secret.encode()).decode(),
    "in base64 of URLs": lambda secret: urlsafe_b64encode(secret.encode()).decode().rstrip("="),
}


@pytest.mark.parametrize("form", COMES_BACK)
def test_a_secret_is_cut_out_in_whatever_form_it_comes_back(form: str) -> None:
    came = COMES_BACK[form](SECRET)
    left = Redactor([SECRET]).text(f"<{came}>")
    assert "…" in left
    assert len(left.replace(came[:1], "")) <= len("</?q=…==>") + 2


def test_secrets_that_overlap_are_cut_out_whole() -> None:
    redactor = Redactor(["abcdefgh-long"], also=Redactor(["gh-long-tail"]))
    assert redactor.text("abcdefgh-long-tail and gh-long-tail, ABCDEFGH-LONG") == "… and …, …"


@pytest.mark.parametrize("secret", ["12345678901234567890", "12345678", "-1234567890.12345678901"])
def test_a_number_is_cut_out_as_json_has_rounded_it(secret: str) -> None:
    came = msgspec.json.decode(secret)
    in_javascript = f"{Decimal(repr(float(secret))):f}"
    assert Redactor([secret]).json([came, secret, f"<{in_javascript}>"]) == ["…", "…", "<…>"]


def test_time_is_by_the_length_of_the_text_whatever_was_shown() -> None:
    shown = [f"{'a' * (SHOWN_CHARACTERS_MAX - 100 - n)}{n}secret" for n in range(SHOWN_MAX)]
    redactor = Redactor(shown)
    began = process_time()
    assert "…" not in redactor.text("a" * 128 * 1024)
    assert process_time() - began < 5  # one pattern for all of them took minutes


def test_many_short_texts_are_looked_through_together() -> None:
    redactor = Redactor(f"secret/{n:08}+" for n in range(1_000))
    short = [f"{n:09}" for n in range(12_000)]
    began = process_time()
    assert redactor.json({"short": short}) == {"short": short}
    together = process_time() - began
    assert [redactor.text(text) for text in short] == short
    assert together < (process_time() - began - together) / 2  # a fifth
    assert redactor.json([*short, {"secret/00000007+": True}])[-1] == {"…": True}


@pytest.mark.parametrize(
    "body",
    [
        f"{{% for i in (1..{SHOWN_MAX + 1}) %}}{{{{ i | append: secrets.token }}}}{{% endfor %}}",
        f"{{{{ secrets.token | append: '{'a' * SHOWN_CHARACTERS_MAX}' }}}}",
    ],
)
async def test_a_request_that_makes_too_much_of_secrets_is_not_sent(body: str) -> None:
    steps = HttpSteps(LOCAL, {"token": HttpSecret(SECRET, None)}, OutgoingSettings(), create_evaluator())
    fault = await expect_failure(steps, NOBODY, method="POST", body=body)
    await steps.close()
    assert (fault.error.error_class, fault.error.message) == (ErrorClass.BAD_REQUEST, TOO_MANY_SECRET_TEXTS)
