"""Rows of flow tasks that are made up, as the benchmark writes them: for tests of the report."""

from __future__ import annotations

from typing import Any

import numpy as np

FORMAT = "ethogram.bench/1"
TYPES = ("camera", "hub", "light", "plug", "sensor")
PARAMETERS = {"small": 800_000, "base": 3_256_576, "large": 7_000_000}

METHODS: dict[str, tuple[str, float, float, int, float, str]] = {
    # name: group, inside, across, parameters, flows/s, origin
    "fields": ("default", 0.93, 0.72, 768_000, 150_000, "pretrained here, steps 4000"),
    "raw-40": ("baseline", 0.91, 0.55, 0, 2_000_000, "no weights"),
    "raw-3040": ("baseline", 0.94, 0.30, 0, 400_000, "no weights"),
    "pca": ("baseline", 0.90, 0.41, 97_280, 600_000, "fitted on the training flows"),
    "ae": ("option", 0.88, 0.40, 3_256_576, 210_000, "pretrained here"),
    "vae": ("option", 0.87, 0.48, 3_256_576, 210_000, "pretrained here"),
    "et-bert": ("others", 0.70, 0.33, 131_500_000, 9, "random weights, seed 0"),
    "yatc": ("others", 0.75, 0.37, 1_860_000, 160, "checkpoint sha256:0123456789abcdef"),
    "nprint": ("others", 0.89, 0.35, 0, 90_000, "no weights"),
}


def row(task: str, method: str, experiment: str, value: float, *, group: str = "option", seed: int = 0,
        confusion: bool = True, **more: Any) -> dict[str, Any]:  # fmt: skip
    """One row whose macro-F1 is ``value``, with everything that the benchmark writes beside it."""
    random = np.random.default_rng([seed, len(method), round(1000 * value)])
    seeds = (value + random.normal(0, 0.008, 3)).round(4)
    values: dict[str, float | None] = {
        "macro_f1": float(seeds.mean()), "balanced_accuracy": value - 0.01, "accuracy": min(1.0, value + 0.05),
        "device_macro_f1@1": value, "device_macro_f1@20": min(1.0, value + 0.08), "calibration_error": 0.08,
        "unknown_share": None,
    }  # fmt: skip
    for size, share in ((10, 0.55), (50, 0.75), (200, 0.9), (1000, 0.97)):
        values[f"macro_f1@{size}"] = value * share
    intervals = {
        name: [max(0.0, v - 0.04), min(1.0, v + 0.04)] for name, v in values.items()
        if v is not None and name.startswith("macro_f1")
    }  # fmt: skip
    details: dict[str, Any] = {
        "seeds": {"macro_f1": seeds.tolist()},
        "per_type": {name: {"f1": value, "flows": 40} for name in TYPES},
        "reliability": [[c, c * 0.9, 20 + 30 * k] for k, c in enumerate((0.3, 0.5, 0.7, 0.95))],
        "coverage": [[c, min(1.0, value + 0.3 * (1 - c)), min(1.0, value + 0.4 * (1 - c))] for c in (0.1, 0.4, 0.7, 1)],
    }
    if confusion:
        wrong = (1 - value) / (len(TYPES) - 1)
        matrix = np.full((len(TYPES), len(TYPES)), wrong) + np.eye(len(TYPES)) * (value - wrong)
        details["confusion"] = {"labels": list(TYPES), "matrix": (40 * matrix).round().tolist()}
    return {
        "format": FORMAT, "key": f"{task}-{method}", "task": task, "method": method, "experiment": experiment,
        "kind": "flows", "title": f"made-up task {task}", "method_title": f"the {method} method", "group": group,
        "task_digest": task, "method_digest": method, "data_digest": "0123456789ab", "code_digest": "abc",
        "commit": "0000000", "machine": "a machine", "made": "2026-01-01T00:00:00+00:00", "version": "0", "seed": 0,
        "n": 200, "n_enrol": 300, "labels": len(TYPES), "split": {"name": "by day", "digest": "fedcba987654"},
        "values": values, "intervals": intervals, "details": details, "wall_s": 3.2,
        "cost": {"parameters": 0, "embedding": 40, "flows_per_s": 1e6, "memory_mib": 210.0, "origin": ""}, **more,
    }  # fmt: skip


def task_rows(task: str, experiment: str) -> list[dict[str, Any]]:
    """All methods and leak detectors on one task."""
    collected = []
    for k, (name, (group, inside, across, parameters, speed, origin)) in enumerate(METHODS.items()):
        cost = {"parameters": parameters, "embedding": 32, "flows_per_s": speed, "memory_mib": 300.0 + k,
                "origin": origin, "licence": "MIT", "checkpoint": None}  # fmt: skip
        value = inside if experiment == "P0" else across
        collected.append(row(task, name, experiment, value, group=group, seed=k, cost=cost))
    collected.append(row(task, "shuffled", experiment, 0.2, group="baseline"))
    collected.append(row(task, "shortcut", experiment, 0.45 if experiment == "P0" else 0.25, group="baseline"))
    return collected


