"""Training: order, early stopping, determinism, and resuming."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import orjson
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_flows_made import made
from ethogram.config import EncoderSettings, FieldSettings, TrainingSettings
from ethogram.errors import ConfigurationError, EthogramError, LibraryError
from ethogram.representation.autoencoder import Autoencoder
from ethogram.representation.fields import FieldEncoder
from ethogram.representation.losses import kl_weight_at
from ethogram.representation.network import Network
from ethogram.representation.training import InMemoryBlocks, Progress, Training, order_of
from ethogram.representation.vector import expand
from ethogram.schema import CustomFlows

FLOWS, OTHERS = made(120, 1), made(40, 2)
VAE = EncoderSettings(kind="vae", widths=(16,), d=4, view="meta+packets")
WHOLE = EncoderSettings(kind="vae", widths=(16,), d=4)
FIELDS = EncoderSettings(kind="fields", d=4, fields=FieldSettings(octets=2, grams=4, buckets=32, token=8, hidden=16))
QUICK = TrainingSettings(passes=3, batch=16, threads=1, kl_warmup_steps=10, save_s=1e9)


class Blocks:
    """Flows in several blocks."""

    def __init__(self, flows: CustomFlows, edges: list[int]) -> None:
        self.parts = [flows.take(slice(a, b)) for a, b in zip([0, *edges], [*edges, len(flows)], strict=True)]
        self.read_blocks: list[int] = []

    @property
    def sizes(self) -> np.ndarray:
        return np.array([len(part) for part in self.parts])

    def read(self, block: int) -> CustomFlows:
        self.read_blocks.append(block)
        return self.parts[block]


def net_of(encoder: EncoderSettings, seed: int = 0) -> Network:
    return FieldEncoder(encoder, seed) if encoder.kind == "fields" else Autoencoder(encoder, seed)


def trained(encoder: EncoderSettings, training: TrainingSettings = QUICK, seed: int = 0, **more: object) -> Training:
    run = Training(net_of(encoder, seed), training, seed=seed, **more)  # type: ignore[arg-type]
    assert run.run(InMemoryBlocks(FLOWS), InMemoryBlocks(OTHERS))
    return run


@settings(max_examples=40)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=12), st.integers(0, 5), st.integers(0, 3), st.integers(1, 120))
def test_a_pass_has_every_flow_once_within_the_buffer(
    sizes: list[int], seed: int, pass_number: int, buffer_flows: int
) -> None:
    order = order_of(np.array(sizes), seed, pass_number, buffer_flows)
    assert sorted(block for group, _ in order for block in group) == list(range(len(sizes)))
    for group, rows in order:
        held = sum(sizes[block] for block in group)
        assert sorted(rows.tolist()) == list(range(held))
        assert held <= buffer_flows or len(group) == 1
    again = order_of(np.array(sizes), seed, pass_number, buffer_flows)
    assert all(a == b and np.array_equal(c, d) for (a, c), (b, d) in zip(order, again, strict=True))


def test_orders_differ_between_passes_and_seeds() -> None:
    orders = [order_of(np.array([40]), seed, number, 100)[0][1].tolist() for seed in (0, 1) for number in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


@pytest.mark.parametrize("encoder", [VAE, WHOLE, FIELDS], ids=["numbers", "full", "fields"])
@pytest.mark.parametrize("arithmetic", ["float32", "bfloat16"])
def test_the_same_seed_gives_the_same_weights(encoder: EncoderSettings, arithmetic: str) -> None:
    changed = QUICK.model_copy(update={"arithmetic": arithmetic})
    first, second, other = trained(encoder, changed), trained(encoder, changed), trained(encoder, changed, seed=1)
    assert first.net.digest == second.net.digest != other.net.digest

    def told(run: Training) -> list[dict[str, float]]:
        return [{name: value for name, value in row.items() if name != "seconds"} for row in run.curves]

    assert told(first) == told(second)


@pytest.mark.parametrize("end", [1.0, 0.0], ids=["even", "falling"])
@pytest.mark.parametrize("encoder", [VAE, WHOLE, FIELDS], ids=["numbers", "full", "fields"])
def test_an_interrupted_run_ends_with_the_same_weights(encoder: EncoderSettings, end: float, tmp_path: Path) -> None:
    training = QUICK.model_copy(update={"learning_rate_end": end})
    whole = trained(encoder, training)
    steps = []
    for stop_after in (3, 1, 8, 9, 10**9):  # within a pass, at its end, over it

        def stop(left: list[int] = [stop_after]) -> bool:  # noqa: B006 (counted down)
            left[0] -= 1
            return left[0] == 0

        part = Training(net_of(encoder), training, state=tmp_path)
        finished = part.run(Blocks(FLOWS, []), InMemoryBlocks(OTHERS), should_stop=stop)
        steps.append(part.place.total_steps)
        assert finished == (stop_after == 10**9)
        assert len(list(tmp_path.glob("*.safetensors"))) == 1
        assert not list(tmp_path.glob(".*"))
    assert steps == [3, 4, 12, 21, 24]
    assert part.net.digest == whole.net.digest
    assert [row["train_loss"] for row in part.curves] == [row["train_loss"] for row in whole.curves]
    # A finished one stays finished.
    again = Training(net_of(encoder), training, state=tmp_path)
    assert again.run(InMemoryBlocks(FLOWS), InMemoryBlocks(OTHERS))
    assert again.place.total_steps == 24
    assert again.net.digest == whole.net.digest


def test_blocks_stream_and_resume_inside_a_group(tmp_path: Path) -> None:
    small = QUICK.model_copy(update={"buffer_flows": 50})
    blocks = [Blocks(FLOWS, [30, 55, 90]) for _ in range(2)]
    whole = Training(net_of(VAE), small)
    assert whole.run(blocks[0], None)
    assert sorted(blocks[0].read_blocks[:4]) == [0, 1, 2, 3]
    part = Training(net_of(VAE), small, state=tmp_path)
    assert not part.run(blocks[1], None, should_stop=lambda: part.place.total_steps == 5)
    rest = Training(net_of(VAE), small, state=tmp_path)
    assert rest.run(blocks[1], None)
    assert rest.net.digest == whole.net.digest
    # What is in memory already is not read again.
    assert len(Blocks(FLOWS, [30]).read_blocks) == 0
    in_memory = Blocks(FLOWS, [30, 55, 90])
    assert Training(net_of(VAE), QUICK).run(in_memory, None)
    assert sorted(in_memory.read_blocks) == [0, 1, 2, 3]


def test_early_stopping() -> None:
    # InMemoryBlocks-out flows that have nothing to do with the others: what is learnt soon makes them worse.
    strange = made(60, 9)
    object.__setattr__(strange, "packet_out", 1 - strange.packet_out)
    changed = QUICK.model_copy(update={"passes": 60, "patience": 2, "learning_rate": 0.02, "kl_weight": 0.0})
    run = Training(net_of(VAE), changed)
    assert run.run(InMemoryBlocks(made(40, 1)), InMemoryBlocks(strange))
    losses = [row["held_out_loss"] for row in run.curves]
    assert len(losses) < 60
    best = run.place.best_pass
    assert len(losses) == best + 1 + 2
    assert losses[best] == min(losses)
    result = run.held_out_losses(InMemoryBlocks(strange))
    assert result["loss"] == pytest.approx(losses[best], rel=1e-6)


def test_held_out_losses_are_means_over_flows_at_the_full_weight() -> None:
    run = trained(VAE, QUICK.model_copy(update={"loss": "mse", "kl_weight": 0.25}))
    result = run.held_out_losses(Blocks(OTHERS, [1, 17]))
    x = expand(OTHERS, VAE.view)
    plain = float(np.mean((run.net.decode(run.net.encode(x)) - x) ** 2))
    assert result["reconstruction"] == pytest.approx(plain, rel=1e-4)
    assert result["loss"] == pytest.approx(result["reconstruction"] + 0.25 * result["kl"], rel=1e-5)
    assert set(result) == {"loss", "reconstruction", "kl", "meta", "packets"}


def test_a_step_is_adam_after_clipping_in_plain_torch() -> None:
    """The first two steps in plain torch."""
    training = QUICK.model_copy(update={"arithmetic": "float32", "batch": 60, "gradient_norm": 0.01, "passes": 1})
    run = Training(net_of(VAE), training)
    assert run.run(InMemoryBlocks(FLOWS), None)
    net = net_of(VAE)
    plain = torch.optim.Adam(net.parameters(), lr=training.learning_rate)
    rows = order_of(np.array([len(FLOWS)]), 0, 0, 10**6)[0][1]
    for step in range(2):
        x = torch.from_numpy(expand(FLOWS, VAE.view, rows[60 * step : 60 * (step + 1)]))
        seed = np.random.SeedSequence([0, step, 0x0153]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed))
        assert isinstance(net, Autoencoder)
        h = torch.relu(net.encoder[0](x))
        mean, logs = net.mean(h), net.log_variance(h)
        z = mean + torch.exp(logs / 2) * torch.randn(60, 4, generator=generator)
        x_hat = net.decoder[1](torch.relu(net.decoder[0](z)))
        error = (((x_hat - x) ** 2)[:, :10].mean() + ((x_hat - x) ** 2)[:, 10:].mean()) / 2
        kl = 0.5 * (mean**2 + torch.exp(logs) - 1 - logs).sum(1).mean()
        plain.zero_grad()
        (error + kl_weight_at(step, 1e-3, 10) * kl).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 0.01)
        plain.step()
    for name, value in net.tensors().items():
        assert np.allclose(value, run.net.tensors()[name], atol=2e-6), name


def test_progress_estimates_the_end() -> None:
    collected: list[Progress] = []
    Training(net_of(VAE), QUICK).run(InMemoryBlocks(FLOWS), InMemoryBlocks(OTHERS), on_progress=collected.append)
    assert [(each.pass_number, each.step) for each in collected] == [(p, s) for p in range(3) for s in range(1, 9)]
    assert {(each.passes, each.steps) for each in collected} == {(3, 8)}
    assert all(each.seconds_left >= 0 and math.isfinite(each.loss) for each in collected)
    assert collected[-1].seconds_left == 0
    assert math.isnan(collected[0].held_out)
    assert not math.isnan(collected[-1].held_out)


def test_a_diverging_loss_raises() -> None:
    net = net_of(VAE)
    with torch.no_grad():
        next(net.parameters()).fill_(math.inf)
    with pytest.raises(EthogramError, match="training diverged in step 0"):
        Training(net, QUICK).run(InMemoryBlocks(FLOWS), None)


class TestState:
    @pytest.fixture
    def begun(self, tmp_path: Path) -> Path:
        run = Training(net_of(VAE), QUICK, state=tmp_path, data="abc")
        assert not run.run(InMemoryBlocks(FLOWS), None, should_stop=lambda: True)
        return tmp_path

    def resume(self, folder: Path, training: TrainingSettings = QUICK, seed: int = 0, data: str = "abc") -> None:
        Training(net_of(VAE, seed), training, seed=seed, state=folder, data=data).run(InMemoryBlocks(FLOWS), None)

    def test_nothing_in_it_is_a_pickle(self, begun: Path) -> None:
        names = {path.name for path in begun.iterdir()}
        assert names == {"state.json", "state-1-0.safetensors"}
        assert orjson.loads((begun / "state.json").read_bytes())["place"]["total_steps"] == 1

    @pytest.mark.parametrize(
        ("change", "what"),
        [({"learning_rate": 0.5}, "training"), ({"batch": 8}, "training"), (None, "data"), ("seed", "seed")],
    )
    def test_another_training_is_refused(self, begun: Path, change: object, what: str) -> None:
        with pytest.raises(ConfigurationError, match=f"a training with another {what} was begun here"):
            if isinstance(change, dict):
                self.resume(begun, QUICK.model_copy(update=change))
            elif change is None:
                self.resume(begun, data="xyz")
            else:
                self.resume(begun, seed=1)

    def test_a_damaged_state_is_refused(self, begun: Path) -> None:
        file = next(begun.glob("*.safetensors"))
        whole = file.read_bytes()
        for damaged in (whole[:-1], whole[:100], b"", whole[:-1] + bytes([whole[-1] ^ 1])):
            file.write_bytes(damaged)
            with pytest.raises(LibraryError, match="is not the state that was saved"):
                self.resume(begun)
        file.unlink()
        with pytest.raises(LibraryError, match="No such file"):
            self.resume(begun)
        (begun / "state.json").write_text("{")
        with pytest.raises(LibraryError, match="no saved training"):
            self.resume(begun)
