/* SPDX-License-Identifier: Apache-2.0
 * YAML text to a bounded, read-only tree with line numbers. JSON is YAML too. What Kubernetes'
 * JSON form cannot hold, or what two readers could understand differently, is refused: merge
 * keys, keys that are not strings, duplicate keys, own tags, NUL bytes; and whatever is made to
 * exhaust a reader: text over 4 MiB, nesting over 64, over a million nodes once aliases are
 * counted as often as they are used, aliases into themselves.
 */
#pragma once

#include "src-common/arena.h"
#include "src-common/error.h"

#define YAMLTREE_MAX_BYTES   ((size_t)4 << 20)
#define YAMLTREE_MAX_DEPTH   64
#define YAMLTREE_MAX_NODES   1000000
#define YAMLTREE_MAX_ANCHORS 100
/* Enough for the tree of any text within the limits. */
#define YAMLTREE_ARENA_MAX ((size_t)256 << 20)

enum node_type { NODE_NULL = 0, NODE_BOOL, NODE_INT, NODE_FLOAT, NODE_STRING, NODE_LIST, NODE_MAP };

struct node_item {
    const struct node *key; /* NULL in a list */
    const struct node *value;
    struct node_item *next;
};

struct node {
    enum node_type type;
    unsigned line;    /* from 1 */
    uint32_t weight;  /* nodes under and including this one, aliases counted each time */
    uint32_t height;  /* levels under and including this one */
    const char *text; /* scalars, NUL-terminated, without any other NUL */
    int64_t number;   /* NODE_INT; NODE_BOOL: 0, 1, or -1 for words such as yes */
    const struct node_item *items; /* in the order of the text */
    size_t n;
};

struct yamltree_document {
    const struct node *root; /* NODE_NULL for an empty document */
    struct yamltree_document *next;
};

/* All documents of the text, allocated in the arena. -EINVAL with "FILE:LINE: YAML: reason";
 * -ENOMEM. */
int yamltree_parse(struct bytes text, const char *file, struct arena *arena,
                   struct yamltree_document **ret, struct error *err) MUST_CHECK;

/* "a string", "a list", … with its article. */
const char *node_type_name(enum node_type t);
