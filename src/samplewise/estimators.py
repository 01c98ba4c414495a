"""Selectors as scikit-learn estimators: choose rows inside a `Pipeline`, a search or a loop.

`RowSelector` chooses rows (`fit`), and gives them with their targets (`fit_resample`, which the
pipelines of imbalanced-learn call). `Landmarks` keeps the number of rows, as a step of
scikit-learn's own pipelines must: it turns every row into its likeness to the chosen ones.
`SubsetClassifier` and `SubsetRegressor` fit another estimator on the chosen rows alone, with their
weights.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import (
    BaseEstimator,
    ClassifierMixin,
    ClassNamePrefixFeaturesOutMixin,
    MetaEstimatorMixin,
    RegressorMixin,
    TransformerMixin,
    clone,
)
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics.pairwise import cosine_similarity, euclidean_distances, rbf_kernel
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import (
    check_is_fitted,
    check_random_state,
    has_fit_parameter,
    validate_data,
)

from samplewise import registry
from samplewise.budget import BudgetLike
from samplewise.errors import UsageError
from samplewise.pool import Pool
from samplewise.select.base import Selection, Selector, select

__all__ = ["Landmarks", "RowSelector", "SubsetClassifier", "SubsetRegressor"]


class _Chooser(BaseEstimator):  # type: ignore[misc] # scikit-learn is untyped
    """What all of them share: a method, a budget and a seed, by scikit-learn's conventions."""

    method: str | Selector
    budget: BudgetLike
    random_state: Any
    _numeric = False  # whether every target is a score, also one that looks like a label

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Give the parameters; with `deep`, the method's knobs too, as `method__KNOB`."""
        params: dict[str, Any] = super().get_params(deep=deep)
        if deep:
            # What cannot be a method is refused by fit, as scikit-learn wants it.
            with contextlib.suppress(UsageError, TypeError):
                knobs = self._selector().settings()
                params |= {f"method__{knob}": value for knob, value in knobs.items()}
        return params

    def set_params(self, **params: Any) -> Any:
        """Set parameters, the method's knobs (`method__KNOB`) among them."""
        knobs = {
            name.removeprefix("method__"): params.pop(name)
            for name in list(params)
            if name.startswith("method__")
        }
        super().set_params(**params)
        if knobs:
            selector = self._selector()
            self.method = registry.configure(type(selector), selector.settings() | knobs)
        return self

    def _selector(self) -> Selector:
        if isinstance(self.method, Selector):
            return self.method
        made = registry.make(self.method)
        assert isinstance(made, Selector)
        return made

    def _choose(
        self, X: NDArray[Any], y: NDArray[Any] | None, score: ArrayLike | None = None
    ) -> Selection:
        """Choose rows of X; discrete targets are their labels, continuous ones their scores."""
        labels = None
        if y is not None and y.ndim == 1:
            if self._numeric or type_of_target(y).startswith("continuous"):
                score = y if score is None else score
            else:
                labels = y.astype(str)
        seed = self.random_state
        if not (seed is None or isinstance(seed, (int, np.integer))):
            seed = check_random_state(seed).randint(2**31 - 1)
        pool = Pool.from_arrays(X, labels, score=score, name="X")
        return select(pool, self.budget, self._selector(), rng=seed)


