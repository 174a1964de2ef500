"""A corpus of one's own: a folder becomes cards and tasks, each flow gets its truth, and what is wrong is one line."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import polars as pl
import pytest
from user_corpus_made import LABELS, write_captures, write_networks, write_own, write_published

from ethogram.bench.row import read_rows
from ethogram.bench.user_corpus import user_corpus
from ethogram.cli import main
from ethogram.corpora.card import cards
from ethogram.corpora.load import files_of
from ethogram.corpora.published import missing, published
from ethogram.corpora.user_cards import is_user_corpus
from ethogram.corpora.user_flows import read_folder
from ethogram.corpora.user_labels import read_user_labels
from ethogram.errors import EthogramError, InputError, UsageError
from labelled_flows_made import home

CAPTURE = re.search(
    r"base64 -d > one.pcap <<'END'\n(.*?)\nEND", (Path(__file__).parents[2] / "docs/howto/vectors.md").read_text(), re.S
)


def flows_of(folder: Path, name: str) -> pl.DataFrame:
    result = user_corpus(folder)
    card = result.cards[name]
    return read_folder(card, files_of(card, card.used_devices[0], result.root)).truth


def test_a_folder_becomes_a_card_and_a_task(tmp_path: Path) -> None:
    folder = write_own(tmp_path / "flat")
    result = user_corpus(folder)
    assert (list(result.cards), list(result.tasks), result.root) == (["flat"], ["flat-days"], tmp_path.resolve())
    task = result.tasks["flat-days"]
    assert (task.protocol, task.level, task.test) == ("P0", "model", ("flat",))
    truth = flows_of(folder, "flat")
    assert truth.height == 600
    first = truth.filter(pl.col("id") == "camera 0").row(0, named=True)
    assert first["device"] == "flat/camera 0"
    assert (first["model"], first["family"], first["type"], first["coarse"], first["network"]) == (
        "acme-cam-2", "acme/camera", "camera", "camera", "flat")  # fmt: skip
    assert first["unit"] == "flat/camera 0"
    assert first["device_day"] == f"flat/camera 0 {first['day']}"


def test_two_networks_are_asked_of_one_another(tmp_path: Path) -> None:
    result = user_corpus(write_networks(tmp_path / "mine"))
    assert set(result.cards) == {"home", "office"}
    assert set(result.tasks) == {"home-days", "office-days", "home-to-office", "office-to-home", "home-encodes-office",
                                "office-encodes-home"}  # fmt: skip
    across = result.tasks["home-to-office"]
    assert (across.protocol, across.encoder, across.probe, across.test) == ("P3", ("home",), ("home",), ("office",))
    assert result.root == (tmp_path / "mine").resolve()
    assert set(flows_of(tmp_path / "mine", "office")["network"]) == {"office"}


def test_three_networks_each_test_in_turn_at_the_level_they_share(tmp_path: Path) -> None:
    folder = write_networks(tmp_path / "mine")
    write_own(folder / "shop", first_day=60)
    (folder / "shop" / "labels.csv").unlink()
    other = LABELS.replace("acme", "zeta").replace("bolt", "zeta").splitlines()[1:]
    text = (folder / "labels.csv").read_text() + "".join(f"{line},shop\n" for line in other)
    (folder / "labels.csv").write_text(text)
    result = user_corpus(folder)
    assert result.tasks["each-network"].each == ("home", "office", "shop")
    assert result.tasks["each-network"].level == "type"
    assert "home-to-office" not in result.tasks


def test_networks_that_share_nothing_are_said(tmp_path: Path) -> None:
    folder = write_networks(tmp_path / "mine")
    text = (folder / "labels.csv").read_text().splitlines()
    other = {"camera": "lock", "plug": "tv", "hub": "vacuum", "acme": "zeta", "bolt": "zeta"}
    for i, line in enumerate(text):
        if line.endswith("office"):
            device, rest = line.split(",", 1)
            text[i] = f"{device}," + re.sub("|".join(other), lambda word: other[word[0]], rest)
    (folder / "labels.csv").write_text("\n".join(text) + "\n")
    result = user_corpus(folder)
    assert set(result.tasks) == {"home-days", "office-days"}
    assert "share fewer than two labels" in result.notes[0]


def test_captures_are_told_by_mac_or_address(tmp_path: Path) -> None:
    assert CAPTURE is not None
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "day.pcap").write_bytes(base64.b64decode(CAPTURE[1]))
    (folder / "labels.csv").write_text("device,type,ip\nsensor,sensor,192.168.1.5\nlamp,light,192.168.1.9\n")
    truth = flows_of(folder, "lab")
    assert truth["id"].to_list() == ["sensor", "sensor"]
    (folder / "labels.csv").write_text("device,type,ip\nsensor,sensor,192.168.1.5\nlamp,light,\n")
    with pytest.raises(InputError, match="device lamp has neither mac nor ip"):
        flows_of(folder, "lab")


def test_flows_without_a_label_are_counted_and_flows_alone_hold_no_packets(tmp_path: Path) -> None:
    folder = write_own(tmp_path / "flat")
    (folder / "labels.csv").write_text("device,type\ncamera 0,camera\nplug 0,plug\n")
    result = user_corpus(folder)
    card = result.cards["flat"]
    files = files_of(card, card.used_devices[0], result.root)
    read = read_folder(card, files)
    labels = read.accounting["labels"]
    assert (labels.read, labels.used) == (600, len(read.flows))
    assert labels.ignored["device without a label"] == 600 - labels.used
    with pytest.raises(UsageError, match="have no packets"):
        read_folder(card, files, packets=object())  # type: ignore[arg-type]
    (folder / "labels.csv").write_text("device,type\nnobody,camera\nnone,plug\n")
    with pytest.raises(InputError, match=r"no flow of a labelled device; the flows are of camera 0, camera 1"):
        flows_of(folder, "flat")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        ("", "column 'device' is missing"),
        ("device\ncam\n", "column 'type' is missing"),
        ("device,type,colour\ncam,camera,red\n", "unknown column 'colour'"),
        ("device,type\n", "no labelled device"),
        ("device,type\ncam,\n", r"labels.csv:2: no type"),
        ("device,type\ncam,camera,red\n", r"labels.csv:2: more fields"),
        ("device,type,mac\ncam,camera,red\n", r"labels.csv:2: invalid mac 'red'"),
        ("device,type,ip\ncam,camera,1.2.3\n", r"labels.csv:2: invalid ip '1.2.3'"),
        ("device,type\ncam,camera\ncam,plug\n", "device cam is listed twice"),
        ("device,type,mac\na,camera,02:00:00:00:00:01\nb,plug,2:0:0:0:0:1\n", "names both a and b"),
    ],
)
def test_labels_that_are_wrong_are_one_line(tmp_path: Path, labels: str, says: str) -> None:
    (tmp_path / "labels.csv").write_text(labels)
    with pytest.raises(EthogramError, match=says) as error:
        read_user_labels(tmp_path / "labels.csv")
    assert "\n" not in str(error.value)


def test_folders_that_are_wrong_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        user_corpus(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"no labels\.csv"):
        user_corpus(tmp_path)
    (tmp_path / "labels.csv").write_text(LABELS)
    with pytest.raises(InputError, match="no custom flows"):
        user_corpus(tmp_path)
    (tmp_path / "labels.csv").write_text("device,type,network\na,plug,home\nb,hub,away\n")
    with pytest.raises(InputError, match="names the network 'home'"):
        user_corpus(tmp_path)
    for text, says in (("name = [", "card.toml"), ("colour = 1", "colour"), ('published = "x"', "no published set")):
        (tmp_path / "card.toml").write_text(text)
        with pytest.raises(EthogramError, match=says):
            user_corpus(tmp_path)


def test_a_card_says_more_of_the_folder(tmp_path: Path) -> None:
    folder = write_own(tmp_path / "flat")
    (folder / "card.toml").write_text('title = "My flat"\nnetwork = "flat-2026"\nlicence = "private"\n')
    card = user_corpus(folder).cards["flat"]
    assert (card.title, card.network, card.licence) == ("My flat", "flat-2026", "private")


def test_a_folder_named_as_a_published_set_needs_no_labels(tmp_path: Path) -> None:
    flows = home(60, units=1)
    macs = {"camera 0": "30:8c:fb:2f:e4:b2", "plug 0": "50:c7:bf:00:56:39", "hub 0": "d0:52:a8:00:67:5e"}
    folder = tmp_path / "unsw-customflow"
    (folder / "unidirectional").mkdir(parents=True)
    write_published(folder / "unidirectional" / "16-09-23.parquet", flows, macs)
    result = user_corpus(folder)
    assert result.cards["unsw-customflow"].licence == "CC0-1.0"
    card = result.cards["unsw-customflow"]
    read = read_folder(card, files_of(card, card.used_devices[0], result.root))
    assert set(read.truth["id"]) == {"Dropcam", "TP-Link Smart plug", "Smart Things"}
    assert set(read.truth["unit"]) == set(macs.values())
    assert (read.flows.packet_octets == flows.packet_octets).all()
    assert (read.flows.payload == flows.payload).all()


def test_published_sets_say_what_is_missing(tmp_path: Path) -> None:
    known = published()
    assert {"unsw-customflow", "unsw-pcaps", "iot-sentinel", "lsif", "yourthings", "moniotr", "cic-iot-2022", "iot-23",
            "kddi-iot-2019"} == set(known)  # fmt: skip
    package = cards()
    for item in known.values():
        assert item.where and item.licence and item.citation and item.get
        assert item.card in ("", *package)
        assert missing(item, None) and missing(item, tmp_path).startswith("no folder")
    (tmp_path / "yourthings").mkdir()
    assert missing(known["yourthings"], tmp_path) == "no labels.csv in yourthings"
    (tmp_path / "unsw-pcaps").mkdir()
    assert missing(known["unsw-pcaps"], tmp_path).startswith("no file **/*.pcap")
    (tmp_path / "unsw-pcaps" / "16-09-23.pcap").touch()
    (tmp_path / "stevens_lsif_2019").mkdir()
    assert missing(known["unsw-pcaps"], tmp_path) == missing(known["lsif"], tmp_path) == ""


def test_a_folder_of_corpora_is_not_a_corpus(tmp_path: Path) -> None:
    known = cards()
    (tmp_path / "labels.csv").write_text(LABELS)
    assert is_user_corpus(tmp_path, known)
    (tmp_path / "stevens_lsif_2019").mkdir()
    assert not is_user_corpus(tmp_path, known)
    assert not is_user_corpus(tmp_path / "stevens_lsif_2019", known)


def test_the_command_measures_a_folder_and_reports(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_networks(tmp_path / "mine", 300)
    assert main(["bench", "list", "--corpus", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "home-to-office" in shown
    assert "e4-stevens" not in shown and "Published sets" not in shown
    rows = tmp_path / "rows.jsonl"
    call = ["bench", "--corpus", str(folder), "--methods", "raw-40,shuffled", "--cache", str(tmp_path / "cache"), "-o",
            str(rows)]  # fmt: skip
    assert main([*call, "home-to-office"]) == 0
    rows_read = {row["method"]: row for row in read_rows(rows)}
    assert rows_read["raw-40"]["values"]["macro_f1"] > 0.9  # type: ignore[index]
    assert rows_read["shuffled"]["values"]["macro_f1"] < 0.7  # type: ignore[index]
    assert main([*call, "home-to-office"]) == 0
    assert "0 rows measured, 2 already in" in " ".join(capsys.readouterr().err.split())
    assert main(["bench", "report", str(rows), "-o", str(tmp_path / "results")]) == 0
    assert "## Leak detectors" in (tmp_path / "results" / "flows" / "home-to-office.md").read_text()


def test_the_list_says_what_is_missing_of_published_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "stevens_lsif_2019").mkdir()
    assert main(["bench", "list", "--corpus", str(tmp_path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Published sets" in shown
    assert "missing: no folder" in shown
    assert main(["bench", "--corpus", str(tmp_path)]) == 2
    assert "no task given" in capsys.readouterr().err


def test_captures_are_asked_of_services_and_of_flows(tmp_path: Path) -> None:
    folder = write_captures(tmp_path / "lab", ("here", "there"))
    result = user_corpus(folder)
    assert {"here-days", "here-days-services", "here-to-there", "here-to-there-services"} < set(result.tasks)
    rows = tmp_path / "rows.jsonl"
    tasks = ["here-days-services", "there-to-here-services", "here-days"]
    call = ["bench", *tasks, "--corpus", str(folder), "--methods", "log-packets,cross-network-kinds,raw-40", "--cache",
            str(tmp_path / "cache"), "-o", str(rows)]  # fmt: skip
    assert main(call) == 0
    made = {(row["task"], row["method"]): row for row in read_rows(rows)}
    assert set(made) == {("here-days-services", "log-packets"), ("there-to-here-services", "cross-network-kinds"),
                         ("here-days", "raw-40")}  # fmt: skip
    for row in made.values():
        assert row["values"]["macro_f1"] == 1.0  # type: ignore[index]
    assert made["here-days-services", "log-packets"]["n"] == 3 * 6
    # With custom flows in it there are no services to count.
    write_own(folder / "here", 60)
    (folder / "here" / "labels.csv").unlink()
    assert not any(name.endswith("-services") for name in user_corpus(folder).tasks)


def test_what_a_folder_is_too_small_for_is_said_and_the_rest_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_captures(tmp_path / "lab", ("here", "there"), days=1)
    rows = tmp_path / "rows.jsonl"
    call = ["bench", "--corpus", str(folder), "--methods", "log-packets,cross-network-kinds,raw-40", "--no-cache"]
    assert main([*call, "-o", str(rows)]) == 0
    made = {row["task"]: row for row in read_rows(rows)}
    for name in ("here-days", "here-to-there"):  # encoders learn from early days, and there is one day
        assert "no flow in" in str(made[name]["absent"])
    assert "nothing in test" in str(made["here-days-services"]["absent"])
    assert made["here-to-there-services"]["values"]["macro_f1"] == 1.0  # type: ignore[index]
    assert "not applicable" in capsys.readouterr().err
