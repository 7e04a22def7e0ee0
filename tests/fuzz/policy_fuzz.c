/* SPDX-License-Identifier: Apache-2.0
 * Policy text of any content: loads or is refused with a reason, and what loads decides on
 * statements, masks and destinations. Two things must hold whatever the text: loading it twice
 * gives the same digest, and a view that no policy is in denies.
 */
#include <arpa/inet.h>
#include <errno.h>

#include "sidecar/policy/policy.h"

static const char *const labels[] = {"app", "coder", NULL};
static const char *const groups[] = {"staff", NULL};
static const struct agent agent = {
    .namespace_ = "agents",
    .pod = "coder-0",
    .service_account = "coder",
    .labels = labels,
    .groups = groups,
};

static void require(bool holds)
{
    if (!holds)
        abort();
}

static void decide(const struct policy_view *v)
{
    static const char *const functions[] = {"app.f", "f", "a.b.c", ""};
    static const struct object objects[] = {
        {.op = OP_SELECT, .schema = "public", .name = "users"},
        {.op = OP_UPDATE, .where = WHERE_ABSENT, .guess = "public", .name = "orders"},
        {.op = OP_DELETE, .where = WHERE_PRESENT, .name = "orders"},
        {.op = OP_SELECT, .schema = "pg_catalog", .name = "pg_authid", .sensitive = true},
        {.op = OP_SELECT, .schema = "pg_catalog", .name = "pg_class", .metadata = true},
        {.op = OP_EXPLAIN, .implied = true},
        {.op = OP_BEGIN},
        {.op = (enum operation)OP_COUNT},
    };

    for (size_t i = 0; i < ARRAY_LEN(objects); i++) {
        struct statement s = {.objects = &objects[i],
                              .n_objects = 1,
                              .functions = functions,
                              .n_functions = i % (ARRAY_LEN(functions) + 1)};
        struct decision d;

        policy_decide(v, &s, 1, &d);
        require(d.would <= d.verdict && d.audited == (d.would != d.verdict));
        require((d.verdict == VERDICT_APPROVE) == (d.approval != NULL));
        require(d.would == VERDICT_ALLOW || d.reason[0]);
        require(!policy_view_empty(v) || d.verdict == VERDICT_DENY);
    }
}

static void use(struct policy_snapshot *s, const struct target *t)
{
    struct policy_view *v = NULL;
    size_t n = 0;

    if (policy_view_new(s, &agent, t, "orders", &v) < 0)
        return;
    decide(v);
    policy_view_column_masks(v, &n);
    for (unsigned d = 0; d < 32; d++)
        require(!(policy_view_detectors(v) >> d & 1) == !policy_view_detector_method(v, d));
    policy_view_unref(v);
}

static bool seen(const char *name, void *arg)
{
    (void)arg;
    return !*name;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct target outside = {.name = "db", .namespace_ = "agents"};
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(443)};
    struct policy_snapshot *s = NULL, *again = NULL;
    struct error err = {0};
    int rc = policy_load_text(bytes_of(data, size), "fuzz.yaml", &s, &err);

    if (rc < 0) {
        require(!s && err.text[0] && (rc == -EINVAL || rc == -ENOMEM));
        return 0;
    }
    require(policy_load_text(bytes_of(data, size), "fuzz.yaml", &again, NULL) == 0);
    require(strcmp(policy_snapshot_digest(s), policy_snapshot_digest(again)) == 0);
    policy_snapshot_unref(again);
    use(s, &outside);
    for (size_t i = 0; i < policy_n_targets(s) && i < 4; i++)
        use(s, policy_target_at(s, i));
    policy_egress_allowed(s, &agent, (struct sockaddr *)&to, "api.example.com");
    require(!policy_egress_names(s, &agent, 443, seen, NULL));
    policy_snapshot_unref(s);
    return 0;
}
