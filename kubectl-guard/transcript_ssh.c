/* SPDX-License-Identifier: Apache-2.0
 * SSH sessions as text: what ran in them, and what a terminal would have shown of it. A terminal's
 * own language is needed to show a full-screen program, and is also a weapon: only sequences that
 * draw are let through. What answers to the program, sets titles or clipboards, or programs keys is
 * dropped (OSC, DCS, APC, PM, SOS, reports and window operations).
 */
#include "transcript_ssh.h"

#include "object.h"
#include "text.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

int transcript_content(struct json_object *line, struct buffer *out)
{
    struct bytes base64 = object_bytes(line, "base64");
    int n;
    uint8_t *p;

    if (!base64.len)
        return buffer_add(out, object_bytes(line, "text"));
    p = buffer_reserve(out, base64.len);
    n = p ? EVP_DecodeBlock(p, base64.p, (int)base64.len) : -1;
    if (n < 0)
        return -1;
    for (size_t i = base64.len; i > 0 && base64.p[i - 1] == '=' && n > 0; i--)
        n--;
    buffer_commit(out, (size_t)n);
    return 0;
}

/* Modes that change how things are drawn. Not among them: what makes the terminal send something
 * (mouse, focus, pasted text, keys), which would go on after the replay. */
static bool mode_draws(const char *parameters)
{
    static const char *const modes[] = {"4",   "20",  "?1",  "?5",    "?6",    "?7",
                                        "?25", "?12", "?47", "?1047", "?1048", "?1049"};

    for (size_t i = 0; i < ARRAY_LEN(modes); i++) {
        if (strcmp(parameters, modes[i]) == 0)
            return true;
    }
    return false;
}

static bool draws(const uint8_t *s, size_t n)
{
    if (s[n - 1] == 'h' || s[n - 1] == 'l') {
        char parameters[sizeof((struct terminal *)0)->sequence + 1];

        memcpy(parameters, s, n - 1);
        parameters[n - 1] = '\0';
        return mode_draws(parameters);
    }
    return strchr("@ABCDEFGHIJKLMPSTXZ`abdefgmrsu", s[n - 1]) && !memchr(s, '>', n) &&
           !memchr(s, '=', n) && !memchr(s, '$', n) && !memchr(s, '"', n);
}

static void after_escape(struct terminal *t, uint8_t c, struct buffer *out)
{
    t->n = 0;
    t->state = TERMINAL_TEXT;
    if (c == '[') {
        t->state = TERMINAL_CSI;
    } else if (strchr("]PX^_", c)) {
        t->state = TERMINAL_STRING;
    } else if (strchr("()*+ #%", c)) {
        t->state = TERMINAL_CHARSET;
    } else if (strchr("78DEMHc=>", c) && c != 'c') {
        buffer_add_u8(out, 0x1b);
        buffer_add_u8(out, c);
    }
}

/* As UTF-8, U+0080 to U+009F are for a terminal what ESC and a letter are. None draws. */
static void after_lead(struct terminal *t, uint8_t c)
{
    uint8_t letter = c - 0x40;

    t->n = 0;
    if (letter == '[')
        t->state = TERMINAL_CSI;
    else if (strchr("]PX^_", letter))
        t->state = TERMINAL_STRING;
}

static void in_csi(struct terminal *t, uint8_t c, struct buffer *out)
{
    if (t->n >= sizeof t->sequence || c < 0x20 || c > 0x7e) {
        t->state = TERMINAL_TEXT;
        return;
    }
    t->sequence[t->n++] = c;
    if (c < 0x40)
        return;
    t->state = TERMINAL_TEXT;
    if (!draws(t->sequence, t->n))
        return;
    buffer_append(out, "\x1b[", 2);
    buffer_append(out, t->sequence, t->n);
}

static void in_string(struct terminal *t, uint8_t c)
{
    if (c == 0x07 || (c == '\\' && t->escaped) || (c == 0x9c && t->lead))
        t->state = TERMINAL_TEXT;
    t->escaped = c == 0x1b;
    t->lead = c == 0xc2 && t->state == TERMINAL_STRING;
}

static void in_text(struct terminal *t, uint8_t c, struct buffer *out)
{
    bool lead = t->lead;

    t->lead = c == 0xc2;
    if (lead && c >= 0x80 && c <= 0x9f) {
        after_lead(t, c);
        return;
    }
    if (lead && c >= 0xa0 && c <= 0xbf) /* else it is no letter, and must not become one */
        buffer_add_u8(out, 0xc2);
    if (c == 0x1b)
        t->state = TERMINAL_ESCAPE;
    else if (c >= 0x20 ? c != 0x7f && c != 0xc2 : strchr("\n\r\t\b", c) && c)
        buffer_add_u8(out, c);
}

void terminal_filter(struct terminal *t, struct bytes in, struct buffer *out)
{
    for (size_t i = 0; i < in.len; i++) {
        uint8_t c = in.p[i];

        switch (t->state) {
        case TERMINAL_TEXT:
            in_text(t, c, out);
            break;
        case TERMINAL_ESCAPE:
            after_escape(t, c ? c : 1, out);
            break;
        case TERMINAL_CSI:
            in_csi(t, c, out);
            break;
        case TERMINAL_STRING:
            in_string(t, c);
            break;
        case TERMINAL_CHARSET:
            t->state = TERMINAL_TEXT;
            break;
        }
    }
}

void terminal_plain(struct terminal *t, struct bytes in, struct buffer *out)
{
    struct buffer drawn;
    struct terminal again = {0};

    buffer_init(&drawn, in.len + 64);
    terminal_filter(t, in, &drawn);
    for (size_t i = 0; i < buffer_len(&drawn); i++) {
        uint8_t c = drawn.p[drawn.start + i];
        bool text = again.state == TERMINAL_TEXT;

        again.state = text ? (c == 0x1b ? TERMINAL_ESCAPE : TERMINAL_TEXT)
                      : again.state == TERMINAL_ESCAPE ? (c == '[' ? TERMINAL_CSI : TERMINAL_TEXT)
                                                       : (c >= 0x40 ? TERMINAL_TEXT : TERMINAL_CSI);
        if (text && c != 0x1b &&
            !(c == '\r' && i + 1 < buffer_len(&drawn) && drawn.p[drawn.start + i + 1] == '\n'))
            buffer_add_u8(out, c);
    }
    out->failed = out->failed || drawn.failed;
    buffer_done(&drawn);
}
