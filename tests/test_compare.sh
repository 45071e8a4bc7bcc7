#!/bin/sh
# test_compare.sh: duo compare and duo rerun as their user meets them, on the embedded demo. DUO names
# the binary. Prints "ok NAME" or "not ok NAME"; what went wrong is shown in lines with "#".
set -u
duo=$(realpath "${DUO:-build/duo}") || exit 1
work=$(mktemp -d /tmp/duo-test-compare-XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM
export OMP_WAIT_POLICY=passive # threads that wait do not spin: other tests run beside this one
cd "$work" || exit 1

# expect NAME STATUS TEXT ARGS...: duo ARGS ends with STATUS and says TEXT
expect() {
	name=$1 want=$2 text=$3
	shift 3
	"$duo" "$@" >out 2>err </dev/null
	rc=$?
	if [ $rc -eq "$want" ] && grep -qF -e "$text" out err; then
		echo "ok $name"
	else
		echo "not ok $name"
		echo "# duo $*: status $rc, want $want; no '$text'"
		head -20 out err | cut -c1-160 | sed 's/^/# /'
	fi
}

eval_demo() { # NAME ARGS...
	name=$1
	shift
	"$duo" eval -t wikitext2,piqa --limit 3 --window 128 --calib self:2x64 --method duogpt --sparsity 0.5 \
		--act-sparsity 0.5 --quiet -o jsonl --out "$name.jsonl" --log-samples "$name" "$@" ||
		echo "not ok eval_$name"
}
eval_demo base
eval_demo again --threads 1 --batch-tokens 300
eval_demo alpha --alpha 0.25

expect unchanged_is_same 0 "3 compared: 3 SAME" compare base.jsonl again.jsonl --exact
expect alpha_is_not_comparable 3 "NOT COMPARABLE: alpha 0.125 against 0.25" compare base.jsonl alpha.jsonl
expect alpha_across 1 "WORSE" compare base.jsonl alpha.jsonl --across alpha --exact
expect alpha_by_pairs 0 "pairs" compare base.jsonl alpha.jsonl --across alpha \
	--base-samples base --new-samples alpha --fail-if 'acc<-101' --fail-if 'ppl>1000%'
expect rule_broken 1 "FAILED ppl>-100" compare base.jsonl alpha.jsonl --across alpha --fail-if 'ppl>-100%'
expect rule_about_nothing 3 "nothing for the rule speed<-3%" compare base.jsonl again.jsonl \
	--fail-if 'speed<-3%'
expect rule_not_understood 2 "no 'colour'" compare base.jsonl again.jsonl --fail-if 'colour<1'
expect one_side_of_samples 2 "go together" compare base.jsonl again.jsonl --new-samples again
expect one_file 2 "two files" compare base.jsonl
expect no_file 1 "none.jsonl" compare base.jsonl none.jsonl
expect unknown_option 2 "unknown option" compare base.jsonl again.jsonl --colour
expect unknown_field 2 "no field 'colour'" compare base.jsonl again.jsonl --across colour
expect no_field 2 "no field ''" compare base.jsonl again.jsonl --across ''
expect empty_field 2 "no field ''" compare base.jsonl again.jsonl --across alpha,
expect two_rules_in_one 2 "a --fail-if of its own" compare base.jsonl again.jsonl --fail-if 'ppl>1%,acc<1'
cp -r again swapped
for f in swapped/*/samples_piqa_*.jsonl; do sed -n '1{h;d};2{p;x};p' "$f" >swap && mv swap "$f"; done
expect samples_of_others 3 "samples are not paired: line 1 is about another document (base.jsonl line 2" \
	compare base.jsonl again.jsonl --base-samples base --new-samples swapped
[ ! -s err ] && echo "ok samples_of_others_once" || echo "not ok samples_of_others_once"
expect other_samples 1 "base/" compare alpha.jsonl base.jsonl --across alpha --base-samples base --new-samples base
: >empty.jsonl
expect nothing_to_compare 3 "0 compared" compare empty.jsonl base.jsonl
head -1 base.jsonl >one.jsonl
cp one.jsonl kept-one.jsonl
expect a_metric_is_gone 3 "NOT COMPARABLE: not measured" compare base.jsonl one.jsonl
expect more_in_new 0 "2 more in NEW alone" compare one.jsonl again.jsonl
printf '%s\nnonsense\n' "$(cat base.jsonl)" >bad.jsonl
expect hostile_file 1 "bad.jsonl line 4: bad JSON" compare bad.jsonl base.jsonl

expect rerun_line 0 "1 SAME" rerun base.jsonl:2 --quiet
id=$(sed -n 's/.*"run_id": "\([0-9a-f]*\)".*/\1/p' one.jsonl)
expect rerun_run_id 0 "1 SAME" rerun "base.jsonl:$id" --quiet --threads 1 --out kept.jsonl
[ -s kept.jsonl ] && echo "ok rerun_keeps" || echo "not ok rerun_keeps"
sed 's/"value": [0-9.]*/"value": 3/; s/"stderr": [0-9.]*/"stderr": 0.001/' one.jsonl >planted.jsonl
expect rerun_finds_planted 1 "1 WORSE" rerun planted.jsonl:1 --quiet
expect rerun_other_recipe 3 "alpha 0.125 against 1" rerun one.jsonl:1 --quiet --alpha 1
expect rerun_not_over_itself 1 "--out one.jsonl is the file of the record" rerun one.jsonl:1 --out one.jsonl
expect rerun_not_over_a_link 1 "is the file of the record" rerun one.jsonl:1 --out=./one.jsonl
expect rerun_takes_no_format 1 "rerun compares records: it takes no --format" rerun one.jsonl:1 -o md
expect report_not_over_itself 1 "--out one.jsonl is one of the files that are read" report one.jsonl --out one.jsonl
cmp -s one.jsonl kept-one.jsonl && echo "ok records_are_kept" || echo "not ok records_are_kept"
sed 's/"weight_sparsity": 0.5/"weight_sparsity": null/; s/"run_id": "[0-9a-f]*", //' one.jsonl >unknown.jsonl
expect rerun_unknown_sparsity 1 "unknown.jsonl line 1: the record has no weight_sparsity" rerun unknown.jsonl:1
expect rerun_no_line 1 "no record at '7'" rerun base.jsonl:7
expect rerun_no_record 2 "FILE:LINE" rerun
sed 's/"command": "duo eval/"command": "rm -rf/' one.jsonl >evil.jsonl
expect rerun_runs_duo_alone 1 "only what eval and bench made" rerun evil.jsonl:1
sed 's/"command": "duo eval/"command": "duo eval --out evil.out --save-calib evil.out --resume evil.out --layer-dir evil.out/' one.jsonl \
	>evil.jsonl
sed "s/\"command\": \"duo eval/\"command\": \"duo eval 'open/" one.jsonl >open.jsonl
expect rerun_open_quote 1 "open.jsonl line 1: a quote without an end" rerun open.jsonl:1
[ "$(wc -l <err)" -eq 1 ] && echo "ok rerun_says_one_line" || echo "not ok rerun_says_one_line"
expect rerun_writes_nothing 0 "1 SAME" rerun evil.jsonl:1 --quiet
[ -e evil.out ] && echo "not ok rerun_wrote" || echo "ok rerun_wrote_nothing"
