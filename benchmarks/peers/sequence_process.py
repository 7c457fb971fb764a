"""BB84 with intercept-resend in SeQUeNCe: a process in an environment of its own.

It says its version in one line of JSON; then, for each number of pulses that it reads, sifted bits and errors in one.
"""

import json
import sys
from importlib.metadata import version

import numpy as np
from sequence.components.optical_channel import ClassicalChannel, QuantumChannel
from sequence.components.photon import Photon
from sequence.kernel.timeline import Timeline
from sequence.protocol import StackProtocol
from sequence.qkd.BB84 import BB84, pair_bb84_protocols
from sequence.topology.node import QKDNode
from sequence.utils.encoding import polarization

FREQUENCY = 1e6
METRES = 1e3


class SinglePhotons(np.random.Generator):
    """Random numbers of a laser that emits one photon a pulse, where SeQUeNCe's would draw how many."""

    def poisson(self, *arguments, **options):  # type: ignore[no-untyped-def]
        """Return one."""
        return 1


class Intercepted(QuantumChannel):
    """A channel with an eavesdropper: each photon is measured in a random basis and passed on as found."""

    def __init__(self, *arguments, **options):  # type: ignore[no-untyped-def]
        super().__init__(*arguments, **options)
        self.eve = np.random.default_rng(3)

    def transmit(self, qubit, source):  # type: ignore[no-untyped-def]
        """Measure and pass on; a photon is left in the state that was found."""
        Photon.measure(polarization["bases"][self.eve.integers(2)], qubit, self.eve)
        super().transmit(qubit, source)


class Drain(StackProtocol):
    """Takes finished keys; there are none, for the run ends with the first train of pulses."""

    def init(self):  # type: ignore[no-untyped-def]
        """Do nothing."""

    def pop(self, info):  # type: ignore[no-untyped-def]
        """Do nothing."""

    def push(self):  # type: ignore[no-untyped-def]
        """Do nothing."""

    def received_message(self, src, msg):  # type: ignore[no-untyped-def]
        """Do nothing."""


def parties(timeline: Timeline) -> tuple[BB84, BB84]:
    """Return Alice's and Bob's protocols, joined by lossless channels and ideal detectors."""
    nodes = [QKDNode(name, timeline, stack_size=1, seed=seed) for seed, name in enumerate(("alice", "bob"))]
    for kind, (here, there) in ((Intercepted, nodes), (QuantumChannel, nodes[::-1])):
        quantum = kind(f"quantum {here.name}", timeline, attenuation=0, distance=METRES, frequency=FREQUENCY)
        quantum.set_ends(here, there.name)
        classical = ClassicalChannel(f"classical {here.name}", timeline, distance=METRES)
        classical.set_ends(here, there.name)
    alice, bob = nodes
    alice.generator = SinglePhotons(np.random.PCG64(0))
    alice.update_lightsource_params("frequency", FREQUENCY)
    alice.update_lightsource_params("mean_photon_num", 1)
    for detector in range(2):
        bob.components["bob.qsdetector"].set_detector(
            detector, efficiency=1, dark_count=0, count_rate=1e9, time_resolution=10
        )
    protocols = [node.protocol_stack[0] for node in nodes]
    for node, protocol in zip(nodes, protocols, strict=True):
        protocol.upper_protocols.append(Drain(node, f"{node.name} drain"))
    pair_bb84_protocols(*protocols)
    return protocols[0], protocols[1]


def run(pulses: int) -> dict[str, int]:
    """Send one train of pulses and sift it."""
    np.random.seed(0)  # noqa: NPY002  (SeQUeNCe draws bits and bases from the global generator)
    timeline = Timeline(pulses / FREQUENCY * 1e12 + 1e9)
    alice, bob = parties(timeline)
    timeline.init()
    alice.push(pulses, 1)
    timeline.run()
    pairs = list(zip(alice.key_bits, bob.key_bits, strict=True))
    return {"sifted": len(pairs), "errors": sum(int(mine != its) for mine, its in pairs)}


if __name__ == "__main__":
    print(json.dumps({"version": f"sequence {version('sequence')}"}), flush=True)
    for line in sys.stdin:
        print(json.dumps(run(int(line))), flush=True)
