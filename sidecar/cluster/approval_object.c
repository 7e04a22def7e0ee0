/* SPDX-License-Identifier: Apache-2.0
 * ApprovalRequest objects.
 */
#include "approval_object.h"

#include "src-common/clock.h"
#include "src-common/jsonw.h"
#include "src-common/kube/kube.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <time.h>

/* What the CRD takes at most. */
#define MAX_USES    1000u
#define MAX_SECONDS 86400u
#define MAX_TEXT    1024u

static uint32_t at_most(uint32_t n, uint32_t max)
{
    return n < max ? n : max;
}

static void add_strings(struct buffer *out, const char *key, char *const *list)
{
    jsonw_key(out, key);
    buffer_add_u8(out, '[');
    for (size_t i = 0; list && list[i]; i++) {
        if (i)
            buffer_add_u8(out, ',');
        jsonw_str(out, bytes_str(list[i]));
    }
    buffer_add_u8(out, ']');
}

static void add_metadata(const struct approval_info *i, const struct agent *agent,
                         struct buffer *out)
{
    jsonw_key(out, "metadata");
    buffer_add_u8(out, '{');
    jsonw_kstr(out, "name", bytes_str(i->id));
    jsonw_kstr(out, "namespace", bytes_str(agent->namespace_));
    jsonw_key(out, "labels");
    buffer_append(out, "{", 1);
    jsonw_kstr(out, APPROVAL_OBJECT_LABEL, bytes_str(agent->pod_uid));
    buffer_append(out, "}", 1);
    jsonw_key(out, "ownerReferences");
    buffer_append(out, "[{", 2);
    jsonw_kstr(out, "apiVersion", BYTES("v1"));
    jsonw_kstr(out, "kind", BYTES("Pod"));
    jsonw_kstr(out, "name", bytes_str(agent->pod));
    jsonw_kstr(out, "uid", bytes_str(agent->pod_uid));
    buffer_append(out, "}]}", 3);
}

/* An absent field rather than an empty one: some have a minimum length. */
static void add_text(struct buffer *out, const char *key, const char *text, size_t max)
{
    size_t n = strlen(text);

    if (n > max) {
        n = max;
        while (n && ((uint8_t)text[n] & 0xc0) == 0x80) /* not inside a character */
            n--;
    }
    if (n)
        jsonw_kstr(out, key, bytes_of(text, n));
}

static void add_spec(const struct approval_info *i, const struct agent *agent, struct buffer *out)
{
    char expires[CLOCK_RFC3339_LEN + 1];

    clock_rfc3339(i->expires_us, expires);
    add_text(out, "session", i->session, 253);
    add_text(out, "pod", agent->pod, 253);
    add_text(out, "podUID", agent->pod_uid, 128);
    add_text(out, "serviceAccount", i->service_account, 253);
    add_text(out, "identity", i->identity, MAX_TEXT);
    add_text(out, "target", i->target, 253);
    add_text(out, "database", i->database, MAX_TEXT);
    add_text(out, "user", i->user, MAX_TEXT);
    add_text(out, "policy", i->policy, 512);
    add_text(out, "rule", i->rule, 63);
    /* Whole, or not at all: the server refuses what is too long. */
    add_text(out, "statement", i->statement, SIZE_MAX);
    add_text(out, "parameters", i->parameters, SIZE_MAX);
    add_text(out, "effect", i->effect, 65536);
    add_text(out, "digest", i->digest, 64);
    jsonw_kstr(out, "delivery", i->ticket ? BYTES("Ticket") : BYTES("Hold"));
    jsonw_kstr(out, "expiresAt", bytes_str(expires));
    jsonw_key(out, "approvers");
    buffer_add_u8(out, '{');
    add_strings(out, "groups", i->groups);
    add_strings(out, "users", i->users);
    buffer_add_u8(out, '}');
    jsonw_ku64(out, "count", i->count);
    jsonw_kbool(out, "allowSelf", i->allow_self);
    jsonw_kbool(out, "requireReason", i->require_reason);
    jsonw_ku64(out, "uses", at_most(i->uses, MAX_USES));
    jsonw_ku64(out, "validForSeconds", at_most(i->valid_for_s, MAX_SECONDS));
}

void approval_object_write(const struct approval_info *i, const struct agent *agent,
                           struct buffer *out)
{
    buffer_add_u8(out, '{');
    jsonw_kstr(out, "apiVersion", BYTES("chaperone.dev/v1alpha1"));
    jsonw_kstr(out, "kind", BYTES("ApprovalRequest"));
    add_metadata(i, agent, out);
    jsonw_key(out, "spec");
    buffer_add_u8(out, '{');
    add_spec(i, agent, out);
    buffer_append(out, "}}", 2);
}

/* ---- votes ---- */

/* RFC 3339, to the second; 0 when it is none. */
static uint64_t parse_time(const char *text)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    return end && (*end == 'Z' || *end == '.') ? (uint64_t)timegm(&tm) * 1000000 : 0;
}

static int read_groups(struct json_object *decision, const char ***ret)
{
    struct json_object *list = kube_get(decision, "groups");
    size_t n = json_object_is_type(list, json_type_array) ? json_object_array_length(list) : 0;
    const char **groups = calloc(n + 1, sizeof *groups);

    if (!groups)
        return -ENOMEM;
    for (size_t i = 0, at = 0; i < n; i++) {
        const char *group = json_object_get_string(json_object_array_get_idx(list, i));

        if (group)
            groups[at++] = group;
    }
    *ret = groups;
    return 0;
}

static uint32_t read_count(struct json_object *decision, const char *key)
{
    int64_t n = kube_get_int(decision, key);

    return n > 0 ? (uint32_t)(n < UINT32_MAX ? n : UINT32_MAX - 1) : 0;
}

/* Admission refuses service accounts of every enabled namespace; here we know of our own. */
static bool is_agent(const char *by, const char *ns)
{
    static const char prefix[] = "system:serviceaccount:";
    size_t n = strlen(ns);

    return strncmp(by, prefix, sizeof prefix - 1) == 0 &&
           strncmp(by + sizeof prefix - 1, ns, n) == 0 && by[sizeof prefix - 1 + n] == ':';
}

int approval_object_vote(struct json_object *decision, const char *agent_namespace,
                         struct approval_object_vote *ret, struct error *err)
{
    const char *word = kube_get_str(decision, "decision"), *by = kube_get_str(decision, "by");

    *ret = (struct approval_object_vote){
        .vote = {.approve = strcmp(word, "Approve") == 0,
                 .by = by,
                 .reason = kube_get_str(decision, "reason"),
                 .uses = read_count(decision, "uses"),
                 .valid_for_s = read_count(decision, "validForSeconds"),
                 .at_us = parse_time(kube_get_str(decision, "at"))}};
    if (!by[0])
        return error_set(err, -EINVAL, "a decision without the name of who made it");
    if (!ret->vote.approve && strcmp(word, "Deny") != 0)
        return error_set(err, -EINVAL, "the decision '%.40s' of %.200s is neither Approve nor Deny",
                         word, by);
    if (ret->vote.approve && is_agent(by, agent_namespace))
        return error_set(err, -EPERM,
                         "%.200s is a service account of the agent's namespace: it "
                         "cannot approve",
                         by);
    if (read_groups(decision, &ret->groups) != 0)
        return error_set(err, -ENOMEM, "out of memory");
    ret->vote.groups = ret->groups;
    return 0;
}

void approval_object_vote_done(struct approval_object_vote *v)
{
    free(v->groups);
    *v = (struct approval_object_vote){0};
}
