#!/bin/sh
# test_cli.sh: the command line as its user meets it, on the embedded demo. DUO names the binary.
# Prints "ok NAME", "not ok NAME" or "skip NAME: why"; what went wrong is shown in lines with "#".
set -u
duo=$(realpath "${DUO:-build/duo}") || exit 1
demo=$(realpath data/demo) || exit 1
shared=$(realpath "${DUO_SHARED:-../shared}" 2>/dev/null)
work=$(mktemp -d /tmp/duo-test-cli-XXXXXX) || exit 1
small=$work/small # a small file system, if one can be mounted
cleanup() {
	mountpoint -q "$small" && umount "$small"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
export OMP_WAIT_POLICY=passive # threads that wait do not spin: other tests run beside this one
cd "$work" || exit 1

# ---- helpers

fail() { # NAME WHY: the last command's output is shown
	echo "not ok $1"
	echo "# $2; status $rc; $ran"
	sed 's/^/# stderr: /' err | head -5
	head -3 out | cut -c1-200 | sed 's/^/# stdout: /'
}

run() { # ARGS...: stdout in out, stderr in err, status in rc
	ran="duo $*"
	"$duo" "$@" >out 2>err </dev/null
	rc=$?
}

same() { # NAME FILE FILE
	if cmp -s "$2" "$3"; then echo "ok $1"; else fail "$1" "$2 and $3 differ"; fi
}

# Exactly one error line, holding the text, and nothing on stdout.
refuses() { # NAME STATUS TEXT ARGS...: STATUS is one digit, or "12" for either
	name=$1 status=$2 text=$3
	shift 3
	run "$@"
	lines=0 found=
	while IFS= read -r line; do
		case $line in
		"duo: "*) lines=$((lines + 1)) ;;
		esac
		case $line in "duo: "*"$text"*) found=1 ;; esac
	done <err
	case $status in
	*$rc*) ;;
	*) fail "$name" "status $status expected" && return ;;
	esac
	if [ $lines != 1 ]; then
		fail "$name" "$lines error lines"
	elif [ -z "$found" ]; then
		fail "$name" "no '$text'"
	elif [ -s out ]; then
		fail "$name" "something on stdout"
	else
		echo "ok $name"
	fi
}

accepts() { # NAME ARGS...
	name=$1
	shift
	run "$@"
	if [ $rc -eq 0 ]; then echo "ok $name"; else fail "$name" "refused"; fi
}

one="eval -t piqa --limit 1 --threads 1" # the shortest run
on_demo="-m $demo/model --data $demo"

# The values of one column of a csv result, one a line; quoted fields may hold commas.
column() { # NAME FILE
	awk -v name="$1" '
	function split_csv(s, f,   n, c, i, quoted) {
		n = 1; f[1] = ""
		for (i = 1; i <= length(s); i++) {
			c = substr(s, i, 1)
			if (c == "\"") quoted = !quoted
			else if (c == "," && !quoted) f[++n] = ""
			else f[n] = f[n] c
		}
		return n
	}
	{ sub(/\r$/, ""); n = split_csv($0, f) }
	NR == 1 { n_head = n; for (i = 1; i <= n; i++) if (f[i] == name) at = i; next }
	n != n_head { print "bad line " NR ": " n " fields, not " n_head }
	{ print f[at] }' "$2"
}

# Checks that a file is JSON values, one after another; says where not.
is_json() { # FILE
	awk '
	function bad() { print "bad JSON at " p ": " substr(s, p, 30); exit_code = 1; exit 1 }
	function space() { while (substr(s, p, 1) ~ /[ \t\r\n]/) p++ }
	function take(re) { if (match(substr(s, p, 4000), "^" re) == 0) bad(); p += RLENGTH }
	function text() { take("\"([^\"\\\\]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-fA-F][0-9a-fA-F][0-9a-fA-F][0-9a-fA-F])*\"") }
	function list(end, pairs) {
		p++; space()
		if (substr(s, p, 1) == end) { p++; return }
		for (;;) {
			if (pairs) { space(); text(); space(); take(":") }
			value(); space()
			if (substr(s, p, 1) == end) { p++; return }
			take(",")
		}
	}
	function value(  c) {
		space(); c = substr(s, p, 1)
		if (c == "{") list("}", 1)
		else if (c == "[") list("]", 0)
		else if (c == "\"") text()
		else take("(true|false|null|-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][-+]?[0-9]+)?)")
	}
	{ s = s $0 "\n" }
	END {
		if (exit_code) exit 1
		p = 1; space()
		while (p <= length(s)) { value(); space(); n++ }
		exit n == 0
	}' "$1" >json_error
}

checksums() {
	(cd "$demo/model" && sha256sum -- *)
}
checksums >before

# ---- help

