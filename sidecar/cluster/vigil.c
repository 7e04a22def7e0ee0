/* SPDX-License-Identifier: Apache-2.0
 * Watches over records.
 */
#include "vigil.h"

#include "sidecar/record/chain.h"
#include "sidecar/record/shipper.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#define LOOK_MS  2000
#define QUIET_MS 30000 /* between two Events about the same thing */

/* Something that is well or is not. */
struct matter {
    enum event_kind bad, good;
    bool told;
    uint64_t quiet_ms; /* nothing is told before */
};

struct vigil {
    struct events *events;
    struct guard *guard;
    struct matter recorder, uploads;
    uint64_t anchored_ms;
    pthread_mutex_t lock; /* for what follows */
    char ledger[RECORD_SESSION_MAX + 1], head[CHAIN_HEX + 1];
    uint64_t seq;
    bool news;
};

int vigil_new(struct events *e, struct guard *g, struct vigil **ret)
{
    struct vigil *v = calloc(1, sizeof *v);

    if (!v)
        return -ENOMEM;
    v->events = e;
    v->guard = g;
    v->recorder = (struct matter){.bad = EVENT_RECORDING_FAILED, .good = EVENT_RECORDING_RESTORED};
    v->uploads = (struct matter){.bad = EVENT_UPLOAD_FAILED, .good = EVENT_UPLOAD_RESTORED};
    pthread_mutex_init(&v->lock, NULL);
    *ret = v;
    return 0;
}

void vigil_free(struct vigil *v)
{
    if (!v)
        return;
    pthread_mutex_destroy(&v->lock);
    free(v);
}

/* {"seq":N, … ,"hash":"<64>"} */
void vigil_line(struct vigil *v, const char *ledger, struct bytes line)
{
    static const char front[] = "{\"seq\":";

    if (line.len < sizeof front + CHAIN_HEX + sizeof CHAIN_END)
        return;
    pthread_mutex_lock(&v->lock);
    snprintf(v->ledger, sizeof v->ledger, "%s", ledger);
    v->seq = strtoull((const char *)line.p + sizeof front - 1, NULL, 10);
    memcpy(v->head, line.p + line.len - (sizeof CHAIN_END - 1) - CHAIN_HEX, CHAIN_HEX);
    v->news = true;
    pthread_mutex_unlock(&v->lock);
}

/* Says where the ledger stands. What verify reads is the end of the sentence. */
static void anchor(struct vigil *v, uint64_t now_ms)
{
    char ledger[RECORD_SESSION_MAX + 1], head[CHAIN_HEX + 1];
    bool news;
    uint64_t seq;

    if (v->anchored_ms && now_ms - v->anchored_ms < v->guard->anchor_ms)
        return;
    pthread_mutex_lock(&v->lock);
    news = v->news;
    v->news = false;
    seq = v->seq;
    memcpy(ledger, v->ledger, sizeof ledger);
    memcpy(head, v->head, sizeof head);
    pthread_mutex_unlock(&v->lock);
    if (!news)
        return;
    v->anchored_ms = now_ms;
    events_say(v->events, EVENT_RECORDS_ANCHORED,
               "records up to here; record head %s at line %llu of %s", head,
               (unsigned long long)seq, ledger);
}

static void tell(struct vigil *v, struct matter *m, uint64_t now_ms, const char *bad)
{
    bool is_bad = bad[0] != '\0';

    if (is_bad == m->told || now_ms < m->quiet_ms)
        return;
    m->told = is_bad;
    m->quiet_ms = now_ms + QUIET_MS;
    if (!is_bad)
        events_say(v->events, m->good,
                   m == &v->uploads ? "the store takes records again"
                                    : "records can be written again");
    else if (m == &v->uploads)
        events_say(v->events, m->bad, "records wait in the spool: %.700s", bad);
    else
        events_say(v->events, m->bad, "%s: what has to be recorded is refused until there is room",
                   bad);
}

uint64_t vigil_look(struct vigil *v, uint64_t now_ms)
{
    char trouble[128] = "";
    struct shipper_figures f;

    anchor(v, now_ms);
    record_spool_trouble(v->guard->spool, trouble, sizeof trouble);
    tell(v, &v->recorder, now_ms, trouble);
    shipper_figures(v->guard->shipper, &f);
    tell(v, &v->uploads, now_ms, f.error);
    return LOOK_MS;
}
