/* Who runs what. */
#include "harness/measure/share.h"

int share_takes(struct share *s, double cost)
{
    int least = 0;

    if (!s)
        return 1;
    for (int r = 1; r < s->size; r++)
        if (s->load[r] < s->load[least])
            least = r;
    s->load[least] += cost;
    return least == s->rank;
}
