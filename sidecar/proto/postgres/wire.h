/* SPDX-License-Identifier: Apache-2.0
 * PostgreSQL's messages: bytes to message and message to bytes (manual, chapter 55.7). Pure
 * functions. What they return points into the bytes they were given.
 */
#pragma once

#include "src-common/buffer.h"
#include "src-common/cursor.h"

#define PGWIRE_MAX_QUERY  (16u << 20) /* what is collected; the SQL limit (sql/lexer.h) is lower */
#define PGWIRE_MAX_BIND   (16u << 20)
#define PGWIRE_MAX_STREAM 0x3fffffffu /* 1 GiB - 1, as the server's MaxAllocSize */
#define PGWIRE_HEADER     5

enum pgwire_sender { PGWIRE_FROM_FRONTEND = 0, PGWIRE_FROM_BACKEND };

/* Type bytes by name: PGWIRE_F_QUERY, PGWIRE_B_DATA_ROW, … */
enum pgwire_type {
#define FRONTEND(byte, name, max, how) PGWIRE_F_##name = (byte),
#define BACKEND(byte, name, max, how)
#include "messages.def"
#undef FRONTEND
#undef BACKEND
#define FRONTEND(byte, name, max, how)
#define BACKEND(byte, name, max, how) PGWIRE_B_##name = (byte),
#include "messages.def"
#undef FRONTEND
#undef BACKEND
};

struct pgwire_msg {
    uint8_t type;
    struct bytes raw;  /* header and body, as far as they are there */
    struct bytes body; /* the same without the header */
    size_t full_len;   /* of the whole message, header included */
};

enum frame {
    FRAME_BAD = 0, /* unknown type, or a length that its type does not permit */
    FRAME_MORE,    /* the header is not complete, or the body of a WHOLE message */
    FRAME_OK,      /* the whole message */
    FRAME_PART,    /* a STREAM message whose body is not complete */
};

/* Looks at the front of `in`. On FRAME_MORE ret->full_len is the message's length, or 0 while
 * it is unknown. On FRAME_BAD ret->type is what stood there. */
enum frame pgwire_frame(enum pgwire_sender sender, struct bytes in, struct pgwire_msg *ret);

/* "Query", for records and the log; "unknown". */
const char *pgwire_name(enum pgwire_sender sender, uint8_t type);

/* ---- frontend bodies; 0 or -EBADMSG ---- */

struct pgwire_parse {
    struct bytes name, query;
    uint16_t n_types;
    struct bytes types; /* n_types × 4 bytes */
};
int pgwire_parse_parse(struct bytes body, struct pgwire_parse *ret) MUST_CHECK;

struct pgwire_bind {
    struct bytes portal, statement;
    uint16_t n_param_formats, n_params, n_result_formats;
    struct bytes param_formats, result_formats; /* 2 bytes each */
    struct bytes params;                        /* n_params × (int32 length or -1, bytes) */
};
int pgwire_parse_bind(struct bytes body, struct pgwire_bind *ret) MUST_CHECK;

struct pgwire_named { /* Describe, Close */
    uint8_t kind;     /* 'S'tatement or 'P'ortal */
    struct bytes name;
};
int pgwire_parse_named(struct bytes body, struct pgwire_named *ret) MUST_CHECK;

struct pgwire_execute {
    struct bytes portal;
    uint32_t max_rows;
};
int pgwire_parse_execute(struct bytes body, struct pgwire_execute *ret) MUST_CHECK;

/* Exactly one NUL-terminated string. */
int pgwire_parse_string(struct bytes body, struct bytes *ret) MUST_CHECK;

/* The i-th format code (0 text, 1 binary) given n codes: none means text, one means all. */
int pgwire_format(struct bytes formats, uint16_t n, uint16_t i);

/* Walks the parameters of a Bind: *at starts at params; p == NULL is SQL NULL. */
struct bytes pgwire_next_value(struct cursor *at);

/* ---- backend bodies ---- */

struct pgwire_column { /* of RowDescription */
    struct bytes name;
    uint32_t table_oid, type_oid;
    int16_t attribute;
    int16_t format;
};
/* Calls each() for every column. 0, -EBADMSG, or what each() returned. */
int pgwire_parse_row_description(struct bytes body,
                                 int (*each)(const struct pgwire_column *c, unsigned i, void *arg),
                                 void *arg, uint16_t *ret_n) MUST_CHECK;

/* One field of ErrorResponse or NoticeResponse ('C', 'M', …); empty when absent or malformed. */
struct bytes pgwire_error_field(struct bytes body, char field);

/* ---- building ---- */

/* Starts a message; pgwire_finish writes its length. Returns a mark. */
size_t pgwire_start(struct buffer *out, uint8_t type);
void pgwire_finish(struct buffer *out, size_t mark);

struct pgwire_error {
    const char *severity; /* "ERROR", "FATAL", "NOTICE" */
    const char *sqlstate;
    const char *message;
    const char *detail, *hint; /* or NULL */
};
/* ErrorResponse, or NoticeResponse when `notice`. */
void pgwire_add_error(struct buffer *out, bool notice, const struct pgwire_error *e);
void pgwire_add_ready(struct buffer *out, uint8_t status);
void pgwire_add_query(struct buffer *out, const char *sql);
void pgwire_add_parse(struct buffer *out, const char *name, const char *sql);
void pgwire_add_describe(struct buffer *out, uint8_t kind, struct bytes name);
void pgwire_add_parameter_status(struct buffer *out, struct bytes name, struct bytes value);
