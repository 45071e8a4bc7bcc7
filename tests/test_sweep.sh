#!/bin/sh
# duo eval with lists: a cell that fails is told and the others go on; cells with the same weights are
# pruned once and score as they would alone; --resume skips what is finished. DUO names the binary.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT
export OMP_WAIT_POLICY=passive

# sweep OUT [OPTION...]: csv to OUT, stderr to said, status in rc
sweep() {
	out=$1
	shift
	"$DUO" eval -t piqa,wikitext2 --window 96 --limit 3 --threads 1 -o jsonl "$@" \
		>"$dir/$out" 2>"$dir/said" </dev/null
	rc=$?
}

# Method, sparsities, zeros, task, metric, value of every record, in the file's order.
values() {
	sed 's/.*"method": "\([a-z]*\)", "weight_sparsity": \([^,]*\), "weight_zeros": \([^,]*\), "act_sparsity": \([^,]*\), "act_zeros": \([^,]*\).*"task": "\([^"]*\)".*"metric": "\([^"]*\)", "value": \([^,]*\),.*/\1 \2 \4 \3 \5 \6 \7 \8/' "$dir/$1"
}

cells() { # FILE: the cells in its order
	values "$1" | awk '{ c = $1 " " $2 " " $3; if (c != last) print c; last = c }'
}

prunings() { # times that a model was pruned
	grep -c 'zeros in' "$dir/said"
}

check() { # NAME CONDITION...
	name=$1
	shift
	if "$@"; then echo "ok $name"; else
		echo "not ok $name"
		sed 's/^/# /' "$dir/said" | tail -5
	fi
}

# ---- the same weights are made once

lists="--method dense,magnitude,wanda,duogpt --sparsity 0.3,0.5 --act-sparsity 0,0.5 --calib self:2x32"
# shellcheck disable=SC2086
sweep all $lists
cat >"$dir/want" <<-END
	dense 0 0
	magnitude 0.3 0
	wanda 0.3 0
	duogpt 0.3 0
	magnitude 0.5 0
	wanda 0.5 0
	duogpt 0.5 0
	dense 0 0.5
	magnitude 0.3 0.5
	wanda 0.3 0.5
	duogpt 0.3 0.5
	magnitude 0.5 0.5
	wanda 0.5 0.5
	duogpt 0.5 0.5
END
cells all >"$dir/got"
check records_in_the_order_of_the_lists cmp -s "$dir/want" "$dir/got"
# duogpt sees the activations: each of its cells has weights of its own.
check pruned_once_per_weights [ "$(prunings)" = 8 ]
: >"$dir/alone"
for method in dense magnitude wanda duogpt; do
	for s in 0.3 0.5; do
		for a in 0 0.5; do
			case $method in
			dense) [ $s = 0.3 ] || continue && recipe= ;;
			magnitude) recipe="--sparsity $s" ;;
			*) recipe="--sparsity $s --calib self:2x32" ;;
			esac
			# shellcheck disable=SC2086
			sweep one --method $method --act-sparsity $a $recipe
			cat "$dir/one" >>"$dir/alone"
		done
	done
done
values all | sort >"$dir/a"
values alone | sort >"$dir/b"
check cells_score_as_alone [ "$(wc -l <"$dir/a")" = 42 ]
check cells_score_as_alone_to_the_bit cmp -s "$dir/a" "$dir/b"

# ---- a cell that fails

failing="--method magnitude,sparsegpt,wanda --nm 2:4 --block 6 --act-sparsity 0,0.5 --calib self:2x32"
# shellcheck disable=SC2086
sweep some $failing --resume "$dir/journal"
cat >"$dir/want" <<-END
	magnitude 0.5 0
	wanda 0.5 0
	magnitude 0.5 0.5
	wanda 0.5 0.5
END
cells some >"$dir/got"
check status_1_where_a_cell_failed [ $rc = 1 ]
check the_others_go_on cmp -s "$dir/want" "$dir/got"
check failed_cells_are_named \
	grep -q '^duo: 2 of 6 cells failed: sparsegpt w0.5 a0, sparsegpt w0.5 a0.5$' "$dir/said"
check not_pruned_twice grep -q 'duo: sparsegpt w0.5: not pruned again' "$dir/said"
check the_cause_is_told [ "$(grep -c 'blocks of 6 columns are no whole number' "$dir/said")" = 1 ]
values some >"$dir/a"
# shellcheck disable=SC2086
sweep again $failing --resume "$dir/journal"
values again >"$dir/b"
check resume_skips_what_is_finished [ "$(prunings)" = 0 ]
check resume_gives_the_same cmp -s "$dir/a" "$dir/b"
check resume_tries_the_failed_again [ $rc = 1 ]

# A value that is not finite, from the dense model on: one weight of the last norm is 3e38.
model=$dir/model
cp -r "${DUO_DEMO:-data/demo}/model" "$model"
chmod -R u+w "$model"
"$DUO" prune -m "$model" --method dense --save-dtype f32 --save "$dir/f32" --quiet 2>"$dir/said"
# The last four bytes of the file are in the last norm.
end=$(($(wc -c <"$dir/f32/model.safetensors") - 4))
printf '\000\000\160\177' | dd of="$dir/f32/model.safetensors" bs=1 seek=$end conv=notrunc 2>"$dir/dd"
sweep none -m "$dir/f32" --data "${DUO_DEMO:-data/demo}" --method magnitude --sparsity 0.5 --baseline
check nothing_without_the_baseline [ $rc = 1 ]
check no_records_without_the_baseline [ ! -s "$dir/none" ]
check the_baseline_is_told grep -q 'the dense model could not be scored' "$dir/said"
check not_pruned_without_the_baseline [ "$(prunings)" = 0 ]
