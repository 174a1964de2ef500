"""Identity facts of the logs that Zeek writes beside its connection log."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from ethogram.pipeline.counts import count_inputs
from ethogram.pipeline.inputs import COUNTING

CAM = "aa:bb:cc:00:00:01"
CONN = (
    "ts,uid,id.orig_h,id.orig_p,id.resp_h,id.resp_p,proto,duration,history,orig_pkts,orig_ip_bytes,resp_pkts,"
    "resp_ip_bytes,orig_l2_addr\n"
    f"1556668800.5,C1,192.168.1.5,50000,198.51.100.7,443,tcp,10.0,ShADadFf,12,1500,10,5600,{CAM}\n"
)
LOGS = {
    "dhcp.log": "#separator \\x09\n#path\tdhcp\n"
    "#fields\tts\tuids\tclient_addr\tmac\thost_name\tclient_fqdn\tassigned_addr\n"
    f"1556668700.0\tC9\t-\t{CAM.upper()}\tcam\t-\t192.168.1.5\n1556668701.0\tC9\t-\tbroken\tx\t-\t-\n",
    "known_services.log": '{"ts":1556668800.5,"host":"192.168.1.5","port_num":80,"port_proto":"tcp",'
    '"service":["HTTP"]}\n',
    "known_hosts.log": "#separator \\x09\n#path\tknown_hosts\n#fields\tts\thost\n1556668800.5\t192.168.1.5\n",
    "known_devices.log": "#separator \\x09\n#path\tknown_devices\n#fields\tts\tmac\tdhcp_host_name\n"
    f"1.0\t{CAM}\tcam\n",
}


def test_logs_beside_conn_give_facts_of_its_devices(tmp_path: Path) -> None:
    (tmp_path / "conn.log").write_text(CONN)
    for name, text in LOGS.items():
        (tmp_path / name).write_text(text)
    identity = count_inputs(tmp_path / "conn.log", COUNTING).identity
    assert identity["device"].unique().to_list() == [CAM]
    rows = identity.filter(pl.col("source") != "flows").select(pl.col("fact").cast(pl.String), "value", "source").rows()
    assert rows == [
        ("mac", CAM, "dhcp.log"), ("mac", CAM, "known_devices.log"), ("address", "192.168.1.5", "dhcp.log"),
        ("address", "192.168.1.5", "known_hosts.log"), ("address", "192.168.1.5", "known_services.log"),
        ("host_name", "cam", "dhcp.log"), ("host_name", "cam", "known_devices.log"),
        ("service", "TCP/80 http", "known_services.log"),
    ]  # fmt: skip


def test_a_connection_log_alone_has_none(tmp_path: Path) -> None:
    (tmp_path / "conn.log").write_text(CONN)
    identity = count_inputs(tmp_path / "conn.log", COUNTING).identity
    assert identity.select(pl.col("fact").cast(pl.String), "source").rows() == [("mac", "flows"), ("address", "flows")]
