"""A batch in parts, through twins of a model: the same loss and gradient as in one piece, on any number of cores."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", exc_type=ImportError)
from training.twins import Twins  # noqa: E402


@pytest.mark.parametrize(("most", "models"), [(0, 1), (1, 1), (2, 2), (5, 4), (12, 12)])
def test_twins_leave_the_gradient_of_the_whole_batch(most, models):
    torch.manual_seed(1)
    model, batch = torch.nn.Linear(3, 2), torch.randn(12, 3)
    whole = (model(batch) ** 2).mean()
    expected = torch.autograd.grad(whole, list(model.parameters()))
    before = torch.get_num_threads()
    with Twins(model, most, len(batch)) as twins:
        assert len(twins.models) == models
        loss = twins.backward(lambda used, part: (used(part) ** 2).mean(), batch)
    assert torch.get_num_threads() == before
    assert loss == pytest.approx(whole.item(), rel=1e-5)
    for parameter, gradient in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
