/* The table of tasks. */
#include "tasks/tasks.h"

#include <string.h>

const struct task *const tasks[] = {
    &task_piqa,          &task_hellaswag,  &task_winogrande, &task_arc_easy,
    &task_arc_challenge, &task_openbookqa, &task_boolq,      NULL,
};

const struct task *task_find(const char *name)
{
    const struct task *const *t;

    for (t = tasks; *t; t++)
        if (strcmp((*t)->name, name) == 0)
            return *t;
    return NULL;
}
