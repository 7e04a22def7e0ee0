/* SPDX-License-Identifier: Apache-2.0
 * A guard's control socket, from the people's side: one JSON object a line in each direction.
 */
#pragma once

#include "cli.h"

#include "lines.h"

struct guardsocket {
    struct lines lines; /* its descriptor is the connection */
};

/* Connects to cli->socket. EXIT_UNREACHABLE, said on stderr, when no guard is there. */
enum exit_code guardsocket_open(const struct cli *cli, struct guardsocket *ret) MUST_CHECK;
void guardsocket_close(struct guardsocket *s);
/* Sends {"cmd":name, …}; `fields` is NULL or an object, which is taken over. */
enum exit_code guardsocket_send(struct guardsocket *s, const char *name,
                                struct json_object *fields) MUST_CHECK;
/* The next line, without its newline; valid until the next call. EXIT_UNREACHABLE at the end of the
 * connection: *ret.p is NULL then, and nothing was said. */
enum exit_code guardsocket_line(struct guardsocket *s, struct bytes *ret) MUST_CHECK;
/* One object; json_object_put is the caller's. An error of the guard's is said on stderr and gives
 * EXIT_NO; a broken answer EXIT_UNREACHABLE. */
enum exit_code guardsocket_answer(struct guardsocket *s, struct json_object **ret) MUST_CHECK;
/* All of it: connect, ask once, take the answer. */
enum exit_code guardsocket_ask(const struct cli *cli, const char *name, struct json_object *fields,
                               struct json_object **ret) MUST_CHECK;
