"""Contract checks of every room, for our methods and yours."""

from samplewise.testing.scorers import check_scorer, scorer_checks
from samplewise.testing.selectors import check_selector, selector_checks

__all__ = ["check_scorer", "check_selector", "scorer_checks", "selector_checks"]
