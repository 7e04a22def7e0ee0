/* SPDX-License-Identifier: Apache-2.0
 * SFTP through the guard, without a connection: every operation against a policy, conversations cut
 * anywhere, masked reads at every offset, targets that answer what nobody asked.
 */
#include "sftp_bench.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define FILES "  - {name: files, action: Allow, ssh: {requests: [sftp], paths: [/srv/**]}}\n"
#define READ_ONLY                                                                                  \
    "  - {name: files, action: Allow, ssh: {requests: [sftp], paths: [/srv/**], access: "          \
    "[read]}}\n"
#define MASKS "  - {name: m, action: Mask, values: {detectors: [creditCard, email]}}\n"

/* ---- building messages: "s:" strings, numbers ---- */

static void add_request(struct buffer *out, uint8_t type, uint32_t id, const char *strings[],
                        struct bytes tail)
{
    size_t mark = sftpwire_start(out, type);

    buffer_add_be32(out, id);
    for (size_t i = 0; strings[i]; i++)
        sftpwire_add_string(out, bytes_str(strings[i]));
    buffer_add(out, tail);
    sftpwire_finish(out, mark);
}

#define STRINGS(...) ((const char *[]){__VA_ARGS__, NULL})

static const uint8_t no_attributes[4] = {0};
static const uint8_t open_read[8] = {0, 0, 0, 1, 0, 0, 0, 0};
static const uint8_t open_write[8] = {0, 0, 0, 2, 0, 0, 0, 0};
#define NO_TAIL ((struct bytes){0})
#define TAIL(a) bytes_of(a, sizeof a)

static void say_hello(struct buffer *out)
{
    size_t mark = sftpwire_start(out, FXP_INIT);

    buffer_add_be32(out, 3);
    sftpwire_finish(out, mark);
}

static void greet(struct bench *b)
{
    say_hello(&b->channel.in.raw);
    bench_turn(b);
    buffer_reset(&b->channel.out.ready, 0);
    b->n_operations = 0;
}

/* The status code of the only answer; -1 when it is another message, -2 without one. */
static int status_of(struct bench *b)
{
    struct bytes body;

    if (sftpwire_frame(buffer_bytes(&b->channel.out.ready), &body) != 1)
        return -2;
    return body.p[0] == FXP_STATUS && body.len >= 9 ? (int)get_be32(body.p + 5) : -1;
}

/* ---- operations against a policy ---- */

