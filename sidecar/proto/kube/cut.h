/* SPDX-License-Identifier: Apache-2.0
 * Cuts a stream of JSON into pieces that are looked at whole, so that a list of any length needs
 * the memory of its longest item: the items of a list, the events of a watch, or one document.
 * Pure.
 */
#pragma once

#include "src-common/buffer.h"

#define KUBECUT_PIECE_MAX ((size_t)8 << 20) /* etcd stores 1.5 MiB */

enum kubecut_mode {
    KUBECUT_VALUES = 0, /* each value is a piece: documents, and events of a watch */
    KUBECUT_LIST, /* the elements of the members items and rows are; what is around them passes */
};

struct kubecut {
    enum kubecut_mode mode;
    unsigned depth;
    bool in_string, escaped, in_piece, expects_key, reading_key, in_elements, over;
    char key[24]; /* of the outermost object */
    unsigned key_len;
    struct buffer piece;
};

void kubecut_init(struct kubecut *c, enum kubecut_mode mode);
void kubecut_done(struct kubecut *c);
/* Feeds bytes. What passes, and what `mask` makes of each piece, is appended to out. -EBADMSG: no
 * JSON, or a list with members that it should not have; -EMSGSIZE: a piece is too long; or what
 * mask returned. After an error nothing more may be given to the agent. */
int kubecut_feed(struct kubecut *c, struct bytes in,
                 int (*mask)(struct bytes piece, struct buffer *out, void *arg), void *arg,
                 struct buffer *out) MUST_CHECK;
/* Whether the stream may end here. */
bool kubecut_complete(const struct kubecut *c);
