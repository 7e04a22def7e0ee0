/* SPDX-License-Identifier: Apache-2.0
 * SFTP answers of the target: to the guard's own questions, and to the agent's requests. Contents
 * and names are masked by value; lengths stay, so offsets do.
 */
#include "sftp_internal.h"

#include <errno.h>
#include <stdio.h>

void sshfile_set_masks(struct sshfile *f, struct channel *c)
{
    struct ssh_act act = {.request = SSH_REQUEST_SFTP, .text = ""};
    struct policy_view *v = c->relay->view;
    struct detector_set *set = NULL;

    f->masks_set = true;
    f->detectors = policy_view_detectors(v) & ~policy_ssh_exempt(v, &act);
    if (!f->detectors)
        return;
    if (detector_set_get(f->detectors, &set, NULL) != 0 || detect_stream_new(set, &f->mask) != 0)
        sshrelay_end(c->relay, "out of memory");
    detector_set_unref(set);
}

static struct bytes string(struct cursor *c)
{
    return cursor_take(c, cursor_be32(c));
}

/* ---- our own questions ---- */

/* The one name of an answer to REALPATH; empty when it is no such answer. */
static struct bytes one_name(struct bytes body)
{
    struct cursor c = cursor_over(body);
    uint8_t type = cursor_u8(&c);
    struct bytes name;

    cursor_be32(&c);
    if (type != FXP_NAME || cursor_be32(&c) != 1)
        return (struct bytes){0};
    name = string(&c);
    return c.bad || name.len >= SFTPWIRE_PATH || name.len == 0 || name.p[0] != '/' ||
                   memchr(name.p, 0, name.len)
               ? (struct bytes){0}
               : name;
}

/* Of an answer that should have had a name. */
static enum sftp_status why_none(struct bytes body)
{
    struct cursor c = cursor_over(body);
    uint8_t type = cursor_u8(&c);
    uint32_t code;

    cursor_be32(&c);
    code = cursor_be32(&c);
    return type == FXP_STATUS && !c.bad && (code == FX_NO_SUCH_FILE || code == FX_PERMISSION_DENIED)
               ? code
               : FX_FAILURE;
}

static bool take_own(struct sshfile *f, const struct pending *p, struct bytes body)
{
    struct bytes name = one_name(body);

    if (p->which != SSHFILE_HOME) {
        sshfile_resolved(f, (unsigned)p->which, name, why_none(body));
        return true;
    }
    if (name.len == 0)
        return false;
    memcpy(f->home, name.p, name.len);
    f->home[name.len] = '\0';
    return true;
}

/* ---- answers that the agent gets ---- */

/* Only extensions that the guard understands are offered to the agent. */
static int add_version(struct bytes body, struct buffer *out)
{
    struct cursor c = cursor_over(body);
    size_t mark = sftpwire_start(out, FXP_VERSION);

    cursor_u8(&c);
    if (cursor_be32(&c) != 3)
        return -EBADMSG;
    buffer_add_be32(out, 3);
    while (cursor_left(&c) > 0) {
        struct bytes name = string(&c), data = string(&c);

        if (c.bad || !sftpwire_knows_extension(name))
            continue;
        sftpwire_add_string(out, name);
        sftpwire_add_string(out, data);
    }
    sftpwire_finish(out, mark);
    return c.bad ? -EBADMSG : 0;
}

static int mask_bytes(struct sshfile *f, struct channel *c, struct bytes text, struct buffer *out)
{
    int rc = detect_stream_feed(f->mask, c->relay->scratch, text, true, out);

    return rc;
}

static int add_masked_string(struct sshfile *f, struct channel *c, struct bytes s,
                             struct buffer *out)
{
    buffer_add_be32(out, (uint32_t)s.len); /* stars are as long as what they cover */
    return s.len ? mask_bytes(f, c, s, out) : 0;
}

static int add_names(struct sshfile *f, struct channel *c, struct bytes body, struct buffer *out)
{
    struct cursor cur = cursor_over(body);
    size_t mark = sftpwire_start(out, FXP_NAME);
    uint32_t n;
    int rc = 0;

    cursor_u8(&cur);
    buffer_add_be32(out, cursor_be32(&cur));
    n = cursor_be32(&cur);
    buffer_add_be32(out, n);
    for (; n > 0 && !cur.bad && rc == 0; n--) {
        const uint8_t *at;

        rc = add_masked_string(f, c, string(&cur), out);
        if (rc == 0)
            rc = add_masked_string(f, c, string(&cur), out);
        at = cur.at;
        sftpwire_skip_attributes(&cur);
        if (!cur.bad)
            buffer_append(out, at, (size_t)(cur.at - at));
    }
    sftpwire_finish(out, mark);
    return rc ? rc : cursor_at_end(&cur) ? 0 : -EBADMSG;
}

/* The part that was asked for, out of what was read around it. */
static int add_data(struct sshfile *f, struct channel *c, const struct pending *p,
                    struct bytes body, struct buffer *out)
{
    struct cursor cur = cursor_over(body);
    struct buffer masked;
    struct bytes data;
    size_t n, mark;
    int rc;

