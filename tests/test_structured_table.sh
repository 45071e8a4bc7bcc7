#!/bin/sh
# scripts/structured-table with a program in duo's place that notes its calls and writes records: what is
# run, what is not run again, and the table by hand.
set -u
dir=$(mktemp -d) || exit 1
trap 'rm -rf "$dir"' EXIT

check() { # NAME CONDITION...
	name=$1
	shift
	if "$@"; then echo "ok $name"; else
		echo "not ok $name"
		sed 's/^/# /' "$dir/calls" "$dir/out" | tail -12
	fi
}

cat >"$dir/duo" <<'END'
#!/bin/sh
# Notes the call; writes one accuracy, the perplexity and a decode speed. METHOD sleb fails.
echo "$*" >>"$DUO_CALLS"
method=dense s=0 a=0 out=
while [ $# -gt 0 ]; do
	case $1 in
	--method) method=$2 ;; --sparsity) s=${2%,*} ;; --act-sparsity) a=$2 ;; --out) out=$2 ;;
	esac
	shift
done
[ "$method" != sleb ] || exit 1
r="\"model\": \"m\", \"effective_params\": 1500000, \"method\": \"$method\", \"weight_sparsity\": $s"
r="$r, \"weight_zeros\": 0.2512, \"act_sparsity\": $a, \"backend\": \"cpu\", \"device\": \"a, b\""
r="$r, \"prune_seconds\": 2.5, \"prune_nbytes\": 1610612736, \"limit\": null"
{
	echo "{$r, \"task\": \"piqa\", \"metric\": \"acc\", \"value\": 0.5, \"stderr\": 0.1}"
	echo "{$r, \"task\": \"piqa\", \"metric\": \"acc_norm\", \"value\": 0.625, \"stderr\": 0.1}"
	echo "{$r, \"task\": \"boolq\", \"metric\": \"acc\", \"value\": 0.75, \"stderr\": 0.1}"
	echo "{$r, \"task\": \"wikitext2\", \"metric\": \"perplexity\", \"value\": 31.256, \"stderr\": 0.5}"
	echo "{$r, \"task\": \"decode\", \"tokens_per_s\": 90, \"speedup\": 1.25, \"speedup_err\": 0.01}"
	echo "{$r, \"task\": \"decode\", \"tokens_per_s\": 99, \"speedup\": 1.5, \"speedup_err\": 0.02}"
} >"$out"
END
chmod +x "$dir/duo"
export DUO="$dir/duo" DUO_CALLS="$dir/calls"
script="$(dirname "$0")/../scripts/structured-table"
run() {
	: >"$dir/calls"
	"$script" --work "$dir/work" --methods "shortgpt flap" --levels "0.3 0.65" "$@" >"$dir/out" 2>"$dir/said"
	rc=$?
}
n_calls() {
	wc -l <"$dir/calls"
}
row() { # BEGINNING: how many rows are exactly that
	grep -cxF "$1" "$dir/out"
}

run -m M --calib C both table
check "every method and level is run once" [ "$rc/$(n_calls)" = 0/5 ]
check "levels are of weights and activations" \
	grep -q -- '--method duogpt --sparsity 0.65 --act-sparsity 0.65 --calib C -t all' "$dir/calls"
check "dense comes first" [ "$(sed -n '/^| method/{n;n;s/ |.*//;s/| //p;q}' "$dir/out")" = dense ]
check "scores and the best speed in one row" [ "$(row \
	'| flap | 25 | 25.12 | 1.500 M | 31.26 +- 0.50 | 62.5 | - | - | - | - | - | 75.0 | - | 1.50 +- 0.02 |')" = 1 ]
check "acc in the second table" [ "$(row \
	'| duogpt | 65 / 65 | 25.12 | 1.500 M | 31.26 +- 0.50 | 50.0 | - | - | - | - | - | 75.0 | - |')" = 1 ]
check "what pruning costs" [ "$(row '| shortgpt | 25 | 25.12 | 2.5 | 1.50 | cpu | 1.50 | 99 |')" = 1 ]
run -m M --calib C both
check "nothing is run again" [ "$rc/$(n_calls)" = 0/0 ]
rm "$dir/work/both-default-flap.jsonl"
run -m M --calib C both
check "but what is missing is" [ "$(cat "$dir/calls" | cut -d' ' -f5)" = flap ]
run --methods "sleb flap" -m M --calib C --backend cpu speed
check "a method that fails does not stop the others" [ "$rc/$(n_calls)" = 1/4 ]
said() { # HOW: the last line of what was said
	tail -1 "$dir/said" | grep -q -- "$1"
}
check "and is named" grep -q "structured-table: speed-cpu-sleb failed" "$dir/said"
run speed
check "no model is a usage error" [ "$rc/$(n_calls)" = 2/0 ]
run -m OTHER --calib C both table
check "another model's records are not this one's" [ "$rc/$(n_calls)/$(wc -c <"$dir/out")" = 2/0/0 ]
check "and the line says whose they are" said "has records of -m M --calib C .*would be of -m OTHER"
run --work "$dir/empty" table
check "no records, no table" [ "$rc/$(wc -c <"$dir/out")" = 1/0 ]
check "and the line says why" said "no table: $dir/empty has no records"
run --work "$dir/failed" --methods sleb --levels "" -m M --calib C speed table
check "nor when all has failed" [ "$rc/$(wc -c <"$dir/out")" = 1/0 ]
check "which it says" said "no table: $dir/failed has no records"
printf '{"model": "m", "task": "decode", "method": "flap"}\n' >"$dir/empty/quality-flap.jsonl"
run --work "$dir/empty" --methods flap table
check "nor from records of something else" [ "$rc" = 1 ]
check "and it says what is missing" said "have neither perplexities nor times of pruning"
