"""The protocols of qfl-sec, imported as `qfl_sec.protocols`."""

if __name__ != "qfl_sec.protocols":
    raise ImportError(
        "Import this folder as qfl_sec.protocols: a plain 'import protocols' would load a second copy of every class."
    )

from qfl_sec.protocols.adversary_contract import Adversary
from qfl_sec.protocols.angle_grid import AngleGrid
from qfl_sec.protocols.authentication import Authenticator, collision_bound, cost_bits, verification_hash
from qfl_sec.protocols.bb84 import BB84
from qfl_sec.protocols.bb84_results import BB84Result
from qfl_sec.protocols.bits import binary_entropy
from qfl_sec.protocols.blind import Blind, BlindResult
from qfl_sec.protocols.blind_parties import Client, Deviation, Server
from qfl_sec.protocols.blind_transcript import Rounds, run_rounds
from qfl_sec.protocols.blindness import blindness_trace_distance
from qfl_sec.protocols.brickwork import Brickwork
from qfl_sec.protocols.cascade import ParityOracle, Reconciled, reconcile
from qfl_sec.protocols.expected_key import DecoyLink, DecoySettings, ExpectedKey, best_key, keys_over_distance
from qfl_sec.protocols.finite_key import (
    DecoyCounts,
    DecoyLength,
    asymptotic_rate,
    decoy_length,
    key_ledger,
    qber_threshold,
    single_photon_length,
)
from qfl_sec.protocols.key_store import KeyExhaustedError, KeyStore
from qfl_sec.protocols.one_step_qsdc import OneStepQsdc
from qfl_sec.protocols.one_time_pad import Ciphertext, DecryptionError, decrypt, encrypt
from qfl_sec.protocols.qsdc_results import QsdcResult
from qfl_sec.protocols.toeplitz import hash_bits
from qfl_sec.protocols.two_step_qsdc import TwoStepQsdc
from qfl_sec.protocols.verification import Verification
from qfl_sec.protocols.verification_choice import choose_verification
from qfl_sec.protocols.verification_rounds import VerifiedRun, noisy_round_failure, run_verified

# In the order of the alphabet, acronyms too.
__all__ = [  # noqa: RUF022
    "Adversary",
    "AngleGrid",
    "Authenticator",
    "BB84",
    "BB84Result",
    "Blind",
    "BlindResult",
    "Brickwork",
    "Ciphertext",
    "Client",
    "DecoyCounts",
    "DecoyLength",
    "DecoyLink",
    "DecoySettings",
    "DecryptionError",
    "Deviation",
    "ExpectedKey",
    "KeyExhaustedError",
    "KeyStore",
    "OneStepQsdc",
    "ParityOracle",
    "QsdcResult",
    "Reconciled",
    "Rounds",
    "Server",
    "TwoStepQsdc",
    "Verification",
    "VerifiedRun",
    "asymptotic_rate",
    "best_key",
    "binary_entropy",
    "blindness_trace_distance",
    "choose_verification",
    "collision_bound",
    "cost_bits",
    "decoy_length",
    "decrypt",
    "encrypt",
    "hash_bits",
    "key_ledger",
    "keys_over_distance",
    "noisy_round_failure",
    "qber_threshold",
    "reconcile",
    "run_rounds",
    "run_verified",
    "single_photon_length",
    "verification_hash",
]
