"""Batches split among lanes on a CPU."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch

from dar_search.models.lanes import LEAST, Lanes


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("count", [1, LEAST, 2 * LEAST - 1, 2 * LEAST, 5 * LEAST + 3])
def test_the_rows_are_those_of_the_whole_batch_in_its_order(four_threads, count):
    pixels = np.arange(count * 3, dtype=np.uint8).reshape(count, 3)

    rows = Lanes().batches(pixels, lambda part: torch.from_numpy(part.astype(np.float32)) * 2)

    assert rows.dtype == np.float32
    assert np.array_equal(rows, pixels.astype(np.float32) * 2)


def test_lanes_share_out_the_threads_and_give_them_back(four_threads):
    used: dict[int, int] = {}
    barrier = threading.Barrier(2, timeout=30)

    def forward(part):
        used[threading.get_ident()] = torch.get_num_threads()
        barrier.wait()  # both at once, or not at all
        return torch.zeros(len(part), 1)

    Lanes().batches(np.zeros((2 * LEAST, 1), np.uint8), forward)

    assert list(used.values()) == [2, 2]
    assert torch.get_num_threads() == 4
    begun_with: list[int] = []
    thread = threading.Thread(target=lambda: begun_with.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert begun_with == [4]


def test_what_a_lane_raises_reaches_the_caller(four_threads):
    def forward(part):
        raise ValueError(f"{len(part)} pictures")

    with pytest.raises(ValueError, match=f"{LEAST} pictures"):
        Lanes().batches(np.zeros((2 * LEAST, 1), np.uint8), forward)
    assert torch.get_num_threads() == 4
