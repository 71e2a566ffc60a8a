# shellcheck shell=bash
#
# test/env.sh: the development environment, in one place.
#
# To be sourced by scripts that need a PostgreSQL to build for, to install into
# or to run (test/run.sh, test/matrix.sh, examples/demo/run.sh).  It knows
# which Debian packages that takes, which PostgreSQL is meant, and how to run a
# throw-away server, also for root, as which PostgreSQL refuses to run.  It
# touches no server that it has not started itself.
#
#	install_packages demo|test	install what is missing for these
#	install_missing PACKAGE...	install those that are missing
#	unpacked VARIABLE PACKAGE PROGRAM	have a program without installing its package
#	install_optional PACKAGE...	install them, or return that they cannot be had
#	choose_server				set PG_CONFIG, bindir, pgxs_src
#	choose_user					set run_user: who runs servers
#	build_and_install			make, make install
#	make_work					set work: a temporary directory of run_user
#	as_user COMMAND...			run it as run_user
#	as_root COMMAND...			run it as root
#	copy_tree DIRECTORY			copy the checkout without what was built
#	start_server DIRECTORY		initdb and start; settings from stdin; sets port
#	stop_servers DIRECTORY		stop all servers whose data is below it
#	run_doc PAGE...				run the examples of pages below here; DOC_UPDATE=1: rewrite them
#	at_exit FUNCTION			call it when the script ends, however it ends

set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
# shellcheck disable=SC2034		# for the scripts that read this
caller_dir=$PWD
cd /		# where every user may be
export LC_ALL=C.UTF-8

# The caller's connection settings must not lead to the caller's server.
unset PGHOST PGHOSTADDR PGPORT PGDATABASE PGUSER PGPASSWORD PGPASSFILE PGSERVICE \
	PGSERVICEFILE PGOPTIONS PGDATA PGTZ PGDATESTYLE PGCLIENTENCODING PSQLRC || true

say()
{
	printf '%s\n' "$*"
}

die()
{
	printf '%s: %s\n' "$(basename "$0")" "$*" >&2
	exit 1
}

# --- leaving ----------------------------------------------------------------

exit_functions=()

at_exit()
{
	exit_functions=("$1" ${exit_functions[@]+"${exit_functions[@]}"})
}

run_exit_functions()
{
	local status=$? f

	trap - EXIT
	trap '' INT TERM HUP		# let the clean-up finish
	for f in ${exit_functions[@]+"${exit_functions[@]}"}; do
		"$f" || true
	done
	exit "$status"
}

trap run_exit_functions EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# What noisy commands print, shown only when they fail.
install_log=$(mktemp)

remove_log()
{
	rm -f "$install_log"
}

at_exit remove_log

# --- who we are -------------------------------------------------------------

is_root()
{
	[ "$(id -u)" -eq 0 ]
}

as_root()
{
	if is_root; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root, and there is no sudo: $*"
	fi
}

# PostgreSQL refuses to run as root: then it runs as the user who called sudo,
# else as the user that Debian's package makes.
choose_user()
{
	if ! is_root; then
		run_user=$(id -un)
	elif [ "${SUDO_UID:-0}" -ne 0 ] && id -un "$SUDO_UID" >/dev/null 2>&1; then
		run_user=$(id -un "$SUDO_UID")
	elif id -u postgres >/dev/null 2>&1; then
		run_user=postgres
	else
		run_user=nobody
	fi
}

as_user()
{
	if [ "$run_user" = "$(id -un)" ]; then
		"$@"
	else
		# not su: no session, no shell, and the process ID is the command's
		setpriv --reuid="$(id -u "$run_user")" --regid="$(id -g "$run_user")" \
			--init-groups -- env HOME="${work:-/}" USER="$run_user" \
			LOGNAME="$run_user" "$@"
	fi
}

# --- packages ---------------------------------------------------------------

