/* SPDX-License-Identifier: Apache-2.0
 * Answers about Secrets, and frames. The first byte says what follows: 'L' a list, 'F' frames of a
 * server, 'C' of a client, 'B' a body; anything else documents or events. Cutting the input changes
 * nothing, and the canary never comes out of data.
 */
#include "sidecar/proto/kube/body.h"
#include "sidecar/proto/kube/cut.h"
#include "sidecar/proto/kube/mask.h"
#include "sidecar/proto/kube/websocket.h"

static int feed(enum kubecut_mode mode, struct bytes text, size_t at, struct buffer *out)
{
    struct kubemask m = {.secrets = true};
    struct kubecut c;
    int rc;

    buffer_init(out, 16 << 20);
    kubecut_init(&c, mode);
    rc = kubecut_feed(&c, bytes_of(text.p, at), kubemask_piece, &m, out);
    if (rc == 0)
        rc = kubecut_feed(&c, bytes_of(text.p + at, text.len - at), kubemask_piece, &m, out);
    if (rc == 0 && !kubecut_complete(&c))
        rc = 1;
    kubecut_done(&c);
    kubemask_done(&m);
    return rc;
}

/* What was masked once has nothing left to be masked: a second time gives the same. */
static void check_stable(enum kubecut_mode mode, const struct buffer *once)
{
    struct buffer twice;

    if (feed(mode, buffer_bytes(once), buffer_len(once), &twice) != 0 ||
        !bytes_eq(buffer_bytes(once), buffer_bytes(&twice)))
        abort();
    buffer_done(&twice);
}

static void check_answer(enum kubecut_mode mode, struct bytes text)
{
    struct buffer whole, cut;
    int rc = feed(mode, text, text.len, &whole);

    for (size_t i = 1; i < 5 && text.len; i++) {
        int again = feed(mode, text, text.len * i / 5, &cut);

        if ((again == 0) != (rc == 0) ||
            (rc == 0 && !bytes_eq(buffer_bytes(&whole), buffer_bytes(&cut))))
            abort();
        buffer_done(&cut);
    }
    if (rc == 0)
        check_stable(mode, &whole);
    buffer_done(&whole);
}

static void check_frames(struct bytes in, bool from_client)
{
    struct websocket_frame f;

    while (websocket_frame(in, from_client, &f) == 1) {
        struct buffer b;

        if (f.raw.len > in.len || f.payload.len > f.raw.len)
            abort();
        buffer_init(&b, WEBSOCKET_FRAME_MAX);
        websocket_payload(&f, from_client, &b);
        if (buffer_len(&b) != f.payload.len)
            abort();
        buffer_done(&b);
        in.p += f.raw.len;
        in.len -= f.raw.len;
    }
}

static void check_body(struct bytes text)
{
    struct json_object *o = NULL, *again = NULL;
    struct error err = {""};
    const char *written;

    if (kubebody_parse(text, &o, &err) != 0) {
        if (!err.text[0])
            abort();
        return;
    }
    written = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
    if (kubebody_parse(bytes_str(written), &again, &err) != 0 || !json_object_equal(o, again))
        abort();
    json_object_put(o);
    json_object_put(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = {data + 1, size ? size - 1 : 0};

    if (!size)
        return 0;
    if (data[0] == 'F' || data[0] == 'C')
        check_frames(text, data[0] == 'C');
    else if (data[0] == 'B')
        check_body(text);
    else
        check_answer(data[0] == 'L' ? KUBECUT_LIST : KUBECUT_VALUES, text);
    return 0;
}
