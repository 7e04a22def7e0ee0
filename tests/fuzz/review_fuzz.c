/* SPDX-License-Identifier: Apache-2.0
 * AdmissionReviews of any content, to every check that asks nobody: an answer is always written, a
 * refusal always says why, and every operation of a patch has a path.
 */
#include "webhook/approval.h"
#include "webhook/inject.h"
#include "webhook/policies.h"
#include "webhook/validate.h"

static const char config_text[] = "{guardImage: g, initImage: i, trustFiles: [/etc/x.crt], "
                                  "apiAudiences: [api]}";

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void write_answer(struct answer *a)
{
    struct buffer out;

    answer_settle(a);
    require(a->allowed || a->message[0]);
    for (size_t i = 0; i < value_n(a->patch.operations); i++)
        require(value_text(value_item(a->patch.operations, i), "path")[0] == '/');
    buffer_init(&out, 64 << 20);
    require(answer_write(a, "u", &out) == 0 && buffer_len(&out) > 0);
    buffer_done(&out);
    answer_done(a);
    answer_init(a);
}

static void check_pod(const struct config *c, const struct review *r, struct answer *a)
{
    struct secrets s = {0};

    require(secrets_of_targets(value_get(r->object, "items"), &s) == 0);
    inject_pod(c, r, &s, a);
    write_answer(a);
    validate_created_pod(c, r, &s, a);
    write_answer(a);
    validate_updated_pod(c, r, &s, a);
    write_answer(a);
    secrets_done(&s);
}

static void check_approval(const struct review *r, struct answer *a)
{
    const struct approval_facts f = {.now_us = 1795557600000000, .controller = "me"};

    approval_check_created(r, &f, a);
    write_answer(a);
    approval_check_updated(r, a);
    write_answer(a);
    approval_stamp(r, &f, a);
    write_answer(a);
    approval_check_status(r, &f, a);
    write_answer(a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct config *config;
    struct review r;
    struct answer a;
    struct error err = {{0}};

    if (!config)
        require(config_parse(BYTES(config_text), "c", &config, &err) == 0);
    if (review_parse(bytes_of(data, size), &r, &err) < 0) {
        require(err.text[0]);
        return 0;
    }
    answer_init(&a);
    check_pod(config, &r, &a);
    check_approval(&r, &a);
    require((validate_connect(&r, &a) == CONNECT_REFUSED) == (a.n_reasons > 0));
    write_answer(&a);
    policies_check(&r, value_get(r.object, "items"), &a);
    write_answer(&a);
    answer_done(&a);
    review_done(&r);
    return 0;
}
