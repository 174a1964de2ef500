"""Service-level fingerprints, after arXiv 2512.16348: convergence, recurrence, similarity, identification.

python examples/service_fingerprints.py                         # a simulated home of ten days
python examples/service_fingerprints.py CAPTURES LABELS.csv     # a folder of captures or flow records, and its labels
"""

from __future__ import annotations

import sys
from pathlib import Path

import polars as pl

import ethogram
from ethogram.simulate import SimulatedHome


def simulated_home() -> tuple[pl.DataFrame, dict[str, str]]:
    """Flow records of a simulated home, and its labels; two devices have no label."""
    home = SimulatedHome(days=10)
    return pl.concat(home.batches()), {home.mac_of(device): device.label for device in home.devices[:13]}


def main(folder: str | None = None, labels_file: str | None = None) -> None:
    """Print the figures of the paper's four questions."""
    pl.Config(tbl_hide_column_data_types=True, tbl_hide_dataframe_shape=True, tbl_rows=20, float_precision=2)
    if folder is None:
        inputs, labels = simulated_home()
    else:
        inputs, labels = Path(folder), Path(labels_file) if labels_file else None
    flows = ethogram.read_flows(inputs).to_frame()
    first, last = flows["start"].min(), flows["start"].max()
    print(f"{flows.height:,} flows of {flows['device'].n_unique()} devices, {first:%Y-%m-%d} to {last:%Y-%m-%d}\n")

    # Convergence: how many days of traffic make a stable fingerprint, for each granularity G?
    print("Convergence and recurrence by granularity (threshold 0.9, halves of a window compared)")
    rows = []
    for granularity in (1, 4, 16, "inf"):
        fingerprints = ethogram.fingerprint(flows, granularity=granularity)
        measured = ethogram.stability(fingerprints)
        windows = measured.convergence
        rows.append({
            "G": str(granularity), "windows": windows["windows"].sum(), "converged": windows["converged"].sum(),
            "days (median)": windows["epochs_median"].median(), "recur (>= 0.9)": measured.recurrence["alike"].mean(),
            "recur exactly": measured.recurrence["identical"].mean(),
        })  # fmt: skip
    print(pl.DataFrame(rows))

    # Similarity: are fingerprints of one device more alike than those of two? One fingerprint a day, all days.
    print("\nSimilarity of fingerprints within and between devices (quartiles)")
    daily = ethogram.fingerprint(flows, min_epochs=1, max_epochs=1)
    pairs = ethogram.stability(daily).pairs.filter(pl.col("granularity").is_in(["1", "16", "inf"]))
    print(pairs)

    # Identification: the first half of the time is enrolled, the second half identified, day by day.
    if labels is None:
        print("\nNo labels: give a file with the columns device,label to see identification")
        return
    half = (first + (last - first) / 2).replace(hour=0, minute=0, second=0, microsecond=0)
    library = ethogram.enrol(flows, labels, source="first half", time_to=half)
    print(f"\nIdentification of device-days from {half:%Y-%m-%d}, {len(library)} windows enrolled before")
    truth = labels if isinstance(labels, dict) else dict(pl.read_csv(labels).select("device", "label").iter_rows())
    for closed in (True, False):
        verdicts = ethogram.identify(flows, library=library, per="epoch", time_from=half, closed=closed).devices
        known = [verdict for verdict in verdicts if verdict.device in truth]
        right = sum(verdict.verdict == truth[verdict.device] for verdict in known)
        silent = sum(verdict.verdict == "unknown" for verdict in known)
        print(f"{'closed' if closed else 'open'} set: {right} of {len(known)} device-days right, {silent} unknown")
    strangers = [verdict for verdict in verdicts if verdict.device not in truth]
    refused = sum(verdict.verdict == "unknown" for verdict in strangers)
    print(f"devices that were not enrolled: {refused} of {len(strangers)} device-days unknown")
    example = next(verdict for verdict in known if verdict.verdict == truth[verdict.device])
    print(f"\nWhy {example.device} is {example.verdict} ({example.score:.2f}): {example.reason}")


if __name__ == "__main__":
    main(*sys.argv[1:])
