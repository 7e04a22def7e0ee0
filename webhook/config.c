/* SPDX-License-Identifier: Apache-2.0
 * The configuration file: tables of fields, as policies are read.
 */
#include "config.h"

#include "secrets.h"
#include "sidecar/identity/issuers.h"
#include "sidecar/policy/model.h"
#include "src-common/buffer.h"

#include <errno.h>
#include <stdio.h>

#define MAX_FILE    ((size_t)256 << 10)
#define MIN_ID      10000
#define MAX_ISSUERS ((size_t)64 << 10) /* the kernel takes 128 KiB in one argument */
#define MAX_ID      65000

static const char defaults[] = "{\"guardResources\": {\"requests\": {\"cpu\": \"10m\", \"memory\": "
                               "\"32Mi\"}, \"limits\": {\"memory\": \"256Mi\"}},"
                               "\"initResources\": {\"requests\": {\"cpu\": \"10m\", \"memory\": "
                               "\"16Mi\"}, \"limits\": {\"memory\": \"64Mi\"}},"
                               "\"imagePullPolicy\": \"IfNotPresent\", \"spoolSizeLimit\": \"1Gi\","
                               "\"list\": []}";

/* ---- values ---- */

/* Whatever stands there, as JSON. Numbers that are not whole stay text: quantities may be both. */
static struct json_object *node_json(const struct node *n)
{
    struct json_object *o = NULL;

    switch (n->type) {
    case NODE_NULL:
        return NULL;
    case NODE_BOOL:
        return json_object_new_boolean(n->number == 1);
    case NODE_INT:
        return json_object_new_int64(n->number);
    case NODE_FLOAT:
    case NODE_STRING:
        return json_object_new_string(n->text);
    case NODE_LIST:
        o = json_object_new_array();
        for (const struct node_item *i = n->items; i && o; i = i->next)
            json_object_array_add(o, node_json(i->value));
        return o;
    case NODE_MAP:
        o = json_object_new_object();
        for (const struct node_item *i = n->items; i && o; i = i->next)
            json_object_object_add(o, i->key->text, node_json(i->value));
        return o;
    }
    return o;
}

static int take_json(const struct place *at, void *out)
{
    struct json_object **slot = out;
    struct json_object *o = node_json(at->node);

    if (!o)
        return place_no_memory(at);
    json_object_put(*slot);
    *slot = o;
    return 0;
}

static int text_parse(const struct place *at, void *out)
{
    const char *text;
    int rc = place_text(at, &text);

    return rc ? rc : take_json(at, out);
}

static int image_parse(const struct place *at, void *out)
{
    int rc = text_parse(at, out);

    if (rc == 0 && strpbrk(at->node->text, " \t\r\n\"\\"))
        return place_error(at, "'%.64s' is not an image", at->node->text);
    return rc;
}

/* Whoever has such a token may write to the store: it is not the one that agents have. */
static int audience_parse(const struct place *at, void *out)
{
    int rc = text_parse(at, out);

    if (rc == 0 && strcmp(at->node->text, "chaperone") == 0)
        return place_error(at, "chaperone is the audience of agents' tokens; choose another");
    return rc;
}

static int pull_policy_parse(const struct place *at, void *out)
{
    static const struct word words[] = {{"Always", 0}, {"IfNotPresent", 1}, {"Never", 2}};
    unsigned ignored;
    int rc = place_word(at, "policy", words, ARRAY_LEN(words), &ignored);

    return rc ? rc : take_json(at, out);
}

/* Enough for the API server to take it as it is, so that it compares equal afterwards. */
static int quantity_parse(const struct place *at, void *out)
{
    static const char *const units[] = {"Ki", "Mi", "Gi", "Ti"};
    const char *t = at->node->text;
    size_t digits = at->node->type == NODE_STRING ? strspn(t, "0123456789") : 0;

    for (size_t i = 0; i < ARRAY_LEN(units) && digits && digits < 5 && *t != '0'; i++) {
        if (strcmp(t + digits, units[i]) == 0)
            return take_json(at, out);
    }
    return place_error(at, "expected a size such as 512Mi or 2Gi, of at most four digits");
}

