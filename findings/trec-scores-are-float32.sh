#!/bin/bash
# trec_eval (and so pytrec_eval and ir-measures) keeps a run's scores as C floats.
# One would guess: a run whose scores descend, as doubles and as they are written, is evaluated in that order; the rank
# column says it too.
# True: scores that are one float32 tie, whatever the rank column says, and ties go by the document's name, DESCENDING.
# So a target at rank 1 by 1e-9 is found at rank 2 if its name comes first in the alphabet, and at 1 if it comes last.
# Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "ir_measures==0.4.3" "pytrec-eval-terrier==0.5.11"
cat > "$work/run.txt" <<'RUN'
q1 Q0 a 1 0.612345679 run
q1 Q0 b 2 0.612345678 run
q2 Q0 z 1 0.612345679 run
q2 Q0 b 2 0.612345678 run
q3 Q0 a 1 0.6123457 run
q3 Q0 b 2 0.6123456 run
RUN
printf 'q1 0 a 1\nq2 0 z 1\nq3 0 a 1\n' > "$work/qrels.txt"
"$work/venv/bin/python" - "$work/qrels.txt" "$work/run.txt" <<'PY'
import sys
from importlib.metadata import version

import ir_measures

found = {
    one.query_id: one.value
    for one in ir_measures.iter_calc(
        [ir_measures.RR], list(ir_measures.read_trec_qrels(sys.argv[1])), list(ir_measures.read_trec_run(sys.argv[2]))
    )
}
print(f"ir_measures {version('ir_measures')}, pytrec_eval {version('pytrec-eval-terrier')}")
print(f"the target leads by 1e-9, and is named a: RR {found['q1']}; named z: RR {found['q2']}; by 1e-7, named a: {found['q3']}")
sys.exit(0 if found == {"q1": 0.5, "q2": 1.0, "q3": 1.0} else 1)
PY
