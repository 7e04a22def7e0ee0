/* SPDX-License-Identifier: Apache-2.0
 * libyaml's events to a tree. Events, not libyaml's own documents, so that limits hold while
 * reading and an alias can be told from what it stands for.
 */
#include "yaml.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <yaml.h>

#include "scalar.h"

struct anchor {
    const char *name;
    const struct node *node;
};

struct frame { /* a list or mapping that is still open */
    struct node *node;
    struct node_item *last;
    const struct node *key; /* read, its value not yet */
    const char *anchor;
};

struct builder {
    struct bytes text;
    const char *file;
    struct arena *arena;
    struct error *err;
    struct frame frames[YAMLTREE_MAX_DEPTH];
    size_t depth;
    struct anchor anchors[YAMLTREE_MAX_ANCHORS];
    size_t n_anchors;
    size_t n_nodes; /* of all documents, aliases counted each time */
    struct yamltree_document *documents, **tail, *open;
};

#define bad(b, line, ...) bad_at((b)->file, (line), (b)->err, __VA_ARGS__)

static int bad_at(const char *file, unsigned line, struct error *err, const char *fmt, ...)
    PRINTF_LIKE(4, 5);

static int bad_at(const char *file, unsigned line, struct error *err, const char *fmt, ...)
{
    char text[256];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return error_set(err, -EINVAL, "%s:%u: YAML: %s", file, line, text);
}

const char *node_type_name(enum node_type t)
{
    static const char *const type_names[] = {"nothing",  "true or false", "a whole number",
                                             "a number", "a string",      "a list",
                                             "a mapping"};

    return type_names[t];
}

static unsigned line_of(const yaml_mark_t *m)
{
    return m->line < UINT_MAX ? (unsigned)m->line + 1 : UINT_MAX;
}

static int no_memory(struct builder *b)
{
    return error_set(b->err, -ENOMEM, "%s: out of memory", b->file);
}

static struct node *node_new(struct builder *b, enum node_type type, unsigned line)
{
    struct node *n = arena_alloc(b->arena, sizeof *n);

    if (n)
        *n = (struct node){.type = type, .line = line, .weight = 1, .height = 1};
    return n;
}

static int anchor_add(struct builder *b, const char *name, const struct node *n)
{
    if (b->n_anchors == ARRAY_LEN(b->anchors))
        return bad(b, n->line, "more than %d anchors", YAMLTREE_MAX_ANCHORS);
    b->anchors[b->n_anchors++] = (struct anchor){name, n};
    return 0;
}

static int take_key(struct builder *b, struct frame *f, const struct node *n, bool plain)
{
    if (n->type != NODE_STRING)
        return bad(b, n->line, "a key must be a string, this is %s%s", node_type_name(n->type),
                   n->type < NODE_LIST ? "; write it in quotes" : "");
    if (plain && strcmp(n->text, "<<") == 0)
        return bad(b, n->line, "merge keys (<<) are not supported; write the fields out");
    f->key = n;
    return 0;
}

/* Puts a complete node where the open list, mapping or document wants it. */
static int attach(struct builder *b, const struct node *n, bool plain)
{
    struct frame *f = b->depth ? &b->frames[b->depth - 1] : NULL;
    struct node_item *item;

    if (!f) {
        b->open->root = n;
        return 0;
    }
    if (f->node->type == NODE_MAP && !f->key)
        return take_key(b, f, n, plain);
    item = arena_alloc(b->arena, sizeof *item);
    if (!item)
        return no_memory(b);
    *item = (struct node_item){.key = take(&f->key), .value = n};
    if (f->last)
        f->last->next = item;
    else
        f->node->items = item;
    f->last = item;
    f->node->n++;
    f->node->weight += n->weight;
    if (f->node->height < n->height + 1)
        f->node->height = n->height + 1;
    return 0;
}

static int count_nodes(struct builder *b, const struct node *n)
{
    b->n_nodes += n->weight;
    if (b->n_nodes > YAMLTREE_MAX_NODES)
        return bad(b, n->line, "more than %d values (aliases count as what they stand for)",
                   YAMLTREE_MAX_NODES);
    return 0;
}

static int on_scalar(struct builder *b, const yaml_event_t *e)
{
    unsigned line = line_of(&e->start_mark);
    bool plain = e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    const char *anchor = (const char *)e->data.scalar.anchor, *why;
    struct node *n = node_new(b, NODE_STRING, line);
    int rc;

    if (!n || !(n->text = arena_strndup(b->arena, e->data.scalar.value, e->data.scalar.length)) ||
        (anchor && !(anchor = arena_strdup(b->arena, anchor))))
        return no_memory(b);
    if (memchr(e->data.scalar.value, 0, e->data.scalar.length))
        return bad(b, line, "a string contains a NUL byte");
    if ((why = scalar_resolve(n, (const char *)e->data.scalar.tag, plain)))
        return bad(b, line, "%s", why);
    if ((rc = count_nodes(b, n)) || (anchor && (rc = anchor_add(b, anchor, n))))
        return rc;
    return attach(b, n, plain);
}

static int on_open(struct builder *b, const yaml_event_t *e, enum node_type type)
{
    bool map = type == NODE_MAP;
    const yaml_char_t *tag = map ? e->data.mapping_start.tag : e->data.sequence_start.tag;
    const char *anchor =
        (const char *)(map ? e->data.mapping_start.anchor : e->data.sequence_start.anchor);
    unsigned line = line_of(&e->start_mark);
    struct node *n;
    int rc;

    if (tag && strcmp((const char *)tag, map ? YAML_MAP_TAG : YAML_SEQ_TAG) != 0 &&
        strcmp((const char *)tag, "!") != 0)
        return bad(b, line, "the tag '%s' is not supported", tag);
    if (b->depth == YAMLTREE_MAX_DEPTH)
        return bad(b, line, "nested deeper than %d levels", YAMLTREE_MAX_DEPTH);
    n = node_new(b, type, line);
    if (!n || (anchor && !(anchor = arena_strdup(b->arena, anchor))))
        return no_memory(b);
    if ((rc = count_nodes(b, n)))
        return rc;
    b->frames[b->depth++] = (struct frame){.node = n, .anchor = anchor};
    return 0;
}