static int resources_parse(const struct place *at, void *out)
{
    static const char *const known[] = {"requests", "limits"};
    int rc = place_expect(at, NODE_MAP);

    for (const struct node_item *i = rc ? NULL : at->node->items; i; i = i->next) {
        struct place child = {
            .up = at, .key = i->key->text, .node = i->value, .loader = at->loader};
        struct suggestion s = suggestion_for(i->key->text);

        for (size_t k = 0; k < ARRAY_LEN(known); k++)
            suggestion_offer(&s, known[k]);
        if (strcmp(i->key->text, known[0]) != 0 && strcmp(i->key->text, known[1]) != 0)
            return place_unknown(&child, "field", &s);
        if ((rc = place_expect(&child, NODE_MAP)))
            return rc;
    }
    return rc ? rc : take_json(at, out);
}

static int strings_parse(const struct place *at, void *out)
{
    struct array ignored;
    int rc = place_parse_strings(at, &ignored);

    return rc ? rc : take_json(at, out);
}

static int args_parse(const struct place *at, void *out)
{
    if (at->node->type == NODE_LIST && at->node->n == 0)
        return take_json(at, out);
    return strings_parse(at, out);
}

static int secrets_parse(const struct place *at, void *out)
{
    size_t index = 0;
    int rc = args_parse(at, out);

    for (const struct node_item *i = rc ? NULL : at->node->items; i; i = i->next, index++) {
        struct place item = {.up = at, .index = index, .node = i->value, .loader = at->loader};

        if (!secrets_name_ok(i->value->text))
            return place_error(&item, "expected the name of a Secret");
    }
    return rc;
}

static int paths_parse(const struct place *at, void *out)
{
    size_t index = 0;
    int rc = args_parse(at, out);

    for (const struct node_item *i = rc ? NULL : at->node->items; i; i = i->next, index++) {
        struct place item = {.up = at, .index = index, .node = i->value, .loader = at->loader};

        if (i->value->text[0] != '/' || strstr(i->value->text, "..") || strchr(i->value->text, ':'))
            return place_error(&item, "expected an absolute path of a file");
    }
    return rc;
}

/* The list as the guard's argument: JSON, in which each $ is doubled, because Kubernetes replaces
 * $(NAME) in arguments. */
static struct json_object *issuers_argument(struct json_object *list)
{
    const char *text = list ? value_quote(list) : NULL;
    struct json_object *ret = NULL;
    struct buffer b;

    buffer_init(&b, MAX_ISSUERS);
    buffer_printf(&b, "{\"issuers\":");
    for (const char *p = text; p && *p; p++) {
        if (*p == '$')
            buffer_add_u8(&b, '$');
        buffer_add_u8(&b, (uint8_t)*p);
    }
    buffer_add_u8(&b, '}');
    if (text && !b.failed)
        ret = json_object_new_string_len((const char *)b.p + b.start, (int)buffer_len(&b));
    buffer_done(&b);
    return ret;
}

static int issuers_field_parse(const struct place *at, void *out)
{
    struct json_object **slot = out;
    _cleanup_(value_put) struct json_object *list = NULL;
    struct json_object *argument;
    int rc = issuers_check_inline(at);

    if (rc)
        return rc;
    list = node_json(at->node);
    argument = issuers_argument(list);
    if (!argument)
        return place_error(at, "more than %zu bytes; give jwksURL in place of jwks", MAX_ISSUERS);
    json_object_put(*slot);
    *slot = argument;
    return 0;
}

