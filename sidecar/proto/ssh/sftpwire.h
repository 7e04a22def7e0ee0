/* SPDX-License-Identifier: Apache-2.0
 * SFTP messages, version 3 (draft-ietf-secsh-filexfer-02) with OpenSSH's extensions: bytes to
 * requests. Pure; what is returned points into the message.
 */
#pragma once

#include "src-common/buffer.h"
#include "src-common/cursor.h"

#define SFTPWIRE_MAX  ((size_t)256 << 10) /* as OpenSSH */
#define SFTPWIRE_PATH 4096

enum sftp_type {
    FXP_INIT = 1,
    FXP_VERSION = 2,
    FXP_OPEN = 3,
    FXP_CLOSE = 4,
    FXP_READ = 5,
    FXP_WRITE = 6,
    FXP_LSTAT = 7,
    FXP_FSTAT = 8,
    FXP_SETSTAT = 9,
    FXP_FSETSTAT = 10,
    FXP_OPENDIR = 11,
    FXP_READDIR = 12,
    FXP_REMOVE = 13,
    FXP_MKDIR = 14,
    FXP_RMDIR = 15,
    FXP_REALPATH = 16,
    FXP_STAT = 17,
    FXP_RENAME = 18,
    FXP_READLINK = 19,
    FXP_SYMLINK = 20,
    FXP_STATUS = 101,
    FXP_HANDLE = 102,
    FXP_DATA = 103,
    FXP_NAME = 104,
    FXP_ATTRS = 105,
    FXP_EXTENDED = 200,
    FXP_EXTENDED_REPLY = 201,
};

/* pflags of FXP_OPEN */
enum sftp_flags {
    FXF_READ = 1,
    FXF_WRITE = 2,
    FXF_APPEND = 4,
    FXF_CREAT = 8,
    FXF_TRUNC = 16,
    FXF_EXCL = 32,
};

enum sftp_status {
    FX_OK = 0,
    FX_EOF = 1,
    FX_NO_SUCH_FILE = 2,
    FX_PERMISSION_DENIED = 3,
    FX_FAILURE = 4,
    FX_BAD_MESSAGE = 5,
    FX_OP_UNSUPPORTED = 8,
};

/* What an operation is about: the rows of the table in sftpwire.c. */
enum sftp_shape {
    SHAPE_UNKNOWN = 0,
    SHAPE_INIT,
    SHAPE_PATH,     /* one path, links at its end are followed */
    SHAPE_LINK,     /* one path, a link at its end is meant itself */
    SHAPE_TWO,      /* two of the latter: rename, hardlink */
    SHAPE_SYMLINK,  /* where it leads, where it is */
    SHAPE_HANDLE,   /* an open file */
    SHAPE_HARMLESS, /* neither */
};

struct sftp_op {
    uint8_t type;
    const char *extension; /* of FXP_EXTENDED */
    const char *name;      /* for people */
    enum sftp_shape shape;
    /* Bits of enum ssh_access; of FXP_OPEN by its flags, of a handle those it was opened with. */
    unsigned access, access2;
};

struct sftp_request {
    const struct sftp_op *op; /* NULL: not known */
    uint8_t type;
    uint32_t id; /* version, for FXP_INIT */
    struct bytes extension, path, path2, handle;
    struct bytes tail; /* what follows the paths or the handle */
    uint32_t flags;    /* of FXP_OPEN */
    uint64_t offset;   /* READ, WRITE */
    uint32_t length;   /* READ; bytes of data of WRITE */
};

/* 1: *ret_body is the first message without its length; 0: more is needed; -EBADMSG: empty or
 * longer than SFTPWIRE_MAX. */
int sftpwire_frame(struct bytes in, struct bytes *ret_body) MUST_CHECK;
/* 0 also for what is not known (op NULL; type and id are set). -EBADMSG: short, bytes left over,
 * NUL in a path. */
int sftpwire_parse(struct bytes body, struct sftp_request *ret) MUST_CHECK;
/* True for an extension that the guard understands: others are not offered to the agent. */
bool sftpwire_knows_extension(struct bytes name);

/* An absolute path without empty parts, "." and "..": `home` goes in front of a relative one.
 * -ENAMETOOLONG. */
int sftpwire_canonical(struct bytes path, const char *home, char out[static SFTPWIRE_PATH]);

/* Appends whole messages. */
void sftpwire_add_status(struct buffer *out, uint32_t id, enum sftp_status code,
                         const char *message);
void sftpwire_add_realpath(struct buffer *out, uint32_t id, const char *path);
/* The request with its paths replaced by canonical ones. */
void sftpwire_add_request(struct buffer *out, const struct sftp_request *q, const char *path,
                          const char *path2);
void sftpwire_add_read(struct buffer *out, const struct sftp_request *q, uint64_t offset,
                       uint32_t length);
void sftpwire_add_string(struct buffer *out, struct bytes s);
/* Where a message's length goes; sftpwire_finish fills it in. */
size_t sftpwire_start(struct buffer *out, uint8_t type);
void sftpwire_finish(struct buffer *out, size_t mark);
/* Passes over file attributes. */
void sftpwire_skip_attributes(struct cursor *c);
