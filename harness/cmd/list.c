/* duo list: the tables. */
#include <stdio.h>
#include <string.h>

#include "data/sources.h"
#include "harness/backend/backend.h"
#include "harness/base/error.h"
#include "harness/cmd/cmd.h"
#include "harness/measure/protocol.h"
#include "harness/measure/pruner.h"
#include "harness/measure/task.h"

static void list_tasks(void)
{
    printf("%-14s %-4s %9s  %-13s  %s\n", "task", "ver", "documents", "metrics", "summary");
    printf("%-14s %-4s %9s  %-13s  %s\n", "wikitext2", "1", "-", "perplexity",
           "WikiText-2 raw test, windows of 2048 ids");
    for (int i = 0; tasks[i]; i++)
        printf("%-14s %-4s %9zu  %-13s  %s\n", tasks[i]->name, tasks[i]->version,
               tasks[i]->n_expected,
               tasks[i]->metrics & TASK_ACC_NORM ? "acc, acc_norm" : "acc", tasks[i]->summary);
}

static void list_methods(void)
{
    printf("%-11s %-11s %s\n", "method", "calibration", "summary");
    for (int i = 0; pruners[i]; i++)
        printf("%-11s %-11s %s\n", pruners[i]->name, pruners[i]->needs ? "yes" : "no",
               pruners[i]->summary);
}

static void list_backends(void)
{
    printf("%-8s %s\n", "backend", "summary");
    for (int i = 0; backends[i]; i++)
        printf("%-8s %s\n", backends[i]->name, backends[i]->summary);
}

static void list_protocols(void)
{
    printf("%-15s %-4s %s\n", "protocol", "BOS", "summary");
    for (int i = 0; protocols[i]; i++)
        printf("%-15s %-4s %s%s\n", protocols[i]->name, protocols[i]->bos ? "yes" : "no",
               protocols[i]->summary, i == 0 ? " (default)" : "");
}

static void list_sources(void)
{
    printf("%-11s %9s  %-16s %s\n", "set", "documents", "licence", "about");
    for (int i = 0; sources[i]; i++) {
        printf("%-11s %9zu  %-16s %s\n", sources[i]->set, sources[i]->n_documents,
               sources[i]->licence, sources[i]->about);
        for (int f = 0; sources[i]->files[f].path; f++)
            printf("%-11s %9s  %s\n", "", "", sources[i]->files[f].url);
    }
}

static const struct {
    const char *name;
    void (*print)(void);
} tables[] = {
    {"tasks", list_tasks},     {"methods", list_methods},     {"backends", list_backends},
    {"sources", list_sources}, {"protocols", list_protocols},
};

#define N_TABLES (sizeof(tables) / sizeof(tables[0]))

int cmd_list(int argc, char **argv)
{
    int found = 0;

    if (argc > 2) {
        error("list takes one name: tasks, methods, backends, sources or protocols");
        return 2;
    }
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        printf("usage: duo list [tasks|methods|backends|sources|protocols]\n\n"
               "Prints what this build knows; without a name, everything.\n\n"
               "example:\n  duo list methods\n");
        return 0;
    }
    for (size_t i = 0; i < N_TABLES; i++) {
        if (argc == 2 && strcmp(argv[1], tables[i].name) != 0)
            continue;
        if (found++)
            printf("\n");
        tables[i].print();
    }
    if (!found) {
        error("nothing to list by the name '%s'; known: tasks, methods, backends, sources, "
              "protocols",
              argv[1]);
        return 2;
    }
    return 0;
}
