/* duo generate: (prune in memory, then) continue a text, token by token. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "harness/base/error.h"
#include "harness/base/procs.h"
#include "harness/base/progress.h"
#include "harness/base/stop.h"
#include "harness/base/text.h"
#include "harness/cmd/cmd.h"
#include "harness/cmd/run.h"
#include "harness/cmd/run_share.h"
#include "harness/model/decode.h"

#define READ_EVERY 16 /* tokens between two looks at what a device has generated */

/* Bytes of the longest part of b that ends with a whole code point; a byte that begins none counts
 * as one. */
static size_t whole_bytes(const struct buf *b)
{
    size_t at = 0;

    while (at < b->n) {
        unsigned char c = (unsigned char)b->data[at];
        size_t n = c < 0xc0 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;

        for (size_t i = 1; i < n && at + i < b->n; i++)
            if (((unsigned char)b->data[at + i] & 0xc0) != 0x80)
                n = i; /* cut short by another character */
        if (at + n > b->n)
            break;
        at += n;
    }
    return at;
}

/* Prints what is whole of b, and keeps the rest. 0 or error(). */
static int print_whole(struct buf *b, int all)
{
    size_t n = all ? b->n : whole_bytes(b);

    if (!n)
        return 0;
    fwrite(b->data, 1, n, stdout);
    memmove(b->data, b->data + n, b->n - n);
    b->n -= n;
    return stop_flush_stdout("the text");
}

/* The prompt's ids, BOS first where the tokenizer has one. 0 or error(). */
static int prompt_ids(const struct run *r, struct ids *ids)
{
    const char *text = r->o.prompt_text;

    if (tokenizer_bos(r->tokenizer) >= 0 && tokenizer_add_bos(r->tokenizer, ids) != 0)
        return -1;
    if (tokenizer_encode(r->tokenizer, text, strlen(text), ids) != 0)
        return -1;
    if (!ids->n)
        return error("an empty prompt, and the tokenizer has no BOS: give some text with -p");
    return 0;
}

struct generation {
    struct decoder d;
    struct ids prompt;
    size_t n_new;                    /* asked for, as far as the positions allow */
    size_t n_done;                   /* generated, EOS included */
    double prefill_seconds, seconds; /* of the prompt; of the rest */
};

/* Prints the tokens as they come. 1 when EOS was among them. */
static int print_tokens(const struct run *r, const int32_t *ids, size_t n, struct buf *text)
{
    int32_t eos =
        r->checkpoint.config.eos >= 0 ? r->checkpoint.config.eos : tokenizer_eos(r->tokenizer);

    for (size_t i = 0; i < n; i++) {
        if (ids[i] == eos || ids[i] == tokenizer_eos(r->tokenizer))
            return 1;
        tokenizer_decode(r->tokenizer, ids[i], text);
    }
    return 0;
}

/* Goes on to the end where stdout fails: other processes may share the model. 0 or error(). */
static int generate(const struct run *r, struct generation *g)
{
    struct buf text = {0};
    size_t every = r->dev->ops->is_host ? 1 : READ_EVERY;
    int32_t ids[READ_EVERY];
    double start = now_seconds();
    int ended = 0, rc;

    decoder_prefill(&g->d, g->prompt.v, g->prompt.n);
    decoder_ids(&g->d, g->prompt.n - 1, 1, ids); /* waits */
    g->prefill_seconds = now_seconds() - start;
    fputs(r->o.prompt_text, stdout);
    rc = stop_flush_stdout("the text");
    start = now_seconds();
    while (g->n_done < g->n_new && !ended) {
        size_t n = g->n_new - g->n_done < every ? g->n_new - g->n_done : every;

        decoder_generate(&g->d, n);
        decoder_ids(&g->d, g->prompt.n + g->n_done, n, ids);
        g->n_done += n;
        ended = print_tokens(r, ids, n, &text);
        if (rc == 0)
            rc = print_whole(&text, 0);
    }
    g->seconds = now_seconds() - start;
    buf_addc(&text, '\n');
    if (rc == 0)
        rc = print_whole(&text, 1); /* before what stderr says */
    buf_release(&text);
    return rc;
}

static void report(const struct generation *g)
{
    fprintf(stderr, "prompt: %zu tokens in %.3f s, %.1f tokens/s\n", g->prompt.n,
            g->prefill_seconds, (double)g->prompt.n / g->prefill_seconds);
    fprintf(stderr, "decoding: %zu tokens in %.3f s, %.1f tokens/s\n", g->n_done, g->seconds,
            (double)g->n_done / g->seconds);
    fprintf(stderr, "linears as packed for decoding:\n");
    decoder_report(&g->d, stderr);
}

static int continue_text(struct run *r)
{
    struct generation g = {0};
    struct decode_options o = decode_options_of(r->o.packed, 0);
    size_t room = r->model.config.max_positions;
    int rc = prompt_ids(r, &g.prompt);

    if (rc == 0 && g.prompt.n >= room)
        rc = error("the prompt has %zu tokens; the model takes %zu, what it generates included",
                   g.prompt.n, room);
    if (rc != 0)
        goto out;
    g.n_new = r->o.n_new < room - g.prompt.n ? r->o.n_new : room - g.prompt.n;
    if (g.n_new < r->o.n_new && procs_rank() == 0)
        fprintf(stderr, "--n-tokens %zu: the model's %zu positions leave room for %zu\n",
                r->o.n_new, room, g.n_new);
    o.max_positions = g.prompt.n + g.n_new;
    o.temperature = (float)r->o.temperature;
    o.seed = r->o.seed;
    rc = run_set_rules(r, &r->cells[0]);
    if (rc == 0)
        rc = decoder_open(&g.d, &r->model, &o);
    if (rc == 0) {
        rc = generate(r, &g);
        if (rc == 0 && !r->o.quiet)
            report(&g);
        decoder_close(&g.d);
    }
out:
    ids_release(&g.prompt);
    return rc;
}

int cmd_generate(int argc, char **argv)
{
    static struct run r;
    int rc = run_options_parse(&r.o, argc, argv);

    if (rc != 0)
        return rc > 0 ? 0 : 2;
    run_share_roles(&r.o);
    rc = run_open(&r);
    if (rc == 0)
        rc = run_cell(&r, 0);
    if (rc == 0)
        rc = continue_text(&r);
    run_close(&r);
    return rc ? 1 : 0;
}
