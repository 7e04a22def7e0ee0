/* SPDX-License-Identifier: Apache-2.0
 * The reader of exec texts on any bytes. What it calls plain has to be so: quoted again word by
 * word, it reads as the same words.
 */
#include "sidecar/proto/ssh/command.h"
#include "src-common/buffer.h"

#include <stdint.h>

const char *const fuzz_dictionary[] = {"rm -rf ", "sh -c ", "'", "\"", "\\", "$(",    "`", ";", "|",
                                       "&&",      "curl ",  "#", "~",  ">",  "eval ", NULL};

static void quote(const struct ssh_command *c, struct buffer *out)
{
    for (size_t i = 0; i < c->n; i++) {
        buffer_append(out, i ? " '" : "'", i ? 2 : 1);
        for (const char *t = c->argv[i]; *t; t++) {
            if (*t == '\'')
                buffer_append(out, "'\\''", 4);
            else
                buffer_add_u8(out, (uint8_t)*t);
        }
        buffer_add_u8(out, '\'');
    }
}

static void same_words(const struct ssh_command *a, const struct ssh_command *b)
{
    if (!b || a->n != b->n)
        __builtin_trap();
    for (size_t i = 0; i < a->n; i++) {
        if (strcmp(a->argv[i], b->argv[i]) != 0)
            __builtin_trap();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ssh_act act, again;
    struct arena arena;
    struct buffer text;

    arena_init(&arena, (size_t)64 << 20);
    if (command_parse(bytes_of(data, size), &arena, &act) == 0 && act.plain) {
        if (memchr(data, 0, size))
            __builtin_trap();
        buffer_init(&text, COMMAND_TEXT_MAX);
        quote(act.plain, &text);
        if (!text.failed && command_parse(buffer_bytes(&text), &arena, &again) == 0)
            same_words(act.plain, again.plain);
        buffer_done(&text);
    }
    arena_done(&arena);
    return 0;
}
