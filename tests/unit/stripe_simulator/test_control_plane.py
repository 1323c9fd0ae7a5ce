from pathlib import Path

from deploy.local.stripe_simulator.control import control_routes
from deploy.local.stripe_simulator.settings import SimulatorSettings
from deploy.local.stripe_simulator.simulator import Simulator

DOCUMENT = Path(__file__).parents[3] / "docs/simulator.md"


def test_every_verb_of_the_control_plane_is_documented() -> None:
    text = DOCUMENT.read_text()
    routes = control_routes(Simulator(SimulatorSettings()))
    verbs = {
        f"`{method} {route.path}`" for route in routes for method in route.methods or () if method != "HEAD"
    }
    assert sorted(verb for verb in verbs if verb not in text) == []
