/* SPDX-License-Identifier: Apache-2.0
 * How fast values are searched and masked, on one core: prints MB/s, the best of some rounds.
 *   detect_bench [megabytes] [rounds]
 */
#include "sidecar/mask/detect.h"
#include "sidecar/mask/mask.h"

#include <stdio.h>
#include <time.h>

#define CELL_MAX 160

struct text { /* cells, each behind a length in four bytes as in a DataRow */
    uint8_t *p;
    size_t len, n_cells;
    size_t *cells; /* offsets of the lengths */
};

struct work {
    struct detector_set *set;
    struct detect_scratch *scratch;
    struct masker *masker;
    enum mask_method method[DETECTOR_COUNT];
    const struct text *text;
    struct buffer out;
    size_t cell, hits, masked;
};

static uint64_t random_state = 42;

static unsigned below(unsigned n)
{
    random_state = random_state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)((random_state >> 33) % n);
}

static const char *word(void)
{
    static const char *const words[] = {
        "order",   "shipped", "quick", "brown", "fox",   "pending", "Lorem",    "ipsum", "dolor",
        "invoice", "refund",  "to",    "of",    "Paris", "Berlin",  "customer", "queue", "retry",
    };

    return words[below(sizeof words / sizeof *words)];
}

static int clean_cell(char *out)
{
    switch (below(5)) {
    case 0:
        return sprintf(out, "%u", below(100000000));
    case 1:
        return sprintf(out, "2024-%02u-%02u %02u:%02u:%02u.%06u+00", 1 + below(12), 1 + below(28),
                       below(24), below(60), below(60), below(1000000));
    case 2:
        return sprintf(out, "%u.%02u", below(100000), below(100));
    default:
        return sprintf(out, "%s %s %s %s %s %s", word(), word(), word(), word(), word(), word());
    }
}

static int dense_cell(char *out)
{
    static const char *const cards[] = {"4111 1111 1111 1111", "5555555555554444",
                                        "3782-822463-10005", "6011111111111117"};
    static const char *const others[] = {"DE89 3704 0044 0532 0130 00", "AKIAIOSFODNN7EXAMPLE",
                                         "2001:db8::8a2e:370:7334", "+1 415-555-2671"};

    switch (below(6)) {
    case 0:
        return sprintf(out, "%s", cards[below(4)]);
    case 1:
        return sprintf(out, "%03u-%02u-%04u", 100 + below(500), 1 + below(99), 1 + below(9999));
    case 2:
        return sprintf(out, "%s", others[below(4)]);
    case 3:
        return sprintf(out, "10.%u.%u.%u", below(256), below(256), below(256));
    default:
        return sprintf(out, "%s.%s%u@%s.example.com", word(), word(), below(1000), word());
    }
}

/* A row of customers: half of its bytes are personal data. */
static int row_cell(char *out)
{
    static unsigned column;

    switch (column++ % 5) {
    case 0:
        return sprintf(out, "%u", below(100000000));
    case 1:
        return sprintf(out, "%s %s", word(), word());
    case 2:
        return sprintf(out, "%s.%s%u@example.com", word(), word(), below(1000));
    case 3:
        return sprintf(out, "4111 1111 1111 1111");
    default:
        return clean_cell(out);
    }
}

static struct text make_text(size_t len, int (*cell)(char *out))
{
    struct text t = {.p = malloc(len + CELL_MAX + 4), .cells = malloc((len / 2) * sizeof(size_t))};
    char s[CELL_MAX];

    while (t.p && t.cells && t.len < len) {
        int n = cell(s);

        t.cells[t.n_cells++] = t.len;
        put_be32(t.p + t.len, (uint32_t)n);
        memcpy(t.p + t.len + 4, s, (size_t)n);
        t.len += 4 + (size_t)n;
    }
    return t;
}

static bool count_hit(size_t offset, void *arg)
{
    (void)offset;
    ++*(size_t *)arg;
    return false;
}

static int anchors_only(struct work *w)
{
    w->hits = 0;
    return detect_anchors(w->set, w->scratch, bytes_of(w->text->p, w->text->len), count_hit,
                          &w->hits);
}

static struct bytes cell_at(const struct text *t, size_t i)
{
    return bytes_of(t->p + t->cells[i] + 4, get_be32(t->p + t->cells[i]));
}

