/* SPDX-License-Identifier: Apache-2.0
 * Pure parts of the guard in a cluster: labels files, ApprovalRequest objects, votes.
 */
#include "sidecar/cluster/approval_object.h"
#include "sidecar/cluster/labels.h"
#include "src-common/kube/kube.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <errno.h>
#include <json-c/json.h>

/* ---- labels ---- */

static void labels_are_read(void **state)
{
    static const char text[] = "app=\"coder\"\nexample.com/team=\"a-b.c_d\"\n\nempty=\"\"\n"
                               "quoted=\"a\\\"b\\\\c\"";
    const char *const *l;

    (void)state;
    assert_int_equal(labels_parse(bytes_str(text), &l, NULL), 0);
    assert_string_equal(l[0], "app");
    assert_string_equal(l[1], "coder");
    assert_string_equal(l[2], "example.com/team");
    assert_string_equal(l[3], "a-b.c_d");
    assert_string_equal(l[5], "");
    assert_string_equal(l[7], "a\"b\\c");
    assert_null(l[8]);
    free((void *)l);
    assert_int_equal(labels_parse(bytes_str(""), &l, NULL), 0);
    assert_null(l[0]);
    free((void *)l);
}

static void what_is_no_label_is_refused(void **state)
{
    static const char *const bad[] = {
        "app",         "app=coder", "=\"x\"",       "app=\"x",        "app=\"x\"y", "app=\"x\\\"",
        "app=\"\\n\"", "a b=\"x\"", "app=\"x\ty\"", "a=\"1\"\nb=\"2", "app=\"x\" ", "\"a\"=\"b\""};
    const char *const *l;
    struct error err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(labels_parse(bytes_str(bad[i]), &l, &err), -EINVAL);
        assert_non_null(strstr(err.text, "is not key=\"value\""));
    }
    assert_int_equal(labels_parse(BYTES("a\0b=\"x\""), &l, &err), -EINVAL);
}

static void labels_at_every_cut(void **state)
{
    static const char text[] = "app=\"coder\"\nx=\"a\\\\b\"\n";
    const char *const *l;

    (void)state;
    for (size_t n = 0; n < sizeof text; n++)
        if (labels_parse(bytes_of(text, n), &l, NULL) == 0)
            free((void *)l);
}

/* ---- ApprovalRequest ---- */

static const struct agent agent = {
    .namespace_ = "agents", .pod = "coder-1", .pod_uid = "u-1", .service_account = "coder"};

static struct approval_info request(void)
{
    static char *groups[] = {"dba", NULL}, *none[] = {NULL};
    struct approval_info i = {.id = "abcdefghijkl",
                              .session = "01J",
                              .pod = "coder-1",
                              .service_account = "coder",
                              .identity = "alice",
                              .target = "orders-db",
                              .database = "",
                              .user = "app",
                              .policy = "p",
                              .rule = "writes",
                              .statement = "SELECT '\xff\"' -- \x01",
                              .parameters = "",
                              .effect = "Select",
                              .expires_us = 1700000000000000,
                              .count = 2,
                              .uses = 5000,
                              .valid_for_s = 600,
                              .groups = groups,
                              .users = none};

    memset(i.digest, 'a', 64);
    return i;
}

static struct json_object *written(const struct approval_info *i)
{
    struct json_object *o;
    struct buffer b;

    buffer_init(&b, 1 << 20);
    approval_object_write(i, &agent, &b);
    assert_false(b.failed);
    buffer_append(&b, "", 1);
    o = json_tokener_parse((const char *)buffer_bytes(&b).p);
    buffer_done(&b);
    assert_non_null(o);
    return o;
}

static void an_object_is_what_the_contract_says(void **state)
{
    struct approval_info i = request();
    struct json_object *o = written(&i), *owner;

    (void)state;
    assert_string_equal(kube_get_str(o, "kind"), "ApprovalRequest");
    assert_string_equal(kube_get_str(o, "metadata.name"), "abcdefghijkl");
    assert_string_equal(kube_get_str(o, "metadata.namespace"), "agents");
    owner = json_object_array_get_idx(kube_get(o, "metadata.ownerReferences"), 0);
    assert_string_equal(kube_get_str(owner, "uid"), "u-1");
    assert_string_equal(kube_get_str(o, "spec.podUID"), "u-1");
    assert_string_equal(kube_get_str(o, "spec.statement"), "SELECT '\xef\xbf\xbd\"' -- \x01");
    assert_string_equal(kube_get_str(o, "spec.delivery"), "Hold");
    assert_string_equal(kube_get_str(o, "spec.expiresAt"), "2023-11-14T22:13:20.000000Z");
    assert_int_equal(kube_get_int(o, "spec.count"), 2);
    assert_int_equal(kube_get_int(o, "spec.uses"), 1000); /* the CRD's limit */
    assert_null(kube_get(o, "spec.database"));
    assert_int_equal(json_object_array_length(kube_get(o, "spec.approvers.groups")), 1);
    json_object_put(o);
}

