#!/bin/sh
# Models larger than the memory that they may use: the same results, to the last digit, as without a
# limit, from host memory, from the checkpoint's files, and from layers that a killed run has left.
# DUO names the binary.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
export OMP_WAIT_POLICY=passive

# What a record says of the model and its scores, without what the run took.
scores() {
	sed 's/.*"n_params"/"n_params"/; s/"[a-z_]*\(seconds\|nbytes\)": [^,}]*//g' "$dir/$1"
}

# run OUT [OPTION...]: records to OUT, stderr to said, status in rc
run() {
	out=$1
	shift
	"$DUO" eval -t wikitext2,piqa --limit 2 --threads 2 -o jsonl "$@" >"$dir/$out" 2>"$dir/said" \
		</dev/null
	rc=$?
}

check() { # NAME CONDITION...
	name=$1
	shift
	if "$@"; then echo "ok $name"; else
		echo "not ok $name"
		sed 's/^/# /' "$dir/said" | tail -5
	fi
}

same() { # A B
	[ $rc = 0 ] && scores "$1" >"$dir/a" && scores "$2" >"$dir/b" && cmp -s "$dir/a" "$dir/b"
}

said() { grep -q "$1" "$dir/said"; }

# ---- a limit below the model's size (23.2 MB of weights in float32)
small="--window 96 --batch-tokens 96 --method dense,wanda --sparsity 0.5 --act-sparsity 0.5"
small="$small --calib self:4x32"
run free $small
check without_a_limit [ $rc = 0 ]
run limited $small --memory-limit 20MiB
check limited_streams said 'stay in host memory and are copied'
check limited_gives_the_same same free limited
run unheld $small --memory-limit 20MiB --host-limit 1 --layer-dir "$dir/layers"
check unheld_reads_again said '0 of 6 layers stay in host memory, the others are read'
check unheld_gives_the_same same free unheld
run lost $small --memory-limit 20MiB --host-limit 18MiB
check lost_layers_are_told said '4 pruned layers have found no room'
check lost_layers_fail [ $rc = 1 ]
run too_small $small --memory-limit 8MiB
check too_small_is_told said 'the limit is 8.000 MiB'

# ---- layers of an earlier run
duogpt="--window 96 --method duogpt --sparsity 0.5 --act-sparsity 0.5 --calib self:4x32"
run free $duogpt
run first $duogpt --layer-dir "$dir/duogpt"
check first_gives_the_same same free first
rm "$dir/duogpt/layer-00003.bin"
head -c 1000000 "$dir/duogpt/layer-00004.bin" >"$dir/cut" && mv "$dir/cut" "$dir/duogpt/layer-00004.bin"
run second $duogpt --layer-dir "$dir/duogpt" --host-limit 15MiB
check resumes_what_is_whole said '4 of 6 layers were there from an earlier run'
check resumed_gives_the_same same free second
dd if=/dev/zero of="$dir/duogpt/layer-00002.bin" bs=256 seek=1 count=100 conv=notrunc 2>/dev/null
run damaged $duogpt --layer-dir "$dir/duogpt"
check damaged_layer_is_told_of said 'layer-00002.bin is damaged'
check damaged_layer_is_made_again same free damaged
run third $duogpt --alpha 0.25 --layer-dir "$dir/duogpt"
check another_recipe_is_not_resumed [ $rc = 0 ]
check another_recipe_resumes_nothing sh -c "! grep -q 'earlier run' '$dir/said'"

# ---- a saved model is the same
"$DUO" prune $duogpt --threads 2 --save "$dir/a.saved" >/dev/null 2>"$dir/said" &&
	"$DUO" prune $duogpt --threads 2 --save "$dir/b.saved" --layer-dir "$dir/save" >/dev/null 2>>"$dir/said"
rc=$?
check saved_streamed [ $rc = 0 ]
check saved_the_same cmp -s "$dir/a.saved/model.safetensors" "$dir/b.saved/model.safetensors"

# ---- reference models
for m in llama2-ref llama3-ref; do
	limit=90MiB
	[ $m = llama2-ref ] || limit=60MiB
	if [ ! -d "../shared/models/$m" ]; then
		echo "skip $m: ../shared/models is not there"
		continue
	fi
	ref="-m ../shared/models/$m --data data/demo --window 96 --batch-tokens 96 --method dense,wanda
		--sparsity 0.5 --act-sparsity 0.5 --calib self:2x32"
	run free $ref
	run limited $ref --memory-limit $limit
	check "${m}_limited_streams" said 'stay in host memory and are copied'
	check "${m}_limited_gives_the_same" same free limited
done
