#!/bin/bash
# pathspec 1.1.1, GitIgnoreSpec ("replicates .gitignore behavior").
#
# One would guess: a pattern that git takes, such as "[[:alpha:]]*.jpg", fits here what it fits for git, or is refused.
# True: it is taken without an error and fits something else. The class's name ends the brackets early, so that
# [[:digit:]] stands for one of ":digt[" with a "]" after it; "x[[:digit:]].png" fits "x:].png" and not "x1.png".
#
# Needs git, and python3 with venv. Exits 0 while this is so.
set -u
T=$(mktemp -d); trap 'rm -rf "$T"' EXIT; cd "$T" || exit 2
command -v git > /dev/null || { echo "git is not installed"; exit 2; }
python3 -m venv venv && venv/bin/pip install --quiet pathspec==1.1.1 || exit 2
git init --quiet repository && echo 'x[[:digit:]].png' > repository/.gitignore
cat > match.py <<'PY'
import sys, warnings
import pathspec
warnings.simplefilter("ignore")  # re's, about what the pattern may once mean
spec = pathspec.GitIgnoreSpec.from_lines(["x[[:digit:]].png"])
print("ignored" if spec.match_file(sys.argv[1]) else "kept")
PY
by_git() { git -C repository check-ignore --quiet "$1" && echo ignored || echo kept; }
by_pathspec() { venv/bin/python match.py "$1"; }
venv/bin/python -c 'import importlib.metadata as m; print("pathspec", m.version("pathspec"))'; git --version
digit="$(by_git x1.png) $(by_pathspec x1.png)"; other="$(by_git 'x:].png') $(by_pathspec 'x:].png')"
echo "x[[:digit:]].png, git and pathspec: x1.png $digit, x:].png $other"
[ "$digit" = "ignored kept" ] && [ "$other" = "kept ignored" ]
