/* SPDX-License-Identifier: Apache-2.0
 * Parts of requests that libssh marks as deprecated in favour of callbacks. Callbacks would have to
 * answer at once, inside of libssh's packet processing; we answer when a person has decided and the
 * target has done it. (libssh 0.10 and 0.11 have them.)
 */
#pragma once

#include <libssh/libssh.h>
#include <libssh/server.h>

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static inline const char *message_password(ssh_message m)
{
    return ssh_message_auth_password(m);
}

struct message_pty {
    const char *term;
    int columns, rows, px_width, px_height;
};

static inline struct message_pty message_pty(ssh_message m)
{
    return (struct message_pty){
        ssh_message_channel_request_pty_term(m), ssh_message_channel_request_pty_width(m),
        ssh_message_channel_request_pty_height(m), ssh_message_channel_request_pty_pxwidth(m),
        ssh_message_channel_request_pty_pxheight(m)};
}

#pragma GCC diagnostic pop
