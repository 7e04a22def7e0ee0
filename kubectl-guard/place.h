/* SPDX-License-Identifier: Apache-2.0
 * Where records lie: directories of this machine, or a bucket. A path that begins with s3:// is
 * the latter. Files that are encrypted to an auditor (NAME.cms) have the name that they had before,
 * and are decrypted when they are opened. Used by all that read records.
 */
#pragma once

#include "cli.h"

#include "sidecar/record/segments.h"

/* The command's options about encrypted files; to be called once, before the others. */
void place_init(const struct cli *cli);

/* A file without a name, gone when it is closed, in TMPDIR or /tmp. -errno. */
int place_scratch(struct error *err) MUST_CHECK;
/* Reads the file from its start; the caller's. -ENOENT: there is none; -EACCES: it is encrypted,
 * and not to a key that we have; -EBADMSG: it was changed; err says it. */
int place_open(const char *path, struct error *err) MUST_CHECK;

typedef void place_name_fn(const char *name, void *arg);
/* Names of the files in a folder that begin with `begin`, in no particular order. */
int place_list(const char *folder, const char *begin, place_name_fn *fn, void *arg,
               struct error *err) MUST_CHECK;

/* For segments_read. */
extern const struct segments_place place_segments;

/* `last_us`: the last segment of that session was stored then; 0: not known. */
typedef void place_file_fn(const char *path, uint64_t last_us, void *arg);
/* Every file at or below the path, folder by folder, in each by name. -ENOENT: there is nothing. */
int place_walk(const char *path, place_file_fn *fn, void *arg, struct error *err) MUST_CHECK;
/* Is there such a file here? Not for buckets. */
bool place_has(const char *path);
/* 1: a folder; 0: a file, one segment, or FOLDER/SESSION. -errno: there is nothing, or the bucket
 * cannot be asked. */
int place_is_folder(const char *path, struct error *err) MUST_CHECK;