static const struct {
    const char *policy;
    uint8_t type;
    const char *strings[4];
    struct bytes tail;
    int status;          /* -1: another answer */
    const char *reaches; /* what the target gets; NULL: nothing */
} operations[] = {
    {FILES, FXP_OPEN, {"/srv/a"}, {open_read, sizeof open_read}, -1, "open /srv/a "},
    {FILES, FXP_OPEN, {"/srv/./x/../a"}, {open_read, sizeof open_read}, -1, "open /srv/a "},
    {FILES, FXP_OPEN, {"//srv//a"}, {open_read, sizeof open_read}, -1, "open /srv/a "},
    {FILES, FXP_OPEN, {"/srv/../etc/shadow"}, {open_read, sizeof open_read}, 3, NULL},
    {FILES, FXP_OPEN, {"/srv/../../../etc/shadow"}, {open_write, sizeof open_write}, 3, NULL},
    {FILES, FXP_OPEN, {"/etc/shadow"}, {open_read, sizeof open_read}, 3, NULL},
    {FILES, FXP_OPEN, {"shadow"}, {open_read, sizeof open_read}, 3, NULL},
    {FILES, FXP_OPEN, {"../../srv/a"}, {open_read, sizeof open_read}, -1, "open /srv/a "},
    {FILES, FXP_OPEN, {"/srv/link"}, {open_read, sizeof open_read}, 3, NULL},
    {FILES, FXP_OPEN, {"/srvx"}, {open_read, sizeof open_read}, 3, NULL},
    {READ_ONLY, FXP_OPEN, {"/srv/a"}, {open_read, sizeof open_read}, -1, "open /srv/a "},
    {READ_ONLY, FXP_OPEN, {"/srv/a"}, {open_write, sizeof open_write}, 3, NULL},
    {FILES, FXP_STAT, {"/srv/a"}, {0}, 0, "stat /srv/a "},
    {FILES, FXP_STAT, {"/etc"}, {0}, 3, NULL},
    {FILES, FXP_STAT, {"/srv/link"}, {0}, 3, NULL},
    {FILES, FXP_LSTAT, {"/srv/link"}, {0}, 0, "lstat /srv/link "},
    {FILES, FXP_LSTAT, {"/etc/shadow"}, {0}, 3, NULL},
    {FILES, FXP_SETSTAT, {"/srv/a"}, {no_attributes, sizeof no_attributes}, 0, "setstat /srv/a "},
    {READ_ONLY, FXP_SETSTAT, {"/srv/a"}, {no_attributes, sizeof no_attributes}, 3, NULL},
    {FILES, FXP_SETSTAT, {"/srv/link"}, {no_attributes, sizeof no_attributes}, 3, NULL},
    {FILES, FXP_OPENDIR, {"/srv"}, {0}, -1, "opendir /srv "},
    {FILES, FXP_OPENDIR, {"/"}, {0}, 3, NULL},
    {FILES, FXP_REMOVE, {"/srv/link"}, {0}, 0, "remove /srv/link "},
    {READ_ONLY, FXP_REMOVE, {"/srv/a"}, {0}, 3, NULL},
    {FILES, FXP_REMOVE, {"/etc/shadow"}, {0}, 3, NULL},
    {FILES, FXP_MKDIR, {"/srv/d"}, {no_attributes, sizeof no_attributes}, 0, "mkdir /srv/d "},
    {READ_ONLY, FXP_MKDIR, {"/srv/d"}, {no_attributes, sizeof no_attributes}, 3, NULL},
    {FILES, FXP_RMDIR, {"/srv/d"}, {0}, 0, "rmdir /srv/d "},
    {READ_ONLY, FXP_RMDIR, {"/srv/d"}, {0}, 3, NULL},
    {FILES, FXP_REALPATH, {"/srv/a"}, {0}, -1, "realpath /srv/a "},
    {FILES, FXP_REALPATH, {"/etc"}, {0}, 3, NULL},
    {FILES, FXP_REALPATH, {"."}, {0}, -1, "realpath /home/x "},
    {FILES, FXP_RENAME, {"/srv/a", "/srv/b"}, {0}, 0, "rename /srv/a /srv/b"},
    {FILES, FXP_RENAME, {"/etc/shadow", "/srv/b"}, {0}, 3, NULL},
    {FILES, FXP_RENAME, {"/srv/a", "/etc/cron.d/a"}, {0}, 3, NULL},
    {READ_ONLY, FXP_RENAME, {"/srv/a", "/srv/b"}, {0}, 3, NULL},
    {FILES, FXP_READLINK, {"/srv/link"}, {0}, 0, "readlink /srv/link "},
    {FILES, FXP_READLINK, {"/etc/link"}, {0}, 3, NULL},
    {FILES, FXP_SYMLINK, {"a", "/srv/l"}, {0}, 0, "symlink a /srv/l"},
    {FILES, FXP_SYMLINK, {"../etc/shadow", "/srv/l"}, {0}, 3, NULL},
    {FILES, FXP_SYMLINK, {"/etc/shadow", "/srv/l"}, {0}, 3, NULL},
    {FILES, FXP_SYMLINK, {"/srv/a", "/etc/l"}, {0}, 3, NULL},
    {READ_ONLY, FXP_SYMLINK, {"a", "/srv/l"}, {0}, 3, NULL},
    {FILES,
     FXP_EXTENDED,
     {"posix-rename@openssh.com", "/srv/a", "/srv/b"},
     {0},
     0,
     "posix-rename /srv/a /srv/b"},
    {FILES, FXP_EXTENDED, {"posix-rename@openssh.com", "/srv/a", "/etc/b"}, {0}, 3, NULL},
    {FILES, FXP_EXTENDED, {"posix-rename@openssh.com", "/etc/a", "/srv/b"}, {0}, 3, NULL},
    {FILES,
     FXP_EXTENDED,
     {"hardlink@openssh.com", "/srv/a", "/srv/b"},
     {0},
     0,
     "hardlink /srv/a /srv/b"},
    {FILES, FXP_EXTENDED, {"hardlink@openssh.com", "/etc/shadow", "/srv/b"}, {0}, 3, NULL},
    {READ_ONLY, FXP_EXTENDED, {"hardlink@openssh.com", "/srv/a", "/srv/b"}, {0}, 3, NULL},
    {FILES,
     FXP_EXTENDED,
     {"lsetstat@openssh.com", "/srv/a"},
     {no_attributes, sizeof no_attributes},
     0,
     "lsetstat /srv/a "},
    {FILES,
     FXP_EXTENDED,
     {"lsetstat@openssh.com", "/etc/a"},
     {no_attributes, sizeof no_attributes},
     3,
     NULL},
    {FILES, FXP_EXTENDED, {"statvfs@openssh.com", "/srv"}, {0}, 0, "statvfs /srv "},
    {FILES, FXP_EXTENDED, {"statvfs@openssh.com", "/"}, {0}, 3, NULL},
    {FILES, FXP_EXTENDED, {"limits@openssh.com"}, {0}, 0, "limits  "},
    {FILES, FXP_EXTENDED, {"expand-path@openssh.com", "~/x"}, {0}, 8, NULL},
    {FILES, FXP_EXTENDED, {"copy-data", "h0"}, {0}, 8, NULL},
    {FILES, FXP_EXTENDED, {"home-directory", "root"}, {0}, 8, NULL},
    {FILES, FXP_EXTENDED, {"users-groups-by-id@openssh.com"}, {0}, 8, NULL},
    {FILES, FXP_EXTENDED, {"fstatvfs@openssh.com", "nobody's"}, {0}, 4, NULL},
    {FILES, FXP_READDIR, {"nobody's"}, {0}, 4, NULL},
    {FILES, FXP_CLOSE, {"nobody's"}, {0}, 4, NULL},
    {FILES, 21, {"/srv/a"}, {0}, 8, NULL}, /* LINK of later versions */
    {FILES, 22, {"/srv/a"}, {0}, 8, NULL}, /* BLOCK */
};

