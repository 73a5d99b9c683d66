"""The messages of late pages that are kept."""

from nbchat.core.commands import StopAll
from nbchat.protocol import PROTOCOL_VERSION, Hello, RunCommand
from nbchat.wire.late import KEPT, LatePages


def test_many_commands_of_a_late_page_do_not_displace_its_hello() -> None:
    """When more messages arrive than are kept, commands are dropped first, and each page keeps its hello."""
    late = LatePages()
    for page in ("p", "q"):
        late.note(Hello(id="a", page=page, protocol=PROTOCOL_VERSION, version="0"), late=True)
    commands = [
        RunCommand(page="p", epoch="k", command=StopAll(id=f"cmd_{number}")) for number in range(KEPT)
    ]
    for command in commands:
        late.note(command, late=True)
    taken = late.take({})
    assert [message.page for message in taken if isinstance(message, Hello)] == ["p", "q"]
    assert [message for message in taken if isinstance(message, RunCommand)] == commands[2:]