run
if [ $rc = 2 ] && grep -q '^usage: duo' err && [ ! -s out ]; then echo "ok no_command"; else
	fail no_command "usage on stderr and status 2 expected"
fi
run --help
commands=$(awk '/^  [a-z]+  / { print $1 }' out)
[ -n "$commands" ] || fail help "no commands"
for c in $commands; do
	run "$c" --help
	if [ $rc = 0 ] && [ ! -s err ] && grep -q '^example' out && grep -q "^  duo $c" out; then
		echo "ok help_$c"
	else
		fail "help_$c" "no example"
	fi
done
accepts version --version
for t in tasks methods backends sources protocols; do
	run list $t
	if [ $rc = 0 ] && [ ! -s err ] && [ "$(wc -l <out)" -gt 1 ]; then echo "ok list_$t"; else
		fail "list_$t" "no list"
	fi
done

# ---- names that are not known

refuses unknown_command 2 "known: eval" evaluate
refuses unknown_option 2 "--sparse" eval -t piqa --sparse 0.5
refuses unknown_letter 2 "-x" eval -t piqa -x
refuses stray_word 2 "piqa" eval piqa
refuses unknown_task 2 "known: all, wikitext2, piqa" eval -t piqa,nope
refuses unknown_method 2 "known: dense, magnitude, wanda, sparsegpt, duogpt" \
	eval -t piqa --method nope --sparsity 0.5
refuses unknown_protocol 2 "known: lmeval-0.4, lmeval-0.4.9.2" eval -t piqa --protocol lmeval
refuses unknown_backend 2 "known: auto, cpu" $one --backend tpu
refuses unknown_dtype 2 "known: auto, f32, f16, bf16" eval -t piqa --dtype int8
refuses unknown_format 2 "known: md csv json jsonl" eval -t piqa -o xml
refuses unknown_act_rule 2 "known: topk, threshold, wina" eval -t piqa --act-rule best
refuses unknown_act_allocation 2 "known: uniform, greedy" eval -t piqa --act-allocation best
refuses refit_beta_without_steps 2 "--refit-beta: nothing is refitted" eval -t piqa --method duogpt+ --sparsity 0.5 --refit-beta 0.1
refuses unknown_act_part 2 "known: all, last-half" eval -t piqa --act-part first-half
refuses unknown_shape 2 "known: tiny, llama2-7b, llama2-13b" eval -t piqa --shape llama2-8b --tokenizer x
refuses unknown_weights 2 "known: auto, device, stream" eval -t piqa --weights disk
refuses unknown_list 2 "known: tasks, methods, backends" list models
refuses unknown_order 2 "act" eval -t piqa --method sparsegpt --sparsity 0.5 --order best
refuses dtype_of_another_backend 1 "--dtype f16" $one --backend cpu --dtype f16

# ---- options

: >a-file

refuses no_tasks 2 "no tasks" eval
refuses shape_and_model 2 "exclude each other" eval -t piqa -m model --shape llama2-7b
refuses layers_without_shape 2 "another model" eval -t piqa --layers 2
refuses layer_dir_on_device 2 "not with --weights device" eval -t piqa --layer-dir x --weights device
refuses memory_limit_of_words 2 "memory-limit" eval -t piqa --memory-limit much
refuses journal_is_out 2 "--out and --resume name the same file" eval -t piqa --resume x --out ./x
refuses calibration_is_out 2 "--out and --save-calib name the same file" eval -t piqa --method wanda --sparsity 0.5 --save-calib x.i32 --out x.i32
refuses calibration_is_saved_over 2 "--save-calib and --calib name the same file" \
	eval -t piqa --method wanda --sparsity 0.5 --save-calib x.i32 --calib x.i32:2x2
refuses calibration_without_its_end 2 "name it ids.i32" eval -t piqa --method wanda --sparsity 0.5 --save-calib ids
refuses journal_is_a_device 1 "cannot open journal '/dev/null': it is no regular file" eval -t piqa --limit 1 --quiet --resume /dev/null
refuses model_is_a_file 1 "-m ./a-file: not a folder" eval -t piqa -m ./a-file
refuses seed_beyond 2 "is not between 0 and 9007199254740992" eval -t piqa --seed 99999999999999999999
refuses shape_without_tokenizer 2 "--tokenizer DIR" eval -t piqa --shape llama2-7b
refuses shape_without_tokenizer_for_calibration 1 "needs a tokenizer" \
	bench --shape tiny --context 8 --method wanda --sparsity 0.5 --calib self:2x16
