#!/bin/sh
# duo prune --save: the saved model scores as the one in memory did, to the bit; nothing is ever under
# the folder's name but a whole model; what stands in the way is told in one line. DUO names the
# binary.
set -u
duo=$(realpath "${DUO:-build/duo}") || exit 1
demo=$(realpath "${DUO_DEMO:-data/demo}") || exit 1
work=$(mktemp -d /tmp/duo-test-save-XXXXXX) || exit 1
small=$work/small # a small file system, if one can be mounted
cleanup() {
	mountpoint -q "$small" && umount "$small"
	rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 1' INT TERM
export OMP_WAIT_POLICY=passive
cd "$work" || exit 1

fail() { # NAME WHY
	echo "not ok $1"
	echo "# $2; status $rc"
	sed 's/^/# stderr: /' err | head -5
}

run() { # ARGS...: stdout in out, stderr in err, status in rc
	"$duo" "$@" >out 2>err </dev/null
	rc=$?
}

prune() { # ARGS...: the quickest pruning
	run prune -m "$demo/model" --method magnitude --sparsity 0.5 --threads 1 --quiet "$@"
}

refuses() { # NAME STATUS TEXT ARGS...: one line, that text, nothing left behind
	name=$1 status=$2 text=$3
	shift 3
	ls -A >before
	prune "$@"
	ls -A >after
	if [ $rc != "$status" ] || [ "$(grep -c '^duo: ' err)" != 1 ]; then
		fail "$name" "status $status and one line expected"
	elif ! grep -qF -- "$text" err; then
		fail "$name" "no '$text'"
	elif ! cmp -s before after; then
		fail "$name" "left behind: $(ls -A)"
	else
		echo "ok $name"
	fi
}
: >before >after >out >err # so that they are in every listing

# Task, metric, value, error, n and zeros of every record.
values() { # FILE
	sed 's/.*"weight_zeros": \([^,]*\).*"act_zeros": \([^,]*\).*"task": \("[^"]*"\).*"n": \([0-9]*\).*"metric": \("[^"]*"\), "value": \([^,]*\), "stderr": \([^,]*\),.*/\1 \2 \3 \4 \5 \6 \7/' "$1"
}

# ---- the saved model is the one that was scored

tasks="-t wikitext2,piqa --window 128 --limit 6 --threads 1 --quiet -o jsonl --data $demo"
same_scores() { # NAME FOLDER PRUNING...
	name=$1 dir=$2
	shift 2
	run prune -m "$demo/model" "$@" $tasks --save "$dir"
	[ $rc = 0 ] || { fail "$name" "not saved" && return; }
	mv out in_memory
	run eval -m "$dir" $tasks ${act:-}
	[ $rc = 0 ] || { fail "$name" "not read" && return; }
	values in_memory >a
	cp a "$dir.values"
	values out >b
	if [ "$(wc -l <a)" = 3 ] && ! grep -q run_id a && cmp -s a b; then echo "ok $name"; else
		fail "$name" "in memory: $(cat a); saved: $(cat b)"
	fi
}
act="--act-sparsity 0.4"
same_scores duogpt_as_saved duogpt --method duogpt --sparsity 0.5 $act --calib self:2x64
act=
same_scores magnitude_as_saved magnitude --method magnitude --sparsity 0.3
same_scores n_of_m_as_saved nm --method wanda --nm 2:4 --calib self:2x64
same_scores bf16_as_saved bf16 --method magnitude --sparsity 0.5 --save-dtype bf16
same_scores f32_as_saved f32 --method magnitude --sparsity 0.5 --save-dtype f32
same_scores bitmask_as_saved bitmask --method magnitude --sparsity 0.3 --save-format sparse-bitmask
if cmp -s magnitude.values bitmask.values && [ "$(du -k bitmask/model.safetensors | cut -f1)" -lt \
	"$(du -k magnitude/model.safetensors | cut -f1)" ]; then
	echo "ok bitmask_is_dense_and_smaller"
else
	rc=0
	fail bitmask_is_dense_and_smaller "$(ls -l bitmask magnitude)"
fi
prune --save device
prune --weights stream --save stream
if [ $rc = 0 ] && cmp -s device/model.safetensors stream/model.safetensors; then echo "ok streamed"; else
	fail streamed "another file"
fi
same_scores dense_as_saved dense --method dense
# The records in it name the model that was read.
if [ "$(grep -o '"model_sha256": "[0-9a-f]*"' dense/duo.json | sort -u | wc -l)" = 1 ]; then
	echo "ok dense_is_the_same_model"
else
	echo "not ok dense_is_the_same_model"
fi
if cmp -s magnitude/config.json "$demo/model/config.json" &&
	cmp -s magnitude/tokenizer.model "$demo/model/tokenizer.model" &&
	cmp -s magnitude/generation_config.json "$demo/model/generation_config.json"; then
	echo "ok files_that_go_along"
else
	echo "not ok files_that_go_along"
fi
if grep -q '"torch_dtype": "bfloat16"' bf16/config.json &&
	sed 's/bfloat16/float16/' bf16/config.json | cmp -s - "$demo/model/config.json"; then
	echo "ok config_names_another_type"
else
	echo "not ok config_names_another_type"
fi

# ---- shares of activations that were dealt out go along

act="--act-ratios dealt/act_ratios.json"
dealt="--method duogpt+ --sparsity 0.5 --act-sparsity 0.5 --calib self:2x64"
same_scores dealt_out_as_saved dealt $dealt
if awk '{ n += $1 < 0.49995 || $1 >= 0.50005 || $2 < 0.49995 || $2 >= 0.50005 } END { exit n > 0 || NR != 3 }' \
	dealt.values; then echo "ok dealt_out_to_four_decimals"; else
	fail dealt_out_to_four_decimals "$(cat dealt.values)"
fi
act="--act-sparsity 0.5"
same_scores not_dealt_out uniform $dealt --act-allocation uniform
if [ ! -e uniform/act_ratios.json ] && ! cmp -s uniform.values dealt.values; then
	echo "ok not_dealt_out_is_another"
else
	fail not_dealt_out_is_another "$(cat uniform.values)"
fi
act=

# ---- layers that are gone

# The share of zeros is that of the model in the folder, where nothing is gone.
same_scores removed_layers removed --method shortgpt --sparsity 0.3 --calib self:2x64 >said
cut -d' ' -f2- a >b_values
cut -d' ' -f2- b >a_values
if cmp -s a_values b_values && [ -s a_values ] && sed 's/"num_hidden_layers": 4/"num_hidden_layers": 6/' \
	removed/config.json | cmp -s - "$demo/model/config.json"; then
	echo "ok removed_layers_as_saved"
else
	fail removed_layers_as_saved "$(cat a b)"
fi

# ---- layers of other shapes: duo's own form

# As same_scores, but for the share of zeros, which is that of the model in the folder.
same_parts() { # METHOD
	run prune -m "$demo/model" --method $1 --sparsity 0.3 --calib self:2x64 $tasks --save "own_$1"
	[ $rc = 0 ] || { fail "$1_as_saved" "not saved" && return; }
	values out | cut -d' ' -f2- >a
	params=$(grep -o '"effective_params": [0-9]*' out | sort -u)
	run eval -m "own_$1" $tasks
	values out | cut -d' ' -f2- >b
	left=$(grep -o '"effective_params": [0-9]*' out | sort -u)
	if [ $rc = 0 ] && [ "$(wc -l <a)" = 3 ] && cmp -s a b && [ "$params" = "$left" ] &&
		grep -q '"model_type": "duo-llama"' "own_$1/config.json"; then
		echo "ok $1_as_saved"
	else
		fail "$1_as_saved" "in memory: $(cat a) $params; saved: $(cat b) $left"
	fi
}
for method in blockpruner 2ssp flap slicegpt; do same_parts $method; done
run prune -m own_flap --method dense --threads 1 --quiet --save again
if [ $rc = 0 ] && cmp -s again/model.safetensors own_flap/model.safetensors &&
	cmp -s again/config.json own_flap/config.json; then echo "ok own_form_saved_again"; else
	fail own_form_saved_again "another"
fi
told() { # NAME TEXT ARGS...: one line with that text, status 1
	name=$1 text=$2
	shift 2
	run "$@" --threads 1 --quiet
	if [ $rc = 1 ] && [ "$(wc -l <err)" = 1 ] && grep -qF "$text" err; then echo "ok $name"; else
		fail "$name" "'$text' expected"
	fi
}
told own_form_not_pruned_again "scored, not pruned again" eval -m own_2ssp -t piqa --data "$demo" \
	--limit 1 --method magnitude --sparsity 0.5
told own_form_not_timed "bench times them beside the whole model" bench -m own_2ssp
told own_form_not_streamed "neither streamed" eval -m own_2ssp -t piqa --data "$demo" --weights stream
if grep -q '{"layer": 0, "removed": "parts", "heads": \[[1-4], 4\], "neurons": \[[0-9]*, 688\]}' \
	own_flap/duo.json && grep -q '"removed": "attention", "heads": \[0, 4\]' own_2ssp/duo.json &&
	[ "$(grep -c '"removed": "layer", "heads": \[0, 4\], "neurons": \[0, 688\]' removed/duo.json)" = 2 ] &&
	grep -q '"hidden_size": \[[0-9]*, 256\]' own_slicegpt/duo.json; then
	echo "ok what_was_removed_is_listed"
else
	rc=0
	fail what_was_removed_is_listed "$(grep -h '"removed"' own_2ssp/duo.json removed/duo.json)"
fi

# ---- what duo.json says

provenance=
for f in '"method": "duogpt"' '"weight_sparsity": 0.5' '"act_sparsity": 0.4' '"alpha": 0.125' \
	'"calib": "self:2x64"' '"seed": 0' '"computed_in": "f32"' '"saved_as": "f16"' \
	'"from_model_sha256": "331640bc' '"metric": "perplexity"' '"weight_zeros": 0.5' \
	'weights were rounded to f16'; do
	grep -qF "$f" duogpt/duo.json || provenance="$provenance $f"
done
run eval -m duogpt -t piqa --limit 1 --data "$demo" --quiet -o jsonl
sha=$(sed 's/.*"model_sha256": "\([0-9a-f]*\)".*/\1/' out | sort -u)
grep -q "^  \"model_sha256\": \"$sha\"" duogpt/duo.json || provenance="$provenance sha256"
grep -q 'rounded' f32/duo.json && provenance="$provenance f32-is-not-rounded"
if [ -z "$provenance" ]; then echo "ok provenance"; else fail provenance "missing:$provenance"; fi

# ---- shards

run prune -m "$demo/model" --method magnitude --sparsity 0.3 $tasks --shard-size 3MB --save sharded
n=$(ls sharded/model-0000?-of-00004.safetensors 2>/dev/null | wc -l)
values out >a
run eval -m sharded $tasks
values out >b
sha=$(grep -h '^  "model_sha256"' magnitude/duo.json sharded/duo.json | sort -u | wc -l)
if [ "$n" = 4 ] && cmp -s a b && [ "$sha" = 1 ] && [ ! -e sharded/model.safetensors ]; then
	echo "ok sharded_is_single"
else
	fail sharded_is_single "$n files, $sha hashes; $(ls sharded)"
fi

# ---- names

for name in "a b" "quo'te\"s" "snowman-☃" "-m" "new
line" 'back\slash' "%s%n" "$(printf 'x%.0s' $(seq 200))"; do
	prune --save "./$name"
	if [ $rc = 0 ] && [ -s "./$name/model.safetensors" ] && [ -s "./$name/duo.json" ] &&
		[ -z "$(ls -d ./*.partial-* 2>/dev/null)" ]; then
		echo "ok saved_as_$(echo "$name" | tr '\n' ' ' | cut -c1-20)"
	else
		fail "saved_as_$(echo "$name" | tr '\n' ' ' | cut -c1-20)" "not there"
	fi
	rm -rf "./$name"
done
prune --save slash///
if [ $rc = 0 ] && [ -s slash/model.safetensors ]; then echo "ok slashes_at_the_end"; else
	fail slashes_at_the_end "not there"
fi
mkdir empty
prune --save empty
if [ $rc = 0 ] && [ -s empty/model.safetensors ]; then echo "ok over_an_empty_folder"; else
	fail over_an_empty_folder "not there"
fi
refuses over_a_model 1 "'empty' is there and is not empty" --save empty
echo x >file
refuses over_a_file 1 "'file' is there and is not a folder" --save file
refuses in_no_folder 1 "no folder 'nowhere'" --save nowhere/x
refuses in_a_file 1 "no folder 'file'" --save file/x
refuses dot 1 "is not the name of a new folder" --save .
refuses empty_name 1 "is not the name of a new folder" --save ''
refuses root 1 "is not the name of a new folder" --save /
refuses nowhere_to_save 2 "--save DIR"
refuses several_models 2 "one model is saved" --act-sparsity 0,0.5 --save x
refuses shard_size_0 2 "--shard-size: '0' is not a size" --shard-size 0 --save x
refuses shard_size_x 2 "--shard-size: '5XB' is not a size" --shard-size 5XB --save x
refuses unknown_dtype 2 "known: as-read, f32, f16, bf16" --save-dtype int8 --save x
refuses unknown_format 2 "--save-format: 'gguf'" --save-format gguf --save x
refuses resume 2 "unknown option '--resume'" --resume x --save x
if [ "$(cd "$demo/model" && ls | wc -l)" = 4 ]; then echo "ok demo_untouched"; else
	echo "not ok demo_untouched"
fi

# ---- the disk

mkdir "$small"
if mount -t tmpfs -o size=8m tmpfs "$small" 2>/dev/null; then
	refuses disk_too_small 1 "its disk has" --save "$small/x"
	# Enough for the weights when it is asked, not when they are written.
	mount -o remount,size=12m "$small"
	(
		while [ -z "$(ls "$small" | grep partial)" ]; do :; done
		head -c 4000000 /dev/zero >"$small/filler"
	) 2>/dev/null &
	filler=$!
	prune --save "$small/x" --shard-size 100KB
	kill $filler 2>/dev/null
	wait $filler 2>/dev/null
	if [ $rc = 1 ] && [ "$(grep -c '^duo: ' err)" = 1 ] && grep -q 'No space left' err &&
		[ -z "$(ls "$small" | grep -v filler)" ]; then
		echo "ok full_disk"
	elif [ $rc = 0 ]; then
		echo "skip full_disk: it was saved before the disk was full"
	else
		fail full_disk "$(ls "$small")"
	fi
	rm -rf "$small"/*
	refuses mount_point 1 "is where a file system is mounted" --save "$small"
	mount -o remount,ro "$small"
	refuses read_only_disk 1 "Read-only file system" --save "$small/x"
	umount "$small"
else
	echo "skip full_disk: no file system can be mounted"
fi
(
	trap '' XFSZ
	ulimit -f 4000 # blocks of 512 bytes: files of 2 MB
	"$duo" prune -m "$demo/model" --method magnitude --sparsity 0.5 --threads 1 --quiet \
		--save limited >out 2>err
	echo $? >status
)
rc=$(cat status)
if [ "$rc" = 1 ] && [ "$(grep -c '^duo: ' err)" = 1 ] && grep -q 'File too large' err &&
	[ -z "$(ls -d limited* 2>/dev/null)" ]; then
	echo "ok file_size_limit"
else
	fail file_size_limit "$(ls -d limited*)"
fi

# ---- killed: under the name is a whole model or nothing, and what is left beside it is told

prune --save whole --shard-size 200KB
whole() { # FOLDER: are its files those of `whole`? duo.json has the time.
	for f in whole/*; do
		[ "$f" = whole/duo.json ] || cmp -s "$f" "$1/${f#whole/}" || return 1
	done
	[ -s "$1/duo.json" ]
}
bad=0 inside=0 before=0 after=0
for i in 1 2 3 4 5 6 7 8; do
	rm -rf killed killed.partial-*
	"$duo" prune -m "$demo/model" --method magnitude --sparsity 0.5 --threads 1 --quiet \
		--shard-size 200KB --save killed >out 2>err &
	pid=$!
	# From the moment it begins to write, at another point each time.
	until ls -d killed.partial-*/*-0000$i-* >/dev/null 2>&1 || ! kill -0 $pid 2>/dev/null; do :; done
	kill -9 $pid 2>/dev/null
	wait $pid 2>/dev/null
	if [ -e killed ]; then
		whole killed || bad=1
		after=$((after + 1))
	elif ls -d killed.partial-* >/dev/null 2>&1; then
		inside=$((inside + 1))
	else
		before=$((before + 1))
	fi
done
rc=0
echo "# killed $inside times while writing, $before before, $after after"
if [ $bad = 0 ] && [ $inside -gt 0 ]; then echo "ok killed_leaves_nothing_under_the_name"; else
	fail killed_leaves_nothing_under_the_name "$bad"
fi
rm -rf killed killed.partial-*
mkdir killed.partial-AbCdEf
echo x >killed.partial-AbCdEf/model.safetensors
prune --save killed
if [ $rc = 0 ] && [ -s killed/model.safetensors ] &&
	grep -q "warning: './killed.partial-AbCdEf' is left" err; then
	echo "ok leftovers_are_named"
else
	fail leftovers_are_named "not named"
fi
