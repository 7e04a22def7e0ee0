/* SPDX-License-Identifier: Apache-2.0
 * What there was, and what the store has.
 */
#include "ledger.h"

#include "checkpoint.h"
#include "src-common/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#define LAST_FILE "last-ledger"

struct ledger {
    pthread_mutex_t lock;
    struct record *record;
    int dir_fd;
    char name[RECORD_SESSION_MAX + 1];
};

void ledger_remember(int dir_fd, const char *name, const char *head)
{
    char text[2 * RECORD_SESSION_MAX + CHAIN_HEX];
    int n = snprintf(text, sizeof text, "%s %s\n", name, head);

    /* What is lost with it is the link between two ledgers; verify then shows a first one. */
    (void)!spoolfile_write(dir_fd, LAST_FILE, bytes_of(text, (size_t)n));
}

static void name_it(struct ledger *l)
{
    char now[CLOCK_RFC3339_LEN + 1], digits[24];
    uint32_t random = 0;
    size_t n = 0;

    clock_rfc3339(clock_wall_us(), now);
    for (const char *p = now; *p && n < 20; p++)
        if (*p >= '0' && *p <= '9')
            digits[n++] = *p;
    digits[n] = '\0';
    (void)!getrandom(&random, sizeof random, 0);
    snprintf(l->name, sizeof l->name, LEDGER_PREFIX "%s-%08x", digits, random);
}

static void add_previous(struct buffer *b, int dir_fd)
{
    char text[2 * RECORD_SESSION_MAX + CHAIN_HEX], *space;
    ssize_t n = spoolfile_read(dir_fd, LAST_FILE, text, sizeof text);

    space = n > 0 ? strchr(text, ' ') : NULL;
    if (!space)
        return;
    *space = '\0';
    jsonw_kstr(b, "previous", bytes_str(text));
    space[1 + strcspn(space + 1, "\n")] = '\0';
    jsonw_kstr(b, "previousHead", bytes_str(space + 1));
}

static int finish_line(struct ledger *l)
{
    int rc = record_end(l->record);

    return rc ? rc : record_flush(l->record);
}

int ledger_open(struct record_spool *spool, const struct ledger_owner *owner,
                const struct signer *signer, struct ledger **ret, struct error *err)
{
    struct ledger *l = calloc(1, sizeof *l);
    struct buffer *b;
    int rc;

    if (!l)
        return error_set(err, -ENOMEM, "out of memory");
    pthread_mutex_init(&l->lock, NULL);
    l->dir_fd = record_spool_dir(spool);
    name_it(l);
    rc = record_open(spool, l->name, &l->record);
    if (rc == 0) {
        record_set_unbounded(l->record);
        b = record_begin(l->record, LEDGER_START);
        jsonw_kstr(b, "version", bytes_str(owner->version));
        jsonw_kstr(b, "namespace", bytes_str(owner->namespace_));
        jsonw_kstr(b, "pod", bytes_str(owner->pod));
        jsonw_kstr(b, "key", bytes_str(signer_public(signer)));
        add_previous(b, l->dir_fd);
        rc = finish_line(l);
    }
    if (rc) {
        ledger_free(l);
        return error_set(err, rc, "the spool cannot be written to: %s", strerror(-rc));
    }
    *ret = l;
    return 0;
}

const char *ledger_name(const struct ledger *l)
{
    return l->name;
}

void ledger_session(struct ledger *l, const char *session)
{
    struct buffer *b;

    pthread_mutex_lock(&l->lock);
    if (l->record) {
        b = record_begin(l->record, LEDGER_SESSION);
        jsonw_kstr(b, "name", bytes_str(session));
        (void)!finish_line(l); /* stays pending, and goes with the next */
    }
    pthread_mutex_unlock(&l->lock);
}

int ledger_segment(struct ledger *l, const struct seal *seal)
{
    struct buffer *b;
    int rc = -EBADF;

    pthread_mutex_lock(&l->lock);
    if (l->record) {
        b = record_begin(l->record, LEDGER_SEGMENT);
        jsonw_kstr(b, "name", bytes_str(seal->session));
        jsonw_ku64(b, "segment", seal->segment);
        jsonw_kstr(b, "digest", bytes_str(seal->digest));
        jsonw_ku64(b, "last", seal->last);
        jsonw_key(b, "final");
        buffer_printf(b, seal->final ? "true" : "false");
        rc = record_end(l->record);
        if (rc == 0) /* on a full disk it is written when the segment has made room */
            (void)!record_flush(l->record);
    }
    pthread_mutex_unlock(&l->lock);
    return rc;
}

void ledger_end(struct ledger *l)
{
    struct buffer *b;

    pthread_mutex_lock(&l->lock);
    if (l->record) {
        b = record_begin(l->record, "session.close");
        jsonw_kstr(b, "reason", BYTES("the guard stopped"));
        if (record_end(l->record) == 0)
            ledger_remember(l->dir_fd, l->name, record_head(l->record));
        record_close(l->record);
        l->record = NULL;
    }
    pthread_mutex_unlock(&l->lock);
}

void ledger_free(struct ledger *l)
{
    if (!l)
        return;
    record_close(l->record);
    pthread_mutex_destroy(&l->lock);
    free(l);
}