static int id_parse(const struct place *at, void *out)
{
    int64_t v = 0;
    int rc;

    if (at->node->type == NODE_STRING && strcmp(at->node->text, "Random") == 0) {
        *(uint32_t *)out = 0;
        return 0;
    }
    if (at->node->type != NODE_INT)
        return place_expected(at, "Random or a number");
    rc = place_number(at, MIN_ID, MAX_ID, &v);
    if (rc == 0)
        *(uint32_t *)out = (uint32_t)v;
    return rc;
}

/* ---- certificateTimes ---- */

static int seconds_parse(const struct place *at, void *out)
{
    return place_duration(at, 1, 10u * 365 * 86400, out);
}

static int times_parse(const struct place *at, void *out)
{
    static const struct field fields[] = {
        {"caLifetime", seconds_parse, offsetof(struct config_times, ca_lifetime)},
        {"renewBefore", seconds_parse, offsetof(struct config_times, renew_before)},
        {"overlap", seconds_parse, offsetof(struct config_times, overlap)},
        {"leafLifetime", seconds_parse, offsetof(struct config_times, leaf_lifetime)},
    };
    struct config_times *t = out;
    int rc = place_fields(at, fields, ARRAY_LEN(fields), t);

    if (rc)
        return rc;
    if ((uint64_t)t->overlap + 2ull * t->leaf_lifetime > t->renew_before)
        return place_error(at, "renewBefore has to be longer than overlap and twice leafLifetime");
    if (t->renew_before > t->ca_lifetime / 2)
        return place_error(at, "caLifetime has to be at least twice renewBefore");
    return 0;
}

/* ---- the file ---- */

static const struct field fields[] = {
    {"guardImage", image_parse, offsetof(struct config, guard_image), .required = true},
    {"initImage", image_parse, offsetof(struct config, init_image), .required = true},
    {"imagePullPolicy", pull_policy_parse, offsetof(struct config, pull_policy)},
    {"guardResources", resources_parse, offsetof(struct config, guard_resources)},
    {"initResources", resources_parse, offsetof(struct config, init_resources)},
    {"spoolSizeLimit", quantity_parse, offsetof(struct config, spool_limit)},
    {"guardArgs", args_parse, offsetof(struct config, guard_args)},
    {"guardSecrets", secrets_parse, offsetof(struct config, guard_secrets)},
    {"guardUID", id_parse, offsetof(struct config, guard_uid)},
    {"guardGID", id_parse, offsetof(struct config, guard_gid)},
    {"environment", place_parse_bool, offsetof(struct config, environment)},
    {"trustFiles", paths_parse, offsetof(struct config, trust_files)},
    {"requireRunAsUser", place_parse_bool, offsetof(struct config, require_run_as_user)},
    {"apiAudiences", args_parse, offsetof(struct config, api_audiences)},
    {"issuers", issuers_field_parse, offsetof(struct config, issuers)},
    {"storeAudience", audience_parse, offsetof(struct config, token_audience)},
    {"certificateTimes", times_parse, offsetof(struct config, times)},
};

static int parse_documents(struct config *c, struct loader *l, struct bytes yaml)
{
    struct yamltree_document *documents = NULL;
    struct place at = {.loader = l};
    int rc = yamltree_parse(yaml, l->file, l->arena, &documents, l->err);

    if (rc)
        return rc;
    if (!documents || documents->next)
        return error_set(l->err, -EINVAL, "%s: expected one document", l->file);
    at.node = documents->root;
    if ((rc = place_fields(&at, fields, ARRAY_LEN(fields), c)))
        return rc;
    if (!c->guard_uid != !c->guard_gid)
        return place_missing(&at, c->guard_uid ? "guardGID" : "guardUID",
                             "a fixed user needs a fixed group, and the other way round");
    return 0;
}

