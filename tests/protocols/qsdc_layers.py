"""What tests of both protocols of direct communication share: a message, and the agreement of the three layers."""

import numpy as np

from qfl_sec.protocol_contracts import Bits
from qfl_sec.protocols import bell_errors
from qfl_sec.protocols.qsdc import DirectCarrier
from qfl_sec.protocols.qsdc_counts import sample_counts
from qfl_sec.randomness import Streams

SIGMAS = 4.5  # a grid of about 500 comparisons: false alarm below 0.4 %


def message(bits: int, seed: int = 0) -> Bits:
    return np.random.default_rng(seed).integers(0, 2, bits, np.uint8)


def assert_layers_agree(carrier: DirectCarrier) -> None:
    result = carrier.send(message(1024), Streams(11))
    drawn = sample_counts(carrier, samples=3000, message_pairs=5000, generator=np.random.default_rng(5))
    expected = carrier.expected_check_errors()
    found = {name: (one.errors, one.trials) for name, one in result.checks.items()}
    assert set(found) == set(expected)
    raw = sum(bell_errors.error_rates(carrier.transmission_errors())) / 2
    for layer in (found | {"message": (result.raw_errors, result.raw_bits)}, drawn):
        for name, (errors, trials) in layer.items():
            rate = expected.get(name, raw)
            # both bits of a pair may err together, which at most doubles the variance of the message's count
            sigma = np.sqrt(trials * rate * (1 - rate) * (2 if name == "message" else 1))
            assert trials > 200
            assert abs(errors - trials * rate) <= SIGMAS * sigma + 1e-9, name
