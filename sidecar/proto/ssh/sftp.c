/* SPDX-License-Identifier: Apache-2.0
 * SFTP flow. Operations on paths are taken one at a time: the guard first asks the target where the
 * path leads (REALPATH), judges what was written and where it leads, and then sends the operation
 * with the canonical path. What is done with an open handle was judged when it was opened, and is
 * passed on at once. Between question and operation a link can change: only the target's own
 * confinement closes that gap (docs/ssh.md).
 */
#include "sftp.h"
#include "sftp_internal.h"

#include <errno.h>
#include <stdio.h>

#define MAX_TOLD 20
#define OUT_ROOM ((size_t)1 << 16) /* of answers that the agent has not taken */

int sshfile_new(struct sshfile **ret)
{
    *ret = calloc(1, sizeof **ret);
    if (!*ret)
        return -ENOMEM;
    (*ret)->next_own = 0xfffe0000u;
    return 0;
}

void sshfile_free(struct sshfile *f)
{
    if (!f)
        return;
    for (size_t i = 0; i < SSHFILE_HANDLES; i++)
        free(f->handles[i].path);
    for (size_t i = 0; i < SSHFILE_PENDING; i++)
        free(f->pending[i].path);
    detect_stream_free(f->mask);
    free(f);
}

/* ---- what is under way ---- */

struct pending *sshfile_pending(struct sshfile *f, uint32_t id)
{
    for (size_t i = 0; i < SSHFILE_PENDING; i++) {
        if (f->pending[i].used && f->pending[i].id == id)
            return &f->pending[i];
    }
    return NULL;
}

static struct pending *add_pending(struct sshfile *f, uint32_t id, uint8_t type)
{
    for (size_t i = 0; i < SSHFILE_PENDING; i++) {
        if (f->pending[i].used)
            continue;
        f->pending[i] = (struct pending){.used = true, .id = id, .type = type};
        f->n_pending++;
        return &f->pending[i];
    }
    return NULL;
}

struct handle *sshfile_handle(struct sshfile *f, struct bytes name)
{
    for (size_t i = 0; i < SSHFILE_HANDLES; i++) {
        struct handle *h = &f->handles[i];

        if (h->path && bytes_eq(bytes_of(h->name, h->name_len), name))
            return h;
    }
    return NULL;
}

/* Asks the target where a path leads; the answer goes to slot `which` of the operation. */
static bool ask_realpath(struct sshfile *f, struct channel *c, const char *path, int which)
{
    struct pending *p;

    while (sshfile_pending(f, f->next_own))
        f->next_own++;
    p = add_pending(f, f->next_own++, FXP_REALPATH);
    if (!p)
        return false;
    p->mine = true;
    p->which = which;
    sftpwire_add_realpath(&c->in.ready, p->id, path);
    return true;
}

/* ---- refusing ---- */

static void refuse(struct sshfile *f, struct channel *c, uint32_t id, enum sftp_status code,
                   const char *why)
{
    (void)f;
    sftpwire_add_status(&c->out.ready, id, code, why);
}

struct refusal {
    enum sftp_status code;
    const char *path, *why;
};

/* By no rule, but because it makes no sense or is not known. */
static enum step refuse_own(struct sshfile *f, struct channel *c, const struct sftp_request *q,
                            struct refusal no)
{
    struct sshrelay *r = c->relay;
    char text[200], line[300];

    if (q->op)
        snprintf(text, sizeof text, "%s %.150s", q->op->name, no.path);
    else
        snprintf(text, sizeof text, "message %u %.*s", q->type,
                 (int)min_size(q->extension.len, 100), (const char *)q->extension.p);
    journal_statement(r, ++r->n, "sftp", bytes_str(text), NULL, no.why);
    journal_decision(r, r->n, "sftp", NULL, no.why);
    snprintf(line, sizeof line, "chaperone: denied: %s (request %s/%u)", no.why, r->session->id,
             r->n);
    refuse(f, c, q->id, no.code, line);
    return STEP_DONE;
}

static void journal_op(struct channel *c, const struct op *op, const struct decision *d,
                       const char *why)
{
    char text[2 * SFTPWIRE_PATH + 128];
    int n = snprintf(text, sizeof text, "%s %s", op->name, op->path[0]);

    if (op->n_paths > 1)
        n += snprintf(text + n, sizeof text - (size_t)n, " %s", op->path[1]);
    if (op->resolved[0][0] && strcmp(op->resolved[0], op->path[0]) != 0 && (size_t)n < sizeof text)
        snprintf(text + n, sizeof text - (size_t)n, " (leads to %.2000s)", op->resolved[0]);
    journal_statement(c->relay, op->n, "sftp", bytes_str(text), d, why);
}

/* ---- one operation on paths ---- */

