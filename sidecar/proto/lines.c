/* SPDX-License-Identifier: Apache-2.0
 * Members that lines of the record have in every protocol.
 */
#include "lines.h"

#include "sidecar/approval/approval.h"
#include "src-common/clock.h"
#include "src-common/jsonw.h"
#include "src-common/utf8.h"

#include <openssl/evp.h>

const char *lines_verdict(enum verdict v)
{
    static const char *const names[] = {"Deny", "RequireApproval", "Allow"};

    return names[v];
}

void lines_rule(struct buffer *b, const struct decision *d)
{
    if (d && d->policy)
        jsonw_kstr(b, "policy", bytes_str(d->policy));
    if (d && d->rule)
        jsonw_kstr(b, "rule", bytes_str(d->rule));
}

static void add_decision(struct buffer *b, const struct approval_decision *d)
{
    char at[CLOCK_RFC3339_LEN + 1];

    clock_rfc3339(d->at_us, at);
    buffer_add_u8(b, '{');
    jsonw_kstr(b, "by", bytes_str(d->by));
    jsonw_kstr(b, "decision", bytes_str(d->decision));
    jsonw_kstr(b, "reason", bytes_str(d->reason));
    jsonw_kstr(b, "at", bytes_str(at));
    buffer_add_u8(b, '}');
}

void lines_decisions(struct buffer *b, struct guard *g, const char *id)
{
    struct approval_info info;

    if (approvals_get(g->approvals, id, &info) != 0)
        return;
    jsonw_kstr(b, "digest", bytes_str(info.digest));
    jsonw_key(b, "decisions");
    buffer_add_u8(b, '[');
    for (size_t i = 0; i < info.n_decisions; i++) {
        if (i)
            buffer_add_u8(b, ',');
        add_decision(b, &info.decisions[i]);
    }
    buffer_add_u8(b, ']');
    if (info.n_decisions) {
        const struct approval_decision *last = &info.decisions[info.n_decisions - 1];

        jsonw_kstr(b, "by", bytes_str(last->by));
        jsonw_kstr(b, "reason", bytes_str(last->reason));
    }
    approval_info_done(&info);
}

void lines_content(struct buffer *b, struct bytes data)
{
    size_t n = (data.len + 2) / 3 * 4;
    uint8_t *p;

    if (utf8_valid(data)) {
        jsonw_kstr(b, "text", data);
        return;
    }
    jsonw_key(b, "base64");
    buffer_add_u8(b, '"');
    p = buffer_reserve(b, n + 1);
    if (p) {
        EVP_EncodeBlock(p, data.p, (int)data.len);
        buffer_commit(b, n);
    }
    buffer_add_u8(b, '"');
}
