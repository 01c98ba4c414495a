"""Selectors in scikit-learn: its own checks, pipelines, searches and clones."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import samplewise as sw
from samplewise.errors import InputError, UsageError
from samplewise.estimators import Landmarks, RowSelector, SubsetClassifier, SubsetRegressor
from samplewise.select.base import Choice, Selector


@pytest.mark.parametrize(
    "estimator",
    [
        RowSelector(random_state=0),
        RowSelector("k-center", "50%", random_state=0),
        Landmarks(random_state=0),
        Landmarks("random", "50%", random_state=0, likeness="rbf"),
        Landmarks("kmeans-closest", "50%", random_state=0, likeness="cosine"),
        SubsetClassifier(budget="50%", random_state=0),
        SubsetRegressor(budget="80%", random_state=0),
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_own_checks(estimator):
    done = check_estimator(estimator, on_fail="raise")
    assert sum(one["status"] == "passed" for one in done) >= 40


def test_it_chooses_what_select_chooses():
    X, _ = load_iris(return_X_y=True)
    expected = sw.select(sw.Pool.from_arrays(X), 20, "kmeans-random", rng=3, clusters=5)
    found = RowSelector("kmeans-random", 20, random_state=3).set_params(method__clusters=5).fit(X)
    assert np.array_equal(found.indices_, expected.indices)
    assert np.array_equal(found.weights_, expected.weights)


def test_targets_are_labels_or_scores():
    X, y = load_iris(return_X_y=True)
    even = RowSelector("stratified", 30, random_state=0).fit(X, y)
    assert np.bincount(y[even.indices_]).tolist() == [10, 10, 10]
    X, y = load_diabetes(return_X_y=True)
    y = y + 0.5  # whole numbers are labels
    best = sw.method("kmeans-quality", {"clusters": 1, "temperature": 1e-6})
    chosen = RowSelector(best, 10, random_state=0).fit(X, y).indices_
    assert sorted(y[chosen]) == sorted(y)[-10:]
    given = RowSelector(best, 10, random_state=0).fit(X, y, score=-y).indices_
    assert sorted(y[given]) == sorted(y)[:10]


def test_resampling_keeps_data_frames():
    frame, y = load_iris(return_X_y=True, as_frame=True)
    few, targets = RowSelector(budget=9, random_state=0).fit_resample(frame, y)
    assert list(few.columns) == list(frame.columns)
    assert few.index.equals(targets.index)
    assert RowSelector(budget=9, random_state=0).fit_resample(frame)[1] is None


def test_landmarks_in_a_pipeline_and_a_search():
    X, y = load_iris(return_X_y=True)
    pipe = make_pipeline(
        StandardScaler(),
        Landmarks("kmeans-random", 15, random_state=0),
        LogisticRegression(max_iter=1000),
    )
    grid = {"landmarks__method__clusters": [1, 3], "landmarks__likeness": ["distance", "rbf"]}
    search = GridSearchCV(pipe, grid, cv=3, error_score="raise").fit(X, y)
    assert search.best_score_ > 0.9
    assert search.best_estimator_["landmarks"].landmarks_.shape == (15, 4)
    names = search.best_estimator_["landmarks"].get_feature_names_out()
    assert list(names[:2]) == ["landmarks0", "landmarks1"]


def test_distance_to_a_landmark_is_zero_at_that_row():
    X, _ = load_iris(return_X_y=True)
    fitted = Landmarks("k-center", 7, random_state=0).fit(X)
    at_landmarks = fitted.transform(X)[fitted.indices_]
    assert np.allclose(np.diag(at_landmarks), 0, atol=1e-6)


def test_clone_and_params():
    selector = sw.method("kmeans-random", {"clusters": 9})
    assert clone(selector) == selector
    estimator = RowSelector(selector, 5)
    copy = clone(estimator).set_params(method__clusters=4, budget=6)
    assert copy.get_params()["method__clusters"] == 4
    assert copy.budget == 6
    assert estimator.method.clusters == 9
    with pytest.raises(UsageError, match="no knob 'nothing'"):
        estimator.set_params(method__nothing=1)
    with pytest.raises(UsageError, match="no select method"):
        estimator.set_params(method="nothing").fit(np.eye(4))


@dataclass(frozen=True)
class Weighted(Selector):
    """The first rows, the first of them twice as heavy. Deterministic."""

    name: ClassVar[str] = "weighted"

    def choose(self, pool, n, rng, engine):
        return Choice(np.arange(n), np.where(np.arange(n) == 0, 2.0, 1.0))


def test_weights_reach_the_estimator():
    X, y = load_diabetes(return_X_y=True)
    fitted = SubsetRegressor(Ridge(alpha=1e-3), Weighted(), 60).fit(X, y)
    rows = fitted.indices_
    assert np.ptp(fitted.weights_) > 0
    by_hand = Ridge(alpha=1e-3).fit(X[rows], y[rows], sample_weight=fitted.weights_)
    assert np.allclose(fitted.predict(X), by_hand.predict(X))
    X, y = load_iris(return_X_y=True)
    with pytest.raises(UsageError, match="takes no sample_weight"):
        SubsetClassifier(KNeighborsClassifier(), Weighted(), 60).fit(X, y)
    assert not hasattr(SubsetClassifier(Ridge()), "predict_proba")


def test_what_a_method_lacks_is_named():
    X, _ = load_iris(return_X_y=True)
    with pytest.raises(InputError, match="needs a score"):
        RowSelector("kmeans-quality").fit(X)
    with pytest.raises(UsageError, match="likeness is 'near'"):
        Landmarks(likeness="near").fit(X)
