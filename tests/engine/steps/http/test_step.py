"""HTTP steps against a real server: what is sent, what the answer becomes, and the class of every fault."""

from collections.abc import AsyncGenerator, Generator
from typing import Any
from uuid import UUID

import pytest

from commands.aggregates import RUN
from domain.graphs.compiled import compile_graph
from domain.graphs.graph import ErrorClass, HttpNode
from domain.graphs.validation.check import check_graph
from engine.egress.allow_list import AllowList
from engine.egress.guard import Guard
from engine.settings import OutgoingSettings
from engine.steps.contract import Failed, StepCall
from engine.steps.http.secrets import HttpSecret
from engine.steps.http.step import HIDDEN_TEMPLATE_ERROR, HttpSteps
from engine.steps.run_data import RunData
from tests.support.engine.workers import create_evaluator, open_evaluator
from tests.support.graphs import KNOWN, graph, node
from tests.support.servers.web import STATUSES, WebServer

SECRET = 'sk_live/0123+"quoted"'  # noqa: S105  # of nobody
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
SECRETS = {
    "token": HttpSecret(SECRET, AllowList("127.0.0.1")),
    "elsewhere": HttpSecret("elsewhere-only", AllowList("api.crm.example")),
    "anywhere": HttpSecret("goes-anywhere", None),
}
PATIENCE_SECONDS = 60


@pytest.fixture(scope="module")
def web_server() -> Generator[WebServer]:
    with WebServer() as server:
        yield server


@pytest.fixture
async def steps() -> AsyncGenerator[HttpSteps]:
    """Http steps that may call the servers of the tests."""
    settings = OutgoingSettings(timeout_seconds=PATIENCE_SECONDS)
    async with open_evaluator() as slow:
        steps = HttpSteps(Guard(allowed=AllowList("127.0.0.1")), SECRETS, settings, slow)
        yield steps
        await steps.close()


async def call_step(steps: HttpSteps, url: str, **config: Any) -> Any:  # noqa: ANN401  # JSON
    accepted = check_graph(graph(node(kind="http", config={"url": url, **config})), KNOWN)
    compiled = compile_graph(accepted)
    step = compiled.nodes["a"]
    assert isinstance(step, HttpNode)
    data = RunData({"name": "Ana", "city": "Köln"})
    call = StepCall(
        workspace_id=UUID(int=1),
        run_id=UUID(int=2),
        run=RUN.initial,
        graph=compiled,
        node=step,
        attempt=1,
        data=data,
        traceparent=TRACE,
    )
    return await steps.call(call, step.config)


async def expect_failure(steps: HttpSteps, url: str, **config: Any) -> Failed:  # noqa: ANN401  # JSON
    failed = await call_step(steps, url, **config)
    assert isinstance(failed, Failed), failed
    assert SECRET not in failed.error.message
    return failed


async def test_templates_see_the_run_and_json_comes_back_parsed(steps: HttpSteps, web_server: WebServer) -> None:
    output = await call_step(
        steps,
        web_server.url("/echo/{{ inputs.name }}?city={{ inputs.city | url_encode }}"),
        method="POST",
        headers={"X-Name": "{{ inputs.name | upcase }}"},
        body='{"who": {{ inputs.name | json }}}',
    )
    assert output["status"] == 200
    assert output["headers"]["content-type"] == "application/json"
    told = output["body"]
    assert (told["method"], told["path"]) == ("POST", "/echo/Ana?city=K%C3%B6ln")
    assert told["body"] == '{"who": "Ana"}'
    assert told["headers"]["x-name"] == "ANA"
    assert told["headers"]["content-type"] == "application/json"
    assert told["headers"]["host"] == f"127.0.0.1:{web_server.port}"


async def test_a_request_carries_its_trace_and_its_idempotency_token(steps: HttpSteps, web_server: WebServer) -> None:
    headers = (await call_step(steps, web_server.url("/echo")))["body"]["headers"]
    assert headers["idempotency-key"] == f"{UUID(int=2)}.a"
    assert headers["traceparent"] == TRACE


async def test_a_step_may_set_them_itself(steps: HttpSteps, web_server: WebServer) -> None:
    own = {"idempotency-key": "mine", "Traceparent": "none", "Accept": "text/csv"}
    headers = (await call_step(steps, web_server.url("/echo"), headers=own))["body"]["headers"]
    assert (headers["idempotency-key"], headers["traceparent"], headers["accept"]) == ("mine", "none", "text/csv")


@pytest.mark.parametrize("name", ["Host", "content-length", "Transfer-Encoding", "Connection", "Proxy-Authorization"])
async def test_headers_that_say_where_a_request_goes_are_not_for_steps(
    steps: HttpSteps, web_server: WebServer, name: str
) -> None:
    fault = await expect_failure(steps, web_server.url("/echo"), headers={name: "1"})
    assert fault.error.error_class is ErrorClass.BAD_REQUEST