refuses tokenizer_missing 1 "no/such" $one --tokenizer no/such
refuses empty_task 2 "no task ''" eval -t ''
refuses empty_task_in_a_list 2 "no task ''" eval -t piqa,,boolq
refuses task_twice 2 "'piqa' is there twice" eval -t piqa,piqa
refuses option_twice 2 "--limit is given twice" eval -t piqa --limit 1 --limit 2
refuses option_twice_by_letter 2 "given twice" eval -t piqa --tasks boolq
refuses missing_value 2 "--limit needs a value" eval -t piqa --limit
refuses value_of_a_flag 2 "--quiet takes no value" eval -t piqa --quiet=1
for s in nan inf 0x1 1.5 1 -1 0.5x '' '0.5,' ',0.5' '0.5 0.6' 1e999 --; do
	refuses "sparsity_'$s'" 2 "--sparsity: " eval -t piqa --method magnitude --sparsity "$s"
done
refuses act_sparsity_2 2 "--act-sparsity: 2" eval -t piqa --act-sparsity 2
refuses act_rule_of_nothing 2 "--act-rule: no activations are sparse" eval -t piqa --act-rule wina
refuses act_part_of_nothing 2 "--act-part: no activations are sparse" eval -t piqa --act-part last-half
refuses threshold_without_calib 2 "--act-rule threshold needs --calib" \
	eval -m x -t piqa --act-sparsity 0.5 --act-rule threshold
refuses greedy_without_calib 2 "--act-allocation greedy needs --calib" \
	eval -m x -t piqa --act-sparsity 0.5 --act-allocation greedy
refuses calib_of_nothing 2 "--calib does not apply" eval -t piqa --act-sparsity 0.5 --calib self:1x8
refuses ratios_and_sparsity 2 "exclude each other" eval -t piqa --act-ratios x --act-sparsity 0.5
refuses ratios_and_greedy 2 "exclude each other" eval -t piqa --act-ratios x --act-allocation greedy
refuses save_ratios_of_uniform 2 "--act-allocation greedy" \
	eval -t piqa --act-sparsity 0.5 --save-act-ratios x
refuses save_ratios_of_many 2 "give one" eval -t piqa --act-sparsity 0.4,0.5 \
	--act-allocation greedy --save-act-ratios x
for s in 0 -1 1.5 nan all; do
	refuses "limit_$s" 2 "--limit: " eval -t piqa --limit "$s"
done
for s in 4:2 2:2 0:4 2 2:4:8 a:b :4 99999999999999999999:4; do
	refuses "nm_$s" 2 "--nm: " eval -t piqa --method magnitude --nm "$s"
done
refuses nm_3:5 1 "rows of 256 weights are no whole number of groups of 5" \
	eval -t piqa --limit 1 --method magnitude --nm 3:5 --quiet
refuses threads_0 2 "--threads: 0" eval -t piqa --threads 0
refuses batch_tokens_x 2 "--batch-tokens: '12x'" eval -t piqa --batch-tokens 12x
refuses seed_-1 2 "--seed: '-1'" eval -t piqa --seed -1
refuses window_1 2 "--window: 1" eval -t wikitext2 --window 1
refuses nm_and_act_order 2 "exclude each other" \
	eval -t piqa --method duogpt --nm 2:4 --order act --calib self:2x32
refuses sparsity_and_nm 2 "exclude each other" \
	eval -t piqa --method magnitude --sparsity 0.5 --nm 2:4
refuses nm_of_structured 2 "--nm does not apply to method sleb" \
	eval -t piqa --method sleb --nm 2:4 --calib self:2x32
refuses sparsity_of_dense 2 "--sparsity does not apply to method dense" eval -t piqa --sparsity 0.5
refuses alpha_of_wanda 2 "--alpha does not apply to method wanda" \
	eval -t piqa --method wanda --sparsity 0.5 --alpha 1
refuses calib_of_magnitude 2 "--calib does not apply to method magnitude" \
	eval -t piqa --method magnitude --sparsity 0.5 --calib self:2x16
refuses damp_of_several 2 "--damp does not apply to any of the methods given" \
	eval -t piqa --method magnitude,wanda --sparsity 0.5 --damp 0.1
refuses no_sparsity 2 "--method magnitude needs --sparsity" eval -t piqa --method magnitude
refuses no_calib 2 "--method wanda needs --calib" \
	eval $on_demo -t piqa --method wanda --sparsity 0.5
refuses window_beyond_the_model 1 "a window of 9999 ids; the model has 4096 positions" \
	eval -t wikitext2 --window 9999
refuses window_beyond_the_batch 1 "does not fit a batch of 100 tokens" \
	eval -t wikitext2 --batch-tokens 100

# ---- folders and files that are not there

