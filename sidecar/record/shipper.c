/* SPDX-License-Identifier: Apache-2.0
 * Puts recovery, sealer and uploader together.
 */
#include "shipper.h"

#include "checkpoint.h"
#include "recover.h"
#include "sealer.h"
#include "src-common/clock.h"
#include "src-common/log.h"
#include "src-common/readall.h"
#include "uploader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

struct shipper {
    struct shipper_config c;
    int lock_fd;
    struct signer *signer;
    struct ledger *ledger;
    struct s3 *store;
    struct envelope_to *to;
    struct sealer *sealer;
    struct uploader *uploader;
    char folder[300];
};

/* Recovery must not take a living guard's records for a dead one's. */
static int lock_spool(struct shipper *s, struct error *err)
{
    s->lock_fd = openat(record_spool_dir(s->c.spool), ".lock",
                        O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (s->lock_fd < 0)
        return error_set(err, -errno, "the spool cannot be locked: %m");
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) != 0)
        return error_set(err, -EBUSY, "--spool: another guard seals the records of this directory");
    return 0;
}

static int recover(struct shipper *s, struct error *err)
{
    struct recovery r;
    int rc = recover_spool(s->c.spool, signer_public(s->signer), &r, err);

    if (rc == 0 && (r.sealed || r.damaged))
        log_warn("records.recovered", F_U64("sealed", r.sealed), F_U64("damaged", r.damaged));
    return rc;
}

/* The key travels with what it has signed. */
static int publish_key(struct shipper *s, struct error *err)
{
    char name[SEGMENT_NAME_MAX], *pem = signer_public_pem(s->signer);
    int rc = -ENOMEM;

    snprintf(name, sizeof name, "%s.pub", ledger_name(s->ledger));
    if (pem)
        rc = spoolfile_write(record_spool_dir(s->c.spool), name, bytes_str(pem));
    free(pem);
    return rc ? error_set(err, rc, "the spool cannot be written to: %s", strerror(-rc)) : 0;
}

static int start_uploads(struct shipper *s, struct error *err)
{
    const struct uploader_config c = {s->c.spool, s->ledger, s->store,
                                      s->folder,  s->to,     s->c.s3.rate};

    return uploader_start(&c, &s->uploader, err);
}

/* Who may read. Without it nothing must leave: so it is known before anything starts. */
static int load_recipients(struct shipper *s, struct error *err)
{
    char text[64 << 10];
    ssize_t n = 0;
    int fd, rc;

    if (s->c.encrypt_to_inline) {
        rc = envelope_to_parse(bytes_str(s->c.encrypt_to_inline), &s->to, err);
        return rc ? error_prefix(err, rc, "--encrypt-to-inline") : 0;
    }
    if (!s->c.encrypt_to)
        return 0;
    fd = open(s->c.encrypt_to, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -errno : read_all(fd, text, sizeof text);
    if (fd >= 0)
        close(fd);
    if (n < 0)
        return error_set(err, (int)n, "--encrypt-to: cannot read %s: %s", s->c.encrypt_to,
                         strerror((int)-n));
    rc = envelope_to_parse(bytes_of(text, (size_t)n), &s->to, err);
    return rc ? error_prefix(err, rc, "--encrypt-to: %s", s->c.encrypt_to) : 0;
}

static int prepare_uploads(struct shipper *s, struct error *err)
{
    int rc = load_recipients(s, err);

    s->c.s3.session = s->c.owner.pod;
    return rc ? rc : s3_new(&s->c.s3, &s->store, err);
}

/* Before anything is written: what a dead guard left is ended first. */
static int prepare_seals(struct shipper *s, struct error *err)
{
    int rc = lock_spool(s, err);

    snprintf(s->folder, sizeof s->folder, "%.130s/%.130s", s->c.owner.namespace_, s->c.owner.pod);
    if (rc == 0)
        rc = signer_open(s->c.state, &s->signer, err);
    if (rc == 0)
        rc = recover(s, err);
    if (rc == 0)
        rc = ledger_open(s->c.spool, &s->c.owner, s->signer, &s->ledger, err);
    return rc ? rc : publish_key(s, err);
}

static int start_sealer(struct shipper *s, struct error *err)
{
    const struct sealer_config c = {.spool = s->c.spool,
                                    .signer = s->signer,
                                    .ledger = s->ledger,
                                    .stays = !s->c.s3.url,
                                    .segment_bytes = s->c.segment_bytes,
                                    .segment_ms = s->c.segment_ms};

    return sealer_start(&c, &s->sealer, err);
}

void shipper_free(struct shipper *s)
{
    if (!s)
        return;
    uploader_stop(s->uploader);
    sealer_stop(s->sealer);
    ledger_free(s->ledger);
    s3_free(s->store);
    envelope_to_free(s->to);
    signer_free(s->signer);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    free(s);
}

int shipper_start(const struct shipper_config *c, struct shipper **ret, struct error *err)
{
    struct shipper *s;
    int rc = 0;

    *ret = NULL;
    if (!c->s3.url && !c->limit && !c->seal)
        return 0;
    s = calloc(1, sizeof *s);
    if (!s)
        return error_set(err, -ENOMEM, "out of memory");
    s->c = *c;
    s->lock_fd = -1;
    if (c->s3.url)
        rc = prepare_uploads(s, err);
    if (rc == 0 && (c->s3.url || c->seal))
        rc = prepare_seals(s, err);
    record_spool_set_limit(c->spool, c->limit);
    if (rc == 0)
        rc = start_sealer(s, err);
    if (rc == 0 && c->s3.url)
        rc = start_uploads(s, err);
    if (rc) {
        shipper_free(s);
        return rc;
    }
    if (s->signer)
        log_info("records.key", F_STR("key", signer_public(s->signer)),
                 F_STR("ledger", ledger_name(s->ledger)));
    *ret = s;
    return 0;
}

void shipper_stop(struct shipper *s, unsigned ms)
{
    uint64_t until = clock_mono_ms() + ms;
    struct uploader_counters n;
    bool all = true;

    if (!s)
        return;
    if (!s->ledger)
        return;
    /* First what the ledger speaks of, then the ledger. */
    sealer_finish(s->sealer);
    if (s->uploader)
        all = uploader_drain(s->uploader, until);
    ledger_end(s->ledger);
    sealer_finish(s->sealer);
    if (!s->uploader)
        return;
    all = all && uploader_drain(s->uploader, until);
    uploader_counters(s->uploader, &n);
    if (!all)
        log_warn("records.left", F_U64("files", n.waiting), F_STR("reason", n.error));
}

const char *shipper_key(const struct shipper *s)
{
    return s && s->signer ? signer_public(s->signer) : NULL;
}

void shipper_figures(struct shipper *s, struct shipper_figures *ret)
{
    struct uploader_counters n;

    *ret = (struct shipper_figures){0};
    if (!s)
        return;
    ret->held = record_spool_held(s->c.spool);
    ret->limit = s->c.limit;
    ret->stuck = sealer_stuck(s->sealer);
    ret->uploads = s->uploader != NULL;
    if (!s->uploader)
        return;
    uploader_counters(s->uploader, &n);
    ret->stored = n.stored;
    ret->stored_bytes = n.stored_bytes;
    ret->failures = n.failures;
    ret->waiting = n.waiting;
    ret->waiting_bytes = n.waiting_bytes;
    ret->lag_ms = n.lag_ms;
    memcpy(ret->error, n.error, sizeof ret->error);
}
