"""Figures of measurements on scores made up so that the answer is known."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from qfl_sec.channel import Link
from qfl_sec.contracts import MembershipScores, Reconstructions
from qfl_sec.federation import TrainingConfig, train
from qfl_sec.scoring import (
    MembershipTrial,
    ReconstructionTrial,
    score_membership,
    score_reconstruction,
)
from qfl_sec.transcript import Transcript, Truth


@pytest.fixture
def transcript(mlp_training: TrainingConfig) -> Transcript:
    return train(mlp_training)


def truth_of(transcript: Transcript) -> Truth:
    assert transcript.truth is not None
    return transcript.truth


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_perfect_scores_find_every_member_and_noise_none(transcript: Transcript) -> None:
    truth = truth_of(transcript)
    perfect = MembershipScores(values=truth.members.double())
    draws = [torch.rand(len(truth.members), generator=torch.Generator().manual_seed(seed)) for seed in range(8)]
    trials = [MembershipTrial(scores=perfect, control=MembershipScores(values=noise), truth=truth) for noise in draws]
    success, control, guess, figures, _ = score_membership(trials, rng=rng())
    assert success.k == success.n == 8 * int(truth.members.sum())
    assert figures.auc == 1
    assert figures.false_positives == guess.k == 0
    assert figures.control_auc_low < 0.5 < figures.control_auc_high
    assert control is not None
    assert control.k < 0.1 * control.n
    assert figures.true_positives_curve[0] == 0
    assert figures.true_positives_curve[-1] == success.n
    assert figures.false_positives_curve[-1] == figures.non_members


def test_too_few_non_members_are_refused(transcript: Transcript) -> None:
    truth = truth_of(transcript)
    few = replace(truth, members=truth.members[:30], clients=truth.clients[:30])
    scores = MembershipScores(values=torch.rand(30))
    with pytest.raises(ValueError, match="100"):
        score_membership([MembershipTrial(scores=scores, control=None, truth=few)], rng=rng())


def reconstructions(config: TrainingConfig, transcript: Transcript, *, offset: float) -> ReconstructionTrial:
    """Answers that lie `offset` of each feature's range beside the records, beside a second, useless restart."""
    population, truth = config.population(), truth_of(transcript)
    splits = population.splits
    targets = torch.tensor([[round_, slot] for round_ in range(3) for slot in range(2)])
    rows = truth.batch_records[targets[:, 0], targets[:, 1]]
    ranges = splits.feature_high - splits.feature_low
    answers = splits.candidates.features[rows] + offset * ranges
    useless = torch.full_like(answers, 7.0)
    scores = Reconstructions(
        targets=targets,
        records=torch.stack([useless, answers], dim=1),
        labels=torch.zeros(6, 2, 4, dtype=torch.int64),
        residuals=torch.tensor([[2.0, 1.0]] * 6),
        ranks=torch.tensor([16, 16, 15, 16, 16, 3]),
        equations=36,
        unknowns=torch.full((6,), 16),
    )
    return ReconstructionTrial(scores=scores, metadata=transcript.metadata, truth=truth, population=population)


@pytest.mark.parametrize(("offset", "rebuilt", "exact"), [(0.0, 24, 24), (0.049, 24, 0), (0.06, None, 0)])
def test_a_record_counts_when_every_feature_lies_within_five_percent(
    mlp_training: TrainingConfig, transcript: Transcript, offset: float, rebuilt: int | None, exact: int
) -> None:
    trial = reconstructions(mlp_training, transcript, offset=offset)
    success, control, guess, figures, _ = score_reconstruction([trial], knows_labels=False, rng=rng())
    assert success.n == 24
    if rebuilt is None:
        assert success.k < 4  # a neighbour's record may be hit by luck
    else:
        assert success.k == rebuilt
        assert figures.rmse == pytest.approx(offset, abs=1e-12)
    assert figures.exact.k == exact
    assert success.clusters == figures.targets == 6
    assert (figures.rank, figures.unknowns, figures.not_identifiable) == (16, 16, 2)
    assert control is not None
    assert control.k <= 3
    assert guess.n == 24
    assert 0 < figures.guess_probability_high < 0.5


def test_the_answer_is_chosen_by_the_residual_and_the_oracle_is_reported_apart(
    mlp_training: TrainingConfig, transcript: Transcript
) -> None:
    trial = reconstructions(mlp_training, transcript, offset=0.0)
    misled = replace(trial, scores=replace(trial.scores, residuals=torch.tensor([[1.0, 2.0]] * 6)))
    success, _, _, figures, _ = score_reconstruction([misled], knows_labels=False, rng=rng())
    assert success.k == 0
    assert figures.oracle_best.k == 24


def test_skill_of_exact_answers_is_one_against_every_baseline(
    mlp_training: TrainingConfig, transcript: Transcript
) -> None:
    trial = reconstructions(mlp_training, transcript, offset=0.0)
    _, _, _, figures, _ = score_reconstruction([trial], knows_labels=False, rng=rng())
    assert figures.skill_prior_mean == figures.skill_random_record == figures.skill_control == 1


