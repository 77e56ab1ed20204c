"""`make soak ARGS="--minutes 30"`: mixed load over the real parts, and each fault in turn, round after round.

After each fault every route must answer as before, and no process may have kept what it took: memory, threads,
descriptors. Nothing may ever answer 500, and health must answer all the time. What each phase brought is a line of
.torture/soak.jsonl as soon as it ends, the parts' logs are beside it, and at the end there are two tables. The exit
status is 1 where something did not hold.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.torture.arena import ROOT
from tests.torture.soak.asking import V1, Asker
from tests.torture.soak.faults import FAULTS, Fault, unread_answers
from tests.torture.soak.footprints import Footprint, footprints, grown, strays
from tests.torture.soak.load import Load, dialogue
from tests.torture.soak.report import print_summary
from tests.torture.soak.routes import answers, as_before
from tests.torture.soak.stage import INDEX, PARTS, Stage, on_stage

RESULTS = ROOT / ".torture" / "soak.jsonl"
WARM_UP_SECONDS, REST_SECONDS, BACK_SECONDS, QUIET_SECONDS = 20.0, 3.0, 60.0, 90.0
_BURST = 48
HEALTH_SECONDS = 5.0  # within which health answers, whatever happens


class Soak:
    """Phase after phase, each a line of the results.

    Attributes:
        phases: what each brought; see `_phase`.
        before: what the parts took after the warm-up, at rest.
    """

    def __init__(self, stage: Stage, load: Load) -> None:
        self.stage, self.load = stage, load
        self.phases: list[dict[str, Any]] = []
        self.before: dict[str, Footprint] = {}
        self.routes: dict[str, str] = {}
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text("")

    def warm_up(self) -> None:
        """Every route, every kind of load, a burst that fills the threads, and the largest answers."""
        answers(self.stage)
        told = self.load.phase(calm=False)
        self.load.start()
        with self.stage.proxy.spoiling("slow"), ThreadPoolExecutor(_BURST) as burst:
            list(burst.map(self._search, range(_BURST)))
        unread_answers(self.stage, 3.0)
        time.sleep(WARM_UP_SECONDS)
        self.load.pause(QUIET_SECONDS)
        self.routes = answers(self.stage)
        self.before = footprints(self.stage)
        self._phase("warm-up", told.summary(), [], footprints={part: asdict(one) for part, one in self.before.items()})

    def fault(self, name: str, fault: Fault, seconds: float) -> None:
        ended = len(self.stage.ended)
        self.load.resume()
        calm = self.load.phase(calm=True)
        time.sleep(REST_SECONDS)
        quiet = calm.summary()
        told = self.load.phase(calm=False, breaking=fault.breaking)
        fault.happen(self.stage, seconds)
        at_rest = self.load.pause(QUIET_SECONDS)
        summary = told.summary()
        took, other = as_before(self.stage, self.routes, BACK_SECONDS)
        after = footprints(self.stage)
        if other:
            self.stage.begin_anew()
        problems = [f"before the fault: {wrong}" for wrong in quiet["wrong"]]
        problems += [f"{wrong} ({count} times)" for wrong, count in summary["wrong"].items()]
        problems += [] if fault.breaking else _unhealthy(summary)
        problems += [] if at_rest else [f"requests were under way {QUIET_SECONDS:g} s after the fault"]
        problems += [f"not as before after {took:g} s: {route}" for route in other]
        problems += grown(self.before, after) + strays(self.stage) + self.stage.ended[ended:]
        self._phase(name, summary, problems, back=took, footprints={part: asdict(one) for part, one in after.items()})

    def end(self) -> None:
        """All that was asked for is done."""
        asker = Asker(self.stage)
        deadline = time.monotonic() + QUIET_SECONDS
        while (running := asker.ask("ingest", "GET", f"{V1}/jobs?running=true").value.get("jobs")) != []:
            if time.monotonic() > deadline:
                break
            time.sleep(1.0)
        asker.close()
        told = self.load.phase(calm=True).summary()
        took, other = as_before(self.stage, self.routes, BACK_SECONDS)
        after = footprints(self.stage)
        problems = [f"a job did not end: {json.dumps(job)[:300]}" for job in running or []]
        problems += [f"not as before: {route}" for route in other] + grown(self.before, after) + strays(self.stage)
        self._phase("the end", told, problems, back=took, footprints={part: asdict(one) for part, one in after.items()})

    def _search(self, number: int) -> None:
        asker = Asker(self.stage)
        asker.ask("query", "POST", f"{V1}/search", json={"index": INDEX, "dialogue": dialogue(number)})
        asker.ask("ingest", "GET", f"{V1}/jobs?limit=1")
        asker.close()

    def _phase(self, name: str, told: dict[str, Any], problems: list[str], **more: Any) -> None:
        entry = {"phase": name, "at": time.strftime("%H:%M:%S"), **told, **more, "problems": problems}
        self.phases.append(entry)
        with RESULTS.open("a") as results:
            results.write(json.dumps(entry) + "\n")
        print(f"{entry['at']} {name}: {len(problems)} problems", flush=True)
        for problem in problems[:8]:
            print(f"    {problem[:200]}", flush=True)


def _unhealthy(summary: dict[str, Any]) -> list[str]:
    return [
        f"health of {service}: {about['max']:g} s"
        for service, about in summary["health"].items()
        if about["max"] > HEALTH_SECONDS
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=30, help="after the warm-up; the fault under way is finished")
    parser.add_argument("--seconds", type=float, default=8, help="of each fault")
    parser.add_argument("--faults", default="", help="some of them, with commas: " + ", ".join(FAULTS))
    given = parser.parse_args()
    chosen = [name.strip() for name in given.faults.split(",") if name.strip()] or list(FAULTS)
    if unknown := [name for name in chosen if name not in FAULTS]:
        parser.error(f"there is no fault {unknown[0]!r}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("It was asked to end."))  # with all that it started
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    folder.chmod(0o755)
    try:
        with on_stage(folder / "stage") as stage:
            return soak(stage, chosen, given.minutes, given.seconds)
    finally:
        for part in PARTS:
            if (log := folder / "stage" / f"{part}.log").exists():
                shutil.copy(log, RESULTS.with_name(f"soak-{part}.log"))
        shutil.rmtree(folder)


def soak(stage: Stage, chosen: list[str], minutes: float, seconds: float) -> int:
    load = Load(stage)
    soaked = Soak(stage, load)
    try:
        soaked.warm_up()
        ended = time.monotonic() + minutes * 60
        while time.monotonic() < ended:
            for name in chosen:
                soaked.fault(name, FAULTS[name], seconds)
                if time.monotonic() > ended:
                    break
        soaked.end()
    finally:
        load.close()
    return print_summary(soaked.phases)


if __name__ == "__main__":
    sys.exit(main())
