#!/bin/bash
# Runs scripts of cases: each prints one line and exits 0 if the product is right. Their right values are tests of the
# project; this runs the scripts themselves, where somebody has them.
#
#   tests/cases.sh FOLDER [WORD]      WORD: only the scripts whose path has it
#
# A local OpenSearch is started for all of them. Exits 1 if a script fails, 2 if there is none.
set -u
here=$(cd "$(dirname "$0")/.." && pwd)
folder=$(cd "${1:?a folder of cases}" && pwd) || exit 2
bin=$here/.venv/bin
work=$(mktemp -d)
node=
trap '[ -z "$node" ] || { kill "$node"; wait "$node" 2>/dev/null; }; rm -rf "$work"' EXIT

# Scripts may name modules where an earlier layout had them.
cp -r "$folder" "$work/cases" && chmod -R u+w "$work/cases"
find "$work/cases" -name '*.sh' -exec sed -i \
  -e 's/dar_search\.models\.instructions/dar_search.models.reformulators.instructions/g' \
  -e 's/dar_search\.questions/dar_search.method.questions/g' {} +
folder=$work/cases

mapfile -t scripts < <(cd "$folder" && find . -name '[0-9]*.sh' | grep -- "${2:-}" | sort)
((${#scripts[@]})) || { echo "No script below $folder." >&2; exit 2; }

# The scripts were written when the demo's encoder was what is taken where none is named.
export DAR=$bin/dar DAR_BIN=$bin DAR_PYTHON=$bin/python OMP_NUM_THREADS=1 DAR_ENCODER=demo DAR_MODEL_PROCESS__WARM_MINUTES=0
if printf '%s\n' "${scripts[@]}" | grep -q '^./search/'; then
  "$bin/dar" dev opensearch --port 0 --json > "$work/node.json" 2> "$work/node.log" &
  node=$!
  for _ in $(seq 300); do [ -s "$work/node.json" ] && break; kill -0 "$node" 2>/dev/null || break; sleep 1; done
  OPENSEARCH_URL=$("$bin/python" -c 'import json, sys; print(json.load(sys.stdin)["urls"][0])' < "$work/node.json") || {
    cat "$work/node.log" >&2
    exit 2
  }
fi

passed=0 failed=0
for script in "${scripts[@]}"; do
  # Only the cases that ask for a cluster are told of one: a store named in the environment would be everybody's.
  cluster=()
  [[ $script != ./search/* ]] || cluster=(OS_URL="$OPENSEARCH_URL" OPENSEARCH_URL="$OPENSEARCH_URL")
  said=$(env "${cluster[@]}" timeout 400 bash "$folder/$script" 2>&1 < /dev/null)
  status=$?
  if ((status == 0)); then
    passed=$((passed + 1))
    echo "right  $script"
  else
    failed=$((failed + 1))
    echo "WRONG  $script (exit status $status)"
    printf '%s\n' "$said" | tail -3 | cut -c1-400 | sed 's/^/         /'
  fi
done
echo "$passed passed, $failed failed"
((failed == 0))
