# The Markdown of structured-table: from records (duo's -o jsonl) to one row a cell, models and cells in the
# order in which they come, scores and speeds of any backend side by side. A value that is not there is a
# dash. Status 1: there was nothing to print.

# A field of the record in $0; "" for null or none.
function field(name,    at, rest) {
	at = index($0, "\"" name "\": ")
	if (!at)
		return ""
	rest = substr($0, at + length(name) + 4)
	if (substr(rest, 1, 1) == "\"")
		return substr(rest, 2, index(substr(rest, 2), "\"") - 1)
	sub(/[,}].*/, "", rest)
	return rest == "null" ? "" : rest
}
function cell(    c) {
	c = field("model") "\t" field("method") "\t" field("weight_sparsity") "\t" field("act_sparsity")
	if (!(c in seen)) {
		seen[c] = 1
		cells[++n] = c
		if (!(field("model") in known_model)) {
			known_model[field("model")] = 1
			models[++n_models] = field("model")
		}
	}
	return c
}
# The larger wins: several paths of the pruned model were timed.
function add_speed(c, backend,    v) {
	v = field("speedup")
	if (v == "" || (v + 0 <= speed[c, backend] + 0 && speed[c, backend] != ""))
		return
	speed[c, backend] = v
	error[c, backend] = field("speedup_err")
	rate[c, backend] = field("tokens_per_s")
	backends[backend] = 1
	dev[backend] = field("device") " " field("dtype")
}
function number(v, format) {
	return v == "" ? "-" : sprintf(format, v)
}
# acc_norm where there is one, or acc for all.
function score(c, task, norm) {
	return norm && (c, task, "acc_norm") in val ? val[c, task, "acc_norm"] : val[c, task, "acc"]
}
function row(c, norm,    i, v, sum, known, s) {
	for (i = 1; i <= n_tasks; i++) {
		v = score(c, task[i], norm)
		if (v != "") {
			sum += 100 * v
			known++
		}
		s = s " " number(v == "" ? "" : 100 * v, "%.1f") " |"
	}
	return s " " (known == n_tasks ? sprintf("%.2f", sum / known) : "-") " |"
}
function name_of(c,    p) {
	split(c, p, "\t")
	return p[2] " | " 100 * p[3] (p[4] > 0 ? " / " 100 * p[4] : "")
}

{
	c = cell()
	t = field("task")
	if (field("prune_seconds") != "" && !((c, "cost") in cost)) {
		cost[c, "cost"] = field("prune_seconds")
		cost[c, "nbytes"] = field("prune_nbytes")
		cost[c, "where"] = field("backend")
	}
	# Of the weights that were scored: those that were timed elsewhere may have been chosen on other ids.
	if (field("weight_zeros") != "" && (t != "decode" || gone[c] == ""))
		gone[c] = field("weight_zeros")
	if (t == "decode") {
		add_speed(c, field("backend"))
		next
	}
	if (t == "prune")
		next
	val[c, t, field("metric")] = field("value")
	if (t == "wikitext2")
		err[c] = field("stderr")
	if (field("effective_params") != "")
		left[c] = field("effective_params")
	if (field("act_zeros") != "")
		act[c] = field("act_zeros")
	if (field("limit") != "")
		limited = field("limit")
	if (field("device") != "")
		where[field("backend") ", " field("device") ", " field("dtype")] = 1
}

# As records name it: a path or a name.
function title(m) {
	sub(/.*\//, "", m)
	return m
}
function of_model(c, m) {
	return index(c, m "\t") == 1
}
# Perplexity and accuracies: acc_norm where there is one, with the speed-ups; then acc for all.
function print_scores(m, norm,    k, c, b, line, rows) {
	for (k = 1; k <= n; k++) {
		c = cells[k]
		if (!of_model(c, m) || !((c, "wikitext2", "perplexity") in val))
			continue
		if (!rows++) {
			print "\n" title(m) (norm ? ", accuracies: acc_norm where there is one." : ", acc for all tasks:") "\n"
			print head " mean |" (norm ? more : "")
			print rule "---:|" (norm ? ruler : "")
		}
		line = "| " name_of(c) " | " number(gone[c] == "" ? "" : 100 * gone[c], "%.2f") " | " \
			number(left[c] == "" ? "" : left[c] / 1e6, "%.3f M") " | " \
			number(val[c, "wikitext2", "perplexity"], "%.2f") " +- " number(err[c], "%.2f") " |"
		line = line row(c, norm)
		for (b in backends)
			if (norm)
				line = line " " number(speed[c, b], "%.2f") \
					(speed[c, b] == "" ? "" : sprintf(" +- %.2f", error[c, b])) " |"
		print line
		n_rows++
	}
}
function print_costs(m,    k, c, b, line, rows) {
	for (k = 1; k <= n; k++) {
		c = cells[k]
		if (!of_model(c, m) || !((c, "cost") in cost))
			continue
		if (!rows++) {
			print "\n" title(m) ", what pruning took:\n"
			print "| method | asked, % | gone, % | pruning, s | memory, GiB | on |" both
			print "|---|---:|---:|---:|---:|---|" ruler ruler
		}
		line = "| " name_of(c) " | " number(gone[c] == "" ? "" : 100 * gone[c], "%.2f") " | " \
			number(cost[c, "cost"], "%.1f") " | " \
			number(cost[c, "nbytes"] == "" ? "" : cost[c, "nbytes"] / 1073741824, "%.2f") \
			" | " cost[c, "where"] " |"
		for (b in backends)
			line = line " " number(speed[c, b], "%.2f") " | " number(rate[c, b], "%.0f") " |"
		print line
		n_rows++
	}
}

END {
	n_tasks = split("piqa hellaswag winogrande arc_easy arc_challenge openbookqa boolq", task, " ")
	head = "| method | asked, % | gone, % | parameters left | wiki2 |"
	rule = "|---|---:|---:|---:|---:|"
	for (i = 1; i <= n_tasks; i++) {
		head = head " " task[i] " |"
		rule = rule "---:|"
	}
	for (b in backends) {
		more = more " " b " speed-up |"
		ruler = ruler "---:|"
		both = both " " b " speed-up | tokens/s |"
	}
	if (limited != "")
		print "**A limited run: the first " limited " documents or windows of each set.**\n"
	for (w in where)
		print "Scored on " w "."
	for (b in backends)
		print "Decoding timed on " b ", " dev[b] "; over the faster dense path."
	for (i = 1; i <= n_models; i++) {
		print_scores(models[i], 1)
		print_scores(models[i], 0)
		print_costs(models[i])
	}
	exit !n_rows
}