/* Without WRITE servers open for reading, also what they create or truncate. */
static unsigned open_access(uint32_t flags)
{
    unsigned access = flags & FXF_READ || !(flags & FXF_WRITE) ? SSH_ACCESS_READ : 0;

    if (flags & (FXF_WRITE | FXF_APPEND | FXF_CREAT | FXF_TRUNC))
        access |= SSH_ACCESS_WRITE;
    return access;
}

static int set_path(struct sshfile *f, struct op *op, unsigned i, struct bytes path,
                    unsigned access)
{
    op->access[i] = access;
    return sftpwire_canonical(path, f->home, op->path[i]);
}

/* Where a symbolic link leads is relative to where it is. */
static int set_link_target(struct op *op, struct bytes target)
{
    char base[SFTPWIRE_PATH];
    char *slash;

    memcpy(base, op->path[1], sizeof base);
    slash = strrchr(base, '/');
    if (slash)
        *slash = '\0';
    snprintf(op->link, sizeof op->link, "%.*s", (int)target.len, (const char *)target.p);
    return sftpwire_canonical(target, base, op->path[0]);
}

static int set_paths(struct sshfile *f, struct op *op, const struct sftp_request *q)
{
    unsigned access = q->type == FXP_OPEN ? open_access(q->flags) : q->op->access;
    int rc;

    op->n_paths = q->op->shape == SHAPE_TWO || q->op->shape == SHAPE_SYMLINK ? 2 : 1;
    if (q->op->shape == SHAPE_SYMLINK) {
        rc = set_path(f, op, 1, q->path2, q->op->access2);
        return rc ? rc : set_link_target(op, q->path);
    }
    rc = set_path(f, op, 0, q->path, access);
    return rc || op->n_paths < 2 ? rc : set_path(f, op, 1, q->path2, q->op->access2);
}

/* Whole, or the folder only: an operation on a link itself must not follow it. */
static bool ask_where(struct sshfile *f, struct channel *c, struct op *op, unsigned i)
{
    char path[SFTPWIRE_PATH];

    memcpy(path, op->path[i], sizeof path);
    if (!op->follow) {
        char *slash = strrchr(path, '/');

        slash[slash == path] = '\0';
    }
    op->waits++;
    return ask_realpath(f, c, path, (int)i);
}

static enum step begin_op(struct sshfile *f, struct channel *c, const struct sftp_request *q)
{
    struct op *op = &f->op;

    *op = (struct op){.active = true,
                      .name = q->op->name,
                      .follow = q->op->shape == SHAPE_PATH,
                      .n = ++c->relay->n};
    if (set_paths(f, op, q) != 0) {
        op->active = false;
        return refuse_own(f, c, q, (struct refusal){FX_FAILURE, "", "the path is too long"});
    }
    for (unsigned i = 0; i < op->n_paths; i++) {
        if (!ask_where(f, c, op, i))
            return STEP_BAD;
    }
    return STEP_WAIT;
}

/* The target has answered: the full name of a folder or of the whole path. */
void sshfile_resolved(struct sshfile *f, unsigned i, struct bytes path, enum sftp_status status)
{
    struct op *op = &f->op;
    const char *last = strrchr(op->path[i], '/');

    op->waits--;
    if (path.len == 0 || path.len + strlen(op->path[i]) + 2 >= SFTPWIRE_PATH) {
        op->nowhere = status;
        return;
    }
    snprintf(op->resolved[i], SFTPWIRE_PATH, "%.*s", (int)path.len, (const char *)path.p);
    if (!op->follow && last && last[1])
        snprintf(op->resolved[i] + path.len, SFTPWIRE_PATH - path.len, "%s%s",
                 path.len > 1 ? "/" : "", last + 1);
}

static void judge_paths(struct channel *c, const struct op *op, struct decision *worst)
{
    for (unsigned i = 0; i < op->n_paths; i++) {
        struct ssh_act act = {.request = SSH_REQUEST_SFTP,
                              .text = op->path[i],
                              .path = op->path[i],
                              .resolved = op->resolved[i][0] ? op->resolved[i] : NULL,
                              .access = op->access[i]};
        struct decision d;

        sshrelay_decide(c->relay, &act, &d);
        if (i == 0 || d.verdict < worst->verdict)
            *worst = d;
    }
}

/* The agent's own folder, as it asks for it to find out where it is. */
static bool is_home(const struct sshfile *f, const struct sftp_request *q)
{
    return q->type == FXP_REALPATH && strcmp(f->op.path[0], f->home) == 0;
}

static enum step send_op(struct sshfile *f, struct channel *c, const struct sftp_request *q)
{
    struct op *op = &f->op;
    struct pending *p = add_pending(f, q->id, q->type);
    const char *second = op->n_paths > 1 ? op->path[1] : NULL;

