"""A few made-up records through every stage before the first real one: what is compiled on use is compiled then.

With an empty cache compiling takes half a minute; messages that come meanwhile would fill the queue.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from ethogram.config import CountSettings, ExporterSettings, FlowSettings, WireSettings
from ethogram.fingerprint.exporter import FingerprintExporter
from ethogram.flow.devices import LocalDevices
from ethogram.io.wire.biflows import Biflows
from ethogram.io.wire.build import MessageBuilder, Values, batch, data, template_set
from ethogram.io.wire.decoder import Decoder
from ethogram.io.wire.sequence import Sequences
from ethogram.io.wire.template import VARIABLE, Field, Template
from ethogram.pipeline.stages import FlowStages

__all__ = ["warm"]

_TIME_MS = 1_700_000_000_000
_ACTIVE_TIMEOUT = 2
_FIXED = ((8, 4), (12, 4), (7, 2), (11, 2), (4, 1), (1, 8), (2, 4), (6, 1), (152, 8), (153, 8), (136, 1), (56, 6))
_SERVER_NAME = 371  # httpRequestHost, of variable length: any such element would do


def warm(flow: FlowSettings, exporter: ExporterSettings, counting: CountSettings, active_timeout_s: float) -> int:
    """Send the halves of a flow that was cut once through throw-away stages.

    Parameters
    ----------
    flow, exporter, counting, active_timeout_s
        Of the stages that will be used.

    Returns
    -------
    flows
        How many came out; none when the settings say that nobody is inside.
    """
    fields = tuple(Field(0, number, octets) for number, octets in _FIXED)
    fixed, named = Template(10, 0, 256, fields), Template(10, 0, 257, (*fields, Field(0, _SERVER_NAME, VARIABLE)))
    inside, outside = np.array([0xC0A80001, 0xC0000201]), np.array([0xC0000201, 0xC0A80001])
    ports = np.array([50_000, 8_883])
    start = np.array([_TIME_MS, _TIME_MS + 10])
    columns: list[Values] = [
        inside, outside, ports, ports[::-1], np.array([6, 6]), np.array([900, 700]), np.array([9, 7]),
        np.array([2, 18]), start, start + 60_000, np.array([_ACTIVE_TIMEOUT] * 2), np.array([2, 3]),
    ]  # fmt: skip
    later: list[Values] = [*columns[:8], start + 60_000, start + 90_000, *columns[10:], [b"a.example", b""]]
    messages = MessageBuilder(10).messages(
        [template_set(fixed), template_set(named), data(fixed, columns), data(named, later)], _TIME_MS + 90_000
    )
    decoder, biflows = Decoder(WireSettings()), Biflows(WireSettings())
    decoder.sequence = Sequences()
    records = biflows.batch(decoder.decode(batch(messages, arrival_ns=_TIME_MS * 1_000_000)))
    stages = FlowStages(flow, LocalDevices(flow.device_by, flow.router_addresses), active_timeout_s)
    flows = pl.concat(
        [stages.flows(records.with_columns(one_way=pl.lit(value=True))), stages.flows(records.clear(), last=True)]
    )
    fingerprints = FingerprintExporter(exporter, counting)
    fingerprints.feed(flows)
    fingerprints.finish()
    return flows.height
