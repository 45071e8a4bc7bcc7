#!/bin/sh
# test_regress.sh: a planted alpha does not pass scripts/regress, and says why.
DUO=$(realpath "${DUO:-build/duo}")
export DUO OMP_WAIT_POLICY=passive REGRESS_ALPHA=0.25
case $DUO in *asan* | *tsan*)
	echo "skip planted_alpha_is_caught: minutes under a sanitizer"
	exit 0
	;;
esac
out=$(mktemp) || exit 1
trap 'rm -f "$out"' EXIT
scripts/regress quality >"$out" 2>&1
status=$?
if [ $status -ne 0 ] && grep -q "alpha 0.125 against 0.25" "$out" && grep -q "regress: FAILED" "$out"; then
	echo "ok planted_alpha_is_caught"
else
	echo "not ok planted_alpha_is_caught"
	tail -20 "$out" | sed 's/^/# /'
fi
