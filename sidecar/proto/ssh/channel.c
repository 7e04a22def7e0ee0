/* SPDX-License-Identifier: Apache-2.0
 * Channels: libssh's callbacks, the steps towards the target, and moving bytes.
 */
#include "relay.h"
#include "sftp.h"
#include "sftpwire.h"

#include "src-common/clock.h"

#include <stdio.h>

#define IDLE_TERMINAL_MS 40  /* a person looks at it */
#define IDLE_PIPE_MS     250 /* a program reads it */

/* ---- callbacks: they only put away what came ---- */

static struct sshflow *flow_of(struct channel *c, bool from_agent, int is_stderr)
{
    if (from_agent)
        return is_stderr ? NULL : &c->in;
    return is_stderr ? &c->err : &c->out;
}

static int take_data(struct channel *c, struct sshflow *f, const void *data, uint32_t len)
{
    c->relay->dirty = true;
    if (len > SSHFLOW_WINDOW)
        c->relay->flooded = true;
    if (c->in_read)
        return 0;
    if (!f || c->state >= CHANNEL_REFUSED)
        return (int)len; /* nobody wants it */
    return (int)sshflow_take(f, bytes_of(data, len), clock_mono_ms());
}

static int on_agent_data(ssh_session s, ssh_channel ch, void *data, uint32_t len, int is_stderr,
                         void *arg)
{
    struct channel *c = arg;

    (void)s, (void)ch;
    return take_data(c, flow_of(c, true, is_stderr), data, len);
}

static int on_target_data(ssh_session s, ssh_channel ch, void *data, uint32_t len, int is_stderr,
                          void *arg)
{
    struct channel *c = arg;

    (void)s, (void)ch;
    return take_data(c, flow_of(c, false, is_stderr), data, len);
}

#define FLAG_CALLBACK(name, flag)                                                                  \
    static void name(ssh_session s, ssh_channel ch, void *arg)                                     \
    {                                                                                              \
        struct channel *c = arg;                                                                   \
                                                                                                   \
        (void)s, (void)ch;                                                                         \
        c->flag = true;                                                                            \
        c->relay->dirty = true;                                                                    \
    }

FLAG_CALLBACK(on_agent_eof, agent_eof)
FLAG_CALLBACK(on_target_eof, target_eof)
FLAG_CALLBACK(on_agent_forward, agent_forward_asked)

static void on_agent_close(ssh_session s, ssh_channel ch, void *arg)
{
    struct channel *c = arg;

    (void)s, (void)ch;
    c->agent_closed = c->agent_eof = c->relay->dirty = true;
}

static void on_target_close(ssh_session s, ssh_channel ch, void *arg)
{
    struct channel *c = arg;

    (void)s, (void)ch;
    c->target_closed = c->target_eof = c->relay->dirty = true;
}

static void on_agent_signal(ssh_session s, ssh_channel ch, const char *name, void *arg)
{
    struct channel *c = arg;

    (void)s, (void)ch;
    if (c->n_signals < ARRAY_LEN(c->signals) && strlen(name) < sizeof c->signals[0])
        snprintf(c->signals[c->n_signals++], sizeof c->signals[0], "%s", name);
    c->relay->dirty = true;
}

static void on_exit_status(ssh_session s, ssh_channel ch, int status, void *arg)
{
    struct channel *c = arg;

    (void)s, (void)ch;
    c->exit_status = status;
    c->relay->dirty = true;
}

static void on_exit_signal(ssh_session s, ssh_channel ch, const char *name, int core,
                           const char *message, const char *lang, void *arg)
{
    struct channel *c = arg;

    (void)s, (void)ch, (void)message, (void)lang;
    snprintf(c->exit_signal, sizeof c->exit_signal, "%s", name ? name : "");
    c->exit_core = core;
    c->relay->dirty = true;
}

static int set_agent_callbacks(struct channel *c)
{
    c->agent_cb = (struct ssh_channel_callbacks_struct){
        .userdata = c,
        .channel_data_function = on_agent_data,
        .channel_eof_function = on_agent_eof,
        .channel_close_function = on_agent_close,
        .channel_signal_function = on_agent_signal,
        .channel_auth_agent_req_function = on_agent_forward,
    };
    ssh_callbacks_init(&c->agent_cb);
    return ssh_add_channel_callbacks(c->agent, &c->agent_cb);
}

static int set_target_callbacks(struct channel *c)
{
    c->target_cb = (struct ssh_channel_callbacks_struct){
        .userdata = c,
        .channel_data_function = on_target_data,
        .channel_eof_function = on_target_eof,
        .channel_close_function = on_target_close,
        .channel_exit_status_function = on_exit_status,
        .channel_exit_signal_function = on_exit_signal,
    };
    ssh_callbacks_init(&c->target_cb);
    return ssh_add_channel_callbacks(c->target, &c->target_cb);
}

