/* SPDX-License-Identifier: Apache-2.0
 * SQL text to parse tree, in a child process. libpg_query can be made to crash, run long or eat
 * memory (deep expressions, see the README's limits), so it never runs in the guard: a helper
 * process parses, under limits of CPU, memory and time, and is replaced when it dies. A crash costs
 * the one statement, which is refused.
 */
#pragma once

#include "lexer.h"
#include "src-common/error.h"

struct json_object;
struct sql_parser;

/* Starts the helper: this same executable, run again as `argv[0] sql-parser` (see
 * sql_parser_child_main). Thread-safe afterwards. */
int sql_parser_start(struct sql_parser **ret, struct error *err) MUST_CHECK;
/* Ends the helper by its process id and waits for it. Accepts NULL. */
void sql_parser_stop(struct sql_parser *p);

/* Parses all statements of the text. Blocks up to 3 s; any thread, one at a time (callers queue).
 * 0: *ret_tree is libpg_query's JSON tree ({"version", "stmts": […]}), owned by the caller
 *    (json_object_put).
 * -EBADMSG: syntax error; err has the parser's message.
 * -E2BIG: over a limit, helper crashed, out of time or memory, or tree too deep: SQLSTATE 54001.
 * -EPIPE: the helper cannot be started. */
int sql_parser_parse(struct sql_parser *p, struct bytes sql, struct json_object **ret_tree,
                     struct error *err) MUST_CHECK;

/* The helper's main: serves requests on descriptor 3 until it closes. Limits itself
 * (setrlimit, seccomp where it can, no core dumps) and ends when the guard does. Has to be the
 * first thing that main does. Returns the exit status. */
int sql_parser_child_main(void);

/* In-process parse without the child, for tools (`kubectl-guard explain`), tests and fuzzing.
 * Same results; lexer limits apply; runs on a thread of its own with a large stack. */
int sql_parse_here(struct bytes sql, struct json_object **ret_tree, struct error *err) MUST_CHECK;

/* The version of PostgreSQL whose grammar this is: "15.1". */
const char *sql_parser_version(void);