package_installed()
{
	[ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# packages demo|test MAJOR: the packages for one major version of PostgreSQL;
# without MAJOR, what is needed besides PostgreSQL.
packages()
{
	say gcc libc6-dev make
	[ "$1" = demo ] || say libcmocka-dev libipc-run-perl
	[ -z "$2" ] ||
		say "postgresql-$2" "postgresql-server-dev-$2" "postgresql-$2-cron" "postgresql-$2-hll"
}

# The major version that the package "postgresql" stands for; the arguments are
# options of apt-cache.
distribution_major()
{
	{ apt-cache "$@" show postgresql 2>/dev/null || true; } |
		sed -n 's/^Depends:.*postgresql-\([0-9][0-9]*\).*/\1/p' | sort -n | tail -n 1
}

# Sets major to the major version of Debian's packages to use: that of
# PG_CONFIG, else the newest with server headers, else the newest server, else
# the distribution's own.  Empty when PG_CONFIG is not Debian's.
choose_major()
{
	if [ -n "${PG_CONFIG:-}" ]; then
		major=$(sed -n 's,^/usr/lib/postgresql/\([0-9]*\)/bin/pg_config$,\1,p' <<<"$PG_CONFIG")
		return
	fi
	major=$(find /usr/include/postgresql/*/server/postgres.h \
		/usr/lib/postgresql/*/bin/postgres 2>/dev/null |
		sed -n 's,^/usr/include/postgresql/\([0-9]*\)/.*,1 \1,p
			s,^/usr/lib/postgresql/\([0-9]*\)/.*,0 \1,p' |
		sort -n -k1,1 -k2,2 | tail -n 1 | cut -d' ' -f2) || true
	if [ -z "$major" ]; then
		major=$(distribution_major --quiet)
		if [ -z "$major" ]; then
			can_install "postgresql and its server headers"
			apt_update
			major=$(distribution_major --quiet)
		fi
		[ -n "$major" ] || die "apt knows no package called postgresql"
	fi
}

can_install()
{
	command -v apt-get >/dev/null || die "there is no apt-get; please install: $*"
	is_root || command -v sudo >/dev/null ||
		die "not root and no sudo; please run as root: apt-get install $*"
}

# apt-get, its output in install_log; waits while another one holds a lock.
apt_get()
{
	local tries

	for ((tries = 0; tries < 60; tries++)); do
		if as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
			apt-get -q -y -o DPkg::Lock::Timeout=300 "$@" </dev/null >"$install_log" 2>&1
		then
			return 0
		fi
		grep -q 'Could not get lock' "$install_log" || return 1
		[ "$tries" -gt 0 ] || say "waiting for another apt-get to end"
		sleep 5
	done
	return 1
}

apt_updated=

apt_update()
{
	say "apt-get update"
	apt_get update || { cat "$install_log" >&2; die "apt-get update failed"; }
	apt_updated=1
}

# While a server package is installed, Debian must not create and start a
# cluster "main": nobody asked for one here.
no_main_cluster=/etc/postgresql-common/createcluster.d/meter.conf
made_dirs=()

forbid_main_cluster()
{
	local dir

	at_exit allow_main_cluster
	for dir in /etc/postgresql-common /etc/postgresql-common/createcluster.d; do
		[ -d "$dir" ] || { as_root mkdir "$dir"; made_dirs=("$dir" "${made_dirs[@]}"); }
	done
	say "create_main_cluster = false" | as_root tee "$no_main_cluster" >/dev/null
}

allow_main_cluster()
{
	[ -e "$no_main_cluster" ] || return 0
	as_root rm -f "$no_main_cluster"
	[ ${#made_dirs[@]} -eq 0 ] ||
		as_root rmdir --ignore-fail-on-non-empty "${made_dirs[@]}"
	made_dirs=()
}

install_packages()
{
	local wanted

	command -v dpkg-query >/dev/null || return 0
	choose_major
	read -r -d '' -a wanted <<<"$(packages "$1" "$major")" || true
	install_missing "${wanted[@]}"
}

# The package as apt-get should install it: server headers in the version of
# the server that is here, as newer ones would upgrade it.
as_wanted()
{
	local server=${1/-server-dev/} version

	if [ "$server" != "$1" ] && package_installed "$server"; then
		version=$(dpkg-query -W -f='${Version}' "$server")
		! apt-cache show "$1=$version" >/dev/null 2>&1 || set -- "$1=$version"
	fi
	say "$1"
}

# install_missing PACKAGE...: asks apt only if one is missing.
install_missing()
{
	local missing=() package install

	for package; do
		package_installed "$package" || missing+=("$(as_wanted "$package")")
	done
	[ ${#missing[@]} -gt 0 ] || return 0

	can_install "${missing[*]}"
	say "installing Debian packages: ${missing[*]}"
	install=(install --no-install-recommends --no-upgrade "${missing[@]}")
	if ! apt_get -s "${install[@]}"; then
		apt_update
		apt_get -s "${install[@]}" || { cat "$install_log" >&2; die "apt-get cannot install them"; }
	fi
	# "Inst name [old version] (new version ...)" is an upgrade, which is for the
	# owner of the machine to decide
	if [ -z "${CI:-}" ] &&
		grep -E '^(Inst postgresql-[0-9]+ \[|Remv postgresql)' "$install_log" >&2
	then
		die "that would change the PostgreSQL server that is here; please run: apt-get install ${missing[*]}"
	fi

	forbid_main_cluster
	if ! apt_get "${install[@]}"; then
		# the lists may name versions that the mirror no longer has
		[ -n "$apt_updated" ] || { apt_update; apt_get "${install[@]}"; } ||
			{ tail -n 30 "$install_log" >&2; die "apt-get failed"; }
	fi
	allow_main_cluster
}

# install_optional PACKAGE...: for what can be done without.  Not for packages of
# PostgreSQL, whose clusters install_missing looks after.  What cannot be had
# ends a subshell only.
install_optional()
{
	(can_install "$*"
		apt_get install --no-install-recommends --no-upgrade "$@" ||
			{ apt_update; apt_get install --no-install-recommends --no-upgrade "$@"; })
}

# download_package PACKAGE DIRECTORY: it and what it needs that is missing, as
# *.deb files
download_package()
{
	apt_get install --no-install-recommends --no-upgrade --download-only \
		-o Dir::Cache::archives="$2" "$1"
}

# unpacked VARIABLE PACKAGE PROGRAM: for programs whose packages must not be
# installed, as they would start a service or bring half a desktop.  Exports
# VARIABLE: the command it already names, else the program in the PATH, else the
# one at PROGRAM in the package, which is unpacked below $work together with the
# packages it needs that are missing.  It stays empty if that cannot be had.
unpacked()
{
	local -n found=$1
	local package=$2 program=$3 dir=$work/unpacked/$2 deb libraries

	export "${!found}"
	found=${found:-$(PATH=$PATH:/usr/sbin command -v "$(basename "$program")" || true)}
	[ -z "$found" ] || return 0
	if [ ! -d "$dir" ]; then
		mkdir -p "$dir/partial"
		# what ends the shell ends a subshell only
		if (can_install "$package"
			download_package "$package" "$dir" || { apt_update; download_package "$package" "$dir"; }); then
			for deb in "$dir"/*.deb; do
				dpkg-deb -x "$deb" "$dir"
				rm "$deb"
			done
			chmod -R a+rX "$work/unpacked"
		fi
	fi
	if [ -x "$dir$program" ]; then
		libraries=$(find "$dir" -type d -path '*/lib/*-linux-gnu' -printf '%p:')
		found=$dir/run.$(basename "$program")
		printf '%s\n' '#!/bin/sh' "${libraries:+export LD_LIBRARY_PATH=${libraries%:}}" \
			"exec $dir$program \"\$@\"" >"$found"
		chmod 0755 "$found"
	else
		say "  no $(basename "$program"): what needs it is skipped"
	fi
}

# --- the server to build for ------------------------------------------------

choose_server()
{
	PG_CONFIG=${PG_CONFIG:-$(make -s --no-print-directory -C "$top" print-PG_CONFIG)}
	command -v "$PG_CONFIG" >/dev/null || die "there is no $PG_CONFIG; set PG_CONFIG"
	export PG_CONFIG
	[ -f "$("$PG_CONFIG" --includedir-server)/postgres.h" ] ||
		die "the server headers of $PG_CONFIG are missing"
	bindir=$("$PG_CONFIG" --bindir)
	pgxs_src=$("$PG_CONFIG" --pgxs)
	pgxs_src=${pgxs_src%/makefiles/pgxs.mk}
	local extension
	for extension in hll pg_cron; do
		[ -f "$("$PG_CONFIG" --sharedir)/extension/$extension.control" ] ||
			die "the extension $extension is not installed for $PG_CONFIG"
	done
}

# Returns non-zero if the compiler or the installation fails.
build_and_install()
{
	local status=0

	make -s -C "$top" -j"$(nproc)" all || status=1
	give_back
	[ "$status" -eq 0 ] || return 1
	if [ -w "$("$PG_CONFIG" --pkglibdir)" ] && [ -w "$("$PG_CONFIG" --sharedir)/extension" ]; then
		make -s -C "$top" install
	else
		as_root make -s -C "$top" PG_CONFIG="$PG_CONFIG" install
	fi
}

# What root built in the checkout of the user who called sudo is that user's.
give_back()
{
	if is_root && [ "${SUDO_UID:-0}" -ne 0 ] && [ "$(stat -c %u "$top")" = "$SUDO_UID" ]; then
		find "$top" -path "$top/.git" -prune -o -user 0 \
			-exec chown -h "$SUDO_UID:${SUDO_GID:-$SUDO_UID}" {} +
	fi
}

# --- places -----------------------------------------------------------------

# A directory that run_user owns and can reach; the checkout may be neither.
make_work()
{
	local base

	for base in "${TMPDIR:-/tmp}" /tmp; do
		work=$(mktemp -d "$base/meter.XXXXXX")
		at_exit remove_work
		! is_root || chown "$run_user:" "$work"
		# sockets are made below it, and their paths are limited to 107 bytes
		if [ ${#work} -le 60 ] && as_user test -w "$work"; then
			return
		fi
		rmdir "$work"
	done
	die "$run_user cannot use a directory in /tmp"
}

remove_work()
{
	[ -d "${work:-}" ] || return 0
	stop_servers "$work"
	rm -rf "$work"
}

copy_tree()
{
	mkdir -p "$1"
	tar -C "$top" -cf - --exclude=./.git --exclude=./build --exclude=./demo \
		--exclude=./results --exclude=./tmp_check --exclude='*.o' --exclude='*.so' . |
		tar -C "$1" -xf - --no-same-owner
	! is_root || chown -R "$run_user:" "$1"
}

# --- servers ----------------------------------------------------------------

# A port that nobody listens on.  The servers here have no TCP port, only a
# socket in a directory of their own; the number is free all the same, so that
# nobody is led to a wrong server.
free_port()
{
	local port

	for ((port = 54320; port < 54420; port++)); do
		if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
			say "$port"
			return
		fi
	done
	die "no free port from 54320 to 54419"
}

# The data go to DIRECTORY/data, the socket and the log to DIRECTORY, which
# only run_user can enter: superuser without password means no more than that.
start_server()
{
	local dir=$1

	port=$(free_port)
	as_user mkdir -p "$dir"
	as_user chmod 0700 "$dir"
	as_user "$bindir/initdb" -D "$dir/data" -U postgres -A trust -E UTF8 --no-locale \
		--no-sync >"$install_log" 2>&1 || { cat "$install_log" >&2; die "initdb failed"; }
	{
		say "listen_addresses = ''"
		say "unix_socket_directories = '$dir'"
		say "unix_socket_permissions = 0700"
		say "port = $port"
		cat
	} | as_user tee -a "$dir/data/postgresql.conf" >/dev/null
	as_user "$bindir/pg_ctl" -s -w -D "$dir/data" -l "$dir/log" start ||
		{ as_user tail -n 20 "$dir/log" >&2; die "the server did not start"; }
}

stop_servers()
{
	local pid_file

	find "$1" -name postmaster.pid 2>/dev/null | while IFS= read -r pid_file; do
		as_user "$bindir/pg_ctl" -s -w -D "$(dirname "$pid_file")" -m immediate stop \
			</dev/null >/dev/null 2>&1 || true
	done
}

# --- the manual -------------------------------------------------------------

run_doc()
{
	local library=$work/clock.so

	as_user "${CC:-cc}" -O2 -Wall -shared -fPIC -o "$library" "$PWD/test/clock.c" -ldl
	as_user env CLOCK_LIB="$library" perl "$PWD/test/doc.pl" ${DOC_UPDATE:+--update} \
		--jobs "$(nproc)" "$bindir" "$work/doc" "$@"
}
