"""A scripted home and a flow exporter of our own: for the demo, tests and load. Nothing it sends is real."""

from ethogram.simulate.home import DEMO_HOME, Habit, SimulatedDevice, SimulatedHome

__all__ = ["DEMO_HOME", "Habit", "SimulatedDevice", "SimulatedHome"]
