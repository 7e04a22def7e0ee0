/* SPDX-License-Identifier: Apache-2.0
 * SFTP inside of a channel: messages are decoded in both directions, and operations judged one by
 * one (draft-ietf-secsh-filexfer-02, and OpenSSH's PROTOCOL file for its extensions).
 */
#pragma once

#include "relay.h"

struct sshfile;

int sshfile_new(struct sshfile **ret) MUST_CHECK;
void sshfile_free(struct sshfile *f); /* accepts NULL */
/* Moves whole messages from c->in.raw to c->in.ready as far as they are permitted; answers refused
 * ones into c->out.ready. */
void sshfile_from_agent(struct sshfile *f, struct channel *c);
/* A person has decided about the operation that waits. */
void sshfile_answer(struct sshfile *f, bool yes, const char *why);
/* From c->out.raw to c->out.ready: what the guard asked itself is kept, listings and contents are
 * masked. */
void sshfile_from_target(struct sshfile *f, struct channel *c);
