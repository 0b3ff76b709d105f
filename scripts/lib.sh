# Shared by the scripts beside it; sourced, not run.

started=$SECONDS
skipped_list=()

# section NAME: what comes next, and how long everything took so far.
section() {
  printf '\n==== %s (after %d s) ====\n' "$*" "$((SECONDS - started))"
}

say() {
  printf '%s\n' "$*"
}

# skipped WHAT: said here and again at the end.
skipped() {
  skipped_list+=("$*")
  printf 'SKIPPED: %s\n' "$*"
}

# need PROGRAM PACKAGE: the program, from the package where it is missing.
need() {
  local program=$1 package=$2
  if ! command -v "$program" >/dev/null; then
    say "$program is missing: installing $package"
    apt_install "$package"
  fi
  say "$program: $(command -v "$program")"
}

# apt_install PACKAGE…
apt_install() {
  if ! command -v apt-get >/dev/null; then
    say "install $* and run this again" >&2
    return 1
  fi
  local as_root=()
  [ "$(id -u)" -eq 0 ] || as_root=(sudo)
  "${as_root[@]}" apt-get update -qq
  # The packages' own services are not to be started.
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

finish() {
  local what
  for what in ${skipped_list[@]+"${skipped_list[@]}"}; do
    printf 'SKIPPED: %s\n' "$what"
  done
  printf '\nall passed in %d s\n' "$((SECONDS - started))"
}