async def test_a_header_cannot_smuggle_another(steps: HttpSteps, web_server: WebServer) -> None:
    fault = await expect_failure(
        steps, web_server.url("/echo"), headers={"X-A": "{{ 'a%0D%0AX-Evil: 1' | url_decode }}"}
    )
    assert "control character" in fault.error.message


async def test_text_comes_back_as_text_in_its_charset(steps: HttpSteps, web_server: WebServer) -> None:
    assert (await call_step(steps, web_server.url("/text")))["body"] == "käse"


async def test_what_cannot_be_stored_is_dropped_from_json(steps: HttpSteps, web_server: WebServer) -> None:
    output = await call_step(steps, web_server.url("/odd-json"))
    assert output["body"] == {"a": ["xy", "\U0001f600", "\ufffd"]}


async def test_no_body_is_null(steps: HttpSteps, web_server: WebServer) -> None:
    output = await call_step(steps, web_server.url("/nothing"), method="DELETE")
    assert (output["status"], output["body"]) == (204, None)


async def test_what_is_packed_is_unpacked(steps: HttpSteps, web_server: WebServer) -> None:
    assert (await call_step(steps, web_server.url("/gzip")))["body"] == {"packed": True}


async def test_cookies_are_not_given_and_repeated_headers_are_joined(steps: HttpSteps, web_server: WebServer) -> None:
    headers = (await call_step(steps, web_server.url("/cookies")))["headers"]
    assert "set-cookie" not in headers
    assert headers["x-two"] == "1, 2"


async def test_a_redirect_is_an_answer_and_is_not_followed(steps: HttpSteps, web_server: WebServer) -> None:
    output = await call_step(steps, web_server.url("/redirect"))
    assert output["status"] == 302
    assert output["headers"]["location"] == "http://169.254.169.254/latest"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_no_redirect_reaches_another_server_whatever_its_status(
    steps: HttpSteps, web_server: WebServer, status: int, method: str
) -> None:
    before = len(web_server.heard)
    with WebServer() as other:
        there = other.url("/inside?key={{ secrets.token | url_encode }}")
        output = await call_step(
            steps, web_server.url(f"/redirect/{status}?{there}"), method=method, headers={"X-T": "{{ secrets.token }}"}
        )
    assert output["status"] == status
    assert output["headers"]["location"].startswith(other.url("/inside?key="))
    assert "sk_live" not in repr(output)
    assert (len(web_server.heard) - before, other.connections) == (1, 0)


@pytest.mark.parametrize("status", STATUSES)
async def test_every_status_has_its_class(steps: HttpSteps, web_server: WebServer, status: int) -> None:
    expected = {
        401: ErrorClass.AUTH,
        403: ErrorClass.AUTH,
        408: ErrorClass.TIMEOUT,
        429: ErrorClass.RATE_LIMITED,
        503: ErrorClass.OVERLOADED,
    }.get(status, ErrorClass.UNAVAILABLE if status >= 500 else ErrorClass.BAD_REQUEST)
    fault = await expect_failure(steps, web_server.url(f"/status/{status}"))
    assert fault.error.error_class is expected
    assert fault.error.message == f"The server responded with HTTP {status}: you said"
    assert fault.retry_after_seconds == (7 if status in {429, 503} else None)


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/broken-json", "not valid JSON"),
        ("/bomb", "Limit: 100000 bytes"),
        ("/endless", "Limit: 100000 bytes"),
        ("/half-gzip", "incomplete gzip"),
        ("/brotli", "content-encoding"),
        ("/many-headers", "Limits: 100 headers"),
    ],
)
async def test_an_answer_beyond_the_bounds_is_no_output(
    steps: HttpSteps, web_server: WebServer, path: str, said: str
) -> None:
    most = 100_000 if path != "/half-gzip" else 10_000_000
    fault = await expect_failure(steps, web_server.url(path), most_response_bytes=most)
    assert fault.error.error_class is ErrorClass.INVALID_OUTPUT
    assert said in fault.error.message


async def test_a_slow_body_runs_out_of_time(web_server: WebServer) -> None:
    hasty = HttpSteps(
        Guard(allowed=AllowList("127.0.0.1")), {}, OutgoingSettings(timeout_seconds=0.5), create_evaluator()
    )
    fault = await expect_failure(hasty, web_server.url("/slow"))
    await hasty.close()
    assert fault.error.error_class is ErrorClass.TIMEOUT


async def test_a_server_that_hangs_up_is_unavailable(steps: HttpSteps, web_server: WebServer) -> None:
    assert (await expect_failure(steps, web_server.url("/hang-up"))).error.error_class is ErrorClass.UNAVAILABLE


async def test_a_server_that_is_not_there_is_unavailable(steps: HttpSteps) -> None:
    with WebServer() as gone:
        pass
    assert (await expect_failure(steps, gone.url("/"))).error.error_class is ErrorClass.UNAVAILABLE


