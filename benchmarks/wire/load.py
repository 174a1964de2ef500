"""The export messages that the measurements of this folder decode: made by our own builder, the same in every run."""

from __future__ import annotations

from typing import Any

import numpy as np

from ethogram.io.wire.build import MessageBuilder, data, data_set, template_set
from ethogram.io.wire.template import VARIABLE, Field, Template

NOW_MS, BOOT_MS = 1_700_000_000_000, 1_699_900_000_000
RECORDS = 30  # of one datagram
FIXED_V9 = ((8, 4), (12, 4), (22, 4), (21, 4), (1, 4), (2, 4), (7, 2), (11, 2), (10, 2), (14, 2), (4, 1), (6, 1),
            (5, 1), (61, 1))  # fmt: skip
FIXED_IPFIX = ((8, 4), (12, 4), (152, 8), (153, 8), (1, 4), (2, 4), (7, 2), (11, 2), (10, 2), (14, 2), (4, 1), (6, 1),
               (5, 1), (61, 1))  # fmt: skip
COLUMNS = (8, 12, 7, 11, 4, 6, 1, 2, 22, 21)
COLUMNS_IPFIX = (8, 12, 7, 11, 4, 6, 1, 2, 152, 153)
"""The ten columns that a flow needs: addresses, ports, protocol, flags, octets, packets, first and last."""


def columns_of(fields: tuple[Field, ...], rows: int, seed: int) -> list[Any]:
    """Flows of 200 devices with 5,000 remotes."""
    chance = np.random.default_rng(seed)
    device, remote = chance.integers(200, size=rows), chance.integers(5000, size=rows)
    out = chance.random(rows) < 0.5
    inside, outside = 0xC0A80000 + device, 0x32000000 + remote * 7
    local, service = chance.integers(32768, 60999, size=rows), chance.choice([443, 53, 123, 8883], size=rows)
    packets = chance.geometric(0.1, size=rows)
    first = np.sort(chance.integers(0, 600_000, size=rows))
    last = first + chance.integers(0, 30_000, size=rows)
    values = {
        8: np.where(out, inside, outside), 12: np.where(out, outside, inside), 7: np.where(out, local, service),
        11: np.where(out, service, local), 4: np.where((service == 443) | (service == 8883), 6, 17),
        6: np.where((service == 443) | (service == 8883), 0x1B, 0), 1: packets * chance.integers(60, 1400, size=rows),
        2: packets, 22: first, 21: last, 152: BOOT_MS + first, 153: BOOT_MS + last, 10: 3, 14: 4, 5: 0, 61: 0,
    }  # fmt: skip
    names = [b"", b"device.example", b"updates.vendor.example", b"api.cloud.example"]
    columns: list[Any] = []
    for field in fields:
        if field.length == VARIABLE:
            name_rows = chance.integers(len(names), size=rows)
            columns.append([names[i] for i in name_rows] if field.id != 82 else [b"eth%d" % (i % 3) for i in name_rows])
        else:
            columns.append(np.broadcast_to(np.asarray(values[field.id], np.int64), (rows,)))
    return columns


def templates() -> dict[str, Template]:
    """The templates: fixed length as v9 and as IPFIX, and IPFIX with two fields of variable length."""
    fixed = tuple(Field(0, *field) for field in FIXED_IPFIX)
    variable = (*fixed[:6], Field(0, 82, VARIABLE), *fixed[6:], Field(0, 460, VARIABLE))
    return {
        "fixed, v9": Template(9, 7, 256, tuple(Field(0, *field) for field in FIXED_V9)),
        "fixed, IPFIX": Template(10, 7, 257, fixed),
        "variable, IPFIX": Template(10, 7, 258, variable),
    }


def messages(template: Template, datagrams: int, seed: int = 1) -> list[bytes]:
    """Datagrams of 30 records, with the template in the first and after every 200."""
    build = MessageBuilder(template.version, template.domain, boot_ms=BOOT_MS, mtu=65_000)
    rows = RECORDS * datagrams
    records = data(template, columns_of(template.fields, rows, seed)).records
    payloads: list[bytes] = []
    for number in range(datagrams):
        sets = [data_set(template, records[RECORDS * number : RECORDS * (number + 1)])]
        if number % 200 == 0:
            sets.insert(0, template_set(template))
        payloads.append(build.message(sets, NOW_MS + number))
    return payloads