mkdir empty
export XDG_CACHE_HOME=$work/empty
unset DUO_CACHE
refuses no_model 1 "no model folder 'nowhere'" eval -m nowhere -t piqa --data "$demo"
refuses model_not_fetched 1 "duo fetch some/model" eval -m some/model -t piqa --data "$demo"
refuses model_without_config 1 "config.json': No such file" eval -m empty -t piqa --data "$demo"
mkdir -p text/wikitext/wikitext-2-raw
printf 'a\n b\377\n' >text/wikitext/wikitext-2-raw/wiki.test.raw
refuses text_that_is_none 1 "wikitext/wikitext-2-raw/wiki.test.raw: invalid UTF-8 at byte 4" eval -m "$demo/model" -t wikitext2 --data text
refuses no_data 1 "duo fetch piqa" eval -m "$demo/model" -t piqa --data nowhere
refuses no_data_by_default 1 "duo fetch wikitext" eval -m "$demo/model" -t wikitext2
refuses no_set 1 "duo fetch boolq" eval -t boolq --data empty

# ---- spoiled data

cp -r "$demo/piqa" empty/piqa
mkdir data
spoiled() { # NAME TEXT SED-OF-DOCUMENTS [SED-OF-LABELS]
	rm -rf data/piqa
	cp -r empty/piqa data/piqa
	cp "$demo/manifest.json" data/
	sed -i "$3" data/piqa/valid.jsonl
	sed -i "${4:-}" data/piqa/valid-labels.lst
	refuses "$1" 1 "$2" $one --data data
}
spoiled bad_json "piqa/valid.jsonl line 3: bad JSON" '3s/}$//'
spoiled text_after_json "piqa/valid.jsonl line 44: bad JSON" '44s/$/ x/'
spoiled missing_field "piqa/valid.jsonl line 5: no field 'sol2'" '5s/"sol2"/"sol3"/'
spoiled wrong_type "piqa/valid.jsonl line 5: field 'goal' is not a string" '5s/"goal": "[^"]*"/"goal": 1/'
spoiled not_an_object "piqa/valid.jsonl line 1: not a JSON object" '1s/.*/[1]/'
spoiled blank_line "piqa/valid.jsonl line 2: blank line" '2s/.*//'
spoiled not_utf8 "piqa/valid.jsonl line 7: invalid UTF-8 at byte 0" '7s/^/\xff/'
spoiled too_few "piqa/valid.jsonl: 43 documents where 44 are expected" '9d'
spoiled too_many "piqa/valid.jsonl: 45 documents where 44 are expected" '9p'
spoiled no_documents "no documents" 'd'
spoiled bad_label "line 4" '' '4s/.*/2/'
spoiled empty_label "line 4: no valid label" '' '4s/.*//'
spoiled too_few_labels "44 documents but 43 labels" '' '4d'
rm data/manifest.json
cp -r empty/piqa/. data/piqa/
refuses published_count 1 "44 documents where 1838 are expected" $one --data data
echo '{"counts": {"boolq": 44}}' >data/manifest.json
refuses manifest_without_the_task 1 "manifest.json: no field 'piqa'" $one --data data
echo '{"counts": {"piqa": "many"}}' >data/manifest.json
refuses manifest_of_another_type 1 "manifest.json: field 'piqa'" $one --data data

# ---- spoiled models

spoiled_model() { # a fresh copy in model/
	rm -rf model
	cp -r "$demo/model" model
	chmod -R u+w model
	size=$(stat -c %s model/model.safetensors)
}
poke() { # OFFSET BYTES: over the weights
	printf "$2" | dd of=model/model.safetensors bs=1 seek="$1" conv=notrunc 2>/dev/null
}
refuses_model() { # NAME TEXT
	refuses "$1" 1 "$2" $one -m model --data "$demo"
}
spoiled_model
poke $((size - 2)) '\377\377'
refuses_model nan_weights "has values that are not finite"
poke $((size - 2)) '\000\174'
refuses_model infinite_weights "has values that are not finite"
spoiled_model
truncate -s -1000 model/model.safetensors
refuses_model truncated_checkpoint "(truncated file?)"
truncate -s 5 model/model.safetensors
refuses_model checkpoint_of_5_bytes "too short for a safetensors file"
: >model/model.safetensors
refuses_model empty_checkpoint "is empty"
rm model/model.safetensors
refuses_model no_checkpoint "neither model.safetensors nor model.safetensors.index.json"
spoiled_model
poke 7 '\377'
refuses_model header_length "does not fit the file's"
spoiled_model
sed -i 's/"vocab_size": 4096/"vocab_size": 4097/' model/config.json
refuses_model vocabulary_of_another_size "is 4096 x 256, config.json says 4097 x 256"
sed -i 's/"vocab_size": 4097/"vocab_size": "4096"/' model/config.json
refuses_model vocab_size_as_text "field 'vocab_size'"
spoiled_model
rm model/tokenizer.model
refuses_model no_tokenizer "no tokenizer"
echo junk >model/tokenizer.model
refuses_model junk_tokenizer "tokenizer"
if [ -f "$shared/tokenizers/llama2.tokenizer.model" ]; then
	cp "$shared/tokenizers/llama2.tokenizer.model" model/tokenizer.model
	refuses_model tokenizer_of_another_model "has 32000 ids, the model's vocabulary 4096"
