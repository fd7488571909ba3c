"""Wiring of the engine and its executors."""

from collections.abc import AsyncGenerator
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from random import Random

from bus.bus import Bus
from bus.feed import Feed
from bus.presence import Member, PresenceHub
from callsheet.clock import utc_now
from callsheet.settings.load import Settings
from callsheet.wiring.egress import create_http_steps
from callsheet.wiring.models import list_model_providers
from commands.repository import Streams
from domain.ids import from_uuid
from domain.setting_types import SigningSecret
from engine.children.families import Families
from engine.engine import Engine
from engine.executors import Executors
from engine.providers.choice import build_providers
from engine.steps.attachments import Attachments
from engine.steps.call_records import CallRecorder
from engine.steps.child import ChildSteps
from engine.steps.contract import StepCall
from engine.steps.evaluator import Evaluator
from engine.steps.media import MediaStore
from engine.steps.prompt import Prompts
from engine.steps.prompt_assets import MediaAssetFiles, PromptAssetTexts
from projections.read_models.runs_view import RunsView
from projections.read_models.timers_view import TimersView
from projections.runtime.read_pool import ReadModels
from projections.runtime.run_admission import RunAdmission
from store.contents import PostgresContents
from store.failpoint import FailPointHook
from store.log.log import Log
from store.workers.pool import WorkerPool


def create_engine(  # noqa: PLR0913  # what an engine is made of, by name
    conninfo: str,
    log: Log,
    feed: Feed,
    streams: Streams,
    executors: Executors,
    models: ReadModels,
    settings: Settings,
    name: str,
    *,
    admission: RunAdmission,
    failpoint: FailPointHook,
) -> Engine:
    """Create the engine; `failpoint` is a test hook called at each crash-sensitive point."""
    return Engine(
        name=name,
        conninfo=conninfo,
        log=log,
        feed=feed,
        streams=streams,
        executors=executors,
        runs=RunsView(models),
        timers=TimersView(models),
        clock=utc_now,
        random=Random(),  # noqa: S311  # jitter of retries, nothing secret
        settings=settings.engine,
        families=Families(log.sessions, streams, settings.runs, admission),
        graph_bytes=settings.cache.graph_bytes,
        failpoint=failpoint,
    )


@asynccontextmanager
async def open_executors(
    log: Log, settings: Settings, secret: SigningSecret, bus: Bus, workers: WorkerPool
) -> AsyncGenerator[Executors]:
    """Yield the executors of steps, with the connections of their calls open until the end of the block."""
    contents, deltas = PostgresContents(log.sessions), bus.deltas
    async with AsyncExitStack() as stack:
        providers = build_providers(list_model_providers(settings), settings.model)
        stack.push_async_callback(providers.close)
        slow = Evaluator(workers)
        http = create_http_steps(settings, slow)
        stack.push_async_callback(http.close)
        yield Executors(
            prompts=Prompts(
                providers=providers,
                prompt_assets=PromptAssetTexts(log, contents, most_kept=1_000, bytes_kept=settings.cache.prompt_bytes),
                recorder=CallRecorder(
                    contents=contents,
                    digest_key=secret.reveal().encode(),
                    delay_seconds=settings.engine.asked_delay_seconds,
                ),
                attachments=Attachments(
                    MediaStore(contents), MediaAssetFiles(log, most_kept=1_000), settings.model.attachment_bytes
                ),
                on_delta=lambda call, number: deltas.sender(
                    call.run_id, node=call.node.id, attempt=call.attempt, call=number
                ),
                on_end=lambda call: deltas.end_texts(call.run_id, node=call.node.id, attempt=call.attempt),
                timeout_seconds=settings.model.timeout_seconds,
                slow=slow,
            ),
            http=http,
            children=ChildSteps(log=log, contents=contents, slow=slow),
            contents=contents,
            clock=utc_now,
            shown_key=secret.reveal().encode(),
            slow=slow,
            present=lambda call: show_agent(bus.presence, call),
        )


def show_agent(presence: PresenceHub, call: StepCall) -> AbstractContextManager[None]:
    """Return a context in which the agent that works on a step is present in its project."""
    if call.project_id is None:
        return nullcontext()
    run_id = from_uuid("run", call.run_id)
    agent = Member(
        id=f"{run_id}.{call.node.id}.{call.attempt}",
        kind="agent",
        joined_at=utc_now(),
        run_id=run_id,
        node=call.node.id,
        attempt=call.attempt,
    )
    return presence.present(call.project_id, agent)
