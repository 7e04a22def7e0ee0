/* SPDX-License-Identifier: Apache-2.0
 * One request for approval: made from an ask, copied for showing, freed.
 */
#include "request.h"

#include "src-common/clock.h"

#include <errno.h>
#include <sys/random.h>

#define DEFAULT_TIMEOUT_S   60
#define DEFAULT_VALID_FOR_S 600

const char *approval_phase_name(enum approval_phase p)
{
    static const char *const names[] = {"Pending", "Approved",  "Denied",
                                        "Expired", "Withdrawn", "Failed"};

    return (size_t)p < ARRAY_LEN(names) ? names[p] : "Unknown";
}

static void free_strings(char **list)
{
    for (size_t i = 0; list && list[i]; i++)
        free(list[i]);
    free(list);
}

static char **copy_strings(const char *const *list)
{
    size_t n = 0;
    char **copy;

    while (list && list[n])
        n++;
    copy = calloc(n + 1, sizeof *copy);
    for (size_t i = 0; copy && i < n; i++) {
        copy[i] = strdup(list[i]);
        if (!copy[i]) {
            free_strings(copy);
            return NULL;
        }
    }
    return copy;
}

/* All strings of an info, by place: for copying and freeing without forgetting one. */
#define N_STRINGS 12
static char **string_at(struct approval_info *i, size_t at)
{
    char **const all[N_STRINGS] = {
        &i->session,    &i->pod,    &i->service_account, &i->identity, &i->target,
        &i->database,   &i->user,   &i->policy,          &i->rule,     &i->statement,
        &i->parameters, &i->effect,
    };

    return all[at];
}

void approval_info_done(struct approval_info *i)
{
    for (size_t k = 0; k < N_STRINGS; k++)
        free(*string_at(i, k));
    free_strings(i->groups);
    free_strings(i->users);
    memset(i, 0, sizeof *i);
}

static char *copy_text(const char *s)
{
    return strdup(s ? s : "");
}

/* A NUL inside would hide the rest from whoever decides: it becomes a visible mark. */
static char *copy_bytes(struct bytes b)
{
    char *s = malloc(b.len + 1);

    if (!s)
        return NULL;
    for (size_t i = 0; i < b.len; i++)
        s[i] = b.p[i] ? (char)b.p[i] : '\x01';
    s[b.len] = '\0';
    return s;
}

static bool copy_ask(struct approval_info *i, const struct approval_ask *ask)
{
    const char *const texts[N_STRINGS - 3] = {
        ask->session,  ask->pod,  ask->service_account, ask->identity, ask->target,
        ask->database, ask->user, ask->policy,          ask->rule,
    };

    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        *string_at(i, k) = copy_text(texts[k]);
    i->statement = copy_bytes(ask->statement);
    i->parameters = copy_bytes(ask->parameters);
    i->effect = copy_text(ask->effect);
    i->groups = copy_strings(ask->settings->groups);
    i->users = copy_strings(ask->settings->users);
    for (size_t k = 0; k < N_STRINGS; k++)
        if (!*string_at(i, k))
            return false;
    return i->groups && i->users;
}

static bool random_id(char out[static APPROVAL_ID_LEN + 1])
{
    static const char base32[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t raw[APPROVAL_ID_LEN];

    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw)
        return false;
    for (size_t i = 0; i < APPROVAL_ID_LEN; i++)
        out[i] = base32[raw[i] & 31];
    out[APPROVAL_ID_LEN] = '\0';
    return true;
}

static void hex_digest(const uint8_t raw[static 32], char out[static 65])
{
    static const char hex[] = "0123456789abcdef";

    for (size_t i = 0; i < 32; i++) {
        out[2 * i] = hex[raw[i] >> 4];
        out[2 * i + 1] = hex[raw[i] & 15];
    }
    out[64] = '\0';
}

struct request *request_new(const struct approval_ask *ask)
{
    const struct approval_settings *s = ask->settings;
    struct request *r = calloc(1, sizeof *r);
    uint64_t timeout_s = s->timeout_s ? s->timeout_s : DEFAULT_TIMEOUT_S;

    if (!r)
        return NULL;
    if (!copy_ask(&r->info, ask) || !random_id(r->info.id)) {
        request_free(r);
        return NULL;
    }
    memcpy(r->digest, ask->digest, sizeof r->digest);
    hex_digest(ask->digest, r->info.digest);
    r->generation = ask->policy_generation;
    r->bytes = ask->statement.len + ask->parameters.len;
    r->due_ms = clock_mono_ms() + timeout_s * 1000;
    r->uses = r->valid_for_s = APPROVAL_UNLIMITED;
    r->info.created_us = clock_wall_us();
    r->info.expires_us = r->info.created_us + timeout_s * 1000000;
    r->info.count = s->count ? s->count : 1;
    r->info.ticket = s->ticket;
    r->info.require_reason = s->require_reason;
    r->info.allow_self = s->allow_self;
    r->info.uses = s->uses ? s->uses : 1;
    r->info.valid_for_s = s->valid_for_s ? s->valid_for_s : DEFAULT_VALID_FOR_S;
    return r;
}

void request_free(struct request *r)
{
    if (!r)
        return;
    approval_info_done(&r->info);
    free(r);
}

bool request_has_grant(const struct request *r, uint64_t now_ms)
{
    return r->info.phase == APPROVAL_APPROVED && r->info.uses_left > 0 &&
           now_ms < r->grant_until_ms;
}

int request_copy_info(const struct request *r, struct approval_info *ret)
{
    struct approval_info from = r->info, copy = r->info;
    bool ok = true;

    for (size_t k = 0; k < N_STRINGS; k++) {
        *string_at(&copy, k) = strdup(*string_at(&from, k));
        ok = ok && *string_at(&copy, k);
    }
    copy.groups = copy_strings((const char *const *)from.groups);
    copy.users = copy_strings((const char *const *)from.users);
    if (!ok || !copy.groups || !copy.users) {
        approval_info_done(&copy);
        return -ENOMEM;
    }
    *ret = copy;
    return 0;
}
