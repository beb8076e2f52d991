"""The parts of one running gateway, and what connects them to NATS once it is reached."""

import re
import secrets
import socket
from dataclasses import dataclass
from typing import Final

from trunkline_common.bus import Bus
from trunkline_gateway.assignment import Assignment
from trunkline_gateway.calling import Calling
from trunkline_gateway.full_house import FullHouse, Treatments
from trunkline_gateway.public_url import PublicUrl
from trunkline_gateway.redirects import Redirects
from trunkline_gateway.registry import Streams
from trunkline_gateway.rejections import Rejections
from trunkline_gateway.settings import GatewaySettings
from trunkline_gateway.signature import SignatureVerifier
from trunkline_gateway.stream_token import TokenIssuer, derive_key
from trunkline_gateway.workers import Workers

HOST_CHARS_MAX: Final = 40
"""Leaves room for the rest of an id within the 64 characters of a subject's token."""


@dataclass(slots=True)
class Link:
    """What needs NATS."""

    bus: Bus
    assignment: Assignment
    workers: Workers
    redirects: Redirects


@dataclass(slots=True)
class Gateway:
    """Shared by the webhooks and the media streams."""

    gateway_id: str
    settings: GatewaySettings
    public_url: PublicUrl
    verifier: SignatureVerifier
    tokens: TokenIssuer
    rejections: Rejections
    streams: Streams
    outbound: Calling
    full_house: FullHouse
    link: Link | None = None
    """None until NATS is reached: callers then hear the fallback."""

    @classmethod
    def build(cls, settings: GatewaySettings) -> "Gateway":
        """Make the parts that need no connection."""
        public_url = PublicUrl(settings.public_url)
        # Without an auth token this process alone can check what it has issued.
        token_secrets = settings.auth_tokens or (secrets.token_hex(32),)
        rejections = Rejections()
        return cls(
            gateway_id=new_id(socket.gethostname()),
            settings=settings,
            public_url=public_url,
            verifier=SignatureVerifier(public_url, settings.auth_tokens),
            tokens=TokenIssuer(tuple(derive_key(secret.encode()) for secret in token_secrets)),
            rejections=rejections,
            streams=Streams(settings.gateway_streams_max),
            outbound=Calling(settings, public_url),
            full_house=FullHouse(settings, public_url, rejections),
        )

    def new_link(self, bus: Bus) -> Link:
        """Make the parts that need NATS; webhooks and streams use them once they are set as `link`."""
        self.full_house.treatments = Treatments(bus, self.settings.trunkline_region)
        assignment = Assignment(bus, self.settings.trunkline_region, self.gateway_id)
        redirects = Redirects(bus, self.outbound, self.public_url)
        return Link(bus, assignment, Workers(bus), redirects)


def new_id(host: str) -> str:
    """Return an id for this process that can stand in a subject."""
    return f"gw-{re.sub(r'[^A-Za-z0-9-]', '-', host)[:HOST_CHARS_MAX]}-{secrets.token_hex(3)}"
