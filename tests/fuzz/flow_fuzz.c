/* SPDX-License-Identifier: Apache-2.0
 * The flow, both directions. The input is a sequence of records: one byte (bit 0: who sends;
 * the rest: what), two bytes of length, the bytes. Statements come from a fixed list, so that no
 * parser runs. The server answers queries on a masked column with rows that hold a canary; the
 * canary must never reach the client. Policy: column masks and detectors.
 *
 * A server that lies about a column's origin defeats masking by origin (README, limits): where
 * the server's part of the input is made up of bytes, the canary does not stand in it. Only rows
 * that this program builds, with an honest description, carry it.
 */
#include "tests/unit/proto/postgres/flow_bench.h"

#include "src-common/log.h"

static const char canary[] = "CANARY-7f3a";

static const char *const statements[] = {
    "SELECT email FROM users",
    "SELECT id, email, ssn FROM users",
    "SELECT body FROM notes",
    "SELECT email FROM users UNION ALL SELECT body FROM notes",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "DROP TABLE notes",
    "PREPARE p AS SELECT email FROM users",
    "PREPARE p AS SELECT body FROM notes",
    "EXECUTE p",
    "DEALLOCATE p",
    "DEALLOCATE ALL",
    "DISCARD ALL",
    "DECLARE c CURSOR FOR SELECT email FROM users",
    "DECLARE c CURSOR FOR SELECT body FROM notes",
    "FETCH 1 FROM c",
    "CLOSE c",
    "COPY notes FROM STDIN",
    "COPY notes TO STDOUT",
    "COPY users TO STDOUT",
    "INSERT INTO users (id, email) VALUES (1, 'x')",
    "UPDATE users SET email = $1 WHERE id = 1",
    "SELECT 1; SELECT email FROM users",
    "",
    "LISTEN x",
};

/* The helper of the parser is this same program. */
__attribute__((constructor)) static void maybe_helper(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "sql-parser") == 0)
        _exit(sql_parser_child_main());
}

static void prepare(void)
{
    struct pgcontext *c;

    log_set_level(LOG_LEVEL_ERROR);
    bench_start();
    atexit(bench_stop);
    c = bench_context(bench_policy("guarded"));
    for (size_t i = 0; i < ARRAY_LEN(statements); i++) {
        struct pgverdict *v = NULL;

        if (pgcontext_judge(c, bytes_str(statements[i]), &v) != 0)
            abort();
        pgverdict_unref(v);
    }
}

/* ---- what the two sides say ---- */

static const char *name_of(uint8_t b)
{
    static const char *const names[] = {"", "p", "c", "x"};

    return names[b & 3];
}

static void client_says(struct buffer *out, uint8_t what, uint8_t arg)
{
    size_t mark;

    switch (what % 10) {
    case 0:
        pgwire_add_query(out, statements[arg % ARRAY_LEN(statements)]);
        return;
    case 1:
        pgwire_add_parse(out, name_of(arg >> 6), statements[(arg & 63) % ARRAY_LEN(statements)]);
        return;
    case 2:
        mark = pgwire_start(out, PGWIRE_F_BIND);
        buffer_add_cstr(out, name_of(arg));
        buffer_add_cstr(out, name_of(arg >> 2));
        buffer_add_be32(out, 0);
        buffer_add_be16(out, arg >> 7);
        if (arg >> 7)
            buffer_add_be16(out, 1);
        break;
    case 3:
        pgwire_add_describe(out, arg & 4 ? 'S' : 'P', bytes_str(name_of(arg)));
        return;
    case 4:
        mark = pgwire_start(out, PGWIRE_F_EXECUTE);
        buffer_add_cstr(out, name_of(arg));
        buffer_add_be32(out, arg >> 2);
        break;
    case 5:
        mark = pgwire_start(out, PGWIRE_F_CLOSE);
        buffer_add_u8(out, arg & 4 ? 'S' : 'P');
        buffer_add_cstr(out, name_of(arg));
        break;
    case 6:
        mark = pgwire_start(out, PGWIRE_F_COPY_DATA);
        buffer_add_cstr(out, "row");
        break;
    case 7:
        mark = pgwire_start(out, arg & 1 ? PGWIRE_F_COPY_DONE : PGWIRE_F_FLUSH);
        break;
    default:
        mark = pgwire_start(out, PGWIRE_F_SYNC);
        break;
    }
    pgwire_finish(out, mark);
}