    if (!p)
        return STEP_BAD;
    if (q->type == FXP_OPEN || q->type == FXP_OPENDIR) {
        p->path = strdup(op->path[0]);
        p->access = op->access[0];
        p->directory = q->type == FXP_OPENDIR;
        p->n = op->n;
    }
    sftpwire_add_request(&c->in.ready, q, op->link[0] ? op->link : op->path[0], second);
    op->active = false;
    return STEP_DONE;
}

static enum step refuse_op(struct sshfile *f, struct channel *c, uint32_t id, const char *why)
{
    char line[900];

    snprintf(line, sizeof line, "chaperone: %s (request %s/%u)", why, c->relay->session->id,
             f->op.n);
    refuse(f, c, id, FX_PERMISSION_DENIED, line);
    /* OpenSSH's clients show their own words for the status; what comes on stderr they pass on. A
     * client that does not read stderr must not run out of window for it. */
    if (f->told++ < MAX_TOLD)
        buffer_printf(&c->err.ready, "%s\n", line);
    f->op.active = false;
    return STEP_DONE;
}

/* What the target does not follow to its end it may open all the same: OpenSSH gives up after
 * fewer links than the kernel. So the operation ends here, with what the target said. */
static enum step stop_op(struct sshfile *f, struct channel *c, uint32_t id)
{
    static const char why[] =
        "the target does not say where the path leads: nothing is done with it";

    journal_error(c->relay, f->op.n, why, true);
    refuse(f, c, id, f->op.nowhere, "chaperone: the target knows no such path");
    f->op.active = false;
    return STEP_DONE;
}

static enum step judge_op(struct sshfile *f, struct channel *c, const struct sftp_request *q)
{
    struct op *op = &f->op;
    struct decision d = {.verdict = VERDICT_ALLOW};
    char why[800];

    if (!is_home(f, q))
        judge_paths(c, op, &d);
    journal_op(c, op, &d, d.verdict == VERDICT_ALLOW ? NULL : d.reason);
    if (op->nowhere && d.verdict != VERDICT_DENY)
        return stop_op(f, c, q->id);
    if (d.verdict == VERDICT_ALLOW)
        return send_op(f, c, q);
    if (d.verdict == VERDICT_DENY) {
        journal_decision(c->relay, op->n, "sftp", &d, d.reason);
        snprintf(why, sizeof why, "denied: %s%s%s", d.reason, d.message ? ": " : "",
                 d.message ? d.message : "");
        return refuse_op(f, c, q->id, why);
    }
    snprintf(why, sizeof why, "%s %.300s %.300s", op->name, op->path[0], op->path[1]);
    switch (sshchannel_ask(c, op->n, &d, bytes_str(why), op->why)) {
    case ASKED_GRANTED:
        return send_op(f, c, q);
    case ASKED_WAIT:
        op->asked = true;
        return STEP_WAIT;
    case ASKED_REFUSED:
        break;
    }
    return refuse_op(f, c, q->id, op->why);
}

void sshfile_answer(struct sshfile *f, bool yes, const char *why)
{
    f->op.answered = true;
    f->op.approved = yes;
    snprintf(f->op.why, sizeof f->op.why, "%s", why);
}

static enum step path_op(struct sshfile *f, struct channel *c, const struct sftp_request *q)
{
    struct op *op = &f->op;

    if (!op->active)
        return begin_op(f, c, q);
    if (op->waits || c->asking)
        return STEP_WAIT;
    if (op->answered)
        return op->approved ? send_op(f, c, q) : refuse_op(f, c, q->id, op->why);
    return judge_op(f, c, q); /* also again, after policy changed while a person was asked */
}

/* ---- operations on handles ---- */

static void closed(struct channel *c, struct handle *h)
{
    struct buffer *b = record_begin(c->relay->session->record, "result");

    jsonw_ku64(b, "n", h->n);
    jsonw_kstr(b, "tag", BYTES("close"));
    jsonw_ku64(b, "bytes", h->read);
    jsonw_ku64(b, "bytesIn", h->written);
    if (record_end(c->relay->session->record) != 0)
        sshrelay_end(c->relay, "the session cannot be recorded");
    free(h->path);
    *h = (struct handle){0};
}

static enum step read_op(struct sshfile *f, struct channel *c, const struct sftp_request *q,
                         struct pending *p)
{
    uint64_t from = q->offset > SSHFILE_CONTEXT ? q->offset - SSHFILE_CONTEXT : 0;
    uint32_t want = q->length < SSHFILE_READ_MAX ? q->length : SSHFILE_READ_MAX;

