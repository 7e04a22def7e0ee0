/* SPDX-License-Identifier: Apache-2.0
 * Escapes.
 */
#include "html.h"

#include "object.h"
#include "src-common/jsonw.h"
#include "text.h"

#include <json-c/json.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#define TEXT_MAX ((size_t)512 << 20)

static const char *entity(uint8_t c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

void html_text(struct buffer *out, struct bytes text)
{
    struct buffer clean;

    buffer_init(&clean, TEXT_MAX);
    text_clean(text, TEXT_BLOCK, &clean);
    for (size_t i = 0; i < buffer_len(&clean); i++) {
        const char *e = entity(clean.p[clean.start + i]);

        if (e)
            buffer_append(out, e, strlen(e));
        else
            buffer_add_u8(out, clean.p[clean.start + i]);
    }
    out->failed = out->failed || clean.failed;
    buffer_done(&clean);
}

void html_field(struct buffer *out, const char *before, struct json_object *o, const char *key,
                const char *after)
{
    struct bytes text = object_bytes(o, key);

    if (text.len == 0)
        return;
    buffer_append(out, before, strlen(before));
    html_text(out, text);
    buffer_append(out, after, strlen(after));
}

void html_number(struct buffer *out, const char *before, struct json_object *o, const char *key,
                 const char *after)
{
    int64_t v = object_number(o, key, -1);

    if (v >= 0)
        buffer_printf(out, "%s%lld%s", before, (long long)v, after);
}

void html_json_string(struct buffer *out, struct bytes text)
{
    struct buffer json;

    buffer_init(&json, TEXT_MAX);
    jsonw_str(&json, text);
    for (size_t i = 0; i < buffer_len(&json); i++) {
        uint8_t c = json.p[json.start + i];

        if (c == '<' || c == '>' || c == '&')
            buffer_printf(out, "\\u%04x", c);
        else
            buffer_add_u8(out, c);
    }
    out->failed = out->failed || json.failed;
    buffer_done(&json);
}

void html_csp_hash(struct buffer *out, struct bytes content)
{
    uint8_t raw[SHA256_DIGEST_LENGTH], text[64];

    SHA256(content.p, content.len, raw);
    EVP_EncodeBlock(text, raw, sizeof raw);
    buffer_printf(out, "sha256-%s", (const char *)text);
}
