#!/bin/sh
# Memory, writes and reads that fail, one call site of memory and one other call after another, in a run with everything on:
# the run ends with status 1 and a line that says why, or, where the failure can be borne, as ever. No crash, no
# temporary file, and the journal serves the next run: its values are those of a run without faults.
# DUO_FAULTS_MOST: how many of each kind at most (12; "all" in make test-long).
most=${DUO_FAULTS_MOST:-12}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
export OMP_WAIT_POLICY=passive OPENBLAS_NUM_THREADS=1
if [ ! -e "${DUO_FAIL_SO:-}" ]; then
	echo "skip faults: the sanitizers' memory cannot be made to fail"
	exit 0
fi
DUO_FAIL_SO=$(realpath "$DUO_FAIL_SO")

# run NAME [VARIABLE=VALUE...]: output in $dir/NAME; the journal is $journal.
run() {
	name=$1
	shift
	env "$@" "$DUO" eval -t piqa,wikitext2 --limit 1 --window 32 --method magnitude --sparsity 0.5 \
		--act-sparsity 0.3 --threads 1 --resume "$journal" --log-samples "$dir/$name-samples" -o jsonl \
		--out "$dir/$name" 2>"$dir/said"
}

values() {
	sed 's/.*"task": \("[^"]*"\).*"metric": \("[^"]*"\), "value": \([^,]*\), "stderr": \([^,]*\),.*/\1 \2 \3 \4/' "$1"
}

result() {
	if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; fi
}

journal=$dir/j-clean
run clean A=1 || { cat "$dir/said"; echo "not ok clean_run"; exit 0; }
values "$dir/clean" >"$dir/want"
[ "$(wc -l <"$dir/want")" = 3 ]
result $? clean_run

# check KIND AT: what is to be seen after that run. Prints what is not.
check() {
	if [ "$status" = 1 ]; then
		grep -qE '^(duo|libgomp|OpenBLAS)' "$dir/said" || echo "# $1 $2: no line says why"
	elif [ "$status" = 0 ]; then
		values "$dir/$1" 2>/dev/null | cmp -s - "$dir/want" || echo "# $1 $2: other values"
	else
		echo "# $1 $2: status $status: $(tail -1 "$dir/said")"
	fi
	find "$dir" -name '*.tmp' -o -name '*.partial-*' | sed "s|^|# $1 $2 left: |"
	find "$dir" -name '*.tmp' -exec rm -f {} +
	if grep -q corrupt "$dir/said"; then echo "# $1 $2: a damaged journal"; fi
}

# choose K LIST: an even choice of K of the places in LIST, or all where there are no more
choose() {
	awk -v n="$(wc -l <"$2")" -v k="$1" 'n <= k || int(NR * k / n) != int((NR - 1) * k / n)' "$2"
}

# each KIND: all sites of that kind, or an even choice of $most of them.
each() {
	kind=$1
	journal=$dir/j-$kind
	run sites LD_PRELOAD="$DUO_FAIL_SO" DUO_FAIL="$kind" DUO_FAIL_LIST="$dir/list-$kind"
	n=$(wc -l <"$dir/list-$kind")
	[ "$most" = all ] || {
		choose "$most" "$dir/list-$kind" >"$dir/some"
		mv "$dir/some" "$dir/list-$kind"
	}
	: >"$dir/bad"
	failed=0
	while read -r at; do
		rm -rf "$journal" "$journal"-* "$dir/$kind" "$dir/$kind-samples"
		# shellcheck disable=SC2086
		run "$kind" LD_PRELOAD="$DUO_FAIL_SO" DUO_FAIL="$kind" DUO_FAIL_AT="$at" $2
		status=$?
		check "$kind" "$at" >>"$dir/bad"
		[ $status = 0 ] || failed=$((failed + 1))
		rm -f "$dir/again"
		if ! run again A=1 || ! values "$dir/again" | cmp -s - "$dir/want" || grep -q corrupt "$dir/said"; then
			echo "# $kind $at: the next run differs: $(tail -1 "$dir/said")" >>"$dir/bad"
		fi
	done <"$dir/list-$kind"
	cat "$dir/bad"
	echo "# $kind${2:+ ($2)}: $(wc -l <"$dir/list-$kind") of $n places, $failed runs ended early"
	[ ! -s "$dir/bad" ] && [ $failed -gt 0 ]
	result $? "failing_$kind${2:+_once}"
}

