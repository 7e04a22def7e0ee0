/* SPDX-License-Identifier: Apache-2.0
 * Labels from the downward API.
 */
#include "labels.h"

#include "smallfile.h"

#include <errno.h>

/* One quoted string at *at; *out gets it with its NUL. */
static bool take_quoted(const uint8_t **at, const uint8_t *end, char **out)
{
    const uint8_t *p = *at;

    if (p == end || *p++ != '"')
        return false;
    for (; p < end && *p != '"'; p++) {
        if (*p == '\\' && (++p == end || !strchr("\\\"", *p) || !*p))
            return false; /* labels hold nothing that Go would write otherwise */
        if (*p < 0x20)
            return false;
        *(*out)++ = (char)*p;
    }
    if (p == end)
        return false;
    *(*out)++ = '\0';
    *at = p + 1;
    return true;
}

/* key="value"; both go to *out. */
static bool take_line(struct bytes line, char **out, const char **key, const char **value)
{
    const uint8_t *equals = memchr(line.p, '=', line.len), *at, *end = line.p + line.len;
    size_t n = equals ? (size_t)(equals - line.p) : 0;

    if (n == 0)
        return false;
    *key = *out;
    for (size_t i = 0; i < n; i++) {
        if (line.p[i] <= 0x20 || line.p[i] == '"')
            return false;
        *(*out)++ = (char)line.p[i];
    }
    *(*out)++ = '\0';
    *value = *out;
    at = equals + 1;
    return take_quoted(&at, end, out) && at == end;
}

int labels_parse(struct bytes text, const char *const **ret, struct error *err)
{
    /* Quotes and line ends leave, NULs come: what is kept is no longer than the text. */
    const char **list = calloc(1, (2 * LABELS_MAX + 1) * sizeof *list + text.len + 2);
    char *out = list ? (char *)(list + 2 * LABELS_MAX + 1) : NULL;
    size_t n = 0;
    unsigned line_no = 0;

    if (!list)
        return error_set(err, -ENOMEM, "out of memory");
    while (text.len) {
        const uint8_t *nl = memchr(text.p, '\n', text.len);
        struct bytes line = bytes_of(text.p, nl ? (size_t)(nl - text.p) : text.len);

        text = bytes_of(text.p + line.len + (nl != NULL), text.len - line.len - (nl != NULL));
        line_no++;
        if (line.len == 0)
            continue;
        if (n == LABELS_MAX || !take_line(line, &out, &list[2 * n], &list[2 * n + 1])) {
            free(list);
            return error_set(err, -EINVAL, "line %u is not key=\"value\"", line_no);
        }
        n++;
    }
    list[2 * n] = NULL;
    *ret = list;
    return 0;
}

int labels_look(struct labels_file *f, const char *const **ret, struct error *err)
{
    _cleanup_(free_charp) char *text = NULL;
    size_t len;
    int rc = smallfile_read(f->path, LABELS_FILE_MAX, &text, &len, err);

    if (rc)
        return rc;
    if (f->text && len == f->len && memcmp(text, f->text, len) == 0)
        return 0;
    rc = labels_parse(bytes_of(text, len), ret, err);
    if (rc)
        return error_prefix(err, rc, "%s", f->path);
    free(f->text);
    f->text = take(&text);
    f->len = len;
    return 1;
}

void labels_done(struct labels_file *f)
{
    free(f->text);
    f->text = NULL;
}
