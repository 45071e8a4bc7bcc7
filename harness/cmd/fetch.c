/* duo fetch: data sets and models into the cache folder. */
#include "harness/cmd/fetch.h"

#include <stdlib.h>
#include <string.h>

#include "data/fetch.h"
#include "data/sources.h"
#include "harness/base/error.h"
#include "harness/base/progress.h"
#include "harness/base/stop.h"

static void print_help(void)
{
    printf("usage: duo fetch [NAME...] [--mirror URL|DIR] [--cache DIR] [--quiet]\n\n"
           "Downloads data sets and models into the cache folder, goes on where an earlier run\n"
           "stopped, and verifies what came. What is there already is only verified, so a second\n"
           "run needs no network. Prints the folder of each.\n\n"
           "  NAME           a set, or a model as org/name or org/name@revision; none: all sets\n"
           "  --mirror X     take files from a server (URL/SET/FILE, URL/org/name/resolve/...) or\n"
           "                 a folder (DIR/SET/FILE, DIR/org/name/FILE), not from the publishers\n"
           "  --cache DIR    where to put them; default: $DUO_CACHE, else $XDG_CACHE_HOME/duo,\n"
           "                 else ~/.cache/duo\n"
           "  --quiet        no progress line\n\n"
           "HF_TOKEN is sent to the model hub only; HF_ENDPOINT names another hub.\n\n"
           "examples:\n"
           "  duo fetch                               all sets\n"
           "  duo fetch piqa boolq meta-llama/Llama-2-7b-hf\n"
           "  duo fetch --mirror /mnt/duo-mirror wikitext c4\n\nsets:\n");
    for (size_t i = 0; sources[i]; i++)
        printf("  %-11s  %s (%s)\n", sources[i]->set, sources[i]->about, sources[i]->licence);
}

/* The value of option `name` at argv[*i], as "--name VALUE" or "--name=VALUE": 1 and *value set; 0
 * if argv[*i] is another word; -1 after error(). */
static int option(int argc, char **argv, int *i, const char *name, const char **value)
{
    size_t n = strlen(name);

    if (strncmp(argv[*i], name, n) != 0 || (argv[*i][n] && argv[*i][n] != '='))
        return 0;
    if (*value)
        return error("%s is given twice", name);
    if (argv[*i][n] == '=')
        *value = argv[*i] + n + 1;
    else if (*i + 1 < argc)
        *value = argv[++*i];
    if (!*value || !(*value)[0] || strncmp(*value, "--", 2) == 0)
        return error("%s needs a value", name);
    return 1;
}

/* 0; 1 when help was asked for; -1 after error(). */
static int parse(int argc, char **argv, struct fetch_options *o, const char **names)
{
    for (int i = 1; i < argc; i++) {
        int rc = option(argc, argv, &i, "--mirror", &o->mirror);

        if (rc == 0)
            rc = option(argc, argv, &i, "--cache", &o->cache);
        if (rc < 0)
            return -1;
        if (rc > 0)
            continue;
        if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0)
            return 1;
        if (strcmp(argv[i], "--quiet") == 0)
            progress_quiet(1);
        else if (argv[i][0] == '-')
            return error("unknown option '%s' (see duo fetch --help)", argv[i]);
        else if (fetch_check_name(argv[i]) != 0)
            return -1;
        else
            names[o->n_names++] = argv[i];
    }
    return 0;
}

int cmd_fetch(int argc, char **argv)
{
    const char **names = xcalloc((size_t)argc + 1, sizeof(*names));
    struct fetch_options o;
    int rc;

    fetch_options_default(&o);
    o.names = names;
    o.out = stdout;
    rc = parse(argc, argv, &o, names);
    if (rc == 1) {
        print_help();
        rc = 0;
    } else if (rc < 0) {
        rc = 2;
    } else {
        stop_advice("what came is kept: the same command goes on from there");
        rc = fetch_run(&o) == 0 ? 0 : 1;
    }
    free(names);
    return rc;
}
