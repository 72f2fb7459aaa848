"""The one ClientApp: a site behind its gate. An envelope and gated bytes are all that leaves."""

from __future__ import annotations

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from simulator.contract import Reply
from simulator.flower.records import from_reply, to_request
from simulator.schedule import from_json
from simulator.site import Home, answer
from sites.errors import WardroundError
from sites.gate import Code


class SiteApp(ClientApp):
    """Overrides the call itself, because a mod would miss what fails outside the registered functions.

    The site is named by the node's configuration (`site` and `home`, as our own grids and deployments give it) or,
    in Flower's simulation, by its partition: the position of the site in the schedule.
    """

    def __call__(self, message: Message, context: Context) -> Message:
        """Answer a message; never raises, since Flower would carry an exception's text to the server."""
        try:
            request = to_request(message.metadata.message_type, message.content)
            content = from_reply(answer(request, _home(context, request.schedule)))
        except (Exception, SystemExit) as error:
            code = Code.BAD_REQUEST if isinstance(error, WardroundError) else Code.SITE_ERROR
            content = from_reply(Reply(code=code, site=-1, fingerprint=""))
        return Message(content=content, reply_to=message)


def _home(context: Context, schedule_json: str) -> Home:
    node = context.node_config
    if "site" in node:
        return Home(site=str(node["site"]), root=Path(str(node["home"])))
    site = from_json(schedule_json).timeline.sites[int(node["partition-id"])]
    return Home(site=site, root=Path(str(context.run_config["run-dir"])) / "sites" / site)


app = SiteApp()
