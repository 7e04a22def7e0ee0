/* SPDX-License-Identifier: Apache-2.0
 * What the two sides of the SQL parser share: the messages between guard and helper, and the
 * parse itself. Only parser*.c and their tests include this.
 *
 * On the socket (descriptor PARSER_FD of the helper): a request is a 4-byte length (big-endian)
 * and that much SQL text; the reply is a status byte, a 4-byte length and that many bytes.
 */
#pragma once

#include "parser.h"

#include <sys/types.h>

#define PARSER_ARGUMENT "sql-parser" /* argv[1] of the helper */
#define PARSER_FD       3
#define PARSER_MARK     "CHAPERONE_SQL_PARSER" /* in the helper's environment */

#define PARSER_DEADLINE_MS 3000
#define PARSER_MAX_REPLY   ((size_t)64 << 20)
#define PARSER_REPLY_HEAD  5
#define PARSER_MAX_MESSAGE 480 /* of an error, so that it fits struct error with its position */
#define PARSER_STACK_BYTES ((size_t)256 << 20)
/* Levels of JSON that a tree may have. One SQL level is 1 (UNION), 2 (operators, joins), 3 (calls,
 * NOT) to 7 (sub-selects) of them, so this is 700 terms of a `+` chain. Freeing a tree takes
 * about 300 bytes of stack a level and analysing it at most 1 KiB: under 2 MiB of the 8 of a
 * thread. */
#define PARSER_MAX_DEPTH 1500
/* Objects that a tree may have. json-c takes about 0.9 KiB for each, so this is 90 MiB of the
 * guard's memory while the tree lives; a constant is three objects, a row of VALUES two. */
#define PARSER_MAX_OBJECTS 100000

/* The address sanitizers reserve terabytes of address space and make system calls of their own
 * from anywhere: no RLIMIT_AS and no seccomp filter in such builds, which are for tests only. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PARSER_SANITIZED 1
#else
#define PARSER_SANITIZED 0
#endif

enum parser_status {
    PARSER_TOO_COMPLEX = 0,
    PARSER_SYNTAX,
    PARSER_TREE,
};

struct parser_reply {
    enum parser_status status;
    char *body; /* the JSON tree, or the message; NUL-terminated, owned, NULL when out of memory */
    size_t len;
};

/* Calls libpg_query on this thread: can crash, and wants PARSER_STACK_BYTES. `text` ends in NUL. */
struct parser_reply parser_run(const char *text);

/* A thread that has the stack parser_run wants. 0 or -errno. */
int parser_thread_start(void *(*fn)(void *), void *arg, unsigned long *ret_thread) MUST_CHECK;

/* Refuses what sql_parser_parse refuses before the parser sees it. */
int parser_check_text(struct bytes sql, struct error *err) MUST_CHECK;
/* A reply's body as the result of sql_parser_parse. */
int parser_finish(enum parser_status status, struct bytes body, struct json_object **ret_tree,
                  struct error *err) MUST_CHECK;

/* The helper's process id, 0 when there is none now. For tests. */
pid_t parser_helper_pid(struct sql_parser *p);