class RowSelector(_Chooser):
    """Rows chosen by any method, with scikit-learn's and imbalanced-learn's interface.

    Parameters
    ----------
    method : str or Selector
        A registered method or its name. Its knobs are parameters too: ``method__clusters=64``.
    budget : str, int, float or Budget
        How many rows: ``"10%"``, ``2000``.
    random_state : int, RandomState or None

    Attributes
    ----------
    indices_ : ndarray of int64, shape (b,)
        The rows, in order of selection.
    weights_ : ndarray of float64, shape (b,)
        Their weights; 1.0 where the method does not weight.
    selection_ : Selection
        All that is known of the choice.
    n_features_in_ : int

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> few, targets = RowSelector("kmeans-closest", 12, random_state=0).fit_resample(X, y)
    >>> few.shape, targets.shape
    ((12, 4), (12,))
    """

    def __init__(
        self,
        method: str | Selector = "kmeans-random",
        budget: BudgetLike = "10%",
        random_state: Any = None,
    ) -> None:
        self.method = method
        self.budget = budget
        self.random_state = random_state

    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, score: ArrayLike | None = None
    ) -> RowSelector:
        """Choose rows.

        Parameters
        ----------
        X : array_like, shape (n, d)
        y : array_like, shape (n,), optional
            Discrete targets serve as labels, continuous ones as scores.
        score : array_like, shape (n,), optional
            What every row is worth, for methods that need it.

        Returns
        -------
        RowSelector
            Itself.

        Raises
        ------
        ValueError
            If X or y is not finite numbers of fitting shapes.
        SamplewiseError
            If the method cannot choose from these rows.
        """
        checked = validate_data(self, X, dtype=[np.float32, np.float64])
        self.selection_ = self._choose(checked, None if y is None else np.asarray(y), score)
        self.indices_ = self.selection_.indices
        self.weights_ = self.selection_.weights
        return self

    def fit_resample(
        self, X: Any, y: Any = None, score: ArrayLike | None = None
    ) -> tuple[Any, Any]:
        """Choose rows, and give them and their targets, in order of selection.

        Parameters
        ----------
        X : array_like or data frame, shape (n, d)
        y : array_like, shape (n,), optional
        score : array_like, shape (n,), optional

        Returns
        -------
        X, y : of the kind that was given, shapes (b, d) and (b,); y is None where none was given
        """
        from sklearn.utils import _safe_indexing

        self.fit(X, y, score)
        return (
            _safe_indexing(X, self.indices_),
            None if y is None else _safe_indexing(y, self.indices_),
        )


class Landmarks(ClassNamePrefixFeaturesOutMixin, TransformerMixin, RowSelector):  # type: ignore[misc]
    """Likeness of every row to a few chosen ones, as features.

    A transformer for a `Pipeline`: `fit` chooses the landmarks by any method, `transform` gives one
    column a landmark. With ``likeness="rbf"`` a linear model on top is a kernel machine on a
    subset of regressors.

    Parameters
    ----------
    method, budget, random_state
        As in `RowSelector`.
    likeness : {'distance', 'cosine', 'rbf'}
        Euclidean distance; cosine similarity; or exp(-gamma distance^2).
    gamma : float, optional
        For 'rbf'; by default 1 / (d times the variance of X), as scikit-learn's "scale".

    Attributes
    ----------
    landmarks_ : ndarray of float, shape (b, d)
    indices_, weights_, selection_, n_features_in_
        As in `RowSelector`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> Landmarks("k-center", 12, likeness="rbf", random_state=0).fit_transform(X).shape
    (150, 12)
    """

    def __init__(
        self,
        method: str | Selector = "kmeans-closest",
        budget: BudgetLike = "10%",
        random_state: Any = None,
        likeness: Literal["distance", "cosine", "rbf"] = "distance",
        gamma: float | None = None,
    ) -> None:
        super().__init__(method, budget, random_state)
        self.likeness = likeness
        self.gamma = gamma

    def fit(
        self, X: ArrayLike, y: ArrayLike | None = None, score: ArrayLike | None = None
    ) -> Landmarks:
        """Choose the landmarks; parameters as in `RowSelector.fit`.

        Raises
        ------
        UsageError
            If `likeness` is none of the three.
        """
        if self.likeness not in ("distance", "cosine", "rbf"):
            raise UsageError(
                f"likeness is {self.likeness!r}", mend="give 'distance', 'cosine' or 'rbf'"
            )
        super().fit(X, y, score)
        checked = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        self.landmarks_ = checked[self.indices_]
        variance = float(checked.var(dtype=np.float64))
        self.gamma_ = (
            1 / (checked.shape[1] * (variance or 1.0)) if self.gamma is None else self.gamma
        )
        self._n_features_out = len(self.landmarks_)
        return self

    def transform(self, X: ArrayLike) -> NDArray[Any]:
        """Give the likeness of every row to every landmark, shape (n, b)."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        if self.likeness == "distance":
            found = euclidean_distances(rows, self.landmarks_)
        elif self.likeness == "cosine":
            found = cosine_similarity(rows, self.landmarks_)
        else:
            found = rbf_kernel(rows, self.landmarks_, gamma=self.gamma_)
        return np.asarray(found)


def _inner_has(name: str) -> Any:
    def check(self: _Subset) -> bool:
        inner = self.estimator_ if hasattr(self, "estimator_") else self._inner()
        getattr(inner, name)  # its own AttributeError says why it is missing
        return True

    return check


class _Subset(MetaEstimatorMixin, _Chooser, ABC):  # type: ignore[misc]
    """Shared base: another estimator, fitted on the chosen rows with their weights."""

    def __init__(
        self,
        estimator: Any = None,
        method: str | Selector = "random",
        budget: BudgetLike = "10%",
        random_state: Any = None,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.budget = budget
        self.random_state = random_state

    @abstractmethod
    def _inner(self) -> Any:
        """Give the estimator to fit a clone of."""

    def fit(
        self, X: ArrayLike, y: ArrayLike, score: ArrayLike | None = None, **fit_params: Any
    ) -> Any:
        """Choose rows, and fit the estimator on them.

        Parameters
        ----------
        X : array_like, shape (n, d)
        y : array_like, shape (n,)
        score : array_like, shape (n,), optional
            What every row is worth, for methods that need it.
        **fit_params
            For the estimator's own `fit`.

        Returns
        -------
        estimator
            Itself.
        """
        rows, targets = validate_data(
            self, X, y, dtype=[np.float32, np.float64], y_numeric=self._numeric
        )
        if not self._numeric:
            check_classification_targets(targets)
        self.selection_ = self._choose(rows, targets, score)
        self.indices_, self.weights_ = self.selection_.indices, self.selection_.weights
        self.estimator_ = clone(self._inner())
        if np.ptp(self.weights_) > 0:
            if not has_fit_parameter(self.estimator_, "sample_weight"):
                raise UsageError(
                    f"{self._selector().name} weights its rows, and "
                    f"{type(self.estimator_).__name__} takes no sample_weight",
                    mend="use a method that does not weight, or another estimator",
                )
            fit_params = {"sample_weight": self.weights_, **fit_params}
        self.estimator_.fit(rows[self.indices_], targets[self.indices_], **fit_params)
        return self

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Predict with the fitted estimator."""
        return self._answer("predict", X)

    def _answer(self, what: str, X: ArrayLike) -> NDArray[Any]:
        """Ask the fitted estimator."""
        check_is_fitted(self)
        rows = validate_data(self, X, dtype=[np.float32, np.float64], reset=False)
        return np.asarray(getattr(self.estimator_, what)(rows))


