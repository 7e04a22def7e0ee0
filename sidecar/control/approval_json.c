/* SPDX-License-Identifier: Apache-2.0
 * A request for approval as JSON.
 */
#include "server.h"

#include "src-common/clock.h"

#include <json-c/json.h>

static void add_time(struct buffer *out, const char *key, uint64_t wall_us)
{
    char text[CLOCK_RFC3339_LEN + 1];

    clock_rfc3339(wall_us, text);
    jsonw_kstr(out, key, bytes_str(text));
}

static bool add_text(struct buffer *out, const char *key, const char *text, bool cut)
{
    struct bytes b = bytes_str(text);
    bool shorten = cut && b.len > CONTROL_STATEMENT_CUT;

    if (shorten)
        b.len = CONTROL_STATEMENT_CUT;
    while (shorten && b.len > 0 && (b.p[b.len] & 0xc0) == 0x80)
        b.len--;
    jsonw_kstr(out, key, b);
    return shorten;
}

/* An array stays one. What is not one is shown as it is, as a string. */
static bool add_parameters(struct buffer *out, const char *text, bool cut)
{
    struct json_object *o = NULL;

    if (!text[0]) {
        jsonw_key(out, "parameters");
        buffer_append(out, "[]", 2);
        return false;
    }
    if (!cut || strlen(text) <= CONTROL_STATEMENT_CUT)
        o = json_tokener_parse(text);
    if (!json_object_is_type(o, json_type_array)) {
        json_object_put(o);
        return add_text(out, "parameters", text, cut);
    }
    jsonw_key(out, "parameters");
    text = json_object_to_json_string_ext(o, JSON_C_TO_STRING_PLAIN);
    buffer_append(out, text, strlen(text));
    json_object_put(o);
    return false;
}

static void add_decisions(struct buffer *out, const struct approval_info *i)
{
    jsonw_key(out, "decisions");
    buffer_add_u8(out, '[');
    for (size_t k = 0; k < i->n_decisions; k++) {
        const struct approval_decision *d = &i->decisions[k];

        buffer_append(out, k ? ",{" : "{", k ? 2 : 1);
        jsonw_kstr(out, "by", bytes_str(d->by));
        jsonw_kstr(out, "decision", bytes_str(d->decision));
        jsonw_kstr(out, "reason", bytes_str(d->reason));
        add_time(out, "at", d->at_us);
        buffer_add_u8(out, '}');
    }
    buffer_add_u8(out, ']');
}

static void add_groups(struct buffer *out, const struct approval_info *i)
{
    jsonw_key(out, "groups");
    buffer_add_u8(out, '[');
    for (size_t k = 0; i->groups[k]; k++) {
        if (k)
            buffer_add_u8(out, ',');
        jsonw_str(out, bytes_str(i->groups[k]));
    }
    buffer_add_u8(out, ']');
}

void approval_to_json(const struct approval_info *i, bool cut, struct buffer *out)
{
    const struct {
        const char *key, *value;
    } texts[] = {
        {"id", i->id},
        {"phase", approval_phase_name(i->phase)},
        {"session", i->session},
        {"pod", i->pod},
        {"serviceAccount", i->service_account},
        {"identity", i->identity},
        {"target", i->target},
        {"database", i->database},
        {"user", i->user},
        {"policy", i->policy},
        {"rule", i->rule},
        {"effect", i->effect},
        {"digest", i->digest},
    };
    bool was_cut;

    buffer_add_u8(out, '{');
    for (size_t k = 0; k < ARRAY_LEN(texts); k++)
        jsonw_kstr(out, texts[k].key, bytes_str(texts[k].value));
    was_cut = add_text(out, "statement", i->statement, cut);
    was_cut = add_parameters(out, i->parameters, cut) || was_cut;
    if (was_cut)
        jsonw_kbool(out, "cut", true);
    add_time(out, "created", i->created_us);
    add_time(out, "expires", i->expires_us);
    jsonw_ku64(out, "count", i->count);
    jsonw_kbool(out, "ticket", i->ticket);
    jsonw_kbool(out, "requireReason", i->require_reason);
    jsonw_kbool(out, "unlimited", i->uses_left == UINT32_MAX);
    jsonw_ku64(out, "usesLeft", i->uses_left);
    add_groups(out, i);
    add_decisions(out, i);
    buffer_add_u8(out, '}');
}