static char *with_head(const char *rules)
{
    char *text;

    if (asprintf(&text, BENCH_POLICY("%s"), rules) < 0)
        abort();
    return text;
}

static void test_operations(void **state)
{
    static struct bench b;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(operations); i++) {
        char *policy = with_head(operations[i].policy);
        int status;

        bench_start(&b, policy);
        b.link = "/srv/link";
        b.leads_to = "/etc/shadow";
        greet(&b);
        add_request(&b.channel.in.raw, operations[i].type, 7, (const char **)operations[i].strings,
                    operations[i].tail);
        bench_turn(&b);
        status = status_of(&b);
        if (b.channel.state != CHANNEL_RUNNING || status != operations[i].status)
            fail_msg("row %zu (%s): status %d, not %d", i, operations[i].strings[0], status,
                     operations[i].status);
        if (operations[i].reaches &&
            (b.n_operations != 1 || strcmp(b.operations[0], operations[i].reaches) != 0))
            fail_msg("row %zu: the target got '%s'", i, b.operations[0]);
        if (!operations[i].reaches && b.n_operations)
            fail_msg("row %zu (%s): the target got '%s'", i, operations[i].strings[0],
                     b.operations[0]);
        assert_true(b.session.denied == (status == 3 || status == 4 || status == 8));
        assert_true(bench_recorded(&b, "\"type\":\"decision\"") == (b.session.denied > 0));
        bench_stop(&b);
        free(policy);
    }
}

/* ---- where the target does not say where a path leads ---- */