def grid_rows(task: str = "grid-ab", shift: float = 0.5, gain: float = 0.06) -> list[dict[str, Any]]:
    """The ablation: the KL term multiplies shift ratios by ``shift`` and adds ``gain`` to macro-F1."""
    collected = []
    for view in ("full", "meta+packets"):
        for size in ("small", "base", "large"):
            for k, weight in enumerate((None, 1e-5, 1e-4, 1e-3)):
                kind = "vae" if weight else "ae"
                name = f"{kind}-{weight:g}-{view}-{size}" if weight else f"{kind}-{view}-{size}"
                place = len(collected)
                table_row = row(task, name, "grid", 0.4 + gain * k / 3, seed=place, confusion=False)
                encoder = {"kind": kind, "size": size, "view": view, "kl_weight": weight, "loss": "mse-balanced"}
                table_row["encoder"] = encoder
                table_row["cost"]["parameters"] = PARAMETERS[size]
                random = np.random.default_rng(place)
                for block, ratio in (("meta", 2.0), ("packets", 5.0), ("payload", 3.0)):
                    each = ratio * (1 + (place // 4) / 20) * shift ** (k / 3) * np.exp(random.normal(0, 0.05, 3))
                    table_row["details"]["seeds"][f"shift_ratio_{block}"] = each.tolist()
                    table_row["values"][f"shift_ratio_{block}"] = float(each.mean())
                collected.append(table_row)
    return collected


SIZED: dict[str, tuple[int, str]] = {
    # name: parameters, origin
    "raw-40": (0, "no weights"), "pca": (100_000, "directions of the unlabelled flows"),
    "random-projection": (100_000, "drawn"), "flowsem": (200_000, "pretrained here, 600 steps of 64 from 9 flows"),
    "flowsem-untrained": (200_000, "pretrained here, 0 steps of 64 from 9 flows"), "fields": (826_200, "trained here"),
    "fields-untrained": (826_200, "trained here"), "yatc": (1_860_000, "random weights, seed 0"),
    "vae": (3_260_000, "trained here"), "vae-large": (6_800_000, "trained here"),
    "netfound": (273_600_000, "random weights, seed 0"), "netfound-whitened": (273_600_000, "random weights, seed 0"),
}  # fmt: skip


def others_rows(slope: float = -0.06, origin: str = "") -> list[dict[str, Any]]:
    """Encoders of many sizes inside and across: macro-F1 across is lower by ``-slope`` for each next larger one.

    ``origin``: where the weights of the largest are from, if they are not random.
    """
    collected = []
    for task, where in (("others-in", "inside"), ("others-ab", "across"), ("others-ba", "across")):
        for k, (name, (parameters, said)) in enumerate(SIZED.items()):
            value = 0.8 if where == "inside" else 0.5 + slope * (k - len(SIZED) / 2) * 1.0
            table_row = row(task, name, "others", value, group="packets", seed=k, where=where)
            origin_of = origin if origin and name == "netfound" else said
            table_row["cost"] |= {"parameters": parameters, "origin": origin_of, "flows_per_s": 1e6 / (parameters + 1)}
            collected.append(table_row)
        collected += [row(task, "raw-40-forest", "others", 0.9, where=where), row(task, "shuffled", "others", 0.2)]
    return collected


def all_rows() -> list[dict[str, Any]]:
    """Rows of tasks inside and across networks, of the grid, and of both methods together."""
    both = [row("both-ab", name, "both", value, group=group) for name, value, group in (
        ("both", 0.8, "both"), ("fingerprints", 0.7, "alone"), ("embeddings", 0.72, "alone"),
        ("random-forest", 0.5, "baseline"))]  # fmt: skip
    for item in both:
        value = item["values"]["macro_f1"]
        item["values"]["coverage_macro_f1"] = 0.75 if item["method"] == "both" else value + 0.04
        item["details"]["accuracy_by_network"] = {"home": [12, value, value], "office": [9, value - 0.1, value - 0.1]}
        item["details"]["weights"] = {"home": {"fingerprints": 0.7, "embeddings": 0.3}}
    tasks = {"p0-s": "P0", "p2-as": "P2", "p3-as": "P3", "p3-sa": "P3"}
    return [*(item for task, asked in tasks.items() for item in task_rows(task, asked)), *grid_rows(), *both]
