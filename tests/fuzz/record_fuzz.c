/* SPDX-License-Identifier: Apache-2.0
 * Verifies and renders records that nobody wrote. Whatever comes in, the verifier ends with a
 * verdict, and what is printed contains nothing that a terminal would act on.
 */
#include "sidecar/record/record.h"

#include "kubectl-guard/object.c"
#include "kubectl-guard/text.c"
#include "kubectl-guard/transcript.c"
#include "kubectl-guard/transcript_rows.c"
#include "kubectl-guard/transcript_ssh.c"

#include <stdarg.h>
#include <sys/mman.h>

/* object.c says why it cannot write YAML; nothing here does that. */
enum exit_code cli_fail(enum exit_code code, const char *fmt, ...)
{
    (void)fmt;
    return code;
}

static void check_harmless(struct bytes text)
{
    for (size_t i = 0; i < text.len;) {
        uint32_t c = 0;
        size_t n = decode(bytes_of(text.p + i, text.len - i), &c);

        if (n == 0 || (c < 0x20 && c != '\n') || c == 0x7f || (c > 0x7f && is_invisible(c)))
            abort();
        i += n;
    }
}

static void render(const uint8_t *data, size_t size)
{
    struct transcript t[2] = {{.style = TRANSCRIPT_REPLAY, .name_session = true},
                              {.style = TRANSCRIPT_PSQL}};

    while (size > 0) {
        const uint8_t *nl = memchr(data, '\n', size);
        size_t n = nl ? (size_t)(nl - data) : size;
        struct json_object *line = object_parse(bytes_of(data, n));

        for (size_t i = 0; line && i < ARRAY_LEN(t); i++) {
            struct buffer out;

            buffer_init(&out, TRANSCRIPT_MAX);
            transcript_line(&t[i], line, &out);
            check_harmless(buffer_bytes(&out));
            buffer_done(&out);
        }
        json_object_put(line);
        size -= nl ? n + 1 : n;
        data += nl ? n + 1 : n;
    }
}

static void verify(const uint8_t *data, size_t size)
{
    struct record_check c;
    char path[64];
    int fd = memfd_create("record", MFD_CLOEXEC);

    if (fd < 0)
        return;
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    if (write(fd, data, size) != (ssize_t)size || record_verify_file(path, &c, NULL) != 0)
        abort();
    if (c.sealed && !c.ok)
        abort();
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > (size_t)1 << 20)
        return 0;
    verify(data, size);
    render(data, size);
    return 0;
}
