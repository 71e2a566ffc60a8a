#!/usr/bin/env bash
#
# test/doc.sh: "make doc".
#
# Runs the examples of the manual (README.md, doc/*.md) on throw-away servers,
# and writes what they print into the pages of this checkout; "git diff" shows
# what that changes, which is for the author to read.  How pages are run, and
# what they can say of that: test/doc.pl.  "make test" has the same run as a
# stage, where what differs is a failure.
#
#	T=word		only the pages whose name contains the word

# shellcheck source=test/env.sh
. "$(dirname "${BASH_SOURCE[0]}")/env.sh"

install_packages test
choose_server
choose_user
build_and_install
make_work
copy_tree "$work/meter"
cd "$work/meter"
pages=()
for page in README.md doc/*.md; do
	[[ -n ${T:-} && $page != *"$T"* ]] || pages+=("$page")
done
[ ${#pages[@]} -gt 0 ] || die "no page has $T in its name"
status=0
DOC_UPDATE=1 run_doc "${pages[@]}" || status=$?
for page in "${pages[@]}"; do
	cmp -s "$page" "$top/$page" || cat "$page" >"$top/$page"
done
give_back
exit "$status"