each memory
each memory DUO_FAIL_ONCE=1
each write
each write DUO_FAIL_ONCE=1
each read

# ---- the other commands: a line and status 1, or the output of a run without faults; nothing is left behind

# of_command NAME KIND ARGS...: $few places, for good and for that call alone
of_command() {
	name=$1 kind=$2
	shift 2
	mkdir -p "$dir/w" "$dir/tmp"
	rm -f "$dir/list"
	: >"$dir/bad"
	(cd "$dir/w" && TMPDIR="$dir/tmp" LD_PRELOAD="$DUO_FAIL_SO" DUO_FAIL="$kind" DUO_FAIL_LIST="$dir/list" "$duo" "$@" \
		>"$dir/clean-out" 2>"$dir/said")
	want=$?
	[ -s "$dir/list" ] || echo "# no place was found" >"$dir/bad"
	choose "$few" "$dir/list" >"$dir/some"
	for once in A=1 DUO_FAIL_ONCE=1; do
		while read -r at; do
			rm -rf "$dir/w" && mkdir "$dir/w"
			(cd "$dir/w" && exec env TMPDIR="$dir/tmp" LD_PRELOAD="$DUO_FAIL_SO" DUO_FAIL="$kind" DUO_FAIL_AT="$at" $once \
				"$duo" "$@" >"$dir/out" 2>"$dir/said")
			status=$?
			if [ $status = 1 ] && [ $want != 1 ]; then
				grep -qE '^(duo|libgomp|OpenBLAS)' "$dir/said" || echo "# $at $once: no line says why"
			elif [ $status != $want ] || ! cmp -s "$dir/out" "$dir/clean-out"; then
				echo "# $at $once: status $status: $(tail -1 "$dir/said")"
			fi
			find "$dir/w" -name '*.tmp' -o -name '*.partial-*' | sed "s|^|# $at $once left: |"
			find "$dir/tmp" -mindepth 1 | sed "s|^|# $at $once left: |"
		done <"$dir/some" >>"$dir/bad"
	done
	cat "$dir/bad"
	[ ! -s "$dir/bad" ]
	result $? "${name}_failing_$kind"
}
few=2
[ "$most" = all ] && few=60
duo=$(realpath "$DUO")
baseline=$(realpath results/baseline)
small="--calib self:2x32 --limit 1 --window 32 --threads 1"
for kind in memory write; do
	# shellcheck disable=SC2086
	{
		of_command report_page $kind report "$baseline"/demo-quality*.jsonl "$baseline"/demo-speed*.jsonl -o html --out r.html
		of_command rerun $kind rerun "$dir/clean:1" --threads 1
		of_command save $kind prune --method shortgpt --sparsity 0.2 $small --save saved
	}
done
# shellcheck disable=SC2086
{
	of_command compare memory compare "$dir/clean" "$dir/again"
	of_command table memory report --table demo-50 "$dir/clean"
	of_command generate memory generate -p "The river" -n 2 --threads 1 --method magnitude --sparsity 0.5 --act-sparsity 0.5
	of_command calibrated memory eval -t wikitext2,boolq $small --method duogpt+ --sparsity 0.5 --act-sparsity 0.5 \
		--save-act-ratios ratios.json --save-calib ids.i32 --baseline --divergence --per-layer
	of_command structured memory eval -t wikitext2 $small --method 2ssp,flap,slicegpt --sparsity 0.25
	of_command bench memory bench --shape tiny --context 8 --time-limit 0.1 --threads 1 --out speeds
}

# ---- a clock that jumps: no timer and no key goes by the time of day

journal=$dir/j-clock
run clock LD_PRELOAD="$DUO_FAIL_SO" DUO_FAIL=clock && run clock A=1 &&
	values "$dir/clock" | cmp -s - "$dir/want" && ! grep -q corrupt "$dir/said"
result $? clock_that_jumps

# ---- folders that nothing can be written to (root may write to all but these)

