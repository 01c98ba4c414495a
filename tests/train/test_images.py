import numpy as np
import pytest
from sklearn.datasets import load_digits

from samplewise.errors import UsageError
from samplewise.train.images import Digits, ImageArrays, ImageFile

RANDOM = np.random.default_rng(0)
GIVEN = {
    "images": RANDOM.normal(size=(6, 4, 5)),
    "labels": [0, 1, 2, 0, 1, 2],
    "test_images": RANDOM.normal(size=(3, 4, 5)),
    "test_labels": [2, 3, 0],
}


def test_the_digits_are_split_into_two_parts_that_share_none():
    sets = Digits(test=0.25, seed=3).sets
    assert (len(sets.images), len(sets.test_images)) == (1348, 449)
    both = np.concatenate([sets.images, sets.test_images]).reshape(1797, 64)
    ordered = np.unique(both, axis=0)
    np.testing.assert_array_equal(ordered, np.unique(load_digits().data / 16, axis=0))
    assert sets.classes == 10
    assert not np.array_equal(sets.labels, Digits(test=0.25, seed=4).sets.labels)


def test_arrays_and_a_file_of_them_are_one_task(tmp_path):
    np.savez(tmp_path / "images.npz", **GIVEN)
    arrays, file = ImageArrays(**GIVEN).sets, ImageFile(str(tmp_path / "images.npz")).sets
    assert arrays.images.shape == (6, 1, 4, 5)
    assert arrays.classes == 4
    for one, other in zip(arrays, file, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"labels": [0, 1]}, "labels do not fit images"),
        ({"labels": [0, 1, 2, 0, 1, -1]}, "labels do not fit images"),
        ({"test_labels": [0.5, 1.0, 0.0]}, "test_labels do not fit test_images"),
        ({"images": np.full((6, 4, 5), np.nan)}, "images have the shape"),
        ({"images": np.zeros((6, 20))}, "images have the shape"),
        ({"test_images": np.zeros((3, 5, 5))}, "test_images .1, 5, 5."),
    ],
)
def test_arrays_that_do_not_fit_are_refused(wrong, message):
    with pytest.raises(UsageError, match=message):
        ImageArrays(**GIVEN | wrong).sets  # noqa: B018 - they are read here


def test_a_file_that_is_not_there_or_lacks_arrays_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no file"):
        ImageFile(str(tmp_path / "none.npz")).sets  # noqa: B018
    np.savez(tmp_path / "half.npz", images=GIVEN["images"])
    with pytest.raises(UsageError, match="has no labels, test_images, test_labels"):
        ImageFile(str(tmp_path / "half.npz")).sets  # noqa: B018
    with pytest.raises(UsageError, match="test is 1"):
        Digits(test=1.0)
