/* SPDX-License-Identifier: Apache-2.0
 * Anchors in Events.
 */
#include "anchors.h"

#include "kubectl.h"
#include "object.h"
#include "sidecar/record/chain.h"
#include "src-common/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define FILE_MAX      ((size_t)256 << 20)
#define CONTROLLER    "chaperone.dev/guard"
#define HEAD_WORDS    "record head "
#define KEY_WORDS     "signs records with the key "
#define NAMESPACE_MAX 63
#define POD_MAX       253

struct anchor {
    char session[RECORD_SESSION_MAX + 1], head[CHAIN_HEX + 1];
    char pod[NAMESPACE_MAX + POD_MAX + 2]; /* NAMESPACE/POD */
    uint64_t seq;
    bool seen; /* a record of that name was read */
};

struct anchors {
    struct anchor *list; /* by session, then seq */
    size_t n, room;
    struct trusted_keys keys;
};

/* ---- reading ---- */

static bool hex_word(const char *text, char ret[static CHAIN_HEX + 1])
{
    uint8_t raw[CHAIN_HEX / 2];

    if (strnlen(text, CHAIN_HEX) < CHAIN_HEX || !hex_read(text, sizeof raw, raw))
        return false;
    memcpy(ret, text, CHAIN_HEX);
    ret[CHAIN_HEX] = '\0';
    return true;
}

/* "…; record head HASH at line N of SESSION" */
static bool read_head(const char *note, struct anchor *ret)
{
    const char *at = NULL;
    unsigned long long seq;

    for (const char *p = note; (p = strstr(p, HEAD_WORDS)) != NULL;)
        at = p += sizeof HEAD_WORDS - 1;
    if (!at || !hex_word(at, ret->head) ||
        sscanf(at + CHAIN_HEX, " at line %20llu of %63s", &seq, ret->session) != 2)
        return false;
    ret->seq = seq;
    return chain_session_ok(bytes_str(ret->session));
}

static int keep(struct anchors *a, const struct anchor *one)
{
    if (a->n == a->room) {
        size_t room = a->room ? 2 * a->room : 64;
        struct anchor *list = realloc(a->list, room * sizeof *list);

        if (!list)
            return -ENOMEM;
        a->list = list;
        a->room = room;
    }
    a->list[a->n++] = *one;
    return 0;
}

static void take_key(struct anchors *a, const char *note)
{
    const char *at = strstr(note, KEY_WORDS);
    char key[CHAIN_HEX + 1];

    if (!at || !hex_word(at + sizeof KEY_WORDS - 1, key) || trusted_keys_have(&a->keys, key) ||
        a->keys.n == TRUSTED_KEYS_MAX)
        return;
    memcpy(a->keys.hex[a->keys.n++], key, sizeof key);
}

static const char *text_or(struct json_object *o, const char *key, const char *other)
{
    const char *text = object_text(o, key);

    return text ? text : other;
}

/* As events.k8s.io/v1 and as v1 name things. */
static int take_event(struct anchors *a, struct json_object *o)
{
    struct json_object *pod = object_get(o, "regarding");
    const char *note = text_or(o, "note", text_or(o, "message", ""));
    const char *by = text_or(o, "reportingController", text_or(o, "reportingComponent", ""));
    struct anchor one = {0};

    if (strcmp(by, CONTROLLER) != 0)
        return 0;
    pod = pod ? pod : object_get(o, "involvedObject");
    take_key(a, note);
    if (!pod || !read_head(note, &one))
        return 0;
    snprintf(one.pod, sizeof one.pod, "%.*s/%.*s", NAMESPACE_MAX, text_or(pod, "namespace", ""),
             POD_MAX, text_or(pod, "name", ""));
    return keep(a, &one);
}

static int take_all(struct anchors *a, struct json_object *o)
{
    struct json_object *list = json_object_is_type(o, json_type_array) ? o : NULL;
    int rc = 0;

    if (!list && json_object_is_type(object_get(o, "items"), json_type_array))
        list = object_get(o, "items");
    if (!list)
        return take_event(a, o);
    for (size_t i = 0; rc == 0 && i < json_object_array_length(list); i++)
        rc = take_event(a, json_object_array_get_idx(list, i));
    return rc;
}

static int read_all(const char *path, struct buffer *b)
{
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -errno : 1;

    while (n > 0) {
        uint8_t *to = buffer_reserve(b, 65536);

        n = to ? read(fd, to, 65536) : -EFBIG;
        if (n > 0)
            buffer_commit(b, (size_t)n);
        else if (n < 0 && to)
            n = -errno;
    }
    if (fd > STDIN_FILENO)
        close(fd);
    return (int)n;
}

/* The whole text, or else a line each. */
static int parse(struct anchors *a, struct bytes text)
{
    struct json_object *o = object_parse_any(text);
    int rc = 0;

    if (o) {
        rc = take_all(a, o);
        json_object_put(o);
        return rc;
    }
    while (rc == 0 && text.len) {
        const uint8_t *nl = memchr(text.p, '\n', text.len);
        size_t n = nl ? (size_t)(nl - text.p) : text.len;

        o = n ? object_parse(bytes_of(text.p, n)) : NULL;
        if (n && !o)
            return -EBADMSG;
        if (o)
            rc = take_all(a, o);
        json_object_put(o);
        text = bytes_of(text.p + n + (nl != NULL), text.len - n - (nl != NULL));
    }
    return rc;
}