else
	echo "skip tokenizer_of_another_model: no ../shared"
fi
rm -rf model

# ---- bench

refuses bench_unknown_work 2 "known: linears, layer, decode, prefill, windows" bench --what all
refuses bench_context_0 2 "--context: 0" bench --context 0
refuses bench_no_resume 2 "unknown option '--resume'" bench --resume x
refuses eval_no_context 2 "unknown option '--context'" eval -t piqa --context 5
refuses bench_too_long 1 "nothing was timed" bench --what decode --context 100000 --threads 1 --quiet
fast="bench $on_demo --time-limit 0 --threads 1 --quiet"
run $fast --what decode --context 8,16
if [ $rc = 0 ] && tail -n 1 out | grep -Eq '^(dual|sparse activations) 50/50 ran [0-9.]+ \+- [0-9.]+ times (faster than|as fast as) dense \((own GEMV|batched product); (own GEMV|batched product): [0-9.]+\)$' &&
	grep -q "warning: speed of weights whose accuracy was not measured" out &&
	[ "$(grep -c '^Decoding after' out)" = 2 ]; then echo "ok bench_sentence"; else
	fail bench_sentence "the last line is no sentence on the speed-up"
fi
# Synthetic weights need no tokenizer where nothing is scored.
run bench --shape tiny --what decode --context 8 --time-limit 0 --threads 1 --quiet
if [ $rc = 0 ] && grep -q "^Model tiny, 0.6" out && grep -q "synthetic weights" out; then echo "ok bench_shape"; else
	fail bench_shape "refused"
fi
# Perplexity, mean accuracy and speed-up in one row, and the first two as eval gives them.
scored="-t wikitext2,piqa,boolq --window 64 --limit 4 --method magnitude --sparsity 0.5 --act-sparsity 0.5"
run $fast --what decode --context 8 $scored -o csv --out bench.csv
run eval $on_demo $scored --threads 1 --quiet -o csv --out eval.csv
for c in task metric value path speedup scored_perplexity scored_acc weight_zeros warnings; do
	column $c bench.csv >bench.$c
	column $c eval.csv >eval.$c
done
paste eval.task eval.metric eval.value >eval.three
paste bench.path bench.speedup bench.scored_perplexity bench.scored_acc >bench.row
ppl=$(awk '$2 == "perplexity" { print $3 }' eval.three)
acc=$(awk '($1 == "piqa" && $2 == "acc_norm") || $1 == "boolq" { s += $3 } END { print s / 2 }' eval.three)
if awk -F '\t' -v ppl="$ppl" -v acc="$acc" '
	$1 == "nonzeros" { n++; if (!($2 > 0) || $3 != ppl || ($4 - acc) ^ 2 > 1e-12) bad = 1 }
	END { exit bad || n != 1 }' bench.row; then echo "ok bench_scores_the_same_weights"; else
	fail bench_scores_the_same_weights "the row is $(grep nonzeros bench.row), eval says $ppl $acc"
fi
run $fast --what linears,layer,prefill,windows --window 32 --prompt 16 -o jsonl
if [ $rc = 0 ] && is_json out && ! grep -qi 'nan\|inf[,}]' out && [ "$(wc -l <out)" -gt 20 ]; then
	echo "ok bench_records"
else
	fail bench_records "no records: $(cat json_error)"
fi

# ---- calibration

pruned="eval $on_demo -t piqa --limit 3 --threads 1 --quiet --method wanda --sparsity 0.5 -o csv"
run $pruned --calib self:2x16 --save-calib self.i32 --out a.csv
[ $rc = 0 ] || fail save_calib "refused"
run $pruned --calib self:2x16 --out b.csv
for f in a b; do
	column calib_sha256 $f.csv >$f.sha
	column value $f.csv >$f.value
done
same calib_self_is_the_same_again a.sha b.sha
same results_are_the_same_again a.value b.value
run $pruned --calib self.i32 --out b.csv
column calib_sha256 b.csv >b.sha
column value b.csv >b.value
same saved_calibration_has_the_same_hash a.sha b.sha
same saved_calibration_gives_the_same_results a.value b.value
run eval $on_demo -t piqa --limit 1 --threads 1 --quiet --method wanda --sparsity 0 \
	--calib self:2x16 --seed 1 -o csv --out b.csv
