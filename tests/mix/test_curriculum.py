import numpy as np
import pytest

from samplewise.errors import UsageError
from samplewise.mix import Mixer, Sources
from samplewise.mix.curriculum import Curriculum, SkillCurriculum

LABELS = ["b", "a", "b", "a", "c", "a"]
LOSSES = [0.6, 0.1, 0.5, 0.2, 0.4, 0.3]


@pytest.mark.parametrize("hardest_first", [False, True])
def test_pools_grow_by_loss(hardest_first):
    method = Curriculum(stages=3, hardest_first=hardest_first)
    sources = Sources.of(labels=LABELS)
    stream = method.start(sources, rng=0, total=300, losses=LOSSES)
    order = np.argsort(LOSSES)[:: -1 if hardest_first else 1]
    for stage in (1, 2, 3, 3):  # after the total, all rows go on
        drawn = stream.draw(100)
        assert set(drawn.indices.tolist()) == set(order[: 2 * stage].tolist())
        names = [sources.names[one] for one in drawn.sources]
        assert names == [LABELS[row] for row in drawn.indices]


def test_pools_of_rows_numbered_by_source():
    stream = Curriculum(stages=1).start(Sources.of([2, 3]), rng=0, total=10)
    drawn = stream.draw(200)
    assert set(zip(drawn.indices.tolist(), drawn.sources.tolist(), strict=True)) == {
        (0, 0),
        (1, 0),
        (2, 1),
        (3, 1),
        (4, 1),
    }


def test_skills_come_one_after_the_other():
    losses = [0.3, 0.1, 0.2]
    stream = SkillCurriculum(earlier=0.5).start(
        Sources.of([10, 20, 40]), rng=0, total=1500, losses=losses
    )
    # 20 rows; 40 and half of 20; 10 and half of 60; all 70: 180 in all.
    assert [stage.start for stage in stream.stages] == [0, 167, 583, 917]
    expected = [[0, 1, 0], [0, 0.2, 0.8], [0.25, 0.25, 0.5], [1 / 7, 2 / 7, 4 / 7]]
    np.testing.assert_allclose([stage.law for stage in stream.stages], expected)
    turned = SkillCurriculum(hardest_first=True, earlier=0).start(
        Sources.of([10, 20, 40]), rng=0, total=1500, losses=losses
    )
    np.testing.assert_allclose([stage.law for stage in turned.stages[:3]], np.eye(3)[[0, 2, 1]])


@pytest.mark.parametrize("name", ["curriculum", "skill-curriculum"])
def test_states_ranks_and_refusals(name):
    method, sources = Mixer.named(name), Sources.of([6, 5, 4])
    one = method.start(sources, rng=1, total=60)
    ranks = [method.start(sources, rng=1, total=60, rank=rank, world_size=3) for rank in range(3)]
    parts = np.column_stack([stream.draw(10).indices for stream in ranks]).ravel()
    np.testing.assert_array_equal(parts, one.draw(30).indices)
    resumed = method.start(sources, rng=9, total=60)
    resumed.load_state_dict(one.state_dict())
    np.testing.assert_array_equal(resumed.draw(30).indices, one.draw(30).indices)
    with pytest.raises(UsageError, match="total"):
        method.start(sources, rng=0)
    for losses in ([1.0], [np.nan] * 15, [np.inf] * 3):
        with pytest.raises(UsageError, match="losses"):
            method.start(sources, rng=0, total=10, losses=losses)


def test_bad_knobs_name_themselves():
    with pytest.raises(UsageError, match="stages"):
        Curriculum(stages=0)
    with pytest.raises(UsageError, match="earlier"):
        SkillCurriculum(earlier=-1)