static void add_column(struct buffer *out, uint32_t table, uint16_t column, uint16_t format)
{
    buffer_add_cstr(out, "c");
    buffer_add_be32(out, table);
    buffer_add_be16(out, column);
    buffer_add_be32(out, 25);
    buffer_add_be16(out, 0xffff);
    buffer_add_be32(out, UINT32_MAX);
    buffer_add_be16(out, format);
}

/* A description whose second column is users.email, and rows to it: honest, at any moment. */
static void server_says(struct buffer *out, uint8_t what, uint8_t arg)
{
    static const uint8_t bare[] = {'1', '2', '3', 'n', 's', 'I', 'c'};
    size_t mark;

    switch (what % 10) {
    case 0:
        mark = pgwire_start(out, PGWIRE_B_ROW_DESCRIPTION);
        buffer_add_be16(out, 1);
        add_column(out, 16400, 2, arg & 1);
        break;
    case 1:
        mark = pgwire_start(out, PGWIRE_B_DATA_ROW);
        buffer_add_be16(out, 1);
        buffer_add_be32(out, sizeof canary - 1);
        buffer_append(out, canary, sizeof canary - 1);
        break;
    case 2:
        mark = pgwire_start(out, PGWIRE_B_COMMAND_COMPLETE);
        buffer_add_cstr(out, "SELECT 1");
        break;
    case 3:
    case 4:
        pgwire_add_ready(out, (uint8_t) "ITE"[arg % 3]);
        return;
    case 5:
        pgwire_add_error(
            out, arg & 1,
            &(struct pgwire_error){"ERROR", arg & 2 ? "22P02" : "42601", "text", NULL, NULL});
        return;
    case 6:
        mark = pgwire_start(out, arg & 1 ? PGWIRE_B_COPY_IN : PGWIRE_B_COPY_OUT);
        buffer_add_u8(out, 0);
        buffer_add_be16(out, 0);
        break;
    default:
        mark = pgwire_start(out, bare[arg % sizeof bare]);
        break;
    }
    pgwire_finish(out, mark);
}

static void feed_record(struct bench *b, uint8_t kind, struct bytes raw)
{
    enum side side = kind & 1 ? SIDE_UPSTREAM : SIDE_CLIENT;
    struct buffer made;

    if ((kind & 6) == 6) { /* bytes as they are; the canary cannot be among them by chance */
        bench_feed(b, side, raw);
        return;
    }
    buffer_init(&made, 1 << 20);
    for (size_t i = 0; i + 1 < raw.len; i += 2) {
        if (side == SIDE_CLIENT)
            client_says(&made, raw.p[i], raw.p[i + 1]);
        else
            server_says(&made, raw.p[i], raw.p[i + 1]);
    }
    if (kind & 8) { /* in two pieces */
        struct bytes all = buffer_bytes(&made);
        size_t cut = all.len ? (size_t)(kind >> 4) * all.len / 16 : 0;

        bench_feed(b, side, bytes_of(all.p, cut));
        all = bytes_of(all.p + cut, all.len - cut);
        bench_feed(b, side, all);
    } else {
        bench_feed(b, side, buffer_bytes(&made));
    }
    buffer_done(&made);
}

static void check(const struct bench *b)
{
    struct bytes out = buffer_bytes(&b->out[SIDE_CLIENT]);

    if (out.len && memmem(out.p, out.len, canary, sizeof canary - 1))
        bench_die("canary", "it reached the client");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool started;
    struct bench *b;
    struct cursor c = cursor_over(bytes_of(data, size));

    if (!started)
        prepare();
    started = true;
    b = calloc(1, sizeof *b);
    if (!b)
        return 0;
    bench_open(b, "guarded");
    b->no_new_judgement = true;
    while (cursor_left(&c) > 3 && !b->flow.end_reason) {
        uint8_t kind = cursor_u8(&c);
        size_t len = cursor_be16(&c);

        feed_record(b, kind, cursor_take(&c, min_size(len, cursor_left(&c))));
        check(b);
    }
    if (record_flush(b->session.record) != 0)
        bench_die("record", "cannot be written");
    if (buffer_len(&bench_record) &&
        memmem(buffer_bytes(&bench_record).p, buffer_len(&bench_record), canary, sizeof canary - 1))
        bench_die("canary", "it is in the record");
    bench_close(b);
    free(b);
    return 0;
}
