/* SPDX-License-Identifier: Apache-2.0
 * Edit distance (insert, delete, replace, swap of neighbours), case ignored: a wrong case is
 * the most common slip of all.
 */
#include "words.h"

#include "src-common/bytes.h"

#define MAX_WORD 40 /* longer words are not compared */

static size_t fold(char c)
{
    return (size_t)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

static size_t min3(size_t a, size_t b, size_t c)
{
    return min_size(min_size(a, b), c);
}

static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][MAX_WORD + 1], n = strlen(a), m = strlen(b);
    size_t *before = rows[0], *last = rows[1], *now = rows[2];

    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t *spare = before;

        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t differs = fold(a[i - 1]) != fold(b[j - 1]);

            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + differs);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]))
                now[j] = min_size(now[j], before[j - 2] + 1);
        }
        before = last;
        last = now;
        now = spare;
    }
    return last[m];
}

struct suggestion suggestion_for(const char *wrong)
{
    return (struct suggestion){.wrong = wrong};
}

void suggestion_offer(struct suggestion *s, const char *known)
{
    size_t n = strlen(s->wrong), m = strlen(known), distance;

    if (n > MAX_WORD || m > MAX_WORD)
        return;
    distance = edit_distance(s->wrong, known);
    if (distance > 1 + m / 4 || (distance >= m && distance > 0))
        return;
    if (!s->best || distance < s->distance) {
        s->best = known;
        s->distance = distance;
    }
}