column calib_sha256 b.csv >b.sha
if [ -s b.sha ] && [ "$(head -1 a.sha)" != "$(head -1 b.sha)" ]; then echo "ok calib_self_by_seed"; else
	fail calib_self_by_seed "same ids from another seed"
fi
head -c 126 self.i32 >short.2x16.i32
refuses calib_file_too_short 1 "126 bytes are not 2 windows of 16 ids" $pruned --calib short.2x16.i32
cat self.i32 self.i32 >long.2x16.i32
refuses calib_file_too_long 1 "256 bytes are not 2 windows of 16 ids" $pruned --calib long.2x16.i32
head -c 124 self.i32 >bad.2x16.i32
printf '\000\020\000\000' >>bad.2x16.i32 # 4096
refuses calib_id_out_of_range 1 "id 4096 at 31 is not in the vocabulary of 4096" \
	$pruned --calib bad.2x16.i32
refuses calib_shape 1 "is not NxS" $pruned --calib self.i32:2y16
refuses calib_kind 1 "unknown kind; known: FILE.i32, c4" $pruned --calib pile:2x16
refuses calib_without_a_shape 1 "self:NxS" $pruned --calib self
refuses calib_without_c4 1 "duo fetch c4" $pruned --calib c4:2x16
refuses calib_no_file 1 "cannot open 'no.2x16.i32'" $pruned --calib no.2x16.i32

# ---- what comes out

run $one $on_demo --quiet
if [ $rc = 0 ] && [ ! -s err ] && [ -s out ]; then echo "ok quiet"; else
	fail quiet "something on stderr"
fi
run $one --quiet
if [ $rc = 0 ] && [ ! -s err ]; then echo "ok quiet_with_the_embedded_demo"; else
	fail quiet_with_the_embedded_demo "something on stderr"
fi
run $one
if [ $rc = 0 ] && grep -q "embedded demo" err && ! grep -q "^cell\|^piqa:" out; then
	echo "ok results_on_stdout_and_talk_on_stderr"
else
	fail results_on_stdout_and_talk_on_stderr "mixed"
fi
run $one --out file.md
if [ $rc = 0 ] && [ ! -s out ] && grep -q '^| dense' file.md; then echo "ok out_leaves_stdout_empty"; else
	fail out_leaves_stdout_empty "stdout is not empty, or no table in the file"
fi

# ---- rules of sparse activations: what greedy finds is saved, and gives the same when it is read

act="eval $on_demo -t wikitext2 --window 64 --limit 2 --threads 1 --quiet -o csv"
run $act --act-sparsity 0.02 --act-allocation greedy --calib self:1x16 --save-act-ratios found.json
column value out >found.value
run $act --act-ratios found.json
column value out >read.value
same shares_saved_and_read found.value read.value
refuses ratios_not_there 1 "no-such.json" $act --act-ratios no-such.json
sed 's/"1.qkv"/"9.qkv"/' found.json >bad.json
refuses ratios_of_another_model 1 "bad.json: '9.qkv'" $act --act-ratios bad.json
for rule in topk threshold wina; do
	calib=
	[ $rule = threshold ] && calib="--calib self:2x32"
	run $act --act-sparsity 0.5 --act-rule $rule $calib
	zeros=$(column act_zeros out) name=$(column act_rule out)
	if [ $rc = 0 ] && [ "$name" = $rule ] &&
		echo "$zeros" | awk '{ exit !($1 > 0.45 && $1 < 0.55) }'; then echo "ok act_rule_$rule"; else
		fail act_rule_$rule "rule '$name', zeros '$zeros'"
	fi
done
run $act --act-sparsity 0.5 --act-part last-half
if [ "$(column act_part out)" = last-half ] &&
	column act_zeros out | awk '{ exit !($1 > 0.24 && $1 < 0.26) }'; then
	echo "ok act_part_last_half"
else
	fail act_part_last_half "zeros '$(column act_zeros out)'"
fi

# ---- N:M for every method that zeroes weights

for method in magnitude wanda sparsegpt duogpt; do
	for nm in 2:4 4:8; do
		calib=
		[ $method = magnitude ] || calib="--calib self:2x32"
		run $act --method $method --nm $nm $calib
		if [ $rc = 0 ] && [ "$(column nm out)" = $nm ] && [ "$(column weight_zeros out)" = 0.5 ]; then
			echo "ok nm_${method}_$nm"
		else
			fail nm_${method}_$nm "zeros '$(column weight_zeros out)'"
		fi
	done
done
refuses nm_and_sparsity 2 "exclude each other" \
	eval -t piqa --method magnitude --nm 2:4 --sparsity 0.5

product="eval $on_demo -t piqa,wikitext2 --window 64 --limit 2 --threads 1 --quiet
	--method dense,magnitude --sparsity 0.25,0.5 --act-sparsity 0,0.5 -o"