/* ---- life ---- */

struct channel *sshchannel_find(struct sshrelay *r, ssh_channel agent)
{
    for (struct channel *c = r->channels; c; c = c->next) {
        if (c->agent == agent)
            return c;
    }
    return NULL;
}

struct channel *sshchannel_new(struct sshrelay *r, ssh_channel agent)
{
    struct channel *c = calloc(1, sizeof *c);

    if (!c)
        return NULL;
    c->relay = r;
    c->agent = agent;
    c->exit_status = -1;
    c->started_ms = clock_mono_ms();
    sshflow_init(&c->in, "stdin", SSHRELAY_QUEUE);
    sshflow_init(&c->out, "stdout", SSHRELAY_QUEUE);
    sshflow_init(&c->err, "stderr", SSHRELAY_QUEUE);
    if (set_agent_callbacks(c) != SSH_OK) {
        sshchannel_free(c);
        return NULL;
    }
    c->next = r->channels;
    r->channels = c;
    r->n_channels++;
    return c;
}

void sshchannel_free(struct channel *c)
{
    if (c->agent) {
        ssh_remove_channel_callbacks(c->agent, &c->agent_cb);
        ssh_channel_free(c->agent);
    }
    if (c->target) {
        ssh_remove_channel_callbacks(c->target, &c->target_cb);
        ssh_channel_free(c->target);
    }
    ssh_message_free(c->pending);
    for (unsigned i = 0; i < c->n_env; i++) {
        free(c->env[i].name);
        free(c->env[i].value);
    }
    sshfile_free(c->file);
    sshflow_done(&c->in);
    sshflow_done(&c->out);
    sshflow_done(&c->err);
    free(c->text);
    free(c);
}

bool sshchannel_over(const struct channel *c)
{
    return c->state == CHANNEL_DONE && c->agent_closed;
}

/* ---- towards the target ---- */

static int open_up(struct channel *c)
{
    if (!c->target) {
        c->target = ssh_channel_new(c->relay->target.ssh);
        if (!c->target || set_target_callbacks(c) != SSH_OK)
            return SSH_ERROR;
    }
    if (c->kind == CHANNEL_FORWARD)
        return ssh_channel_open_forward(c->target, c->text, c->port, "127.0.0.1", 0);
    return ssh_channel_open_session(c->target);
}

/* Variables that the target does not accept are no reason to fail, as with OpenSSH. */
static int env_up(struct channel *c)
{
    while (c->env_sent < c->n_env) {
        const struct channel_env *e = &c->env[c->env_sent];

        if (ssh_channel_request_env(c->target, e->name, e->value) == SSH_AGAIN)
            return SSH_AGAIN;
        c->env_sent++;
    }
    return SSH_OK;
}

static int pty_up(struct channel *c)
{
    return c->pty ? ssh_channel_request_pty_size(c->target, c->term, c->columns, c->rows) : SSH_OK;
}

static int start_up(struct channel *c)
{
    switch (c->kind) {
    case CHANNEL_EXEC:
        return ssh_channel_request_exec(c->target, c->text);
    case CHANNEL_SHELL:
        return ssh_channel_request_shell(c->target);
    case CHANNEL_SFTP:
        return ssh_channel_request_subsystem(c->target, "sftp");
    case CHANNEL_NONE:
    case CHANNEL_FORWARD:
        break;
    }
    return SSH_OK;
}

/* The target does as it was asked: so does the agent's request succeed. */
static void started(struct channel *c)
{
    if (c->pending && !c->answered)
        (void)ssh_message_channel_request_reply_success(c->pending);
    ssh_message_free(c->pending);
    c->pending = NULL;
    c->answered = true;
}

static void step_up(struct channel *c)
{
    static int (*const steps[])(struct channel *) = {
        [CHANNEL_OPEN_UP] = open_up,
        [CHANNEL_ENV_UP] = env_up,
        [CHANNEL_PTY_UP] = pty_up,
        [CHANNEL_START_UP] = start_up,
    };

    while (c->state >= CHANNEL_OPEN_UP && c->state < CHANNEL_RUNNING) {
        int rc = steps[c->state](c);

        if (rc == SSH_AGAIN)
            return;
        if (rc != SSH_OK) {
            char why[200];

            snprintf(why, sizeof why, "the target refuses: %.150s",
                     ssh_get_error(c->relay->target.ssh));
            journal_error(c->relay, c->n, why, true);
            sshchannel_refuse(c, why);
            return;
        }
        c->state++;
        if (c->state == CHANNEL_RUNNING)
            started(c);
    }
}

/* ---- bytes ---- */