    if (!f->detectors) {
        sftpwire_add_request(&c->in.ready, q, NULL, NULL);
        return STEP_DONE;
    }
    /* More is read on both sides, so that a value across the border is still seen. */
    p->lead = (uint32_t)(q->offset - from);
    p->want = want;
    sftpwire_add_read(&c->in.ready, q, from, p->lead + want + SSHFILE_CONTEXT);
    return STEP_DONE;
}

static enum step refuse_handle(struct sshfile *f, struct channel *c, const struct sftp_request *q,
                               enum sftp_status code, const char *why)
{
    struct handle *h = sshfile_handle(f, q->handle);

    return refuse_own(f, c, q, (struct refusal){code, h ? h->path : "", why});
}

static enum step handle_op(struct sshfile *f, struct channel *c, const struct sftp_request *q)
{
    struct handle *h = sshfile_handle(f, q->handle);
    struct pending *p;

    if (!h)
        return refuse_handle(f, c, q, FX_FAILURE, "no such handle");
    if (q->op->access & ~h->access)
        return refuse_handle(f, c, q, FX_PERMISSION_DENIED,
                             q->op->access & SSH_ACCESS_WRITE ? "not opened for writing"
                                                              : "not opened for reading");
    p = add_pending(f, q->id, q->type);
    if (!p)
        return STEP_BAD;
    p->handle = h;
    if (q->type == FXP_READ)
        return read_op(f, c, q, p);
    if (q->type == FXP_WRITE)
        h->written += q->length;
    sftpwire_add_request(&c->in.ready, q, NULL, NULL);
    if (q->type == FXP_CLOSE) {
        p->handle = NULL;
        for (size_t i = 0; i < SSHFILE_PENDING; i++)
            if (f->pending[i].handle == h)
                f->pending[i].handle = NULL;
        closed(c, h);
    }
    return STEP_DONE;
}

/* ---- messages of the agent ---- */

static enum step init(struct sshfile *f, struct channel *c, const struct sftp_request *q)
{
    size_t mark;

    if (f->greeted || q->id < 3)
        return STEP_BAD;
    f->greeted = true;
    mark = sftpwire_start(&c->in.ready, FXP_INIT);
    buffer_add_be32(&c->in.ready, 3);
    sftpwire_finish(&c->in.ready, mark);
    return STEP_DONE;
}

/* The version has been agreed on and the home folder is known. */
static bool ready(struct sshfile *f, struct channel *c)
{
    if (f->version_seen && !f->home_asked)
        f->home_asked = ask_realpath(f, c, ".", SSHFILE_HOME);
    return f->version_seen && f->home[0];
}

static enum step take_request(struct sshfile *f, struct channel *c, const struct sftp_request *q)
{
    if (!q->op)
        return f->greeted
                   ? refuse_own(f, c, q,
                                (struct refusal){FX_OP_UNSUPPORTED, "",
                                                 "an operation that the guard does not know"})
                   : STEP_BAD;
    if (q->op->shape == SHAPE_INIT)
        return init(f, c, q);
    if (!f->greeted)
        return STEP_BAD;
    if (!ready(f, c) || f->n_pending + 4 >= SSHFILE_PENDING)
        return STEP_WAIT;
    if (!f->op.active && sshfile_pending(f, q->id))
        return STEP_BAD; /* two requests with one number */
    if (q->op->shape == SHAPE_HANDLE)
        return handle_op(f, c, q);
    if (q->op->shape != SHAPE_HARMLESS)
        return path_op(f, c, q);
    if (!add_pending(f, q->id, q->type))
        return STEP_BAD;
    sftpwire_add_request(&c->in.ready, q, NULL, NULL);
    return STEP_DONE;
}

static bool room(const struct buffer *b, size_t n)
{
    return buffer_len(b) + n + 2 * SFTPWIRE_PATH + 1024 <= b->max;
}

void sshfile_from_agent(struct sshfile *f, struct channel *c)
{
    struct sftp_request q;
    struct bytes body;
    int rc;

    if (!f->masks_set)
        sshfile_set_masks(f, c);
    while ((rc = sftpwire_frame(buffer_bytes(&c->in.raw), &body)) == 1) {
        enum step step;

        if (!room(&c->in.ready, body.len) || buffer_len(&c->out.ready) > OUT_ROOM)
            return;
        step = sftpwire_parse(body, &q) == 0 ? take_request(f, c, &q) : STEP_BAD;
        if (step == STEP_WAIT)
            return;
        if (step == STEP_BAD) {
            rc = -EBADMSG;
            break;
        }
        buffer_consume(&c->in.raw, 4 + body.len);
    }
    if (rc < 0 || c->in.ready.failed || c->out.ready.failed) {
        journal_error(c->relay, c->n, "malformed sftp message from the agent", false);
        sshchannel_abort(c, "malformed sftp message");
    }
}