static void long_names_are_cut_between_characters(void **state)
{
    struct approval_info i = request();
    struct json_object *o;
    char user[1030] = {0};

    (void)state;
    for (size_t k = 0; k + 1 < sizeof user - 1; k += 2) /* é */
        memcpy(user + k, "\xc3\xa9", 2);
    memmove(user + 1, user, sizeof user - 2);
    user[0] = 'x';
    i.user = user;
    o = written(&i);
    assert_int_equal(strlen(kube_get_str(o, "spec.user")), 1023);
    json_object_put(o);
}

/* ---- votes ---- */

static int vote(const char *json, struct approval_object_vote *v, struct error *err,
                struct json_object **ret)
{
    *ret = json_tokener_parse(json);
    return approval_object_vote(*ret, "agents", v, err);
}

static void votes_are_read(void **state)
{
    struct approval_object_vote v;
    struct json_object *o;
    struct error err;

    (void)state;
    assert_int_equal(vote("{\"by\":\"bob\",\"groups\":[\"dba\",7,null],\"decision\":\"Approve\","
                          "\"at\":\"2023-11-14T22:13:20Z\",\"uses\":3,\"validForSeconds\":60}",
                          &v, &err, &o),
                     0);
    assert_true(v.vote.approve);
    assert_string_equal(v.vote.by, "bob");
    assert_string_equal(v.vote.groups[0], "dba");
    assert_int_equal(v.vote.uses, 3);
    assert_int_equal(v.vote.valid_for_s, 60);
    assert_true(v.vote.at_us == 1700000000000000);
    approval_object_vote_done(&v);
    json_object_put(o);
    assert_int_equal(
        vote("{\"by\":\"bob\",\"decision\":\"Deny\",\"uses\":-5,\"at\":\"soon\"}", &v, &err, &o),
        0);
    assert_false(v.vote.approve);
    assert_int_equal(v.vote.uses, 0);
    assert_true(v.vote.at_us == 0);
    assert_null(v.vote.groups[0]);
    approval_object_vote_done(&v);
    json_object_put(o);
}

static void votes_that_do_not_count(void **state)
{
    static const struct {
        const char *json;
        int code;
    } bad[] = {
        {"{}", -EINVAL},
        {"[]", -EINVAL},
        {"null", -EINVAL},
        {"{\"decision\":\"Approve\"}", -EINVAL},
        {"{\"by\":\"\",\"decision\":\"Approve\"}", -EINVAL},
        {"{\"by\":7,\"decision\":\"Approve\"}", -EINVAL},
        {"{\"by\":\"bob\"}", -EINVAL},
        {"{\"by\":\"bob\",\"decision\":\"approve\"}", -EINVAL},
        {"{\"by\":\"bob\",\"decision\":true}", -EINVAL},
        {"{\"by\":\"system:serviceaccount:agents:x\",\"decision\":\"Approve\"}", -EPERM},
    };
    struct approval_object_vote v;
    struct json_object *o;
    struct error err;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(vote(bad[i].json, &v, &err, &o), bad[i].code);
        approval_object_vote_done(&v);
        json_object_put(o);
    }
    /* Of another namespace: admission's to judge. And whoever may not approve may deny. */
    assert_int_equal(vote("{\"by\":\"system:serviceaccount:agents-2:x\",\"decision\":\"Approve\"}",
                          &v, &err, &o),
                     0);
    approval_object_vote_done(&v);
    json_object_put(o);
    assert_int_equal(
        vote("{\"by\":\"system:serviceaccount:agents:x\",\"decision\":\"Deny\"}", &v, &err, &o), 0);
    approval_object_vote_done(&v);
    json_object_put(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(labels_are_read),
        cmocka_unit_test(what_is_no_label_is_refused),
        cmocka_unit_test(labels_at_every_cut),
        cmocka_unit_test(an_object_is_what_the_contract_says),
        cmocka_unit_test(long_names_are_cut_between_characters),
        cmocka_unit_test(votes_are_read),
        cmocka_unit_test(votes_that_do_not_count),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