static void test_paths_that_lead_nowhere(void **state)
{
    static const uint8_t types[] = {FXP_OPEN,     FXP_STAT,     FXP_SETSTAT, FXP_OPENDIR,
                                    FXP_REALPATH, FXP_REMOVE,   FXP_MKDIR,   FXP_RMDIR,
                                    FXP_LSTAT,    FXP_READLINK, FXP_RENAME,  FXP_SYMLINK};
    static const uint32_t codes[][2] = {{FX_NO_SUCH_FILE, FX_NO_SUCH_FILE},
                                        {FX_PERMISSION_DENIED, FX_PERMISSION_DENIED},
                                        {FX_FAILURE, FX_FAILURE},
                                        {FX_OK, FX_FAILURE},
                                        {FX_EOF, FX_FAILURE},
                                        {0x80000002u, FX_FAILURE}};
    static struct bench b;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(types) * ARRAY_LEN(codes); i++) {
        uint8_t type = types[i / ARRAY_LEN(codes)];
        bool follows = type != FXP_REMOVE && type != FXP_MKDIR && type != FXP_RMDIR &&
                       type != FXP_LSTAT && type != FXP_READLINK;
        bool two = type == FXP_RENAME || type == FXP_SYMLINK;

        bench_start(&b, BENCH_POLICY(FILES));
        b.link = follows && !two ? "/srv/d/l" : "/srv/d";
        b.nowhere = codes[i % ARRAY_LEN(codes)][0];
        greet(&b);
        add_request(&b.channel.in.raw, type, 7,
                    two ? STRINGS("/srv/x/y", "/srv/d/l") : STRINGS("/srv/d/l"),
                    type == FXP_OPEN                           ? TAIL(open_read)
                    : type == FXP_SETSTAT || type == FXP_MKDIR ? TAIL(no_attributes)
                                                               : NO_TAIL);
        bench_turn(&b);
        if (status_of(&b) != (int)codes[i % ARRAY_LEN(codes)][1] || b.n_operations)
            fail_msg("message %u: status %d, the target got %zu", type, status_of(&b),
                     b.n_operations);
        assert_true(bench_recorded(&b, "does not say where the path leads"));
        assert_int_equal(b.channel.state, CHANNEL_RUNNING);
        bench_stop(&b);
    }
}

/* ---- what a file is opened for ---- */

static void test_access_of_flags(void **state)
{
    static const struct {
        uint8_t flags;
        bool read, write; /* what it takes */
    } rows[] = {
        {0, true, false},
        {FXF_READ, true, false},
        {FXF_WRITE, false, true},
        {FXF_CREAT, true, true},
        {FXF_APPEND, true, true},
        {FXF_TRUNC, true, true},
        {FXF_EXCL, true, false},
        {FXF_WRITE | FXF_CREAT, false, true},
        {FXF_WRITE | FXF_TRUNC | FXF_APPEND, false, true},
        {FXF_READ | FXF_WRITE, true, true},
        {FXF_READ | FXF_CREAT, true, true},
        {FXF_READ | FXF_TRUNC, true, true},
    };
    static const char *const access[] = {"read", "write", "read, write", "delete"};
    static struct bench b;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows) * ARRAY_LEN(access); i++) {
        size_t a = i % ARRAY_LEN(access);
        bool read = a == 0 || a == 2, write = a == 1 || a == 2;
        bool may = (read || !rows[i / 4].read) && (write || !rows[i / 4].write);
        uint8_t tail[8] = {[3] = rows[i / 4].flags};
        char policy[1000];

        snprintf(policy, sizeof policy,
                 BENCH_POLICY("  - {name: f, action: Allow, ssh: {requests: [sftp], paths: "
                              "[/srv/**], access: [%s]}}\n"),
                 access[a]);
        bench_start(&b, policy);
        greet(&b);
        add_request(&b.channel.in.raw, FXP_OPEN, 7, STRINGS("/srv/a"), TAIL(tail));
        bench_turn(&b);
        if (status_of(&b) != (may ? -1 : FX_PERMISSION_DENIED) || b.n_operations != may)
            fail_msg("flags %u with access %s: status %d", rows[i / 4].flags, access[a],
                     status_of(&b));
        bench_stop(&b);
    }
}

/* ---- conversations, cut ---- */

static void conversation(struct buffer *out, size_t ends[static 8])
{
    static const uint8_t read_10[12] = {[11] = 10};
    size_t n = 0;

    say_hello(out);
    ends[n++] = buffer_len(out);
    add_request(out, FXP_REALPATH, 1, STRINGS("."), NO_TAIL);
    ends[n++] = buffer_len(out);
    add_request(out, FXP_OPEN, 2, STRINGS("/srv/a"), TAIL(open_read));
    ends[n++] = buffer_len(out);
    add_request(out, FXP_READ, 3, STRINGS("h0"), TAIL(read_10));
    ends[n++] = buffer_len(out);
    add_request(out, FXP_OPEN, 4, STRINGS("/etc/shadow"), TAIL(open_read));
    ends[n++] = buffer_len(out);
    add_request(out, FXP_EXTENDED, 5, STRINGS("posix-rename@openssh.com", "/srv/a", "/srv/b"),
                NO_TAIL);
    ends[n++] = buffer_len(out);
    add_request(out, FXP_CLOSE, 6, STRINGS("h0"), NO_TAIL);
    ends[n++] = buffer_len(out);
    ends[n] = 0;
}