/* What libssh kept because it did not fit. A read opens its window again however much is still
 * buffered (ssh_channel_read_timeout), so all of it is taken, and only when nothing else waits:
 * then it never holds more than one window. */
static void pull(struct channel *c, ssh_channel from, struct sshflow *f, int is_stderr)
{
    /* With sftp a part of a message may wait for the rest that libssh has. */
    size_t little = c->kind == CHANNEL_SFTP ? SFTPWIRE_MAX + 4 : 0;
    uint8_t *p;
    int n;

    if (!f->more || buffer_len(&f->raw) > little)
        return;
    c->in_read = true;
    n = ssh_channel_poll(from, is_stderr);
    p = n > 0 ? buffer_reserve(&f->raw, (size_t)n) : NULL;
    if (n > 0 && !p)
        sshrelay_end(c->relay, "a peer sent more than its window");
    n = p ? ssh_channel_read_nonblocking(from, p, (uint32_t)n, is_stderr) : 0;
    c->in_read = false;
    f->more = n > 0;
    if (n <= 0)
        return;
    buffer_commit(&f->raw, (size_t)n);
    f->bytes += (uint64_t)n;
    f->last_ms = clock_mono_ms();
    c->relay->dirty = true;
}

/* Writes what the peer's window and the socket take. */
static void send_ready(struct channel *c, struct sshleg *leg, ssh_channel to, struct sshflow *f,
                       bool is_stderr)
{
    _Atomic uint64_t *counter = leg == &c->relay->agent ? &c->relay->session->bytes_to_client
                                                        : &c->relay->session->bytes_to_upstream;

    bool *sized = to == c->agent ? &c->agent_sized : &c->target_sized;

    while (buffer_len(&f->ready) && sshleg_alive(leg) &&
           !(ssh_get_poll_flags(leg->ssh) & SSH_WRITE_PENDING)) {
        size_t n = min_size(buffer_len(&f->ready), SSHRELAY_CHUNK);
        const uint8_t *p = f->ready.p + f->ready.start;
        int rc;

        n = min_size(n, ssh_channel_window_size(to));
        if (n == 0)
            return;
        rc = sshleg_write(leg, to, sized, bytes_of(p, n), is_stderr);
        if (rc <= 0) {
            if (rc < 0)
                buffer_reset(&f->ready, 0); /* the peer closed the channel: nobody reads it */
            return;
        }
        buffer_consume(&f->ready, (size_t)rc);
        /* There is room now for what waits behind it; no poll will say so. */
        c->relay->dirty |= buffer_len(&f->raw) || f->more;
        atomic_fetch_add_explicit(counter, (uint64_t)rc, memory_order_relaxed);
    }
}

static void record_new(struct channel *c, struct sshflow *f, size_t before)
{
    const struct recording_settings *s = policy_view_recording(c->relay->view);
    size_t n = buffer_len(&f->ready) - before;

    if (n == 0 || f->truncated || s->statements_only)
        return;
    if (c->kind == CHANNEL_SFTP || c->kind == CHANNEL_FORWARD)
        return;
    if (f == &c->in && c->pty) /* passwords are typed there; what is echoed is in the output */
        return;
    if (f->recorded + n > s->max_result_bytes) {
        f->truncated = true;
        return;
    }
    f->recorded += n;
    journal_data(c->relay, c->n, f->name, bytes_of(f->ready.p + f->ready.start + before, n));
}

static bool settle(struct channel *c, struct sshflow *f, bool over)
{
    size_t before = buffer_len(&f->ready);
    uint64_t idle = c->pty ? IDLE_TERMINAL_MS : IDLE_PIPE_MS;
    bool last = over || clock_mono_ms() - f->last_ms >= idle;

    if (sshflow_settle(f, c->relay->scratch, last && !f->more) != 0) {
        sshrelay_end(c->relay, "out of memory");
        return false;
    }
    record_new(c, f, before);
    return true;
}

static void say_ended(struct channel *c, const char *why)
{
    char line[400];

    snprintf(line, sizeof line, "chaperone: ended: %s%s\n", why, c->pty ? "\r" : "");
    buffer_append(&c->err.ready, line, strlen(line));
}

/* What came from the target and is not in the record is not passed on; the guard's own words are,
 * and how it ended: the agent does not wait for what will not come. */
static void unrecordable(struct channel *c)
{
    static const char why[] = "the session cannot be recorded";

    if (c->unrecorded)
        return;
    c->unrecorded = true;
    if (c->target) {
        sshflow_drop(&c->in);
        sshflow_drop(&c->out);
        sshflow_drop(&c->err);
    }
    if (c->state < CHANNEL_REFUSED)
        sshchannel_abort(c, why);
    else if (c->target)
        say_ended(c, why);
}

