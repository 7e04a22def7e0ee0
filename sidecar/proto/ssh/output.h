/* SPDX-License-Identifier: Apache-2.0
 * One direction of a channel: bytes that have been received, are searched for values if policy
 * says so, recorded, and wait until the other side takes them. Bounded: what does not fit is left
 * with libssh, whose window then closes.
 */
#pragma once

#include "sidecar/mask/detect.h"
#include "src-common/buffer.h"

#define SSHFLOW_WINDOW ((size_t)4 << 20) /* more than libssh ever offers a peer */

struct sshflow {
    size_t soft_max;            /* of raw, when bytes come by themselves */
    const char *name;           /* "stdin", "stdout", "stderr" */
    struct buffer raw;          /* received */
    struct buffer ready;        /* masked and recorded: may be sent */
    struct detect_stream *mask; /* NULL: passes as it is */
    size_t held;                /* bytes inside of mask */
    uint64_t last_ms;           /* when bytes last came */
    uint64_t bytes, recorded;
    bool more;      /* libssh keeps bytes that did not fit */
    bool truncated; /* the record has no more of it */
    bool finished;  /* the last byte went through mask */
};

void sshflow_init(struct sshflow *f, const char *name, size_t max);
void sshflow_done(struct sshflow *f);
/* Searches what passes for these detectors from now on. -ENOMEM. */
int sshflow_mask(struct sshflow *f, uint32_t detectors) MUST_CHECK;
/* Takes what fits; returns how much. */
size_t sshflow_take(struct sshflow *f, struct bytes data, uint64_t now_ms);
/* Moves raw to ready, through the mask. `last`: nothing more comes now, give out what is held.
 * -ENOMEM, -EIO. */
int sshflow_settle(struct sshflow *f, struct detect_scratch *scratch, bool last) MUST_CHECK;
/* Forgets what is under way, and what libssh keeps. */
void sshflow_drop(struct sshflow *f);
/* Nothing anywhere. */
bool sshflow_empty(const struct sshflow *f);