def test_sums_are_scored_against_all_their_records_and_controlled_without_the_shared_ones(
    mlp_training: TrainingConfig, transcript: Transcript
) -> None:
    """Every sum is rebuilt exactly; the answer to another round would hit what both rounds hold, which is left out."""
    population, truth = mlp_training.population(), truth_of(transcript)
    rows = truth.batch_records.flatten(1)  # (rounds, records)
    rows[1, :3], rows[2, :3] = rows[0, :3], rows[0, :3]  # records that all rounds hold
    truth = replace(truth, batch_records=rows.reshape(truth.batch_records.shape))
    scores = Reconstructions(
        targets=torch.tensor([[0, -1], [1, -1], [2, -1]]),
        records=population.splits.candidates.features[rows].unsqueeze(1),
        labels=torch.zeros(3, 1, 8, dtype=torch.int64),
        residuals=torch.zeros(3, 1),
        ranks=torch.tensor([32, 32, 32]),
        equations=36,
        unknowns=torch.full((3,), 32),
    )
    trial = ReconstructionTrial(scores=scores, metadata=transcript.metadata, truth=truth, population=population)
    success, control, _, figures, _ = score_reconstruction([trial], knows_labels=False, rng=rng())
    distinct = [set(used.tolist()) for used in rows]
    assert success.k == success.n == figures.exact.k == sum(map(len, distinct))
    assert success.clusters == 3
    assert control is not None
    assert control.n == sum(len(distinct[index] - distinct[(index + 1) % 3]) for index in range(3)) <= 15
    assert control.k <= 2


def test_sums_of_the_same_records_are_controlled_by_records_of_nobody(
    mlp_training: TrainingConfig, transcript: Transcript
) -> None:
    """Every sum is rebuilt exactly, and no answer is a record of the test split, which an oracle's would be."""
    population, truth = mlp_training.population(), truth_of(transcript)
    rows = truth.batch_records[:1].expand(3, -1, -1)
    scores = Reconstructions(
        targets=torch.tensor([[0, -1], [1, -1], [2, -1]]),
        records=population.splits.candidates.features[rows.flatten(1)].unsqueeze(1),
        labels=torch.zeros(3, 1, 8, dtype=torch.int64),
        residuals=torch.zeros(3, 1),
        ranks=torch.tensor([32, 32, 32]),
        equations=36,
        unknowns=torch.full((3,), 32),
    )
    truth = replace(truth, batch_records=rows)
    trial = ReconstructionTrial(scores=scores, metadata=transcript.metadata, truth=truth, population=population)
    success, control, *_ = score_reconstruction([trial], knows_labels=False, rng=rng())
    count = len(rows[0].unique())
    assert control is not None
    assert success.k == success.n == control.n == 3 * count
    assert control.k <= 2
    oracle = replace(scores, records=population.splits.test.features[:8].double().expand(3, 1, -1, -1))
    _, control, *_ = score_reconstruction([replace(trial, scores=oracle)], knows_labels=False, rng=rng())
    assert control is not None
    assert control.k == control.n == 3 * count
    alone = replace(scores, **{name: value[:1] for name, value in vars(scores).items() if name != "equations"})
    _, control, *_ = score_reconstruction([replace(trial, scores=alone)], knows_labels=False, rng=rng())
    assert control is not None
    assert control.n == count


def test_a_sum_is_not_asked_for_records_that_never_arrived(
    mlp_training: TrainingConfig, transcript: Transcript
) -> None:
    population, truth = mlp_training.population(), truth_of(transcript)
    rows = truth.batch_records.flatten(1)
    scores = Reconstructions(
        targets=torch.tensor([[0, -1], [1, -1], [2, -1]]),
        records=population.splits.candidates.features[rows].unsqueeze(1),
        labels=torch.zeros(3, 1, 8, dtype=torch.int64),
        residuals=torch.zeros(3, 1),
        ranks=torch.tensor([32, 32, 32]),
        equations=36,
        unknowns=torch.full((3,), 32),
    )
    setup = transcript.metadata.setup
    link = Link(
        round=1,
        client=setup.schedule[1][0],
        cipher="none",
        abort_reason="too many errors",
        needed_bits=0,
        secret_bits=0,
        error_rate=None,
        leaked_bits=0,
        qubits=0,
        classical_bits=0,
        seconds=0.0,
        epsilon=None,
    )
    between_clients = replace(link, peer=setup.schedule[1][1])
    came = replace(link, client=setup.schedule[1][1], abort_reason=None)

    def asked(*links: Link) -> int:
        metadata = replace(transcript.metadata, links=links)
        trial = ReconstructionTrial(scores=scores, metadata=metadata, truth=truth, population=population)
        return score_reconstruction([trial], knows_labels=False, rng=rng())[0].n

    whole = [set(used.tolist()) for used in rows]
    without = set(truth.batch_records[1, 1].tolist())
    assert len(without) < len(whole[1])
    assert asked() == asked(between_clients, came) == sum(map(len, whole))
    assert asked(link, came) == len(whole[0]) + len(without) + len(whole[2])


def test_the_control_belongs_to_another_client(mlp_training: TrainingConfig, transcript: Transcript) -> None:
    """With all targets at one client there is nothing unrelated to compare with."""
    trial = reconstructions(mlp_training, transcript, offset=0.0)
    chosen = trial.metadata.setup.schedule[0][0]
    alone = [
        index
        for index, (round_, slot) in enumerate(trial.scores.targets.tolist())
        if trial.metadata.setup.schedule[round_][slot] == chosen
    ]
    only = {name: getattr(trial.scores, name)[alone] for name in ("targets", "records", "labels", "residuals")}
    rest = {name: getattr(trial.scores, name)[alone] for name in ("ranks", "unknowns")}
    scores = replace(trial.scores, **only, **rest)
    _, control, _, figures, _ = score_reconstruction([replace(trial, scores=scores)], knows_labels=False, rng=rng())
    assert control is None
    assert figures.skill_control is None