static int mask_cell(struct work *w, size_t i)
{
    bool changed;
    int rc = detect_mask_text(w->set, w->scratch, w->masker, w->method, cell_at(w->text, i),
                              &w->out, &changed);

    w->masked += rc == 0 && changed;
    if (buffer_len(&w->out) > 1 << 16)
        buffer_reset(&w->out, 1 << 20);
    return rc;
}

static bool mask_hit_cell(size_t offset, void *arg)
{
    struct work *w = arg;

    if (w->cell && offset < w->text->cells[w->cell - 1] + 4 + cell_at(w->text, w->cell - 1).len)
        return false; /* another anchor in the same cell */
    while (w->cell + 1 < w->text->n_cells && w->text->cells[w->cell + 1] <= offset)
        w->cell++;
    return mask_cell(w, w->cell++) != 0;
}

static int anchors_then_mask(struct work *w)
{
    w->cell = w->masked = 0;
    return detect_anchors(w->set, w->scratch, bytes_of(w->text->p, w->text->len), mask_hit_cell, w);
}

static int mask_every_cell(struct work *w)
{
    w->masked = 0;
    for (size_t i = 0; i < w->text->n_cells; i++) {
        if (mask_cell(w, i) != 0)
            return -1;
    }
    return 0;
}

static int stream_all(struct work *w)
{
    struct detect_stream *s;
    int rc = detect_stream_new(w->set, &s);

    for (size_t at = 0; rc == 0 && at < w->text->len; at += 65536) {
        size_t n = min_size(65536, w->text->len - at);

        rc = detect_stream_feed(s, w->scratch, bytes_of(w->text->p + at, n), at + n == w->text->len,
                                &w->out);
        buffer_reset(&w->out, 1 << 20);
    }
    detect_stream_free(s);
    return rc;
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void measure(const char *name, struct work *w, int (*run)(struct work *), int rounds)
{
    double best = 1e9;

    for (int i = 0; i < rounds; i++) {
        double start = seconds(), took;

        if (run(w) != 0)
            abort();
        took = seconds() - start;
        best = took < best ? took : best;
    }
    printf("%-44s %8.0f MB/s\n", name, (double)w->text->len / best / 1e6);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    size_t len = (size_t)(argc > 1 ? atoi(argv[1]) : 32) << 20;
    int rounds = argc > 2 ? atoi(argv[2]) : 5;
    struct text clean = make_text(len, clean_cell), dense = make_text(len, dense_cell);
    struct text rows = make_text(len, row_cell);
    struct work w = {.text = &clean};

    buffer_init(&w.out, 1 << 24);
    for (int d = 0; d < DETECTOR_COUNT; d++)
        w.method[d] = MASK_PARTIAL;
    if (!clean.p || !dense.p || !rows.p || masker_new((const uint8_t[32]){1}, &w.masker) != 0 ||
        detect_scratch_new(&w.scratch) != 0 ||
        detector_set_get((1u << DETECTOR_COUNT) - 1, &w.set, NULL) != 0)
        return 1;
    measure("clean: anchors", &w, anchors_only, rounds);
    measure("clean: exact on every cell", &w, mask_every_cell, rounds);
    measure("clean: stream", &w, stream_all, rounds);
    w.text = &rows;
    measure("rows, half personal data: anchors, mask", &w, anchors_then_mask, rounds);
    printf("%-44s %8.0f %%\n", "  cells masked", 100.0 * (double)w.masked / (double)rows.n_cells);
    w.text = &dense;
    measure("every cell a match: anchors", &w, anchors_only, rounds);
    measure("every cell a match: anchors, mask (Partial)", &w, anchors_then_mask, rounds);
    printf("%-44s %8.0f %%, of %.0f bytes\n", "  cells masked",
           100.0 * (double)w.masked / (double)dense.n_cells,
           (double)dense.len / (double)dense.n_cells - 4);
    measure("every cell a match: exact, mask (Partial)", &w, mask_every_cell, rounds);
    measure("every cell a match: stream", &w, stream_all, rounds);
    for (int d = 0; d < DETECTOR_COUNT; d++)
        w.method[d] = MASK_TOKEN;
    measure("every cell a match: anchors, mask (Token)", &w, anchors_then_mask, rounds);
    detector_set_unref(w.set);
    detect_scratch_free(w.scratch);
    masker_free(w.masker);
    buffer_done(&w.out);
    free(clean.p), free(clean.cells), free(dense.p), free(dense.cells);
    free(rows.p), free(rows.cells);
    return 0;
}
