"""Closed forms equal scikit-learn's; whitening makes the within-class covariance the identity."""

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from ser_jax.models import closed_form


def data(count: int, width: int, classes: int, seed: int = 0):
    random = np.random.default_rng(seed)
    mixing = random.standard_normal((width, width))
    label = np.arange(count) % classes
    centers = 3 * random.standard_normal((classes, width))
    return random.standard_normal((count, width)) @ mixing + centers[label] + 5, label


@pytest.mark.parametrize('shrinkage', [closed_form.AUTO, 0.0, 0.2, 1.0])
@pytest.mark.parametrize('count, width, classes', [(300, 12, 5), (60, 50, 3), (40, 80, 4)])
def test_discriminant_is_that_of_scikit_learn(count, width, classes, shrinkage):
    if shrinkage == 0 and count < 3 * width:
        pytest.skip('the covariance is singular: the solution is not unique')
    features, label = data(count, width, classes)
    reference = LinearDiscriminantAnalysis(
        solver='lsqr',
        shrinkage='auto' if shrinkage == closed_form.AUTO else shrinkage,
        priors=np.full(classes, 1 / classes),
    ).fit(features, label)
    kernel, bias = closed_form.discriminant(features, label, classes, shrinkage)
    scores = features @ kernel + bias
    expected = reference.decision_function(features)
    spread = np.abs(expected - expected.mean(1, keepdims=True)).max()
    difference = (scores - expected) - (scores - expected).mean(1, keepdims=True)
    assert np.abs(difference).max() <= 1e-5 * spread


def test_scores_are_exact_in_float32_where_the_means_are_far_from_zero():
    """As the hidden states of encoders: a class's own product is 1e6 times the differences."""
    features, label = data(300, 12, 5)
    features = 0.01 * features + 10 * np.arange(1, 13)
    kernel, bias = closed_form.discriminant(features, label, 5, 0.0)
    reference = LinearDiscriminantAnalysis(solver='lsqr', priors=np.full(5, 0.2))
    expected = reference.fit(features, label).decision_function(features)
    difference = features.astype(np.float32) @ kernel + bias - expected
    difference -= difference.mean(1, keepdims=True)
    assert np.abs(difference).max() <= 1e-3 * np.ptp(expected, 1).max()


def test_shrinkage_is_that_of_scikit_learn():
    features, _ = data(70, 30, 3)
    centered = features - features.mean(0)
    _, expected = ledoit_wolf(features)
    found = closed_form.ledoit_wolf(centered, centered.T @ centered / len(centered))
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_class_without_recordings_is_never_answered_and_changes_nothing():
    features, label = data(90, 10, 3)
    kernel, bias = closed_form.discriminant(features, label, 3)
    moved = np.where(label == 2, 3, label)  # class 2 of 4 is empty
    more, biases = closed_form.discriminant(features, moved, 4)
    np.testing.assert_array_equal(more[:, [0, 1, 3]], kernel)
    np.testing.assert_array_equal(biases[[0, 1, 3]], bias)
    assert (features @ more + biases)[:, 2].max() < -1e8


def test_a_constant_feature_is_harmless():
    features, label = data(90, 10, 3)
    features = np.concatenate([features, np.ones((90, 1))], 1)
    kernel, bias = closed_form.discriminant(features, label, 3)
    assert np.isfinite(kernel).all() and np.isfinite(bias).all()


@pytest.mark.parametrize('shrinkage', [0.0, 0.15])
def test_whitened_classes_have_the_identity_as_covariance(shrinkage):
    features, label = data(600, 8, 4)
    mean, matrix = closed_form.whitening(features, label, 4, shrinkage)
    np.testing.assert_allclose(mean, features.mean(0), rtol=1e-6)
    white = (features - mean) @ matrix
    within = closed_form.within(white, label, 4, 0.0)
    if not shrinkage:
        np.testing.assert_allclose(within, np.eye(8), atol=1e-4)
    spread = closed_form.within(features, label, 4, shrinkage)
    np.testing.assert_allclose(matrix @ spread @ matrix, np.eye(8), atol=1e-4)
