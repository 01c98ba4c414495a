"""Contract checks of every room, for our methods and yours."""

from samplewise.testing.selectors import check_selector, selector_checks

__all__ = ["check_selector", "selector_checks"]