@pytest.mark.parametrize("url", ["http://10.0.0.1/", "http://[::1]/", "http://2130706433/", "http://u:pass@1.1.1.1/"])
async def test_what_is_not_public_is_a_bad_request(steps: HttpSteps, url: str) -> None:
    fault = await expect_failure(steps, url)
    assert fault.error.error_class is ErrorClass.BAD_REQUEST
    assert not any(part in fault.error.message for part in ("10.0.0.1", "::1", "2130706433", "pass@"))


async def test_a_url_that_is_none_is_a_bad_request(steps: HttpSteps) -> None:
    fault = await expect_failure(steps, "{{ 'http://[half' }}")
    assert fault.error.error_class is ErrorClass.BAD_REQUEST


@pytest.mark.parametrize("path", ["/echo", "/echo-text"])
async def test_a_secret_is_sent_and_cut_out_of_what_comes_back(
    steps: HttpSteps, web_server: WebServer, path: str
) -> None:
    before = len(web_server.heard)
    basic = "Basic {{ 'ana:' | append: secrets.token | base64_encode }}"
    output = await call_step(
        steps,
        web_server.url(path + "?key={{ secrets.token | url_encode }}"),
        method="POST",
        headers={"X-Token": "{{ secrets.token }}", "Authorization": basic},
        body="{{ secrets.token }} and {{ secrets.token | base64_encode }} and {{ secrets.token | json }}",
    )
    (sent,) = web_server.heard[before:]
    assert sent.headers["x-token"] == SECRET
    assert sent.body.decode().startswith(SECRET)
    whole = repr(output)
    assert "…" in whole
    for hidden in (SECRET, "sk_live", "c2tfbGl2", sent.headers["authorization"].removeprefix("Basic ")):
        assert hidden not in whole


async def test_a_secret_is_cut_out_of_errors(steps: HttpSteps, web_server: WebServer) -> None:
    fault = await expect_failure(steps, web_server.url("/status/400"), headers={"X-Token": "{{ secrets.token }}"})
    assert fault.error.message == "The server responded with HTTP 400: you said …"


async def test_a_secret_goes_only_to_the_hosts_that_it_is_for(steps: HttpSteps, web_server: WebServer) -> None:
    before = web_server.connections
    fault = await expect_failure(steps, web_server.url("/echo"), headers={"X-Token": "{{ secrets.elsewhere }}"})
    assert fault.error.message == "The secret 'elsewhere' must not be sent to the host of this url"
    assert web_server.connections == before


async def test_a_secret_does_not_go_over_the_internet_in_the_open(steps: HttpSteps) -> None:
    fault = await expect_failure(steps, "http://1.1.1.1/", headers={"X-Token": "{{ secrets.anywhere }}"})
    assert "over https only" in fault.error.message


@pytest.mark.parametrize(
    "template", ["{{ IT }}", "{{ IT | url_encode }}", "{{ IT | prepend: 'ana:' | base64_encode }}"]
)
@pytest.mark.parametrize("path", ["/echo", "/echo-text"])
async def test_what_was_made_with_a_secret_is_cut_out_wherever_it_stood(
    steps: HttpSteps, web_server: WebServer, path: str, template: str
) -> None:
    shown = template.replace("IT", "secrets.token")
    before = len(web_server.heard)
    output = await call_step(
        steps, web_server.url(f"{path}?q={shown.replace(' }}', ' | url_encode }}')}"), method="POST", body=shown
    )
    (sent,) = web_server.heard[before:]
    assert sent.body.decode() not in repr(output)
    assert sent.path.partition("=")[2] not in repr(output)
    assert repr(output).count("…") >= 2


async def test_a_secret_by_another_way_is_not_given_in_parts(steps: HttpSteps, web_server: WebServer) -> None:
    before = web_server.connections
    for shown in ("[s].token | slice: 0, 4", "[s].token[0]", "[s].token.size", "[s] | json", "[s].token"):
        fault = await expect_failure(
            steps, web_server.url("/echo"), headers={"X": f"{{% assign s = 'secrets' %}}{{{{ {shown} }}}}"}
        )
        assert fault.error.error_class is ErrorClass.EXPRESSION
        assert "only be used whole" in fault.error.message
    assert web_server.connections == before


async def test_a_secret_that_is_not_there_is_a_fault_of_the_template(steps: HttpSteps, web_server: WebServer) -> None:
    fault = await expect_failure(steps, web_server.url("/{{ secrets.nobody }}"))
    assert fault.error.error_class is ErrorClass.EXPRESSION


async def test_a_fault_of_a_template_does_not_quote_a_secret_that_it_showed(
    steps: HttpSteps, web_server: WebServer
) -> None:
    sly = "{{ secrets.token | base64_encode }}{{ inputs.nothing }}"
    fault = await expect_failure(steps, web_server.url("/echo"), headers={"X-Sly": sly})
    assert (fault.error.error_class, fault.error.message) == (ErrorClass.EXPRESSION, HIDDEN_TEMPLATE_ERROR)