static int compare_keys(const void *a, const void *b)
{
    const struct node *const *x = a, *const *y = b;
    int order = strcmp((*x)->text, (*y)->text);

    return order ? order : ((*x)->line > (*y)->line) - ((*x)->line < (*y)->line);
}

/* Sorted, so that a mapping of a million keys costs no more than it should. */
static int check_duplicates(struct builder *b, const struct node *map)
{
    const struct node **keys = malloc((map->n + 1) * sizeof *keys);
    size_t n = 0;
    int rc = 0;

    if (!keys)
        return no_memory(b);
    for (const struct node_item *i = map->items; i; i = i->next)
        keys[n++] = i->key;
    qsort(keys, n, sizeof *keys, compare_keys);
    for (size_t i = 1; i < n && rc == 0; i++) {
        if (strcmp(keys[i - 1]->text, keys[i]->text) == 0)
            rc = bad(b, keys[i]->line, "the key '%.64s' is there twice (first on line %u)",
                     keys[i]->text, keys[i - 1]->line);
    }
    free(keys);
    return rc;
}

static int on_close(struct builder *b)
{
    struct frame f = b->frames[--b->depth];
    int rc = 0;

    if (f.node->type == NODE_MAP)
        rc = check_duplicates(b, f.node);
    if (rc == 0 && f.anchor)
        rc = anchor_add(b, f.anchor, f.node);
    return rc ? rc : attach(b, f.node, false);
}

static int on_alias(struct builder *b, const yaml_event_t *e)
{
    const char *name = (const char *)e->data.alias.anchor;
    unsigned line = line_of(&e->start_mark);
    const struct node *n = NULL;
    int rc;

    for (size_t i = 0; i < b->depth; i++) {
        if (b->frames[i].anchor && strcmp(b->frames[i].anchor, name) == 0)
            return bad(b, line, "the alias '*%.64s' contains itself", name);
    }
    for (size_t i = b->n_anchors; i-- > 0 && !n;) {
        if (strcmp(b->anchors[i].name, name) == 0)
            n = b->anchors[i].node;
    }
    if (!n)
        return bad(b, line, "the alias '*%.64s' has no anchor before it", name);
    if (b->depth + n->height > YAMLTREE_MAX_DEPTH + 1)
        return bad(b, line, "nested deeper than %d levels", YAMLTREE_MAX_DEPTH);
    if ((rc = count_nodes(b, n)))
        return rc;
    return attach(b, n, false);
}

static int on_document(struct builder *b)
{
    struct yamltree_document *d = arena_alloc(b->arena, sizeof *d);

    if (!d)
        return no_memory(b);
    b->n_anchors = 0;
    b->open = *b->tail = d;
    b->tail = &d->next;
    return 0;
}

static int on_event(struct builder *b, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        return on_document(b);
    case YAML_SCALAR_EVENT:
        return on_scalar(b, e);
    case YAML_SEQUENCE_START_EVENT:
        return on_open(b, e, NODE_LIST);
    case YAML_MAPPING_START_EVENT:
        return on_open(b, e, NODE_MAP);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        return on_close(b);
    case YAML_ALIAS_EVENT:
        return on_alias(b, e);
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return 0;
}

/* The reader knows offsets only. */
static unsigned line_at(struct bytes text, size_t offset)
{
    unsigned line = 1;

    for (size_t i = 0; i < min_size(offset, text.len); i++)
        line += text.p[i] == '\n';
    return line;
}

static int parser_error(struct builder *b, const yaml_parser_t *p)
{
    const char *what = p->problem ? p->problem : "cannot be read";

    if (p->error == YAML_MEMORY_ERROR)
        return no_memory(b);
    if (p->error == YAML_READER_ERROR)
        return bad(b, line_at(b->text, p->problem_offset), "%s", what);
    return bad(b, line_of(&p->problem_mark), "%s", what);
}

static int read_events(struct builder *b, yaml_parser_t *p)
{
    bool end = false;
    int rc = 0;

    while (!end && rc == 0) {
        yaml_event_t e;

        if (!yaml_parser_parse(p, &e))
            return parser_error(b, p);
        end = e.type == YAML_STREAM_END_EVENT;
        rc = on_event(b, &e);
        yaml_event_delete(&e);
    }
    return rc;
}

int yamltree_parse(struct bytes text, const char *file, struct arena *arena,
                   struct yamltree_document **ret, struct error *err)
{
    struct builder *b;
    yaml_parser_t parser;
    int rc;

    if (text.len > YAMLTREE_MAX_BYTES)
        return bad_at(file, 1, err, "larger than %zu MiB", YAMLTREE_MAX_BYTES >> 20);
    b = calloc(1, sizeof *b);
    if (!b || !yaml_parser_initialize(&parser)) {
        free(b);
        return error_set(err, -ENOMEM, "%s: out of memory", file);
    }
    b->text = text;
    b->file = file;
    b->arena = arena;
    b->err = err;
    b->tail = &b->documents;
    yaml_parser_set_input_string(&parser, text.len ? text.p : (const uint8_t *)"", text.len);
    rc = read_events(b, &parser);
    yaml_parser_delete(&parser);
    if (rc == 0)
        *ret = b->documents;
    free(b);
    return rc;
}
