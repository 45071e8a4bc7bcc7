#!/bin/sh
# duo eval --resume: killed again and again at random moments, a run gives in the end the same values
# as one that was left alone; a journal serves only the run that wrote it; a damaged one is set aside.
kills=${DUO_KILLS:-50}
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
export OMP_WAIT_POLICY=passive

# eval OUT [OPTION...]: the run of this test, its records to OUT. (exec: $! is duo itself.)
eval_run() {
	out=$1
	shift
	exec "$DUO" eval -t piqa,winogrande,openbookqa,wikitext2 --limit 4 --window 96 --threads 1 \
		-o jsonl --out "$out" "$@" 2>"$dir/said"
}

# The fields that must be the same: what was measured, and of what.
values() {
	sed 's/.*"method": \("[a-z]*"\).*"protocol": \("[^"]*"\).*"task": \("[^"]*"\).*"n": \([0-9]*\).*"metric": \("[^"]*"\), "value": \([^,]*\), "stderr": \([^,]*\),.*/\1 \2 \3 \4 \5 \6 \7/' "$1"
}

same_values() {
	[ -s "$1" ] && [ -s "$2" ] && values "$1" >"$dir/a" && values "$2" >"$dir/b" &&
		cmp -s "$dir/a" "$dir/b"
}

result() {
	if [ "$1" = 0 ]; then echo "ok $2"; else echo "not ok $2"; fi
}

# A number of seconds below $1, in thousandths, from the system's random numbers.
random_below() {
	n=$(od -An -N4 -tu4 /dev/urandom)
	awk -v n="$n" -v max="$1" 'BEGIN { printf "%.3f", max * n / 4294967296 }'
}

now() {
	date +%s.%N
}

# ---- what there is to compare with

recipe="--method magnitude --sparsity 0.5 --act-sparsity 0.3 --baseline"
start=$(now)
# shellcheck disable=SC2086
(eval_run "$dir/clean" $recipe) || { cat "$dir/said"; echo "not ok clean_run"; exit 0; }
length=$(awk -v a="$start" -v b="$(now)" 'BEGIN { print b - a }')
bad=0
[ "$(values "$dir/clean" | wc -l)" = 12 ] || bad=1
values "$dir/clean" | grep -q run_id && bad=1
[ "$(values "$dir/clean" | sort -u | wc -l)" = 12 ] || bad=1
result $bad clean_run
# Sanitizers make a run take many seconds.
[ -z "${DUO_KILLS:-}" ] && awk -v l="$length" 'BEGIN { exit l > 2 ? 0 : 1 }' && kills=5

# ---- kills: until one run comes through, then a new journal, until there were enough

# Half the length of a whole run: a fresh one never gets through, one that goes on at last does.
most=$(awk -v l="$length" 'BEGIN { print l / 2 }')
killed=0 stopped=0 finished=0 bad=0 last=0
while [ $last = 0 ] && [ $bad = 0 ]; do
	# This one is left alone. One at least was told of SIGTERM: not all live until their handlers are there.
	[ $killed -lt $kills ] || { [ $stopped = 0 ] && [ $killed -lt $((kills + 30)) ]; } || last=1
	# shellcheck disable=SC2086
	(eval_run "$dir/killed" --resume "$dir/journal$finished" $recipe) &
	pid=$!
	if [ $last = 0 ]; then
		sleep "$(random_below "$most")"
		# Every third one may end as it likes: with its journal flushed, and a line that says so.
		if [ $((killed % 3)) = 2 ]; then kill -TERM $pid; else kill -9 $pid; fi 2>/dev/null
	fi
	wait $pid 2>/dev/null
	status=$?
	if [ $status = 143 ] && grep -q 'stopped by SIGTERM' "$dir/said"; then
		stopped=$((stopped + 1))
		grep -q "results are in '$dir/journal\|nothing was scored yet" "$dir/said" || bad=1
	fi
	if [ $status = 137 ] || [ $status = 143 ]; then
		killed=$((killed + 1))
		continue
	fi
	[ $status = 0 ] && same_values "$dir/clean" "$dir/killed" || bad=1
	grep -q corrupt "$dir/said" && bad=1
	[ $bad = 0 ] || sed 's/^/# /' "$dir/said"
	rm -f "$dir/killed"
	finished=$((finished + 1))
done
[ $killed -ge $kills ] || bad=1
[ $stopped -gt 0 ] || bad=1
echo "# $killed kills, $stopped of them by SIGTERM and told, $finished runs came through"
result $bad killed_runs_give_the_same_values

# ---- a journal serves the run that wrote it, and no other

# Whether the run just made pruned the model itself: it says how many zeros it made.
computed() {
	grep -q 'zeros in' "$dir/said"
}

journal=$dir/journal$((finished - 1))
# shellcheck disable=SC2086
(eval_run "$dir/again" --resume "$journal" $recipe)
bad=0
same_values "$dir/clean" "$dir/again" || bad=1
computed && bad=1
result $bad whole_run_from_the_journal

# The demo model with one bit of one weight changed.
mkdir "$dir/model"
cp -r "${DUO_DEMO:-data/demo}/model/." "$dir/model"
chmod -R u+w "$dir/model"
end=$(($(wc -c <"$dir/model/model.safetensors") - 2))
byte=$(od -An -j$end -N1 -tu1 "$dir/model/model.safetensors")
# shellcheck disable=SC2059
printf "\\$(printf %o $((byte ^ 1)))" |
	dd of="$dir/model/model.safetensors" bs=1 seek=$end conv=notrunc 2>/dev/null

# other NAME OPTION...: that run with the journal equals its own clean run, nothing taken from it.
other() {
	name=$1
	shift
	bad=0
	rm -f "$dir/own" "$dir/other"
	(eval_run "$dir/own" "$@") && (eval_run "$dir/other" --resume "$journal" "$@") || bad=1
	same_values "$dir/own" "$dir/other" || bad=1
	computed || bad=1
	[ $bad = 0 ] || sed 's/^/# /' "$dir/said"
	result $bad "journal_does_not_serve_$name"
}

pruned="--method magnitude --act-sparsity 0.3"
# shellcheck disable=SC2086
{
	other another_sparsity $pruned --sparsity 0.6
	other another_activation_sparsity --method magnitude --sparsity 0.5 --act-sparsity 0.4
	other another_pattern $pruned --nm 2:4
	other another_protocol $pruned --sparsity 0.5 --protocol lmeval-0.4.9.2
	other another_model $pruned --sparsity 0.5 -m "$dir/model" --data "${DUO_DEMO:-data/demo}"
}

# ---- damage

# damaged NAME: the journal, damaged by then, is named and set aside, and the run is as ever.
damaged() {
	bad=0
	rm -f "$dir/other"
	# shellcheck disable=SC2086
	(eval_run "$dir/other" --resume "$journal" $recipe) || bad=1
	same_values "$dir/clean" "$dir/other" || bad=1
	grep -q "warning: .*$journal" "$dir/said" || bad=1
	set -- "$1" "$journal".corrupt-*
	[ -s "$2" ] && [ -s "$journal" ] || bad=1
	[ $bad = 0 ] || sed 's/^/# /' "$dir/said"
	rm -f "$journal".corrupt-*
	result $bad "$1"
}

rm -f "$journal-wal" "$journal-shm"
printf 'no journal at all' | dd of="$journal" conv=notrunc 2>/dev/null
damaged header_that_is_damaged
rm -f "$journal-wal" "$journal-shm"
dd if=/dev/zero of="$journal" bs=512 seek=3 count=12 conv=notrunc 2>/dev/null
damaged pages_that_are_damaged
