import numpy as np
import pytest

import samplewise as sw
from samplewise.embed import embed_pool
from samplewise.errors import InputError


def test_target_is_embedded_with_the_pool():
    pool = sw.Pool.from_rows([{"text": "red"}, {"text": "green"}])
    aimed = embed_pool(pool.with_target(sw.Pool.from_rows([{"text": "green"}])))
    assert np.array_equal(aimed.target.embeddings[0], aimed.embeddings[1])


def test_target_of_other_dimensions_is_refused():
    words = "aim: has vectors of 4 dimensions, and the pool's have 3"
    aim = sw.Pool.from_arrays(np.eye(4), name="aim")
    with pytest.raises(InputError, match=words):
        sw.Pool.from_arrays(np.eye(3)).with_target(aim)
    texts = sw.Pool.from_rows([{"text": "red"}]).with_target(aim)
    with pytest.raises(InputError, match="aim: has vectors of 4 dimensions"):
        embed_pool(texts)


def test_scores_are_checked_and_copied():
    pool = sw.Pool.from_rows([{"text": "red"}, {"text": "green"}])
    values = np.array([1.0, 2.0])
    scored = pool.with_score(values)
    values[:] = 7
    assert scored.score.tolist() == [1, 2]
    assert pool.score is None
    with pytest.raises(InputError, match=r"rows, line 2, field 'mine': is nan for this row"):
        pool.with_score([1, np.nan], "mine")
    with pytest.raises(InputError, match="shape"):
        pool.with_score([1])


def test_classes_are_labels_or_else_sources():
    both = sw.Pool.from_rows([{"text": "a", "label": "x", "source": "s"}])
    only = sw.Pool.from_rows([{"text": "a", "source": "s"}])
    assert both.classes.names == ["x"]
    assert only.classes.names == ["s"]
    assert sw.Pool.from_rows([{"text": "a"}]).classes is None
