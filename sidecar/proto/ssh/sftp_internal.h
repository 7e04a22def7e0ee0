/* SPDX-License-Identifier: Apache-2.0
 * The inside of the SFTP flow: sftp.c (from the agent), sftp_reply.c (from the target).
 */
#pragma once

#include "sftp.h"
#include "sftpwire.h"

#define SSHFILE_PENDING  512
#define SSHFILE_HANDLES  128
#define SSHFILE_CONTEXT  4096u /* read before and behind what is asked for, to find values */
#define SSHFILE_READ_MAX (128u * 1024u) /* of one read, when it is masked */
#define SSHFILE_HOME     (-1)

enum step { STEP_BAD = 0, STEP_DONE, STEP_WAIT };

struct handle {
    uint8_t name[256];
    size_t name_len;
    char *path;      /* NULL: unused */
    unsigned access; /* what was permitted when it was opened */
    bool directory;
    uint32_t n; /* statement that opened it */
    uint64_t read, written;
};

struct pending { /* a request that the target has not answered */
    bool used, mine, directory;
    unsigned access; /* of what is being opened */
    uint8_t type;
    uint32_t id, n;
    int which;  /* mine: path of the operation, or SSHFILE_HOME */
    char *path; /* of what is being opened */
    struct handle *handle;
    uint32_t lead, want; /* of a masked read */
};

struct op { /* the operation on paths at the front of what the agent sent */
    bool active, follow, asked, answered, approved;
    const char *name;
    unsigned n_paths, waits;
    unsigned access[2];
    uint32_t n;
    char path[2][SFTPWIRE_PATH], resolved[2][SFTPWIRE_PATH];
    enum sftp_status nowhere; /* the target's, for a path of which it does not say where it leads */
    char link[SFTPWIRE_PATH]; /* of a symlink: as it was written */
    char why[480];
};

struct sshfile {
    bool greeted, version_seen, home_asked, masks_set;
    char home[SFTPWIRE_PATH]; /* empty: not known yet */
    uint32_t next_own;
    unsigned told; /* refusals that were explained on stderr */
    uint32_t detectors;
    struct detect_stream *mask;
    struct op op;
    size_t n_pending;
    struct pending pending[SSHFILE_PENDING];
    struct handle handles[SSHFILE_HANDLES];
};

struct pending *sshfile_pending(struct sshfile *f, uint32_t id);
struct handle *sshfile_handle(struct sshfile *f, struct bytes name);
/* path empty: the target does not say where path i leads, and answers with that status. */
void sshfile_resolved(struct sshfile *f, unsigned i, struct bytes path, enum sftp_status status);
void sshfile_set_masks(struct sshfile *f, struct channel *c);