/* Feeds up to each end of a message, and besides at `cut`, or byte by byte when cut is 0. */
static void converse(struct bench *b, struct bytes text, const size_t *ends, size_t cut)
{
    size_t done = 0;

    for (size_t i = 0; i < text.len; i++) {
        bool stop = cut == 0 || i + 1 == cut;

        for (size_t k = 0; ends[k]; k++)
            stop |= i + 1 == ends[k];
        if (!stop)
            continue;
        buffer_append(&b->channel.in.raw, text.p + done, i + 1 - done);
        done = i + 1;
        bench_turn(b);
    }
}

static void test_cut_anywhere(void **state)
{
    static struct bench b;
    struct buffer text, expected;
    size_t ends[8];

    (void)state;
    buffer_init(&text, 1 << 16);
    buffer_init(&expected, 1 << 16);
    conversation(&text, ends);
    for (size_t cut = buffer_len(&text); cut + 1 > 0; cut--) {
        bench_start(&b, BENCH_POLICY(FILES));
        b.content = BYTES("0123456789abcdef");
        converse(&b, buffer_bytes(&text), ends, cut);
        assert_int_equal(b.channel.state, CHANNEL_RUNNING);
        if (cut == buffer_len(&text))
            buffer_add(&expected, buffer_bytes(&b.channel.out.ready));
        if (!bytes_eq(buffer_bytes(&expected), buffer_bytes(&b.channel.out.ready)))
            fail_msg("cut at %zu: other answers", cut);
        assert_int_equal(b.n_operations, 6);
        bench_stop(&b);
        if (cut == 0)
            break;
    }
    assert_true(buffer_len(&expected) > 200);
    buffer_done(&text);
    buffer_done(&expected);
}

/* ---- masks ---- */

static const char secret_text[] = "card 4111111111111111 and bob@example.com, then 4111 1111 1111 "
                                  "1111 at the end 4111111111111111";
static const char starred[] = "card **************** and ***************, then ******************* "
                              "at the end ****************";

static void read_at(struct bench *b, uint32_t id, uint32_t offset, uint32_t n)
{
    uint8_t tail[12] = {0};

    put_be32(tail + 4, offset);
    put_be32(tail + 8, n);
    add_request(&b->channel.in.raw, FXP_READ, id, STRINGS("h0"), TAIL(tail));
    bench_turn(b);
}

static void test_masked_reads(void **state)
{
    static struct bench b;
    const uint32_t len = sizeof secret_text - 1;

    (void)state;
    assert_int_equal(sizeof starred, sizeof secret_text);
    bench_start(&b, BENCH_POLICY(FILES MASKS));
    b.content = bytes_str(secret_text);
    greet(&b);
    add_request(&b.channel.in.raw, FXP_OPEN, 1, STRINGS("/srv/a"), TAIL(open_read));
    bench_turn(&b);
    for (uint32_t offset = 0; offset < len; offset++) {
        for (uint32_t n = 1; n <= len; n += 7) {
            uint32_t expected = n < len - offset ? n : len - offset;
            struct bytes body;

            buffer_reset(&b.channel.out.ready, 0);
            read_at(&b, 2 + offset, offset, n);
            assert_int_equal(sftpwire_frame(buffer_bytes(&b.channel.out.ready), &body), 1);
            assert_int_equal(body.p[0], FXP_DATA);
            assert_int_equal(body.len, 9 + expected);
            if (memcmp(body.p + 9, starred + offset, expected) != 0)
                fail_msg("%u bytes at %u: '%.*s'", n, offset, (int)expected, body.p + 9);
        }
    }
    buffer_reset(&b.channel.out.ready, 0);
    read_at(&b, 2, len, 10);
    assert_int_equal(status_of(&b), FX_EOF);
    bench_stop(&b);
}

static void add_entry(struct buffer *out, const char *name, const char *longname)
{
    sftpwire_add_string(out, bytes_str(name));
    sftpwire_add_string(out, bytes_str(longname));
    buffer_add_be32(out, 4);
    buffer_add_be32(out, 0644);
}

