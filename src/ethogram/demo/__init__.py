"""The demo: an inventory of real and simulated devices on the terminal, and the live service that finds them."""

from ethogram.demo.inventory import (
    LATER,
    NETWORKS,
    Change,
    Export,
    Home,
    Sighting,
    home_inventory,
    real_devices,
    simulated_home,
)

__all__ = [
    "LATER", "NETWORKS", "Change", "Export", "Home", "Sighting", "home_inventory", "real_devices", "simulated_home",
]  # fmt: skip