    cursor_u8(&cur);
    cursor_be32(&cur);
    data = string(&cur);
    if (!cursor_at_end(&cur))
        return -EBADMSG;
    if (data.len <= p->lead) {
        sftpwire_add_status(out, p->id, FX_EOF, "end of file");
        return 0;
    }
    buffer_init(&masked, SFTPWIRE_MAX + 64);
    rc = mask_bytes(f, c, data, &masked);
    n = min_size(data.len - p->lead, p->want);
    if (rc == 0 && buffer_len(&masked) == data.len) {
        mark = sftpwire_start(out, FXP_DATA);
        buffer_add_be32(out, p->id);
        sftpwire_add_string(out, bytes_of(masked.p + masked.start + p->lead, n));
        sftpwire_finish(out, mark);
    } else if (rc == 0) {
        rc = -EIO;
    }
    buffer_done(&masked);
    return rc;
}

static int register_handle(struct sshfile *f, struct pending *p, struct bytes body)
{
    struct cursor c = cursor_over(body);
    struct bytes name;

    cursor_u8(&c);
    cursor_be32(&c);
    name = string(&c);
    if (!cursor_at_end(&c) || name.len > sizeof f->handles[0].name || sshfile_handle(f, name))
        return -EBADMSG;
    for (size_t i = 0; i < SSHFILE_HANDLES; i++) {
        struct handle *h = &f->handles[i];

        if (h->path)
            continue;
        *h = (struct handle){.name_len = name.len,
                             .path = take(&p->path),
                             .access = p->access,
                             .directory = p->directory,
                             .n = p->n};
        memcpy(h->name, name.p, name.len);
        return h->path ? 0 : -ENOMEM;
    }
    return -EMFILE;
}

static bool may_answer(uint8_t request, uint8_t reply)
{
    switch (reply) {
    case FXP_STATUS:
        return true;
    case FXP_HANDLE:
        return request == FXP_OPEN || request == FXP_OPENDIR;
    case FXP_DATA:
        return request == FXP_READ;
    case FXP_NAME:
        return request == FXP_READDIR || request == FXP_REALPATH || request == FXP_READLINK;
    case FXP_ATTRS:
        return request == FXP_STAT || request == FXP_LSTAT || request == FXP_FSTAT;
    case FXP_EXTENDED_REPLY:
        return request == FXP_EXTENDED;
    default:
        return false;
    }
}

/* A listing names what is in its folder: clients write where a name leads (CVE-2026-0964). */
static bool names_are_plain(struct bytes body)
{
    struct cursor c = cursor_over(body);
    uint32_t n;

    cursor_take(&c, 5);
    for (n = cursor_be32(&c); n > 0 && !c.bad; n--) {
        struct bytes name = string(&c);

        if (name.len == 0 || memchr(name.p, '/', name.len) || memchr(name.p, 0, name.len))
            return false;
        string(&c);
        sftpwire_skip_attributes(&c);
    }
    return cursor_at_end(&c);
}

static int pass_reply(struct sshfile *f, struct channel *c, struct pending *p, struct bytes body)
{
    struct buffer *out = &c->out.ready;
    uint8_t type = body.p[0];

    if (!may_answer(p->type, type) ||
        (p->type == FXP_READDIR && type == FXP_NAME && !names_are_plain(body)))
        return -EBADMSG;
    if (type == FXP_HANDLE) {
        int rc = register_handle(f, p, body);

        if (rc)
            return rc;
    }
    if (type == FXP_DATA && p->handle && body.len > 9)
        p->handle->read += p->want ? min_size(body.len - 9, p->want) : body.len - 9;
    if (f->detectors && type == FXP_DATA)
        return add_data(f, c, p, body, out);
    if (f->detectors && type == FXP_NAME)
        return add_names(f, c, body, out);
    buffer_add_be32(out, (uint32_t)body.len);
    return buffer_add(out, body);
}

static int take_reply(struct sshfile *f, struct channel *c, struct bytes body)
{
    struct pending *p;
    int rc;

    if (body.p[0] == FXP_VERSION) {
        if (f->version_seen || !f->greeted)
            return -EBADMSG;
        f->version_seen = true;
        return add_version(body, &c->out.ready);
    }
    p = body.len >= 5 ? sshfile_pending(f, get_be32(body.p + 1)) : NULL;
    if (!p)
        return -EBADMSG;
    rc = p->mine ? (take_own(f, p, body) ? 0 : -EBADMSG) : pass_reply(f, c, p, body);
    free(p->path);
    *p = (struct pending){0};
    f->n_pending--;
    return rc;
}

void sshfile_from_target(struct sshfile *f, struct channel *c)
{
    struct buffer *out = &c->out.ready;
    struct bytes body;
    int rc;

    while ((rc = sftpwire_frame(buffer_bytes(&c->out.raw), &body)) == 1) {
        size_t before = buffer_len(out);

        if (before + body.len + 64 > out->max)
            return;
        rc = take_reply(f, c, body);
        if (rc) {
            out->end = out->start + before; /* not half an answer */
            break;
        }
        buffer_consume(&c->out.raw, 4 + body.len);
        c->relay->dirty = true; /* what waits for this answer goes on */
    }
    if (rc < 0 || out->failed) {
        journal_error(c->relay, c->n, "malformed sftp message from the target", true);
        sshchannel_abort(c, "malformed sftp message from the target");
    } else if (c->target_eof && !c->out.more) {
        buffer_reset(&c->out.raw, 0); /* half a message, and no more will come */
    }
}
