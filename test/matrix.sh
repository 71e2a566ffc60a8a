#!/usr/bin/env bash
#
# test/matrix.sh: "make test-matrix".
#
# Runs test/run.sh against the newer PostgreSQL versions of newer Debian
# releases, each in a root directory of its own made by debootstrap from the
# mirror that apt uses here.  Finished roots are kept for the next run.  The
# last line is "N passed, N failed", the sum over all releases.
#
#	METER_MATRIX		releases, newest last (trixie forky)
#	METER_MATRIX_DIR	where the roots are kept (/var/cache/meter-matrix)
#	METER_MATRIX_MIRROR	another mirror than apt's
#	STAGES, T			as for test/run.sh (here without static)

# shellcheck source=test/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

suites=${METER_MATRIX:-trixie forky}
cache=${METER_MATRIX_DIR:-/var/cache/meter-matrix}
stages=${STAGES:-regress unit isolation tap}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
passed=0
failed=0

# --- inside: in a mount and process namespace of its own ----------------------

# What is mounted and started here ends with the namespace, however we end.
if [ "${1:-}" = --inside ]; then
	root=$2
	shift 2
	mount -t proc proc "$root/proc"
	mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
	for device in null zero full random urandom; do
		if [ ! -c "$root/dev/$device" ]; then
			: >"$root/dev/$device"
			mount --bind "/dev/$device" "$root/dev/$device"
		fi
	done
	trap - EXIT			# remove_log is the outer script's
	rm -f "$install_log"
	exec chroot "$root" "$@"
fi

# --- the roots ----------------------------------------------------------------

choose_mirror()
{
	local codename

	mirror=${METER_MATRIX_MIRROR:-}
	if [ -z "$mirror" ]; then
		codename=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
		# several lines, if there are several mirrors: the first will do
		# shellcheck disable=SC2016		# apt's variables, not the shell's
		mirror=$(apt-get indextargets --format '$(SITE) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
			awk -v release="$codename" '($2 == release || $2 == "stable") && $3 == "main" && !m { m = $1 }
				END { print m }')
	fi
	[ -n "$mirror" ] || die "apt has no Debian mirror here; set METER_MATRIX_MIRROR"
}

# Sets major to the PostgreSQL version of a release, by asking the mirror with
# an apt whose state is all its own.
release_major()
{
	local state options

	state=$(mktemp -d)
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	say "deb [signed-by=$keyring] $mirror $1 main" >"$state/sources.list"
	options=(-o Dir::State::Lists="$state/lists" -o Dir::Cache="$state/cache"
		-o Dir::Etc::SourceList="$state/sources.list" -o Dir::Etc::SourceParts=/dev/null
		-o Acquire::Languages=none -o APT::Sandbox::User=root)
	apt-get -qq "${options[@]}" update >"$install_log" 2>&1 || true
	major=$(distribution_major "${options[@]}")
	rm -rf "$state"
	[ -n "$major" ] || { cat "$install_log" >&2; return 1; }
}

# Sets root to the finished root of a release, and major to its PostgreSQL.
# The mark in a finished root tells what it was made of.
prepare_root()
{
	local suite=$1 script mark include

	root=$cache/$suite
	mark="$mirror $(packages test NN | xargs)"
	if [ "$(head -n 1 "$root/meter-matrix" 2>/dev/null)" = "$mark" ]; then
		major=$(tail -n 1 "$root/meter-matrix")
		return
	fi

	rm -rf --one-file-system "$root"
	release_major "$suite" || return 1
	say "$suite: making a root with PostgreSQL $major in $root"
	include=$(packages test "$major" | xargs | tr ' ' ,)
	# a release newer than debootstrap is made as sid is
	script=/usr/share/debootstrap/scripts/$suite
	[ -e "$script" ] || script=/usr/share/debootstrap/scripts/sid
	if ! debootstrap --variant=minbase --keyring="$keyring" --include="$include" \
		"$suite" "$root" "$mirror" "$script" >"$install_log" 2>&1
	then
		tail -n 20 "$install_log" >&2
		[ ! -e "$root/debootstrap/debootstrap.log" ] ||
			tail -n 20 "$root/debootstrap/debootstrap.log" >&2
		rm -rf --one-file-system "$root"
		return 1
	fi
	rm -f "$root"/var/cache/apt/archives/*.deb
	printf '%s\n%s\n' "$mark" "$major" >"$root/meter-matrix"
}

# --- the tests ------------------------------------------------------------------

run_in_root()
{
	local root=$1 enter=(chroot "$1") conf=

	shift
	if unshare --mount --pid --fork true 2>/dev/null; then
		enter=(unshare --mount --pid --fork --kill-child bash "$top/test/matrix.sh" --inside "$root")
	else
		say "cannot mount anything here: no /proc and /dev/shm in $root, shared memory is mapped from files"
		conf='dynamic_shared_memory_type = mmap'
	fi
	"${enter[@]}" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb \
		CI=true STAGES="$stages" T="${T:-}" VECTORS="${VECTORS:-}" EXTRA_CONF="$conf" \
		METER_DATA="${data:+/tmp/meter-data}" bash /tmp/meter/test/run.sh
}

test_release()
{
	local suite=$1 start=$SECONDS log last status=0

	if ! prepare_root "$suite"; then
		say "not ok: $suite: its root could not be made"
		failed=$((failed + 1))
		return
	fi
	rm -rf "$root/tmp/meter" "$root/tmp/meter-data"
	copy_tree "$root/tmp/meter"
	[ -z "$data" ] || cp -r "$data" "$root/tmp/meter-data"

	log=$cache/$suite.log
	# indented, so that the only closing line is ours
	run_in_root "$root" </dev/null 2>&1 | tee "$log" | sed -u "s/^/$suite $major: /" || status=$?
	last=$(grep -E '^[0-9]+ passed, [0-9]+ failed$' "$log" | tail -n 1) || true
	if [[ $last =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed$ ]]; then
		passed=$((passed + BASH_REMATCH[1]))
		failed=$((failed + BASH_REMATCH[2]))
		[ "$status" -eq 0 ] || [ "${BASH_REMATCH[2]}" -gt 0 ] || failed=$((failed + 1))
	else
		failed=$((failed + 1))
	fi
	say "$suite: PostgreSQL $major, $((SECONDS - start)) s"
}

# --- the run --------------------------------------------------------------------

# chroot needs root; what the caller has set is passed on by name
if ! is_root; then
	command -v sudo >/dev/null || die "not root and no sudo"
	exec sudo --preserve-env=METER_MATRIX,METER_MATRIX_DIR,METER_MATRIX_MIRROR,STAGES,T,VECTORS,METER_DATA \
		bash "$top/test/matrix.sh"
fi

install_missing debootstrap debian-archive-keyring
choose_mirror
run_user=root		# owner of the copies, until run.sh chooses another
data=${METER_DATA:-}
if [ -z "$data" ] && [ -d "$top/../shared/data" ]; then
	data=$(cd "$top/../shared/data" && pwd -P)
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock -n 9 || { say "waiting for another test-matrix to end"; flock 9; }

for suite in $suites; do
	test_release "$suite"
done

say ""
say "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