run $product csv --out cells.csv
for c in method weight_sparsity act_sparsity metric; do column $c cells.csv >cells.$c; done
paste cells.method cells.weight_sparsity cells.act_sparsity | sort | uniq -c |
	awk '{ print $2, $3, $4, $1 }' >cells
cat >cells_expected <<-END
	dense 0 0 3
	dense 0 0.5 3
	magnitude 0.25 0 3
	magnitude 0.25 0.5 3
	magnitude 0.5 0 3
	magnitude 0.5 0.5 3
END
same lists_run_their_product cells cells_expected
column weight_zeros cells.csv | paste cells.weight_sparsity - | awk '
	{ d = $2 - $1; if (d < -0.001 || d > 0.001) print "asked " $1 ", measured " $2 }' >zeros
: >nothing
same zeros_as_asked nothing zeros
run $product jsonl
n=$(grep -c '^{"run_id": .*}$' out)
if [ $rc = 0 ] && [ "$n" = 18 ] && [ "$(wc -l <out)" = 18 ] && is_json out; then
	echo "ok jsonl"
else
	fail jsonl "$n records; $(cat json_error)"
fi
missing=
for f in run_id time git model model_sha256 n_params method weight_sparsity weight_zeros \
	act_sparsity act_zeros alpha order lazy damp calib_sha256 seed protocol backend device dtype task \
	version n metric value stderr seconds warnings; do
	[ "$(grep -c "[{ ]\"$f\": " out)" = 18 ] || missing="$missing $f"
done
if [ -z "$missing" ]; then echo "ok jsonl_fields"; else fail jsonl_fields "missing:$missing"; fi
run $one $on_demo --quiet -o json
if [ $rc = 0 ] && is_json out && grep -q '"acc_norm,none"' out && grep -q '"n-samples"' out; then
	echo "ok json"
else
	fail json "$(cat json_error)"
fi
run $one $on_demo --quiet -o md
if [ $rc = 0 ] && awk -F'|' '/^\|/ { if (!n) n = NF; if (NF != n) exit 1; rows++ }
	END { exit rows < 3 }' out; then echo "ok md"; else fail md "not a table"; fi

run eval $on_demo -t piqa --limit 0.05 --threads 1 --quiet -o csv
documents() { # NAME NUMBER
	if [ "$(column n out | head -1)" = "$2" ]; then echo "ok $1"; else fail "$1" "not $2 documents"; fi
}
documents limit_as_a_share 3
run eval $on_demo -t piqa --limit 1000 --method magnitude --sparsity 0 --threads 1 --quiet -o csv
documents limit_beyond_the_set 44

# ---- values that must not move

scores() { # FILE ARGS...: values in FILE, samples in FILE.d
	f=$1
	shift
	run eval $on_demo -t wikitext2,piqa --window 100 --limit 4 --quiet -o csv --log-samples "$f.d" "$@"
	column value out >"$f"
	cat "$f.d"/*/samples_* >>"$f"
}
scores first --threads 1
for o in "--threads 2" "--threads 3 --batch-tokens 101" "--threads 1 --batch-tokens 333"; do
	scores other $o
	same "same_scores_with_$(echo "$o" | tr ' ' '_')" first other
	rm -rf other.d
done
run eval $on_demo -t piqa --limit 2 --threads 1 --quiet --sparsity 0 --calib self.i32 -o csv \
	--method dense,magnitude,wanda,sparsegpt,duogpt --log-samples zero
n=$(cat zero/*/samples_piqa_* | sort | uniq -c | awk '$1 == 5' | wc -l)
if [ $rc = 0 ] && [ "$n" = 2 ] && [ "$(column value out | wc -l)" = 10 ]; then
	echo "ok sparsity_0_is_dense"
else
	fail sparsity_0_is_dense "scores differ"
fi

# ---- writing

wide="$product jsonl" # some 20 KB
echo old >result
(
	trap '' XFSZ
	ulimit -f 1
	"$duo" $wide --out result >/dev/null 2>&1
	echo $? >status
)
if [ "$(cat status)" = 1 ] && [ "$(cat result)" = old ] && [ "$(ls result* | wc -l)" = 1 ]; then
	echo "ok out_beyond_the_file_size_limit"
else
	fail out_beyond_the_file_size_limit "the old file is gone, or a temporary is left: $(ls result*)"
fi
mkdir "$small"
if mount -t tmpfs -o size=16k tmpfs "$small" 2>/dev/null; then
	head -c 7000 /dev/zero >"$small/filler"
	echo old >"$small/result"
	refuses out_on_a_full_disk 1 "cannot write '$small/result': No space left" $wide --out "$small/result"
	if [ "$(cat "$small/result")" = old ] && [ "$(ls "$small" | wc -l)" = 2 ]; then
		echo "ok full_disk_leaves_the_old_file"
	else
		fail full_disk_leaves_the_old_file "$(ls "$small")"
	fi
	mount -o remount,ro "$small"
	refuses out_on_a_read_only_disk 1 "cannot write '$small/new'" $one --out "$small/new"
	umount "$small"
else
	echo "skip out_on_a_full_disk: no file system can be mounted"
	echo "skip out_on_a_read_only_disk: no file system can be mounted"
fi
refuses out_in_no_folder 1 "cannot write 'no/folder/x': No such file" $one --out no/folder/x
refuses samples_over_a_file 1 "'result' is not a folder" $one --log-samples result
ran="duo ... >/dev/full"
"$duo" $one --quiet >/dev/full 2>err
rc=$?
: >out
if [ $rc = 1 ] && grep -q "cannot write the results to stdout" err; then echo "ok full_stdout"; else
	fail full_stdout "not told"
fi
ran="duo ... <&- >&-"
"$duo" $one --quiet <&- >&- 2>err
rc=$?
if [ $rc = 1 ] && grep -q "cannot write the results to stdout: Bad file descriptor" err; then echo "ok closed_stdout"; else
	fail closed_stdout "not told"
fi
ran="duo list >/dev/full"
"$duo" list >/dev/full 2>err
rc=$?
if [ $rc = 1 ] && grep -q "cannot write all to stdout: No space" err; then echo "ok full_stdout_of_list"; else
	fail full_stdout_of_list "not told"
fi
echo old >result
"$duo" $wide --out result 2>/dev/null &
sleep 0.4
kill -9 $! 2>/dev/null
wait $! 2>/dev/null
if [ "$(cat result)" = old ] || is_json result; then echo "ok killed_runs_leave_whole_files"; else
	fail killed_runs_leave_whole_files "half a file"
fi

# ---- generate

continues() { # OPTIONS...: of a short text
	run generate -p "The river is" -n 12 --quiet --threads 1 "$@"
}
continues
if [ $rc = 0 ] && [ ! -s err ] && [ "$(head -c 12 out)" = "The river is" ] &&
	[ "$(wc -c <out)" -gt 20 ] && [ "$(tail -c 1 out | wc -l)" = 1 ]; then
	echo "ok generate"
else
	fail generate "no text after the prompt"
fi
cp out greedy
continues
same generate_twice greedy out
continues --packed columns # the same function of the same weights
same generate_packed_otherwise greedy out
continues --temperature 5 --seed 1
cp out drawn
continues --temperature 5 --seed 1
same generate_same_seed drawn out
continues --temperature 5 --seed 2
if ! cmp -s drawn out; then echo "ok generate_other_seed"; else fail generate_other_seed "the same text"; fi
run generate -n 3 --threads 1 --method magnitude --sparsity 0.5 --act-sparsity 0.5
if [ $rc = 0 ] && [ "$(grep -c "nonzeros in 6 layers, 50.0 % of the weights non-zero, 50.0 % of the input" err)" = 4 ] &&
	grep -q "tokens/s" err; then
	echo "ok generate_says_how"
else
	fail generate_says_how "packing or speed not told"
fi
refuses generate_packed 2 "not auto, rows, columns or nonzeros" generate --packed bitmap
refuses generate_nothing 2 "--n-tokens: 0" generate -n 0
refuses generate_temperature 2 "--temperature: -1" generate --temperature -1
refuses generate_one_model 2 "one model generates" generate --method magnitude --sparsity 0.5,0.6
refuses generate_no_tasks 2 "unknown option '-t'" generate -t piqa
refuses generate_not_utf8 1 "not UTF-8" generate --quiet -p "$(printf 'a\377')"
refuses generate_long 1 "the model takes 4096" generate --quiet -p "$(head -c 40000 /dev/zero | tr '\0' x)"

# ---- folders of any name: the records can be read, and are what JSON may be

odd=$(printf 'a\nb\377c\342\200\256')
cp -r "$demo/model" "$odd"
run eval --quiet -m "$odd" --data "$demo" -t piqa --limit 2 -o jsonl --out "$odd.jsonl"
run report "$odd.jsonl" "$odd.jsonl"
if [ $rc = 0 ] && [ ! -s err ] && grep -q "^Model a b.*c  (sha256" out; then
	echo "ok folder_of_any_name"
else
	fail folder_of_any_name "records that cannot be read"
fi
run eval --quiet -m "$odd" --data "$demo" -t piqa --limit 2 -o json
iconv -f utf-8 -t utf-16 out >/dev/null 2>&1 && echo "ok json_of_any_name" || fail json_of_any_name "not UTF-8"

checksums >after
same checkpoint_untouched before after