static void test_masked_names(void **state)
{
    static struct bench b;
    struct buffer given, wanted;
    struct bytes body;

    (void)state;
    buffer_init(&given, 4096);
    buffer_init(&wanted, 4096);
    buffer_add_be32(&given, 3);
    add_entry(&given, "bob@example.com", "-rw-r--r-- 1 x x 5 bob@example.com");
    add_entry(&given, "plain", "-rw-r--r-- 1 x x 5 plain");
    add_entry(&given, ".", "");
    buffer_add_be32(&wanted, 3);
    add_entry(&wanted, "***************", "-rw-r--r-- 1 x x 5 ***************");
    add_entry(&wanted, "plain", "-rw-r--r-- 1 x x 5 plain");
    add_entry(&wanted, ".", "");
    bench_start(&b, BENCH_POLICY(FILES MASKS));
    b.names = buffer_bytes(&given);
    greet(&b);
    add_request(&b.channel.in.raw, FXP_OPENDIR, 1, STRINGS("/srv"), NO_TAIL);
    bench_turn(&b);
    buffer_reset(&b.channel.out.ready, 0);
    add_request(&b.channel.in.raw, FXP_READDIR, 2, STRINGS("h0"), NO_TAIL);
    bench_turn(&b);
    assert_int_equal(sftpwire_frame(buffer_bytes(&b.channel.out.ready), &body), 1);
    assert_true(bytes_eq(bytes_of(body.p + 5, body.len - 5), buffer_bytes(&wanted)));
    bench_stop(&b);
    buffer_done(&given);
    buffer_done(&wanted);
}

/* A listing whose names lead elsewhere ends the channel: clients write where a name says. */
static void test_names_that_lead_elsewhere(void **state)
{
    static const char *const names[] = {"a/b", "/etc/passwd", "../x", "", "x/"};
    static struct bench b;

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(names); i++) {
        struct buffer given;

        buffer_init(&given, 4096);
        buffer_add_be32(&given, 2);
        add_entry(&given, "plain", "");
        add_entry(&given, names[i / 2], "");
        bench_start(&b, i % 2 ? BENCH_POLICY(FILES MASKS) : BENCH_POLICY(FILES));
        b.names = buffer_bytes(&given);
        greet(&b);
        add_request(&b.channel.in.raw, FXP_OPENDIR, 1, STRINGS("/srv"), NO_TAIL);
        bench_turn(&b);
        buffer_reset(&b.channel.out.ready, 0);
        add_request(&b.channel.in.raw, FXP_READDIR, 2, STRINGS("h0"), NO_TAIL);
        bench_turn(&b);
        if (b.channel.state != CHANNEL_REFUSED || buffer_len(&b.channel.out.ready))
            fail_msg("'%s' was passed on", names[i / 2]);
        bench_stop(&b);
        buffer_done(&given);
    }
}

/* ---- targets that do not keep to the protocol ---- */

#define OWN 0xff, 0xfe, 0, 0
static const struct {
    const char *what;
    uint8_t bytes[40];
    size_t len;
} answers[] = {
    {"a number that nobody used", {0, 0, 0, 9, 101, 0, 0, 0, 99, 0, 0, 0, 0}, 13},
    {"a second version", {0, 0, 0, 5, 2, 0, 0, 0, 3}, 9},
    {"a handle for a stat", {0, 0, 0, 10, 102, 0, 0, 0, 7, 0, 0, 0, 1, 'x'}, 14},
    {"data for a stat", {0, 0, 0, 10, 103, 0, 0, 0, 7, 0, 0, 0, 1, 'x'}, 14},
    {"names for a stat", {0, 0, 0, 9, 104, 0, 0, 0, 7, 0, 0, 0, 0}, 13},
    {"a request", {0, 0, 0, 10, 7, 0, 0, 0, 7, 0, 0, 0, 1, '/'}, 14},
    {"an unknown message", {0, 0, 0, 5, 99, 0, 0, 0, 7}, 9},
    {"no number", {0, 0, 0, 1, 101}, 5},
    {"nothing", {0, 0, 0, 0}, 4},
    {"more than allowed", {0, 4, 0, 1}, 4},
    {"far more than allowed", {0xff, 0xff, 0xff, 0xff}, 4},
};

