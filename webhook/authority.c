/* SPDX-License-Identifier: Apache-2.0
 * The shared authority.
 */
#include "authority.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>

#define MAX_PEM ((size_t)64 << 10)

/* ---- base64 ---- */

static char *encode(const char *text)
{
    size_t n = strlen(text);
    char *out = n <= 4 * MAX_PEM ? malloc((n + 2) / 3 * 4 + 1) : NULL;

    if (out)
        EVP_EncodeBlock((uint8_t *)out, (const uint8_t *)text, (int)n);
    return out;
}

/* NULL: missing, or no base64 of a text. */
static char *decode(const char *base64)
{
    size_t n = base64 ? strlen(base64) : 0, padding = 0;
    char *out;
    int len;

    if (n == 0 || n % 4 || n > MAX_PEM)
        return NULL;
    out = malloc(n / 4 * 3 + 1);
    len = out ? EVP_DecodeBlock((uint8_t *)out, (const uint8_t *)base64, (int)n) : -1;
    if (len < 0) {
        free(out);
        return NULL;
    }
    padding = (size_t)(base64[n - 1] == '=') + (size_t)(base64[n - 2] == '=');
    out[(size_t)len - padding] = 0;
    return out;
}

/* ---- the Secret ---- */

static const char *datum(struct json_object *secret, const char *key)
{
    struct json_object *v = value_get(value_get(secret, "data"), key);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

static int read_pair(struct json_object *secret, const char *certificate, const char *key,
                     struct pki_pair *ret, struct error *err)
{
    struct pki_pair p = {decode(datum(secret, certificate)), decode(datum(secret, key))};
    struct pki_times t;
    int rc = pki_read(&p, &t, err);

    if (rc) {
        pki_pair_done(&p);
        return error_prefix(err, rc, "%s, %s", certificate, key);
    }
    *ret = p;
    return 0;
}

int authority_read(struct json_object *secret, struct authority *ret, struct error *err)
{
    struct authority a = {0};
    int rc = read_pair(secret, "ca.crt", "ca.key", &a.current, err);

    if (rc == 0 && datum(secret, "next.crt"))
        rc = read_pair(secret, "next.crt", "next.key", &a.next, err);
    if (rc) {
        authority_done(&a);
        return rc;
    }
    *ret = a;
    return 0;
}

void authority_done(struct authority *a)
{
    pki_pair_done(&a->current);
    pki_pair_done(&a->next);
}

static bool set_datum(struct json_object *data, const char *key, const char *text)
{
    char *base64 = encode(text);
    bool ok = base64 && value_set(data, key, json_object_new_string(base64));

    free(base64);
    return ok;
}

struct json_object *authority_secret(struct json_object *secret, const struct authority *a)
{
    struct json_object *s =
        secret
            ? value_copy(secret)
            : value_format("{\"apiVersion\": \"v1\", \"kind\": \"Secret\", \"type\": \"Opaque\", "
                           "\"metadata\": {\"name\": \"" AUTHORITY_SECRET "\", \"labels\": "
                           "{\"app.kubernetes.io/managed-by\": \"chaperone-webhook\"}}}");
    struct json_object *data = json_object_new_object();
    bool ok = data && set_datum(data, "ca.crt", a->current.certificate) &&
              set_datum(data, "ca.key", a->current.key);

    if (ok && a->next.certificate)
        ok = set_datum(data, "next.crt", a->next.certificate) &&
             set_datum(data, "next.key", a->next.key);
    if (value_set(s, "data", data) && ok)
        return s;
    json_object_put(s);
    return NULL;
}

/* ---- steps ---- */

enum authority_step authority_due(const struct config_times *t, const struct authority *a,
                                  int64_t now)
{
    struct pki_times current, next;
    struct error ignored;

    if (pki_read(&a->current, &current, &ignored) < 0)
        return AUTHORITY_RENEW;
    if (!a->next.certificate)
        return now >= current.end                     ? AUTHORITY_RENEW
               : now >= current.end - t->renew_before ? AUTHORITY_ADD_NEXT
                                                      : AUTHORITY_KEEP;
    if (pki_read(&a->next, &next, &ignored) < 0)
        return AUTHORITY_ADD_NEXT;
    /* Replicas look every few seconds: the last leaf of current may be that much younger, which
     * the second `overlap` covers. */
    if (now >= current.end || now >= next.created + 2ll * t->overlap + t->leaf_lifetime)
        return AUTHORITY_PROMOTE;
    return AUTHORITY_KEEP;
}

int authority_change(const struct config_times *t, enum authority_step step, int64_t now,
                     struct authority *a, struct error *err)
{
    const struct pki_request r = {.now = now, .lifetime_s = t->ca_lifetime};
    struct pki_pair made = {0};
    int rc = step == AUTHORITY_ADD_NEXT || step == AUTHORITY_RENEW
                 ? pki_make_authority(&r, &made, err)
                 : 0;

    if (rc || step == AUTHORITY_KEEP)
        return rc;
    if (step == AUTHORITY_ADD_NEXT) {
        pki_pair_done(&a->next);
        a->next = made;
        return 0;
    }
    pki_pair_done(&a->current);
    a->current = step == AUTHORITY_PROMOTE ? a->next : made;
    if (step == AUTHORITY_PROMOTE)
        a->next = (struct pki_pair){0};
    return 0;
}

const struct pki_pair *authority_signer(const struct config_times *t, const struct authority *a,
                                        int64_t now)
{
    struct pki_times next;
    struct error ignored;

    if (a->next.certificate && pki_read(&a->next, &next, &ignored) == 0 &&
        now >= next.created + t->overlap)
        return &a->next;
    return &a->current;
}

char *authority_bundle(const struct authority *a)
{
    char *both = NULL, *base64 = NULL;

    if (asprintf(&both, "%s%s", a->current.certificate,
                 a->next.certificate ? a->next.certificate : "") >= 0)
        base64 = encode(both);
    free(both);
    return base64;
}
