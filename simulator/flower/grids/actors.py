"""A Grid over sticky Ray actors: many sites in one actor where there are more sites than cores."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from flwr.app import Context, Error, Message, Metadata, RecordDict
from ray.exceptions import RayActorError, RayError

from simulator.flower.grids.own import OwnGrid, assembled
from simulator.site import Home
from sites.gate import Code

DEATHS_BORNE = 2


class _SiteActor:
    """A process that answers for the sites assigned to it, one message at a time."""

    def __init__(self) -> None:
        import torch

        torch.set_num_threads(1)

    def process_id(self) -> int:
        """Return the number of the actor's process."""
        return os.getpid()

    def answer(self, metadata: Metadata, content: RecordDict, context: Context) -> Message:
        from simulator.flower.site_app import app

        return app(assembled(metadata, content), context)


SiteActor: Any = ray.remote(num_cpus=1, max_restarts=0)(_SiteActor)


@dataclass(kw_only=True)
class _Job:
    """A message on its way: its actor's slot, where its content lies, and how often its actor has died under it."""

    message: Message
    slot: int
    content: Any
    deaths: int = 0
    deadline: float = 0.0


class SiteActorGrid(OwnGrid):
    """Sends each site's messages to the same actor, in order. An actor that dies is replaced and asked again.

    A site's state is in its vault on disk, so that a new actor goes on where the dead one stood. A site that takes
    longer than `reply_seconds` over one message loses its actor, and has no reply.
    """

    def __init__(self, homes: Sequence[Home], *, actors: int, reply_seconds: float) -> None:
        super().__init__(homes)
        self.reply_seconds = reply_seconds
        self.actors: list[Any] = [SiteActor.remote() for _ in range(min(actors, len(homes)))]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterator[Message]:
        """Yield each reply as it comes; `timeout` bounds the whole, beside the bound for each message."""
        end = time.monotonic() + timeout if timeout is not None else float("inf")
        queues = self._queues(messages)
        running: dict[Any, _Job] = {}
        while time.monotonic() < end and (running or any(queues)):
            busy = {job.slot for job in running.values()}
            for job in [queue.popleft() for slot, queue in enumerate(queues) if queue and slot not in busy]:
                running[self._submit(job)] = job
            soonest = min(end, *(job.deadline for job in running.values()))
            ready, _ = ray.wait(list(running), timeout=max(0.0, soonest - time.monotonic()))
            for ref in ready:
                job = running.pop(ref)
                reply = self._reply(ref, job)
                if reply is None:
                    queues[job.slot].appendleft(job)
                else:
                    yield reply
            for ref in [ref for ref, job in running.items() if job.deadline <= time.monotonic()]:
                self._replace(running.pop(ref).slot)
        for job in running.values():
            self._replace(job.slot)

    def close(self) -> None:
        """End the actors."""
        for actor in self.actors:
            ray.kill(actor)

    def _queues(self, messages: Iterable[Message]) -> list[deque[_Job]]:
        """Deal the messages out to the actors; a content that several share is put into Ray once."""
        queues: list[deque[_Job]] = [deque() for _ in self.actors]
        put: dict[int, Any] = {}
        kept = list(messages)  # while they live, so does each content, and no two have the same id
        for message in kept:
            key = id(message.content)
            if key not in put:
                put[key] = ray.put(message.content)
            slot = (message.metadata.dst_node_id - 1) % len(self.actors)
            queues[slot].append(_Job(message=message, slot=slot, content=put[key]))
        return queues

    def _submit(self, job: _Job) -> Any:
        job.deadline = time.monotonic() + self.reply_seconds
        context = self._contexts[job.message.metadata.dst_node_id]
        return self.actors[job.slot].answer.remote(job.message.metadata, job.content, context)

    def _reply(self, ref: Any, job: _Job) -> Message | None:
        """Return what a site answered, that it died, or None where it should be asked again."""
        try:
            reply: Message = ray.get(ref)
            return reply
        except RayActorError:
            self._replace(job.slot)
            job.deaths += 1
            return None if job.deaths <= DEATHS_BORNE else _died(job.message)
        except RayError:
            return _died(job.message)

    def _replace(self, slot: int) -> None:
        ray.kill(self.actors[slot])
        self.actors[slot] = SiteActor.remote()


def _died(message: Message) -> Message:
    """Return the reply of a site whose process died; it says so, and nothing else."""
    return Message(error=Error(code=int(Code.SITE_DIED)), reply_to=message)
