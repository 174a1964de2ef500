"""Settings of the page and the API of the live service."""

from __future__ import annotations

from pydantic import Field

from ethogram.config._base import Settings

__all__ = ["WebSettings"]


class WebSettings(Settings):
    """Page and API; each bound answers with a status and a reason, and has a counter."""

    host: str = Field(default="127.0.0.1", description="address that the page and the API listen at")
    port: int = Field(default=8470, ge=0, le=65_535, description="their port; 0: any free one")
    behind_proxy: bool = Field(
        default=False,
        description="a proxy in front provides TLS; required for addresses other than loopback without --cert",
    )
    allowed_hosts: tuple[str, ...] = Field(
        default=(), description="host names that requests may name, beside localhost, the address and the host's name"
    )
    session_s: int = Field(default=7 * 86_400, gt=0, description="a browser session ends after this time")
    request_octets: int = Field(default=1 << 16, gt=0, description="largest body of a request, except for captures")
    url_octets: int = Field(default=4096, gt=0, description="longest address of a request")
    rate_limit: float = Field(default=50.0, gt=0, description="requests per second of one client")
    burst: int = Field(default=200, gt=0, description="requests that one client may make at once")
    login_rate: float = Field(default=0.2, gt=0, description="logins per second of one address; ten at once")
    clients: int = Field(default=4096, gt=0, description="clients whose rates are kept; then the oldest is forgotten")
    streams: int = Field(default=64, gt=0, description="open streams of events")
    page_size: int = Field(default=100, gt=0, le=1000, description="devices in one part of a list")
    upload_octets: int = Field(default=256 << 20, gt=0, description="largest capture that the page accepts")
    upload_s: float = Field(default=300.0, gt=0, description="longest time for reading a capture")
    upload_memory_octets: int = Field(
        default=3 << 30, gt=0, description="address space of the process that reads a capture"
    )
    upload_queue: int = Field(default=4, gt=0, description="captures that wait or are read; further ones are refused")
    upload_results: int = Field(default=16, gt=0, description="inventories of captures that are kept in memory")
