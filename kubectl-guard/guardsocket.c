/* SPDX-License-Identifier: Apache-2.0
 * Speaks to a guard.
 */
#include "guardsocket.h"

#include "object.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>

static enum exit_code say_unreachable(const struct cli *cli, int e)
{
    const char *hint = "Is the guard running with --control? Name its socket with --socket PATH or "
                       "CHAPERONE_SOCKET.";

    if (e == EACCES || e == EPERM)
        hint = "The socket belongs to the guard's user: run this as that user, or as root.";
    else if (e == ECONNREFUSED)
        hint = "The socket is there, but no guard listens: it has ended.";
    errno = e;
    return cli_fail(EXIT_UNREACHABLE, "cannot reach a guard at %s: %m\n%s", cli->socket, hint);
}

enum exit_code guardsocket_open(const struct cli *cli, struct guardsocket *ret)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};

    lines_init(&ret->lines, -1);
    if (strlen(cli->socket) >= sizeof addr.sun_path)
        return say_unreachable(cli, ENAMETOOLONG);
    memcpy(addr.sun_path, cli->socket, strlen(cli->socket));
    ret->lines.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (ret->lines.fd < 0 || connect(ret->lines.fd, (struct sockaddr *)&addr, sizeof addr) != 0)
        return say_unreachable(cli, errno);
    return EXIT_DONE;
}

void guardsocket_close(struct guardsocket *s)
{
    lines_done(&s->lines);
}

enum exit_code guardsocket_send(struct guardsocket *s, const char *name, struct json_object *fields)
{
    struct json_object *o = fields ? fields : json_object_new_object();
    _cleanup_(free_charp) char *line = NULL;
    size_t len, sent = 0;

    json_object_object_add(o, "cmd", json_object_new_string(name));
    if (asprintf(&line, "%s\n", json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN)) < 0)
        line = NULL;
    json_object_put(o);
    if (!line)
        return cli_fail(EXIT_UNREACHABLE, "out of memory");
    len = strlen(line);
    while (sent < len) {
        ssize_t n = send(s->lines.fd, line + sent, len - sent, MSG_NOSIGNAL);

        if (n < 0 && errno != EINTR)
            return cli_fail(EXIT_UNREACHABLE, "the guard closed the connection: %m");
        sent += n > 0 ? (size_t)n : 0;
    }
    return EXIT_DONE;
}

enum exit_code guardsocket_line(struct guardsocket *s, struct bytes *ret)
{
    int r = lines_next(&s->lines, ret);

    if (r > 0)
        return EXIT_DONE;
    return r == -ENOBUFS ? cli_fail(EXIT_UNREACHABLE, "the guard's answer is too long")
                         : EXIT_UNREACHABLE;
}

enum exit_code guardsocket_answer(struct guardsocket *s, struct json_object **ret)
{
    struct json_object *o;
    struct bytes line;
    enum exit_code code = guardsocket_line(s, &line);

    if (code != EXIT_DONE)
        return line.p ? code : cli_fail(code, "the guard closed the connection");
    o = object_parse(line);
    if (!o)
        return cli_fail(EXIT_UNREACHABLE, "the guard's answer is not understood: is it a guard?");
    if (object_text(o, "error")) {
        code = cli_fail(EXIT_NO, "%s", object_text(o, "error"));
        json_object_put(o);
        return code;
    }
    *ret = o;
    return EXIT_DONE;
}

enum exit_code guardsocket_ask(const struct cli *cli, const char *name, struct json_object *fields,
                               struct json_object **ret)
{
    struct guardsocket s;
    enum exit_code code = guardsocket_open(cli, &s);

    if (code == EXIT_DONE)
        code = guardsocket_send(&s, name, take(&fields));
    if (code == EXIT_DONE)
        code = guardsocket_answer(&s, ret);
    json_object_put(fields);
    guardsocket_close(&s);
    return code;
}
