/* SPDX-License-Identifier: Apache-2.0
 * An SFTP channel, both directions, on any bytes. The input is a sequence of pieces: one byte (bit
 * 0: who speaks; bit 1: the target answers what it was asked), two bytes of length, the bytes.
 * Policy: /srv may be read and written, mail addresses are masked. What must hold: the target only
 * gets whole messages that the guard understands; their paths lie in /srv, save the guard's own
 * questions; the agent only gets whole messages; and the one address in the file never reaches it.
 */
#include "tests/unit/proto/ssh/sftp_bench.h"

#include "src-common/log.h"

#define RULES                                                                                      \
    "  - {name: files, action: Allow, ssh: {requests: [sftp], paths: [/srv/**], "                  \
    "access: [read, write]}}\n"                                                                    \
    "  - {name: m, action: Mask, values: {detectors: [email]}}\n"

const char *const fuzz_dictionary[] = {"/srv/",
                                       "/srv/a",
                                       "..",
                                       "/etc/shadow",
                                       "posix-rename@openssh.com",
                                       "h0",
                                       "h1",
                                       "/../",
                                       "hardlink@openssh.com",
                                       "limits@openssh.com",
                                       "\xff\xfe",
                                       "/srv/link",
                                       "\x02\x03\x00",
                                       NULL};

static const char canary[] = "canary@example.com";

static void check_path(const struct bench *b, const struct sftp_request *q, struct bytes path)
{
    static const char home[] = "/home/x";

    if (path.len == 0 && q->op->shape != SHAPE_PATH)
        return;
    /* Metadata needs any access to the path; the agent may always ask where its folder is. */
    if (q->type == FXP_REALPATH && bytes_eq_str(path, home))
        return;
    if (path.len < 4 || memcmp(path.p, "/srv", 4) != 0 || (path.len > 4 && path.p[4] != '/') ||
        memmem(path.p, path.len, "/../", 4) ||
        (q->op->shape == SHAPE_PATH && b->link && bytes_eq_str(path, b->link)))
        __builtin_trap();
}

static void check_request(const struct bench *b, struct bytes body)
{
    struct sftp_request q;

    if (sftpwire_parse(body, &q) != 0 || !q.op)
        __builtin_trap();
    if (q.op->shape == SHAPE_INIT || q.op->shape == SHAPE_HANDLE || q.op->shape == SHAPE_HARMLESS)
        return;
    if (q.type == FXP_REALPATH && q.id >= 0xfffe0000u)
        return; /* the guard asks */
    if (q.op->shape != SHAPE_SYMLINK)
        check_path(b, &q, q.path);
    if (q.op->shape == SHAPE_TWO || q.op->shape == SHAPE_SYMLINK)
        check_path(b, &q, q.path2);
}

static void target_takes(struct bench *b, bool answers)
{
    struct channel *c = &b->channel;
    struct bytes body;
    int rc;

    while ((rc = sftpwire_frame(buffer_bytes(&c->in.ready), &body)) == 1) {
        check_request(b, body);
        if (answers)
            bench_answer(b, body);
        buffer_consume(&c->in.ready, 4 + body.len);
    }
    if (rc != 0 || buffer_len(&c->in.ready))
        __builtin_trap(); /* half a message */
}

static void agent_takes(struct bench *b)
{
    struct channel *c = &b->channel;
    struct bytes out = buffer_bytes(&c->out.ready), body;
    int rc;

    if (out.len && memmem(out.p, out.len, canary, sizeof canary - 1))
        __builtin_trap();
    while ((rc = sftpwire_frame(buffer_bytes(&c->out.ready), &body)) == 1)
        buffer_consume(&c->out.ready, 4 + body.len);
    if (rc != 0 || buffer_len(&c->out.ready))
        __builtin_trap();
}

static void turn(struct bench *b, bool answers)
{
    struct channel *c = &b->channel;

    for (int i = 0; i < 50 && c->state == CHANNEL_RUNNING; i++) {
        b->relay.dirty = false;
        sshfile_from_agent(c->file, c);
        if (c->state == CHANNEL_RUNNING)
            target_takes(b, answers);
        if (c->state == CHANNEL_RUNNING)
            sshfile_from_target(c->file, c);
        agent_takes(b);
        if (!b->relay.dirty)
            return;
    }
}

/* The address stands only in the file that the honest target has: what the bytes say themselves
 * may be anything. */
static void play(struct bench *b, const uint8_t *p, size_t left)
{
    while (left >= 3 && b->channel.state == CHANNEL_RUNNING && !b->relay.ending) {
        uint8_t what = p[0];
        size_t n = min_size((size_t)p[1] << 8 | p[2], left - 3);
        struct sshflow *f = what & 1 ? &b->channel.out : &b->channel.in;

        if (!memmem(p + 3, n, "canary@", 7) && buffer_len(&f->raw) + n < SSHFLOW_WINDOW)
            buffer_append(&f->raw, p + 3, n);
        turn(b, what & 2);
        p += 3 + n;
        left -= 3 + n;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char content[] = "0123456789 mail canary@example.com and more text behind it\n";
    static struct bench *b;

    if (!b) {
        log_set_level(LOG_LEVEL_ERROR);
        b = calloc(1, sizeof *b);
        if (!b)
            abort();
    }
    bench_start(b, BENCH_POLICY(RULES));
    b->content = bytes_of(content, sizeof content - 1);
    b->link = "/srv/link";
    b->leads_to = "/etc/shadow";
    play(b, data, size);
    bench_stop(b);
    return 0;
}