class SubsetClassifier(ClassifierMixin, _Subset):  # type: ignore[misc]
    """A classifier fitted on the rows that a method chooses, with their weights.

    Parameters
    ----------
    estimator : classifier, optional
        By default `LogisticRegression(max_iter=1000)`.
    method, budget, random_state
        As in `RowSelector`.

    Attributes
    ----------
    estimator_ : the fitted estimator
    classes_ : ndarray
        The classes among the chosen rows.
    indices_, weights_, selection_, n_features_in_
        As in `RowSelector`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> bool(SubsetClassifier(budget="20%", random_state=0).fit(X, y).score(X, y) > 0.9)
    True
    """

    def __init__(
        self,
        estimator: Any = None,
        method: str | Selector = "stratified",
        budget: BudgetLike = "10%",
        random_state: Any = None,
    ) -> None:
        super().__init__(estimator, method, budget, random_state)

    @property
    def classes_(self) -> NDArray[Any]:
        """The classes among the chosen rows."""
        return np.asarray(self.estimator_.classes_)

    @available_if(_inner_has("predict_proba"))  # type: ignore[untyped-decorator]
    def predict_proba(self, X: ArrayLike) -> NDArray[Any]:
        """Give the probability of every class, shape (n, classes)."""
        return self._answer("predict_proba", X)

    @available_if(_inner_has("decision_function"))  # type: ignore[untyped-decorator]
    def decision_function(self, X: ArrayLike) -> NDArray[Any]:
        """Give the decision values of the fitted estimator."""
        return self._answer("decision_function", X)

    def _inner(self) -> Any:
        return LogisticRegression(max_iter=1000) if self.estimator is None else self.estimator


class SubsetRegressor(RegressorMixin, _Subset):  # type: ignore[misc]
    """A regressor fitted on the rows that a method chooses, with their weights.

    Parameters
    ----------
    estimator : regressor, optional
        By default `Ridge()`.
    method, budget, random_state
        As in `RowSelector`.

    Attributes
    ----------
    estimator_ : the fitted estimator
    indices_, weights_, selection_, n_features_in_
        As in `RowSelector`.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True)
    >>> fitted = SubsetRegressor(method="k-center", budget="50%", random_state=0).fit(X, y)
    >>> fitted.predict(X).shape
    (442,)
    """

    _numeric = True

    def _inner(self) -> Any:
        return Ridge() if self.estimator is None else self.estimator
