/* SPDX-License-Identifier: Apache-2.0
 * An SFTP channel between two byte queues: what the agent says goes in, what the target would get
 * and what the agent is answered comes out. With a real policy and a real record, without a
 * connection. The target is played here: it knows one file, one link, and says yes.
 */
#pragma once

#include "sidecar/proto/ssh/relay.h"
#include "sidecar/proto/ssh/sftp.h"
#include "sidecar/proto/ssh/sftp_internal.h"
#include "sidecar/proto/ssh/sftpwire.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BENCH_HEAD(kind, name)                                                                     \
    "apiVersion: chaperone.dev/v1alpha1\nkind: " kind "\nmetadata: {name: " name "}\n"
#define BENCH_POLICY(rules)                                                                        \
    BENCH_HEAD("GuardTarget", "box")                                                               \
    "spec: {protocol: ssh, hosts: [box], ports: [22], ssh: {hostKeys: [\"ssh-ed25519 "             \
    "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f\"]}}\n---\n" BENCH_HEAD( \
        "GuardPolicy", "agents") "spec:\n  targets: [{name: box}]\n  rules:\n" rules

struct bench {
    char dir[64];
    struct guard guard;
    struct session session;
    struct sshrelay relay;
    struct channel channel;
    struct record_spool *spool;
    struct bytes content;        /* of the one file */
    const char *link, *leads_to; /* what REALPATH answers for it; leads_to NULL: `nowhere` */
    enum sftp_status nowhere;
    char operations[64][300]; /* what came to the target, but the guard's questions */
    size_t n_operations;
    unsigned handles;
    struct bytes names; /* body of the answer to READDIR after its id; p NULL: end of file */
};

static inline void bench_start(struct bench *b, const char *policy)
{
    struct error err = {""};
    static const struct agent agent = {
        .namespace_ = "default", .pod = "p", .service_account = "default"};
    struct sshrelay *r = &b->relay;
    struct channel *c = &b->channel;

    *b = (struct bench){.session.id = "01BENCH"};
    snprintf(b->dir, sizeof b->dir, "/tmp/sftp-bench-XXXXXX");
    if (!mkdtemp(b->dir) || record_spool_open(b->dir, &b->spool, &err) != 0 ||
        record_open(b->spool, b->session.id, &b->session.record) != 0 ||
        policy_load_text(bytes_str(policy), "p.yaml", &b->session.snapshot, &err) != 0) {
        fprintf(stderr, "%s\n", err.text);
        abort();
    }
    b->session.guard = &b->guard;
    b->session.target = policy_target_by_name(b->session.snapshot, "default", "box");
    r->session = &b->session;
    if (policy_view_new(b->session.snapshot, &agent, b->session.target, NULL, &r->view) != 0 ||
        detect_scratch_new(&r->scratch) != 0 || sshfile_new(&c->file) != 0)
        abort();
    c->relay = r;
    c->kind = CHANNEL_SFTP;
    c->state = CHANNEL_RUNNING;
    c->exit_status = -1;
    sshflow_init(&c->in, "stdin", SSHRELAY_QUEUE);
    sshflow_init(&c->out, "stdout", SSHRELAY_QUEUE);
    sshflow_init(&c->err, "stderr", SSHRELAY_QUEUE);
}

static inline void bench_stop(struct bench *b)
{
    char path[512];
    struct dirent *e;
    DIR *d;

    sshfile_free(b->channel.file);
    sshflow_done(&b->channel.in);
    sshflow_done(&b->channel.out);
    sshflow_done(&b->channel.err);
    detect_scratch_free(b->relay.scratch);
    policy_view_unref(b->relay.view);
    policy_snapshot_unref(b->session.snapshot);
    record_close(b->session.record);
    record_spool_close(b->spool);
    d = opendir(b->dir);
    while (d && (e = readdir(d))) {
        snprintf(path, sizeof path, "%s/%s", b->dir, e->d_name);
        (void)unlink(path);
    }
    if (d)
        closedir(d);
    (void)rmdir(b->dir);
}

/* Whether a line of the record so far has this in it. */
static inline bool bench_recorded(struct bench *b, const char *text)
{
    static char all[1 << 20];
    char path[512];
    struct dirent *e;
    bool found = false;
    DIR *d = opendir(b->dir);

    if (record_flush(b->session.record) != 0)
        abort();
    while (d && !found && (e = readdir(d))) {
        FILE *f;
        size_t n;

        snprintf(path, sizeof path, "%s/%s", b->dir, e->d_name);
        f = e->d_name[0] == '.' ? NULL : fopen(path, "r");
        n = f ? fread(all, 1, sizeof all - 1, f) : 0;
        all[n] = '\0';
        found = strstr(all, text) != NULL;
        if (f)
            fclose(f);
    }
    if (d)
        closedir(d);
    return found;
}

/* ---- messages ---- */

static inline struct bytes bench_string(struct cursor *c)
{
    return cursor_take(c, cursor_be32(c));
}

static inline void bench_status(struct buffer *out, uint32_t id, uint32_t code)
{
    sftpwire_add_status(out, id, code, "");
}

