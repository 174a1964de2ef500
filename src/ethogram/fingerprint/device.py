"""State machine of one device: when its window is stable, and when it ends."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ethogram.config import ExporterSettings
from ethogram.fingerprint.represent import weigh
from ethogram.fingerprint.similarity import similarity

__all__ = ["STABLE", "DeviceState", "EndedWindow", "Profile"]

STABLE = ("converged", "change")
"""Why a window ended, when it ended because its fingerprint was stable."""
Weights = dict[str, int | float]


@dataclass(frozen=True)
class Profile:
    """Activity of a device in some epochs: flows and the compared amount per service, and the total amount.

    Profiles of different epochs can be added. The total is kept separately, because the presence of services overlaps.
    """

    flows: dict[str, int]
    amounts: dict[str, int]
    total: int

    @staticmethod
    def added(profiles: Iterable[Profile]) -> Profile:
        """Sum of several epochs."""
        flows: dict[str, int] = {}
        amounts: dict[str, int] = {}
        total = 0
        for profile in profiles:
            total += profile.total
            for name, n in profile.flows.items():
                flows[name] = flows.get(name, 0) + n
                amounts[name] = amounts.get(name, 0) + profile.amounts[name]
        return Profile(flows, amounts, total)


@dataclass(frozen=True)
class EndedWindow:
    """A window that ended."""

    device: str
    epochs: tuple[int, ...]
    status: str
    similarity: float | None
    visible: bool = True


@dataclass
class DeviceState:
    """The state machine of one device; epochs must come in ascending order.

    Attributes
    ----------
    epochs, profiles
        Active epochs of the open window, and the activity in each.
    run
        Number of consecutive stable comparisons.
    last_similarity
        The last comparison's result.
    known
        Weights of the last fingerprint exported, for ``mode="change"``.
    last_epoch
        The last epoch in which the device was active.
    """

    device: str
    epochs: list[int] = field(default_factory=list)
    profiles: list[Profile] = field(default_factory=list)
    run: int = 0
    last_similarity: float | None = None
    known: Weights | None = None
    last_epoch: int = 0

    def advance(self, epoch: int, profile: Profile, settings: ExporterSettings) -> list[EndedWindow]:
        """Add an active epoch; returns the windows that end before or with it."""
        exports = self.silent_until(epoch - 1, settings)
        self.epochs.append(epoch)
        self.profiles.append(profile)
        self.last_epoch = epoch
        compared = self._compare(settings)
        n = len(self.epochs)
        # Converge only right after a comparison: with halves, a window of odd length is not compared.
        if compared and self.run >= settings.runs and n >= settings.min_epochs and self._flows >= settings.min_flows:
            exports += self._converged(settings)
        elif n >= settings.max_epochs:
            exports += self.leave("unconverged")
        return exports

    def silent_until(self, epoch: int, settings: ExporterSettings) -> list[EndedWindow]:
        """End the window when the device has been silent for longer than the gap, up to the end of ``epoch``."""
        silence_s = (epoch - self.last_epoch) * settings.epoch_s
        return self.leave("gap") if self.epochs and silence_s > settings.gap_s else []

    def before(self, epoch: int, settings: ExporterSettings) -> DeviceState:
        """The state as it was before ``epoch``; windows exported since then are not restored."""
        earlier = DeviceState(self.device, known=self.known, last_epoch=min(self.last_epoch, epoch - 1))
        for number, profile in zip(self.epochs, self.profiles, strict=True):
            if number < epoch:
                earlier.advance(number, profile, settings)
        return earlier

    def leave(self, status: str, *, visible: bool = True) -> list[EndedWindow]:
        """End the window, if one is open, and reset the state."""
        if not self.epochs:
            return []
        export = EndedWindow(self.device, tuple(self.epochs), status, self.last_similarity, visible)
        self.epochs, self.profiles, self.run, self.last_similarity = [], [], 0, None
        return [export]

    @property
    def _flows(self) -> int:
        """Flows of the open window."""
        return sum(sum(each.flows.values()) for each in self.profiles)

    def _compare(self, settings: ExporterSettings) -> bool:
        """Compare the window with itself without its last epoch, or its halves, if its length allows."""
        n = len(self.epochs)
        if n < 2 or (settings.compare == "halves" and n % 2):
            return False
        cut = n // 2 if settings.compare == "halves" else n - 1
        before = self._weights(self.profiles[:cut], settings)
        after = self._weights(self.profiles[cut:] if settings.compare == "halves" else self.profiles, settings)
        self.last_similarity = float(similarity(before, after, settings.representation.similarity))
        self.run = self.run + 1 if self.last_similarity >= settings.threshold else 0
        return True

    def _converged(self, settings: ExporterSettings) -> list[EndedWindow]:
        """Export a stable window; with ``mode="change"`` only the first, and those unlike the last exported one."""
        if settings.mode == "tumbling":
            return self.leave("converged")
        now = self._weights(self.profiles, settings)
        if self.known is None:
            self.known = now
            return self.leave("converged")
        alike = float(similarity(self.known, now, settings.representation.similarity))
        if alike >= settings.threshold:
            return self.leave("unchanged", visible=False)
        self.known, self.last_similarity = now, alike
        return self.leave("change")

    def _weights(self, profiles: list[Profile], settings: ExporterSettings) -> Weights:
        whole = Profile.added(profiles)
        window_s = len(profiles) * settings.epoch_s
        return weigh(whole.amounts, whole.total, settings.representation, flows=whole.flows, window_s=window_s)
