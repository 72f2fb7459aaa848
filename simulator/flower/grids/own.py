"""What our own Grids share: node numbers from one, and messages that need no SuperLink."""

from __future__ import annotations

import time
import uuid
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import cast

from flwr.app import Context, Message, Metadata, RecordDict
from flwr.serverapp import Grid
from flwr.supercore.run import Run

from simulator.site import Home

SERVER_NODE = 0
RUN_ID = 1


class OwnGrid(Grid):
    """A Grid over simulated sites: node `n` is the n-th home, counted from one."""

    def __init__(self, homes: Sequence[Home]) -> None:
        self._contexts = {
            node: Context(
                run_id=RUN_ID,
                node_id=node,
                node_config={"site": home.site, "home": str(home.root)},
                state=RecordDict(),
                run_config={},
            )
            for node, home in enumerate(homes, start=1)
        }
        self._run = Run.create_empty(run_id=RUN_ID)
        self._replies: dict[str, Message] = {}

    def set_run(self, run: Run) -> None:
        self._run = run

    @property
    def run(self) -> Run:
        return self._run

    def get_node_ids(self) -> Iterable[int]:
        return tuple(self._contexts)

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        metadata = Metadata(
            run_id=RUN_ID,
            message_id=uuid.uuid4().hex,
            src_node_id=SERVER_NODE,
            dst_node_id=dst_node_id,
            reply_to_message_id="",
            group_id=group_id,
            created_at=time.time(),
            ttl=ttl or 3600.0,
            message_type=message_type,
        )
        return assembled(metadata, content)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer the messages at once; `pull_messages` then hands out the replies."""
        pushed = list(messages)
        for reply in self.send_and_receive(pushed):
            self._replies[reply.metadata.reply_to_message_id] = reply
        return [message.metadata.message_id for message in pushed]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    @abstractmethod
    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]: ...


def assembled(metadata: Metadata, content: RecordDict) -> Message:
    """Return a message of given metadata and content."""
    return cast(Message, Message(metadata=metadata, content=content))  # type: ignore[call-overload]