static int by_place(const void *x, const void *y)
{
    const struct anchor *a = x, *b = y;
    int order = strcmp(a->session, b->session);

    return order ? order : (a->seq > b->seq) - (a->seq < b->seq);
}

static void sort(struct anchors *a)
{
    if (a->n)
        qsort(a->list, a->n, sizeof *a->list, by_place);
}

int anchors_load(const char *path, struct anchors **ret, struct error *err)
{
    struct anchors *a = calloc(1, sizeof *a);
    struct buffer b;
    int rc;

    if (!a)
        return error_set(err, -ENOMEM, "out of memory");
    buffer_init(&b, FILE_MAX);
    rc = read_all(path, &b);
    if (rc == 0)
        rc = parse(a, buffer_bytes(&b));
    buffer_done(&b);
    if (rc) {
        anchors_free(a);
        return error_set(err, rc,
                         rc == -EBADMSG ? "%s: neither a list of Events nor one a line"
                                        : "cannot read %s",
                         path);
    }
    sort(a);
    *ret = a;
    return 0;
}

bool anchors_of_cluster(const struct cli *cli)
{
    const char *from = cli_option(cli, "anchors");

    return from && strcmp(from, ANCHORS_CLUSTER) == 0;
}

enum exit_code anchors_fetch(const struct cli *cli, struct anchors **ret)
{
    struct anchors *a = calloc(1, sizeof *a);
    struct json_object *events = NULL;
    enum exit_code code;

    if (!a)
        return cli_fail(EXIT_UNREACHABLE, "out of memory");
    code = kubectl_get(
        cli, KUBECTL_AS_GIVEN,
        (const char *const[]){"events", "--field-selector", "reportingComponent=" CONTROLLER, NULL},
        &events);
    if (code == EXIT_DONE && take_all(a, events) != 0)
        code = cli_fail(EXIT_UNREACHABLE, "out of memory");
    json_object_put(events);
    if (code != EXIT_DONE) {
        anchors_free(a);
        return code;
    }
    sort(a);
    *ret = a;
    return EXIT_DONE;
}

void anchors_free(struct anchors *a)
{
    if (!a)
        return;
    free(a->list);
    free(a);
}

size_t anchors_count(const struct anchors *a)
{
    return a->n;
}

const struct trusted_keys *anchors_keys(const struct anchors *a)
{
    return &a->keys;
}

/* ---- comparing ---- */

/* The first of a session's anchors, at a line or behind it; NULL: there is none. */
static struct anchor *from_line(struct anchors *a, const char *session, uint64_t seq)
{
    struct anchor key = {.seq = seq};
    size_t low = 0, high = a->n;

    snprintf(key.session, sizeof key.session, "%s", session);
    while (low < high) {
        size_t middle = (low + high) / 2;

        if (by_place(&a->list[middle], &key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low < a->n && strcmp(a->list[low].session, session) == 0 ? &a->list[low] : NULL;
}

static bool fits(void *arg, const char *session, uint64_t seq, const char *hash)
{
    struct anchors *a = arg;
    const struct anchor *one = from_line(a, session, seq);

    for (; one && one < a->list + a->n && one->seq == seq && strcmp(one->session, session) == 0;
         one++)
        if (memcmp(one->head, hash, CHAIN_HEX) != 0)
            return false;
    return true;
}

struct record_heads anchors_heads(struct anchors *a)
{
    return (struct record_heads){fits, a};
}

bool anchors_check_end(struct anchors *a, struct record_check *c)
{
    struct anchor *one = from_line(a, c->session, 0), *behind;
    bool named = one != NULL;

    for (; one && one < a->list + a->n && strcmp(one->session, c->session) == 0; one++)
        one->seen = true;
    behind = from_line(a, c->session, c->first + c->lines);
    if (!behind || !c->ok)
        return named;
    c->ok = c->sealed = false;
    c->bad_seq = c->first + c->lines;
    snprintf(c->reason, sizeof c->reason, "its end was cut off: an Event of %.100s names line %llu",
             behind->pod, (unsigned long long)behind->seq);
    return named;
}

static bool ends_with(const char *text, const char *tail)
{
    size_t n = strlen(text), t = strlen(tail);

    return n >= t && strcmp(text + n - t, tail) == 0 && (n == t || text[n - t - 1] == '/');
}

size_t anchors_missing(struct anchors *a, const char *dir, anchors_complain_fn *fn, void *arg)
{
    char text[PATH_MAX + 512];
    size_t n = 0;
    bool one_pod = true;

    for (size_t i = 1; i < a->n; i++)
        one_pod = one_pod && strcmp(a->list[i].pod, a->list[0].pod) == 0;
    for (size_t i = 0; i < a->n; i++) {
        struct anchor *one = &a->list[i];

        if (one->seen || (!one_pod && !ends_with(dir, one->pod)))
            continue;
        one->seen = true;
        if (i && strcmp(one->session, a->list[i - 1].session) == 0)
            continue; /* said */
        snprintf(text, sizeof text, "%s/%s: MISSING: an Event of %s speaks of it", dir,
                 one->session, one->pod);
        fn(text, arg);
        n++;
    }
    return n;
}