static void to_target(struct channel *c)
{
    pull(c, c->agent, &c->in, 0);
    if (c->kind == CHANNEL_SFTP)
        sshfile_from_agent(c->file, c);
    else if (!settle(c, &c->in, c->agent_eof))
        return;
    if (!journal_commit(c->relay)) {
        unrecordable(c);
        return;
    }
    send_ready(c, &c->relay->target, c->target, &c->in, false);
    if (c->agent_eof && !c->target_eof_sent && sshflow_empty(&c->in) && !c->target_closed) {
        (void)ssh_channel_send_eof(c->target);
        c->target_eof_sent = true;
    }
    for (unsigned i = 0; i < c->n_signals; i++) {
        journal_notice(c->relay, c->n, c->signals[i]);
        (void)ssh_channel_request_send_signal(c->target, c->signals[i]);
    }
    c->n_signals = 0;
    if (c->resized)
        (void)ssh_channel_change_pty_size(c->target, c->columns, c->rows);
    c->resized = false;
}

static bool from_target(struct channel *c)
{
    bool over = c->target_eof || c->state == CHANNEL_REFUSED;

    if (c->target) {
        pull(c, c->target, &c->out, 0);
        pull(c, c->target, &c->err, 1);
    }
    if (c->kind == CHANNEL_SFTP && c->state == CHANNEL_RUNNING)
        sshfile_from_target(c->file, c);
    else if (c->kind == CHANNEL_SFTP)
        buffer_reset(&c->out.raw, 0); /* what was not understood and not masked */
    else if (!settle(c, &c->out, over))
        return false;
    return settle(c, &c->err, over);
}

static void send_exit(struct channel *c)
{
    if (c->exit_sent || (c->exit_status < 0 && !c->exit_signal[0]))
        return;
    c->exit_sent = true;
    if (c->exit_signal[0])
        (void)ssh_channel_request_send_exit_signal(c->agent, c->exit_signal, c->exit_core, "", "");
    else
        (void)ssh_channel_request_send_exit_status(c->agent, c->exit_status);
}

/* Output first, then how it ended, then that it ended: a client that closes at the status would
 * lose what comes after. */
static void to_agent(struct channel *c)
{
    bool over = c->target_closed || c->state == CHANNEL_REFUSED;

    if (!from_target(c))
        return;
    if (!journal_flush(c->relay))
        unrecordable(c);
    over |= c->state == CHANNEL_REFUSED;
    send_ready(c, &c->relay->agent, c->agent, &c->err, true);
    send_ready(c, &c->relay->agent, c->agent, &c->out, false);
    if (!sshflow_empty(&c->out) || !sshflow_empty(&c->err))
        return;
    send_exit(c);
    if ((c->target_eof || over) && !c->agent_eof_sent) {
        (void)ssh_channel_send_eof(c->agent);
        c->agent_eof_sent = true;
    }
    if (!over)
        return;
    journal_result(c);
    (void)ssh_channel_close(c->agent);
    c->state = CHANNEL_DONE;
}

/* The agent has closed: so is the target's side. */
static void agent_left(struct channel *c)
{
    sshchannel_withdraw(c);
    if (c->target && !c->target_closed)
        (void)ssh_channel_close(c->target);
    send_exit(c);
    if (c->state != CHANNEL_FRESH)
        journal_result(c);
    (void)ssh_channel_close(c->agent);
    c->state = CHANNEL_DONE;
}

/* A client that has seen the end of the output closes at once; how it ended may still be on the
 * way, and the client waits for it until we close, too (RFC 4254, 5.3). */
static bool waits_for_exit(struct channel *c)
{
    if (c->state != CHANNEL_RUNNING || !c->agent_eof_sent || c->target_closed || c->exit_sent ||
        c->exit_status >= 0 || c->exit_signal[0] || !sshleg_alive(&c->relay->target))
        return false;
    if (!c->close_passed)
        (void)ssh_channel_close(c->target);
    c->close_passed = true;
    return true;
}

void sshchannel_pump(struct channel *c)
{
    if (c->agent_closed && c->state != CHANNEL_DONE) {
        if (!waits_for_exit(c))
            agent_left(c);
        return;
    }
    step_up(c);
    if (c->state == CHANNEL_RUNNING)
        to_target(c);
    if (c->state == CHANNEL_RUNNING || c->state == CHANNEL_REFUSED || c->state == CHANNEL_HELD)
        to_agent(c);
}

void sshchannel_abort(struct channel *c, const char *why)
{
    if (c->state >= CHANNEL_REFUSED)
        return;
    sshchannel_withdraw(c);
    if (c->target && !c->target_closed)
        (void)ssh_channel_close(c->target);
    started(c);
    say_ended(c, why);
    c->exit_status = 126;
    c->exit_signal[0] = '\0';
    c->state = CHANNEL_REFUSED;
}
