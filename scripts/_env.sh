# Sourced by the other scripts from the top of the checkout: the virtual environment in .venv.
#
#   make_environment         what streamlb needs
#   make_environment dev     and what its tests and checks need
#
# A stamp remembers what was installed, so that a second start installs nothing.

say() { printf '%s\n' "$*" >&2; }

fail() { say "error: $*"; exit 1; }

find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
    done
    fail "streamlb needs Python 3.11 or newer, and there is none here. On Debian 12 or newer: apt-get install python3 python3-venv"
}

make_environment() {
    local extra=${1:-} stamp python
    stamp=".venv/.streamlb${extra:+-$extra}"
    _is_stamped "$stamp" && return
    [ -z "$extra" ] && _is_stamped .venv/.streamlb-dev && return

    if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$(find_python) || exit 1
        say "making .venv with $("$python" --version)"
        rm -rf .venv
        "$python" -m venv .venv || { rm -rf .venv; fail "cannot make .venv. On Debian: apt-get install python3-venv"; }
    fi
    say "installing streamlb${extra:+ with extra '$extra'} into .venv (once)"
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".${extra:+[$extra]}" ||
        fail "pip could not install streamlb; its reasons are above"
    _stamp >"$stamp"
}

_is_stamped() { [ "$(_stamp)" = "$(cat "$1" 2>/dev/null)" ]; }

# What an installation depends on: the project's needs, and where it lies (it is installed as editable).
_stamp() { { pwd; cat pyproject.toml; } | cksum; }
