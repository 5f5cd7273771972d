"""Weights of the decode loop: products whose rows do not depend on how many there are."""

import pytest
import torch

from steerlib.engine.weights import Matrix, Weights


@pytest.fixture
def matrix():
    torch.manual_seed(0)
    return Matrix(torch.randn(24, 16))


def test_products_are_row_invariant_where_sizes_make_no_difference_and_only_there(matrix, monkeypatch):
    for rows in (16, 20, 64):
        states = torch.randn(64, 16)
        same = torch.equal(matrix.matmul_packed(states[:rows]), matrix.matmul_packed(states)[:rows])
        assert same or not matrix.is_row_invariant(rows, 64)
    monkeypatch.setattr(
        Matrix, "matmul_packed", lambda self, states: states @ self.weight.T + len(states) * 1e-3
    )
    assert not matrix.is_row_invariant(16, 64)


def test_a_packed_product_is_the_plain_one(matrix):
    states = torch.randn(20, 16)
    torch.testing.assert_close(matrix.matmul_packed(states), states @ matrix.weight.T)
    assert torch.equal(
        matrix.matmul_packed(states), matrix.matmul_packed(states)
    )  # from what it packed before
    assert torch.equal(matrix(states), torch.nn.functional.linear(states, matrix.weight))


def test_weights_of_half_precision_are_not_packed():
    assert not Matrix(torch.ones(24, 16, dtype=torch.bfloat16)).packs


def test_products_have_few_rows_only_if_that_changes_no_bit(tiny, monkeypatch):
    monkeypatch.setattr(Matrix, "is_row_invariant", lambda self, rows, most: True)
    assert Weights(tiny).rows(6, 3) == (16, 16)
    assert Weights(tiny).rows(38, 19) == (40, 20)
    monkeypatch.setattr(Matrix, "is_row_invariant", lambda self, rows, most: False)
    assert Weights(tiny).rows(6, 3) == (128, 64)