static inline void bench_name(struct buffer *out, uint32_t id, const char *path)
{
    size_t mark = sftpwire_start(out, FXP_NAME);

    buffer_add_be32(out, id);
    buffer_add_be32(out, 1);
    sftpwire_add_string(out, bytes_str(path));
    sftpwire_add_string(out, bytes_str(path));
    buffer_add_be32(out, 0);
    sftpwire_finish(out, mark);
}

static inline void bench_version(struct buffer *out)
{
    size_t mark = sftpwire_start(out, FXP_VERSION);

    buffer_add_be32(out, 3);
    sftpwire_add_string(out, BYTES("posix-rename@openssh.com"));
    sftpwire_add_string(out, BYTES("1"));
    sftpwire_add_string(out, BYTES("copy-data"));
    sftpwire_add_string(out, BYTES("1"));
    sftpwire_finish(out, mark);
}

static inline void bench_data(struct bench *b, uint32_t id, uint64_t offset, uint32_t n)
{
    struct buffer *out = &b->channel.out.raw;
    size_t mark;

    if (offset >= b->content.len) {
        bench_status(out, id, FX_EOF);
        return;
    }
    n = (uint32_t)min_size(n, b->content.len - (size_t)offset);
    mark = sftpwire_start(out, FXP_DATA);
    buffer_add_be32(out, id);
    sftpwire_add_string(out, bytes_of(b->content.p + offset, n));
    sftpwire_finish(out, mark);
}

/* ---- the target ---- */

static inline void bench_note(struct bench *b, const struct sftp_request *q)
{
    if (b->n_operations >= ARRAY_LEN(b->operations))
        return;
    snprintf(b->operations[b->n_operations++], sizeof b->operations[0], "%s %.*s %.*s", q->op->name,
             (int)min_size(q->path.len, 100), (const char *)q->path.p,
             (int)min_size(q->path2.len, 100), (const char *)q->path2.p);
}

static inline void bench_realpath(struct bench *b, const struct sftp_request *q)
{
    char path[SFTPWIRE_PATH];

    snprintf(path, sizeof path, "%.*s", (int)q->path.len, (const char *)q->path.p);
    if (strcmp(path, ".") == 0)
        snprintf(path, sizeof path, "/home/x");
    else if (b->link && strcmp(path, b->link) == 0 && !b->leads_to) {
        bench_status(&b->channel.out.raw, q->id, b->nowhere);
        return;
    } else if (b->link && strcmp(path, b->link) == 0)
        snprintf(path, sizeof path, "%s", b->leads_to);
    bench_name(&b->channel.out.raw, q->id, path);
}

static inline void bench_handle(struct bench *b, uint32_t id)
{
    struct buffer *out = &b->channel.out.raw;
    size_t mark = sftpwire_start(out, FXP_HANDLE);
    char name[16];

    snprintf(name, sizeof name, "h%u", b->handles++);
    buffer_add_be32(out, id);
    sftpwire_add_string(out, bytes_str(name));
    sftpwire_finish(out, mark);
}

static inline void bench_readdir(struct bench *b, uint32_t id)
{
    struct buffer *out = &b->channel.out.raw;
    size_t mark;

    if (!b->names.p) {
        bench_status(out, id, FX_EOF);
        return;
    }
    mark = sftpwire_start(out, FXP_NAME);
    buffer_add_be32(out, id);
    buffer_add(out, b->names);
    sftpwire_finish(out, mark);
}

static inline void bench_answer(struct bench *b, struct bytes body)
{
    struct buffer *out = &b->channel.out.raw;
    struct sftp_request q;

    if (sftpwire_parse(body, &q) != 0 || !q.op)
        abort(); /* the guard sends nothing else */
    if (q.type != FXP_REALPATH || q.id < 0xfffe0000u)
        bench_note(b, &q);
    if (q.type == FXP_INIT)
        bench_version(out);
    else if (q.type == FXP_REALPATH)
        bench_realpath(b, &q);
    else if (q.type == FXP_OPEN || q.type == FXP_OPENDIR)
        bench_handle(b, q.id);
    else if (q.type == FXP_READ)
        bench_data(b, q.id, q.offset, q.length);
    else if (q.type == FXP_READDIR)
        bench_readdir(b, q.id);
    else
        bench_status(out, q.id, FX_OK);
}

/* Until nothing moves any more. */
static inline void bench_turn(struct bench *b)
{
    struct channel *c = &b->channel;
    struct bytes body;

    do {
        b->relay.dirty = false;
        if (c->state == CHANNEL_RUNNING)
            sshfile_from_agent(c->file, c);
        while (c->state == CHANNEL_RUNNING &&
               sftpwire_frame(buffer_bytes(&c->in.ready), &body) == 1) {
            bench_answer(b, body);
            buffer_consume(&c->in.ready, 4 + body.len);
            b->relay.dirty = true;
        }
        if (c->state == CHANNEL_RUNNING)
            sshfile_from_target(c->file, c);
    } while (b->relay.dirty && c->state == CHANNEL_RUNNING);
}
