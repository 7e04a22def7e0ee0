/* SPDX-License-Identifier: Apache-2.0
 * Files encrypted to auditors' certificates: CMS AuthEnvelopedData (RFC 5083) with AES-256-GCM,
 * which `openssl cms -decrypt -inform DER -inkey KEY` reads, too. A segment is enclosed whole, so
 * its signature and chain are checked after decryption, and whoever has only the certificate can
 * make no record that verifies. The uploader encrypts, kubectl-guard decrypts. No threads.
 */
#pragma once

#include "src-common/bytes.h"
#include "src-common/error.h"

#define ENVELOPE_SUFFIX ".cms"
#define ENVELOPE_MAX    ((size_t)192 << 20) /* larger ones are not read */

/* ---- encrypting ---- */

struct envelope_to; /* who may read; immutable */

/* From the text of one or more certificates (PEM) with RSA keys of 2048 bits and more, or elliptic
 * ones. Their dates and issuers do not matter: they are envelopes of keys. -EINVAL: err says which.
 */
int envelope_to_parse(struct bytes pem, struct envelope_to **ret, struct error *err) MUST_CHECK;
void envelope_to_free(struct envelope_to *t); /* accepts NULL */

/* Encrypts all of from_fd to the end of to_fd, in memory bounded by a constant. -errno of reading
 * or writing: what is in to_fd is to be thrown away. -ENODATA: the file is empty. */
int envelope_encrypt(int from_fd, int to_fd, const struct envelope_to *to,
                     struct error *err) MUST_CHECK;

/* ---- decrypting ---- */

struct envelope_key; /* an auditor's private keys; immutable */

/* PEM, not encrypted; a file may hold several. -EINVAL: err says what is wrong with the file. */
int envelope_key_load(const char *pem_path, struct envelope_key **ret,
                      struct error *err) MUST_CHECK;
void envelope_key_free(struct envelope_key *k); /* accepts NULL */

/* Does it begin as an envelope does? The descriptor's offset stays. */
bool envelope_is(int fd);
/* True: the name ends with ENVELOPE_SUFFIX, and ret is what stands before. */
bool envelope_plain_name(const char *name, size_t size, char *ret);

/* Decrypts all of from_fd to to_fd, with memory for the whole. -EACCES: none of the keys opens it,
 * be it that they are others' or that it was changed (OpenSSL does not always know); -EBADMSG: it
 * is no envelope, or was changed or cut; -E2BIG. What to_fd got before a
 * failure is not authentic and is to be thrown away. */
int envelope_decrypt(int from_fd, int to_fd, const struct envelope_key *k,
                     struct error *err) MUST_CHECK;
