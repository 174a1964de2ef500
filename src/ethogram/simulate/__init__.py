"""A simulated home and flow exporter for the demo, tests and load. All data is synthetic."""

from ethogram.simulate.home import DEMO_HOME, Habit, SimulatedDevice, SimulatedHome

__all__ = ["DEMO_HOME", "Habit", "SimulatedDevice", "SimulatedHome"]
