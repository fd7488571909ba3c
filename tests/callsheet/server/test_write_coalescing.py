"""Write coalescing: the writes of one loop iteration leave in one piece, in order, and all of it at the end."""

import asyncio
from asyncio import Transport

from callsheet.server.write_coalescing import WriteCoalescingTransport


class Wire(Transport):
    """A transport that records each write."""

    def __init__(self) -> None:
        """Begin with nothing written."""
        super().__init__()
        self.pieces: list[bytes] = []
        self.closed = False
        self.aborted = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.pieces.append(bytes(data))

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = self.closed = True

    def is_closing(self) -> bool:
        return self.closed


def create_transport() -> tuple[WriteCoalescingTransport, Wire]:
    wire = Wire()
    return WriteCoalescingTransport(wire, asyncio.get_running_loop()), wire


async def turn_of_the_loop() -> None:
    await asyncio.sleep(0)


async def test_what_one_turn_writes_leaves_in_one_piece() -> None:
    transport, wire = create_transport()
    transport.write(b"head ")
    transport.writelines([b"of ", bytearray(b"the body")])
    assert wire.pieces == []
    await turn_of_the_loop()
    assert wire.pieces == [b"head of the body"]


async def test_each_turn_writes_a_piece_of_its_own_in_order() -> None:
    transport, wire = create_transport()
    for piece in (b"one", b"two", b"three"):
        transport.write(piece)
        await turn_of_the_loop()
    assert wire.pieces == [b"one", b"two", b"three"]


async def test_closing_sends_what_is_gathered_first() -> None:
    transport, wire = create_transport()
    transport.write(b"the last words")
    transport.close()
    assert (wire.pieces, wire.closed) == ([b"the last words"], True)
    await turn_of_the_loop()
    assert wire.pieces == [b"the last words"]


async def test_aborting_drops_what_is_gathered() -> None:
    transport, wire = create_transport()
    transport.write(b"too late")
    transport.abort()
    await turn_of_the_loop()
    assert (wire.pieces, wire.aborted) == ([], True)


async def test_nothing_is_written_to_a_connection_that_the_other_side_has_closed() -> None:
    transport, wire = create_transport()
    transport.write(b"to nobody")
    wire.close()
    await turn_of_the_loop()
    assert wire.pieces == []
