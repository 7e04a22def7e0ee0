/* SPDX-License-Identifier: Apache-2.0
 * Secrets of GuardTargets.
 */
#include "secrets.h"

#include <errno.h>

/* Of a DNS subdomain. What is stored otherwise got there before the webhook did; no Secret can be
 * called so, and a volume for it would make every pod invalid. */
bool secrets_name_ok(const char *s)
{
    size_t n = s ? strlen(s) : 0;

    return n > 0 && n <= 253 && strspn(s, "abcdefghijklmnopqrstuvwxyz0123456789-.") == n;
}

static int add(struct json_object *list, const char *name)
{
    if (!secrets_name_ok(name) || value_has(list, name))
        return 0;
    return json_object_array_add(list, json_object_new_string(name)) < 0 ? -ENOMEM : 0;
}

static int by_text(const void *a, const void *b)
{
    struct json_object *const *x = a, *const *y = b;

    return strcmp(json_object_get_string(*x), json_object_get_string(*y));
}

int secrets_of_targets(struct json_object *targets, struct secrets *ret)
{
    struct secrets s = {json_object_new_array(), json_object_new_array(), false};
    int rc = s.mounted && s.logins ? 0 : -ENOMEM;

    for (size_t i = 0; i < value_n(targets) && rc == 0; i++) {
        struct json_object *spec = value_get(value_item(targets, i), "spec");
        const char *login = value_str(spec, "credentials.secretRef.name");

        s.ssh |= strcmp(value_text(spec, "protocol"), "ssh") == 0;
        if ((rc = add(s.mounted, login)) == 0 && (rc = add(s.logins, login)) == 0)
            rc = add(s.mounted, value_str(spec, "tls.caSecretRef.name"));
    }
    if (rc == 0 && (rc = add(s.mounted, SECRETS_MASK_KEY)) == 0)
        rc = add(s.logins, SECRETS_MASK_KEY);
    if (rc) {
        secrets_done(&s);
        return rc;
    }
    json_object_array_sort(s.mounted, by_text);
    *ret = s;
    return 0;
}

int secrets_add(struct secrets *s, struct json_object *names)
{
    int rc = 0;

    for (size_t i = 0; i < value_n(names) && rc == 0; i++) {
        const char *name = json_object_get_string(value_item(names, i));

        if ((rc = add(s->mounted, name)) == 0)
            rc = add(s->logins, name);
    }
    json_object_array_sort(s->mounted, by_text);
    return rc;
}

void secrets_done(struct secrets *s)
{
    json_object_put(s->mounted);
    json_object_put(s->logins);
    *s = (struct secrets){0};
}
