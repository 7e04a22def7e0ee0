/* SPDX-License-Identifier: Apache-2.0
 * Startup messages (manual 55.2.1, 55.7): parsing with an allowlist, rebuilding. Pure.
 */
#pragma once

#include "src-common/buffer.h"
#include "src-common/error.h"

#define PGSTARTUP_MAX      10000 /* the server's MAX_STARTUP_PACKET_LENGTH */
#define PGSTARTUP_SSL      80877103u
#define PGSTARTUP_GSSENC   80877104u
#define PGSTARTUP_CANCEL   80877102u
#define PGSTARTUP_MAX_KEYS 32

struct pgstartup {
    uint16_t minor; /* as asked: 3.minor */
    char user[64], database[64];
    char role[64]; /* that the session takes on; never the agent's choice; empty: none */
    struct {
        struct bytes key, value;
    } settings[PGSTARTUP_MAX_KEYS]; /* permitted ones, into the body */
    size_t n_settings;
    struct bytes options[PGSTARTUP_MAX_KEYS]; /* names of _pq_.* options, none of which we know */
    size_t n_options;
};

/* `body` is what follows the version. -EBADMSG (08P01) or -EACCES (0A000); err names the
 * parameter and the remedy. Points into body. */
int pgstartup_parse(struct bytes body, uint16_t minor, struct pgstartup *ret,
                    struct error *err) MUST_CHECK;
/* The message for the upstream: the permitted parameters, and the settings on which the guard's
 * parser depends. */
int pgstartup_build(const struct pgstartup *s, uint16_t minor, struct buffer *out) MUST_CHECK;
/* The minor version that we speak with this client, and whether it has to be told
 * (NegotiateProtocolVersion). */
uint16_t pgstartup_negotiate(const struct pgstartup *s, bool *ret_tell);
void pgstartup_add_negotiate(const struct pgstartup *s, uint16_t minor, struct buffer *out);
