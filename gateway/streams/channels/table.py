"""All channels of `/v1/streams`, and all kinds of messages, both ways. A further channel is one line here."""

from collections.abc import Mapping
from typing import Any, Final

from gateway.streams.channels.announcements import AnnouncementsChannel
from gateway.streams.channels.channel import Channel
from gateway.streams.channels.presence import PresenceChannel
from gateway.streams.channels.runs import RunsChannel
from gateway.streams.channels.tasks import TasksChannel
from gateway.streams.messages import CONNECTION_MESSAGES, MessageKind, Sender

CHANNELS: Final[Mapping[str, Channel]] = {
    channel.name: channel for channel in (RunsChannel(), TasksChannel(), AnnouncementsChannel(), PresenceChannel())
}

MESSAGES: Final[tuple[MessageKind[Any], ...]] = (
    *CONNECTION_MESSAGES,
    *(kind for channel in CHANNELS.values() for kind in channel.messages),
)

CLIENT_MESSAGES: Final[Mapping[tuple[str, str], MessageKind[Any]]] = {
    (kind.channel.value, kind.event): kind for kind in MESSAGES if kind.sender is Sender.CLIENT
}