bad=0
for option in --out --resume --log-samples; do
	"$DUO" eval -t piqa --limit 1 --threads 1 $option /proc/duo-x -o jsonl >"$dir/out" 2>"$dir/said"
	[ $? = 1 ] && [ "$(grep -c '^duo: .*/proc/duo-x' "$dir/said")" = 1 ] || {
		sed "s|^|# $option: |" "$dir/said"
		bad=1
	}
done
result $bad folder_that_cannot_be_written

# ---- limits of the process: too few addresses are a line at once, no wait for a library's threads; the
# size of files. The first process, before main(), is the libraries' alone.

bad=0
for kb in 100000 130000 160000 200000 240000 300000; do
	rm -f "$dir"/j-limit*
	(ulimit -v $kb && exec timeout 60 env -u OPENBLAS_NUM_THREADS "$DUO" eval -t piqa,wikitext2 --limit 1 --window 32 \
		--method wanda --sparsity 0.5 --calib self:2x32 --threads 2 --resume "$dir/j-limit") >"$dir/out" 2>"$dir/said"
	status=$?
	grep -qE '^(duo|libgomp|OpenBLAS|.*loading shared)' "$dir/said" || [ $status = 0 ] || bad=1
	[ $status != 124 ] || bad=1
	[ $bad = 0 ] || { sed "s|^|# $kb KB of addresses, status $status: |" "$dir/said"; break; }
done
result $bad limits_of_addresses
(ulimit -f 2000 && exec "$DUO" prune --method magnitude --sparsity 0.5 --save "$dir/limited") >"$dir/out" 2>"$dir/said"
[ $? = 1 ] && grep -q '^duo: cannot write .*: File too large' "$dir/said" && ! ls -d "$dir"/limited* >/dev/null 2>&1
result $? limit_of_file_size

# ---- progress that nobody reads does not end a run; results that nobody reads do, without a word

{
	sleep 0.5
	"$DUO" eval -t piqa --limit 20 --threads 1 --resume "$dir/j-unread" -o jsonl --out "$dir/unread"
	echo $? >"$dir/status"
} 2>&1 | true
[ "$(cat "$dir/status")" = 0 ] && [ -s "$dir/unread" ]
result $? progress_without_a_reader
{
	sleep 0.5
	"$DUO" list 2>"$dir/said"
	echo $? >"$dir/status"
} | true
[ "$(cat "$dir/status")" = 141 ] && [ ! -s "$dir/said" ]
result $? results_without_a_reader

# ---- a disk that is full: of 256 KB, the journal's and the records' together

mkdir "$dir/small"
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=256k duo-test "$dir/small" 2>/dev/null; then
	trap 'umount "$dir/small"; rm -rf "$dir"' EXIT
	bad=0
	for free in 0 16 64 128; do
		rm -rf "$dir"/small/*
		head -c $((256 * 1024 - free * 1024)) /dev/zero >"$dir/small/filler" 2>/dev/null
		"$DUO" eval -t piqa,wikitext2 --limit 1 --window 32 --method magnitude --sparsity 0.5 --act-sparsity 0.3 \
			--threads 1 --resume "$dir/small/j" -o jsonl --out "$dir/small/r" 2>"$dir/said"
		status=$?
		[ $status = 0 ] || { [ $status = 1 ] && grep -q '^duo: ' "$dir/said"; } || bad=1
		[ $free != 0 ] || [ $status = 1 ] || bad=1
		ls "$dir"/small/*.tmp >/dev/null 2>&1 && bad=1
		rm -f "$dir/small/filler"
		"$DUO" eval -t piqa,wikitext2 --limit 1 --window 32 --method magnitude --sparsity 0.5 --act-sparsity 0.3 \
			--threads 1 --resume "$dir/small/j" -o jsonl --out "$dir/again" 2>"$dir/said2" &&
			values "$dir/again" | cmp -s - "$dir/want" && ! grep -q corrupt "$dir/said2" || bad=1
		[ $bad = 0 ] || { sed "s|^|# $free KB free: |" "$dir/said" "$dir/said2"; break; }
	done
	result $bad full_disk
else
	echo "skip full_disk: no right to mount a small tmpfs"
fi