static void test_lying_targets(void **state)
{
    static struct bench b;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(answers); i++) {
        struct channel *c = &b.channel;

        bench_start(&b, BENCH_POLICY(FILES));
        greet(&b);
        add_request(&c->in.raw, FXP_STAT, 7, STRINGS("/srv/a"), NO_TAIL);
        do { /* until the question is the target's */
            b.relay.dirty = false;
            sshfile_from_agent(c->file, c);
            if (b.n_operations == 0 && buffer_len(&c->in.ready)) {
                struct bytes body;

                assert_int_equal(sftpwire_frame(buffer_bytes(&c->in.ready), &body), 1);
                if (body.p[0] == FXP_STAT)
                    break;
                bench_answer(&b, body);
                buffer_consume(&c->in.ready, 4 + body.len);
            }
            sshfile_from_target(c->file, c);
        } while (b.relay.dirty);
        buffer_append(&c->out.raw, answers[i].bytes, answers[i].len);
        sshfile_from_target(c->file, c);
        if (c->state != CHANNEL_REFUSED || buffer_len(&c->out.ready))
            fail_msg("%s: it went on", answers[i].what);
        bench_stop(&b);
    }
}

/* ---- agents that do not ---- */

static void test_impatient_agents(void **state)
{
    static struct bench b;

    (void)state;
    bench_start(&b, BENCH_POLICY(FILES)); /* a request before the greeting */
    add_request(&b.channel.in.raw, FXP_STAT, 7, STRINGS("/srv/a"), NO_TAIL);
    bench_turn(&b);
    assert_int_equal(b.channel.state, CHANNEL_REFUSED);
    assert_int_equal(b.n_operations, 0);
    bench_stop(&b);

    bench_start(&b, BENCH_POLICY(FILES)); /* two greetings */
    say_hello(&b.channel.in.raw);
    say_hello(&b.channel.in.raw);
    bench_turn(&b);
    assert_int_equal(b.channel.state, CHANNEL_REFUSED);
    bench_stop(&b);

    bench_start(&b, BENCH_POLICY(FILES)); /* written to what was opened for reading */
    greet(&b);
    add_request(&b.channel.in.raw, FXP_OPEN, 1, STRINGS("/srv/a"), TAIL(open_read));
    bench_turn(&b);
    buffer_reset(&b.channel.out.ready, 0);
    b.n_operations = 0;
    add_request(&b.channel.in.raw, FXP_FSETSTAT, 2, STRINGS("h0"), TAIL(no_attributes));
    bench_turn(&b);
    assert_int_equal(status_of(&b), FX_PERMISSION_DENIED);
    assert_int_equal(b.n_operations, 0);
    assert_true(bench_recorded(&b, "not opened for writing"));
    bench_stop(&b);

    bench_start(&b, BENCH_POLICY(FILES)); /* read from what was opened for writing */
    greet(&b);
    add_request(&b.channel.in.raw, FXP_OPEN, 1, STRINGS("/srv/a"), TAIL(open_write));
    bench_turn(&b);
    buffer_reset(&b.channel.out.ready, 0);
    b.n_operations = 0;
    read_at(&b, 2, 0, 10);
    assert_int_equal(status_of(&b), FX_PERMISSION_DENIED);
    assert_int_equal(b.n_operations, 0);
    assert_true(bench_recorded(&b, "not opened for reading"));
    bench_stop(&b);
}

/* More than may be under way: the rest waits, and nothing is lost. */
static void test_many_at_once(void **state)
{
    static struct bench b;
    size_t n = 0;
    struct bytes body;

    (void)state;
    bench_start(&b, BENCH_POLICY(FILES));
    greet(&b);
    for (uint32_t i = 0; i < 2000; i++)
        add_request(&b.channel.in.raw, FXP_STAT, i, STRINGS("/srv/a"), NO_TAIL);
    for (unsigned round = 0; round < 200 && n < 2000; round++) {
        bench_turn(&b);
        while (sftpwire_frame(buffer_bytes(&b.channel.out.ready), &body) == 1) {
            assert_int_equal(get_be32(body.p + 1), n++);
            buffer_consume(&b.channel.out.ready, 4 + body.len);
        }
    }
    assert_int_equal(n, 2000);
    assert_int_equal(b.channel.state, CHANNEL_RUNNING);
    bench_stop(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_operations),      cmocka_unit_test(test_cut_anywhere),
        cmocka_unit_test(test_masked_reads),    cmocka_unit_test(test_masked_names),
        cmocka_unit_test(test_lying_targets),   cmocka_unit_test(test_impatient_agents),
        cmocka_unit_test(test_many_at_once),    cmocka_unit_test(test_names_that_lead_elsewhere),
        cmocka_unit_test(test_access_of_flags), cmocka_unit_test(test_paths_that_lead_nowhere),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
