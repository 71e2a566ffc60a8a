#!/usr/bin/env bash
#
# doc/reference.sh: "make reference".
#
# Makes the pages of the reference, doc/reference.md and doc/reference/*.md, from
# the comments of a database: installs what is missing, builds and installs
# meter, and starts a server of its own, which is removed again.

# shellcheck source=test/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/../test/env.sh"

install_packages demo
choose_server
choose_user
build_and_install

make_work
start_server "$work/server" <<<"shared_preload_libraries = 'meter'"
export PGHOST=$work/server PGPORT=$port PGUSER=postgres PGDATABASE=postgres
as_user "$bindir/psql" -Xq -c 'SET client_min_messages = warning; CREATE EXTENSION meter CASCADE'
copy_tree "$work/meter"
PATH=$bindir:$PATH as_user perl "$work/meter/doc/reference.pl" "$work/meter/doc"
for page in "$work"/meter/doc/reference.md "$work"/meter/doc/reference/*.md; do
	file=$top/doc/${page#"$work/meter/doc/"}
	mkdir -p "$(dirname "$file")"
	cmp -s "$page" "$file" || { say "$file"; cat "$page" >"$file"; }
done
give_back