#define VALUE(c, i) ((struct config_value *)((char *)(c) + values[i]))
static const size_t values[] = {
    offsetof(struct config, guard_image),    offsetof(struct config, init_image),
    offsetof(struct config, pull_policy),    offsetof(struct config, guard_resources),
    offsetof(struct config, init_resources), offsetof(struct config, spool_limit),
    offsetof(struct config, guard_args),     offsetof(struct config, trust_files),
    offsetof(struct config, guard_secrets),  offsetof(struct config, api_audiences),
    offsetof(struct config, issuers),        offsetof(struct config, token_audience),
};

static struct config *config_new(void)
{
    struct config *c = calloc(1, sizeof *c);
    _cleanup_(value_put) struct json_object *d = json_tokener_parse(defaults);

    if (!c || !d) {
        free(c);
        return NULL;
    }
    c->guard_resources.value = value_copy(value_get(d, "guardResources"));
    c->init_resources.value = value_copy(value_get(d, "initResources"));
    c->pull_policy.value = value_copy(value_get(d, "imagePullPolicy"));
    c->spool_limit.value = value_copy(value_get(d, "spoolSizeLimit"));
    c->guard_args.value = value_copy(value_get(d, "list"));
    c->guard_secrets.value = value_copy(value_get(d, "list"));
    c->trust_files.value = value_copy(value_get(d, "list"));
    c->api_audiences.value = value_copy(value_get(d, "list"));
    c->issuers.value = json_object_new_string("");
    c->token_audience.value = json_object_new_string("");
    c->environment = true;
    c->times = (struct config_times){365 * 86400, 30 * 86400, 3600, 86400};
    return c;
}

static int write_texts(struct config *c, struct error *err)
{
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        struct config_value *v = VALUE(c, i);

        v->json = v->value ? value_quote(v->value) : NULL;
        if (!v->json)
            return error_set(err, -ENOMEM, "out of memory");
    }
    return 0;
}

int config_parse(struct bytes yaml, const char *name, struct config **ret, struct error *err)
{
    _cleanup_(config_free) struct config *c = config_new();
    struct loader l = {.file = name, .err = err};
    struct arena arena;
    int rc;

    if (!c)
        return error_set(err, -ENOMEM, "out of memory");
    arena_init(&arena, YAMLTREE_ARENA_MAX);
    l.arena = &arena;
    rc = parse_documents(c, &l, yaml);
    arena_done(&arena);
    if (rc == 0)
        rc = write_texts(c, err);
    if (rc == 0)
        *ret = take(&c);
    return rc;
}

static void add_audience(struct config *c, struct json_object *audience)
{
    if (json_object_is_type(audience, json_type_string) &&
        !value_has(c->api_audiences.value, json_object_get_string(audience)))
        json_object_array_add(c->api_audiences.value, json_object_get(audience));
}

int config_add_audiences(struct config *c, struct json_object *audiences, struct error *err)
{
    add_audience(c, audiences);
    for (size_t i = 0; i < value_n(audiences); i++)
        add_audience(c, value_item(audiences, i));
    return write_texts(c, err);
}

int config_load(const char *path, struct config **ret, struct error *err)
{
    FILE *f = fopen(path, "re");
    char *text;
    size_t n;
    int rc;

    if (!f)
        return error_set(err, -errno, "%s: %m", path);
    text = malloc(MAX_FILE + 1);
    n = text ? fread(text, 1, MAX_FILE + 1, f) : 0;
    if (!text)
        rc = error_set(err, -ENOMEM, "out of memory");
    else if (ferror(f))
        rc = error_set(err, -EIO, "%s: cannot be read", path);
    else if (n > MAX_FILE)
        rc = error_set(err, -E2BIG, "%s: more than %zu bytes", path, MAX_FILE);
    else
        rc = config_parse(bytes_of(text, n), path, ret, err);
    free(text);
    fclose(f);
    return rc;
}

void config_free(struct config *c)
{
    if (!c)
        return;
    for (size_t i = 0; i < ARRAY_LEN(values); i++)
        json_object_put(VALUE(c, i)->value);
    free(c);
}
