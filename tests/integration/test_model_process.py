"""The model process under load and in trouble: every call ends in an answer or a typed error, in time."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from dar_search.errors import (
    DarError,
    ModelBusy,
    ModelFailed,
    ModelOutOfMemory,
    ModelTimeout,
    WeightsMissing,
)
from dar_search.models.process.supervisor import Limits, ModelProcess
from tests.shortages import held_by, no_descriptors

FACTORY = "tests.hosted_trouble:load"


@pytest.fixture(autouse=True)
def tests_are_importable_in_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2]))


@pytest.fixture
def process() -> Iterator[ModelProcess]:
    with ModelProcess(FACTORY, {}, Limits(batch_s=0.6, start_s=30, memory_bytes=200 << 20)) as process:
        process.warm_up()
        yield process


def test_results_come_back_in_order(process: ModelProcess) -> None:
    assert list(process.call("double", [1, 2, 3])) == [2, 4, 6]


def test_concurrent_calls_form_batches_and_a_lone_call_does_not_wait_for_company(process: ModelProcess) -> None:
    assert list(process.call("batch_size", [0])) == [1]
    with ThreadPoolExecutor(16) as pool:
        sizes = [result[0] for result in pool.map(lambda n: process.call("batch_size", [n]), range(32))]
    assert max(sizes) >= 8
    assert max(sizes) <= process.limits.batch_items


def test_calls_with_other_options_never_share_a_batch(process: ModelProcess) -> None:
    with ThreadPoolExecutor(8) as pool:
        held = pool.submit(process.call, "double", [0], options=(0.2,))
        pending = [process.submit("batch_size", [n], options=(n % 2,)) for n in range(8)]
        assert max(size for one in pending for size in one.outcome()) <= 4
        assert list(held.result()) == [0]


def test_the_same_request_is_done_once_and_shared(process: ModelProcess) -> None:
    held = process.submit("double", [0], options=(0.2,))
    pending = [process.submit("batch_size", [5], key="same") for _ in range(10)]
    assert [list(one.outcome()) for one in pending] == [[1]] * 10
    assert list(held.outcome()) == [0]


def test_a_call_returns_at_its_own_deadline_although_it_shares_a_ticket_with_a_patient_one(
    process: ModelProcess,
) -> None:
    patient = process.submit("double", [1], options=(0.4,), key="slow", timeout=5)
    begun = time.monotonic()
    with pytest.raises(ModelTimeout):
        process.call("double", [1], options=(0.4,), key="slow", timeout=0.05)
    assert time.monotonic() - begun < 0.3
    assert list(patient.outcome()) == [2]


def test_a_full_queue_refuses_at_once(process: ModelProcess) -> None:
    with ModelProcess(FACTORY, {}, Limits(waiting=2, batch_items=1)) as small:
        small.warm_up()
        held = small.submit("double", [0], options=(0.3,))
        accepted, refused = [], 0
        for number in range(8):
            try:
                accepted.append(small.submit("double", [number]))
            except ModelBusy:
                refused += 1
        assert refused >= 5
        assert list(held.outcome()) == [0]
        assert all(one.outcome() for one in accepted)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        ("hang", ModelTimeout),
        ("die", ModelFailed),
        ("memory_error", ModelOutOfMemory),
        ("raise", ModelFailed),
        ("too_few", ModelFailed),
    ],
)
def test_trouble_ends_in_a_typed_error_and_the_next_call_is_served(
    process: ModelProcess, what: str, error: type[DarError]
) -> None:
    with pytest.raises(error):
        process.call("trouble", [(what, 1)], timeout=20)
    assert list(process.call("trouble", [("", 4)], timeout=20)) == [8]


def test_a_batch_that_takes_too_much_memory_is_ended_before_the_machine_suffers() -> None:
    with ModelProcess(FACTORY, {}, Limits(batch_s=30, start_s=30, memory_bytes=200 << 20)) as process:
        with pytest.raises(ModelOutOfMemory):
            process.call("trouble", [("hog", 1)], timeout=60)
        assert list(process.call("trouble", [("", 4)], timeout=60)) == [8]


@pytest.mark.parametrize("what", ["raise", "die", "hang", "memory_error"])
def test_one_bad_request_does_not_take_its_batch_down(process: ModelProcess, what: str) -> None:
    held = process.submit("double", [0], options=(0.2,))
    good = [process.submit("trouble", [("", n)], timeout=30) for n in range(3)]
    bad = process.submit("trouble", [(what, 9)], timeout=30)
    good += [process.submit("trouble", [("", n)], timeout=30) for n in range(3, 6)]
    assert [list(one.outcome()) for one in good] == [[2 * n] for n in range(6)]
    with pytest.raises(DarError):
        bad.outcome()
    assert list(held.outcome()) == [0]


def test_out_of_memory_on_a_batch_is_answered_by_smaller_ones(process: ModelProcess) -> None:
    held = process.submit("double", [0], options=(0.2,))
    pending = [process.submit("trouble", [("memory_error_in_batch", n)]) for n in range(7)]
    assert [list(one.outcome()) for one in pending] == [[2 * n] for n in range(7)]
    assert list(held.outcome()) == [0]


def test_a_model_that_cannot_load_says_why_to_every_caller_and_is_not_loaded_in_a_loop() -> None:
    with ModelProcess(FACTORY, {"fail": "weights"}, Limits(start_s=30)) as process:
        for _ in range(3):
            with pytest.raises(WeightsMissing, match="dar models fetch tiny"):
                process.call("double", [1], timeout=30)
        assert process.health().state == "broken"
        assert process.health().restarts <= 1


def test_a_process_that_dies_or_stalls_while_loading_is_a_typed_error() -> None:
    with ModelProcess(FACTORY, {"fail": "die"}, Limits(start_s=30)) as process, pytest.raises(ModelFailed, match="7"):
        process.warm_up()
    with ModelProcess(FACTORY, {"load_s": 60}, Limits(start_s=0.3)) as process, pytest.raises(ModelTimeout):
        process.warm_up(timeout=30)


def test_a_process_killed_while_loading_is_started_again() -> None:
    with ModelProcess(FACTORY, {"load_s": 0.5}, Limits(start_s=30)) as process:
        pending = process.submit("double", [4], timeout=30)
        while process.health().pid is None:
            threading.Event().wait(0.005)
        psutil.Process(process.health().pid).kill()
        assert list(pending.outcome()) == [8]
        assert process.health().restarts == 1


def test_health_names_the_state_and_counts_restarts(process: ModelProcess) -> None:
    before = process.health()
    assert before.state == "ready"
    assert before.restarts == 0
    assert before.pid is not None
    assert before.resident_bytes > 1 << 20
    psutil.Process(before.pid).kill()
    assert list(process.call("double", [1], timeout=20)) == [2]
    assert process.health().restarts == 1


def test_close_lets_the_batch_in_hand_end_and_refuses_what_comes_later(process: ModelProcess) -> None:
    held = process.submit("double", [3], options=(0.3,))
    while process.health().state != "busy":
        threading.Event().wait(0.005)
    pid = process.health().pid
    process.close()
    assert list(held.outcome()) == [6]
    assert pid is not None
    assert not psutil.pid_exists(pid)
    with pytest.raises(ModelFailed, match="shut down"):
        process.call("double", [1])


def test_the_process_ends_with_its_parent_even_in_a_hang(tmp_path: Path) -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent(f"""
                from dar_search.models.process.supervisor import Limits, ModelProcess
                process = ModelProcess({FACTORY!r}, {{}}, Limits(batch_s=600))
                process.warm_up()
                process.submit("trouble", [("hang", 1)])
                print(process.health().pid, flush=True)
                input()
            """),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert parent.stdout is not None
    assert parent.stdin is not None
    worker = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.wait()
    parent.stdin.close()
    parent.stdout.close()
    gone, alive = psutil.wait_procs([worker], timeout=10)
    assert gone
    assert not alive


# 500 with DAR_TORTURE=1 (make torture); else fewer, in the same proportions.
TORTURE = 500 if os.environ.get("DAR_TORTURE") == "1" else 150
TROUBLES = {"": 438, "raise": 20, "memory_error": 15, "memory_error_in_batch": 20, "hog": 2, "die": 3, "hang": 2}


def test_requests_of_16_threads_with_kills_hangs_and_memory_trouble_all_end_in_time_and_leave_nothing() -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}, {TORTURE} requests")
    rng = random.Random(seed)
    kinds = [kind for kind, of_500 in TROUBLES.items() for _ in range(max(1, of_500 * TORTURE // 500))]
    rng.shuffle(kinds)
    deadlines = [rng.choice([0.3, 1.0, 5.0]) for _ in kinds]
    outcomes: Counter[str] = Counter()
    late: list[float] = []
    grown: list[int] = []
    this = psutil.Process()
    limits = Limits(batch_s=0.5, start_s=30, memory_bytes=200 << 20)
    with ModelProcess(FACTORY, {}, limits) as process:
        process.warm_up()
        fresh = process.health().resident_bytes
        stop = threading.Event()

        def kill_at_random() -> None:
            while not stop.wait(rng.uniform(0.3, 1.0)):
                health = process.health()
                if health.state in {"ready", "busy"} and health.pid is not None:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        psutil.Process(health.pid).kill()

        def one(number: int) -> None:
            begun = time.monotonic()
            try:
                (result,) = process.call("trouble", [(kinds[number], number)], timeout=deadlines[number])
                assert result == 2 * number
                outcome = "answered"
            except DarError as error:
                outcome = error.code
            over = time.monotonic() - begun - deadlines[number]
            if over > 0.2:
                late.append(over)
            outcomes[outcome] += 1
            if number % 10 == 9:
                grown.append(this.memory_info().rss)

        killer = threading.Thread(target=kill_at_random)
        killer.start()
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(one, range(len(kinds))))
        stop.set()
        killer.join()
        assert list(process.call("double", [21], timeout=30)) == [42]
        worker_grew = process.health().resident_bytes - fresh
        restarts = process.health().restarts
    # After the first fifth, what the threads and libraries need once is there.
    supervisor_grew = max(grown) - max(grown[: len(grown) // 5])
    print(dict(outcomes), f"{restarts} restarts, grew by {supervisor_grew >> 10} and {worker_grew >> 10} KiB")
    assert sum(outcomes.values()) == len(kinds)
    assert not late
    assert outcomes["answered"] > TORTURE // 3
    assert restarts >= (5 if len(kinds) >= 500 else 1)
    assert set(outcomes) <= {"answered", "model_failed", "model_timeout", "model_out_of_memory", "model_busy"}
    assert supervisor_grew < 10 << 20
    assert worker_grew < 20 << 20
    assert not [child for child in this.children(recursive=True) if child.status() == psutil.STATUS_ZOMBIE]
    assert not [thread for thread in threading.enumerate() if thread.name == "model-process"]


def test_a_worker_that_grew_over_its_limit_is_replaced_between_batches_and_nobody_gets_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # No look at the memory while the batch runs: it is over before the first.
    monkeypatch.setattr("dar_search.models.process.child.POLL_S", 20.0)
    with ModelProcess(FACTORY, {}, Limits(batch_s=10, start_s=30, memory_bytes=200 << 20)) as process:
        process.warm_up()
        before = process.health().pid
        assert list(process.call("grow", [300], timeout=30)) == [300]
        assert list(process.call("double", [1], timeout=30)) == [2]
        assert process.health().pid != before
        assert process.health().resident_bytes < 200 << 20
        assert process.health().last_error == ""


def test_a_process_that_died_idle_is_there_again_before_anybody_calls(process: ModelProcess) -> None:
    before = process.health().pid
    assert before is not None
    psutil.Process(before).kill()
    limit = time.monotonic() + 30
    while process.health().pid in (None, before) or process.health().state != "ready":
        assert time.monotonic() < limit
        threading.Event().wait(0.01)
    assert list(process.call("double", [1], timeout=20)) == [2]
    assert process.health().restarts == 1


def test_a_request_counts_what_it_costs_and_a_batch_holds_no_more_than_there_is_room_for(
    process: ModelProcess,
) -> None:
    held = process.submit("double", [0], options=(0.2,))
    costly = [process.submit("batch_size", [n], cost=3, room=6) for n in range(6)]
    assert [list(one.outcome()) for one in costly] == [[2]] * 6
    assert list(held.outcome()) == [0]


def test_a_process_that_dies_while_there_are_no_descriptors_is_back_after_it(process: ModelProcess) -> None:
    before = held_by()
    pid = process.health().pid
    assert pid is not None
    with no_descriptors():
        os.kill(pid, signal.SIGKILL)
        for _ in range(3):  # the first may still meet the dying process
            with pytest.raises(ModelFailed):
                process.call("double", [1], timeout=20)
        assert process.health().state == "broken"
        assert "Too many open files" in process.health().last_error
    limit = time.monotonic() + 30
    while process.health().state != "ready":
        assert time.monotonic() < limit, "nobody calls, and it is not there again"
        threading.Event().wait(0.01)
    assert list(process.call("double", [1], timeout=20)) == [2]
    assert held_by() == before


def test_a_process_that_cannot_be_started_is_a_typed_error_and_starts_later() -> None:
    with ModelProcess(FACTORY, {}, Limits(start_s=30)) as process:
        with no_descriptors(), pytest.raises(ModelFailed, match="Too many open files"):
            process.warm_up()
        limit = time.monotonic() + 30
        while process.health().state != "ready":
            assert time.monotonic() < limit
            with contextlib.suppress(ModelFailed):
                process.warm_up()
