/* SPDX-License-Identifier: Apache-2.0
 * JSON objects, read and printed.
 */
#include "object.h"

#include "src-common/jsonread.h"
#include "text.h"

#include <json-c/json.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <yaml.h>

#define MAX_DEPTH 32

struct json_object *object_parse_any(struct bytes text)
{
    struct json_object *o = NULL;

    return jsonread_strict(text, MAX_DEPTH, &o) == 0 ? o : NULL;
}

struct json_object *object_parse(struct bytes line)
{
    struct json_object *o = object_parse_any(line);

    if (o && !json_object_is_type(o, json_type_object)) {
        json_object_put(o);
        o = NULL;
    }
    return o;
}

void object_put_p(struct json_object **o)
{
    json_object_put(*o);
}

struct json_object *object_get(struct json_object *o, const char *key)
{
    struct json_object *v = NULL;

    return json_object_is_type(o, json_type_object) && json_object_object_get_ex(o, key, &v) ? v
                                                                                             : NULL;
}

const char *object_text(struct json_object *o, const char *key)
{
    struct json_object *v = object_get(o, key);

    return json_object_is_type(v, json_type_string) ? json_object_get_string(v) : NULL;
}

struct bytes object_bytes(struct json_object *o, const char *key)
{
    struct json_object *v = object_get(o, key);

    if (!json_object_is_type(v, json_type_string))
        return (struct bytes){0};
    return bytes_of(json_object_get_string(v), (size_t)json_object_get_string_len(v));
}

int64_t object_number(struct json_object *o, const char *key, int64_t missing)
{
    struct json_object *v = object_get(o, key);

    return json_object_is_type(v, json_type_int) ? json_object_get_int64(v) : missing;
}

bool object_true(struct json_object *o, const char *key)
{
    struct json_object *v = object_get(o, key);

    return json_object_is_type(v, json_type_boolean) && json_object_get_boolean(v);
}

size_t object_count(struct json_object *o, const char *key)
{
    struct json_object *v = object_get(o, key);

    return json_object_is_type(v, json_type_array) ? json_object_array_length(v) : 0;
}

struct json_object *object_at(struct json_object *o, const char *key, size_t i)
{
    return i < object_count(o, key) ? json_object_array_get_idx(object_get(o, key), i) : NULL;
}

uint64_t object_time_us(const char *text)
{
    struct tm tm = {0};
    const char *rest = text ? strptime(text, "%Y-%m-%dT%H:%M:%S", &tm) : NULL;
    uint64_t us = 0, place = 100000;
    time_t t;

    if (!rest)
        return 0;
    if (*rest == '.')
        for (rest++; *rest >= '0' && *rest <= '9'; rest++, place /= 10)
            us += (uint64_t)(*rest - '0') * place;
    t = timegm(&tm);
    return strcmp(rest, "Z") == 0 && t > 0 ? (uint64_t)t * 1000000 + us : 0;
}

/* ---- YAML ---- */

static bool emit(yaml_emitter_t *e, yaml_event_t *event, int made)
{
    return made && yaml_emitter_emit(e, event);
}

static bool emit_scalar(yaml_emitter_t *e, const char *text, size_t len, bool quote)
{
    yaml_event_t ev;
    int made = yaml_scalar_event_initialize(
        &ev, NULL, NULL, (const yaml_char_t *)text, (int)len, !quote, quote,
        quote ? YAML_DOUBLE_QUOTED_SCALAR_STYLE : YAML_PLAIN_SCALAR_STYLE);

    return emit(e, &ev, made);
}

/* Strings are always quoted: nobody has to know which bare words YAML takes for something else. */
static bool emit_node(yaml_emitter_t *e, struct json_object *o, unsigned depth)
{
    yaml_event_t ev;
    bool ok;

    if (depth > 32)
        return false;
    if (json_object_is_type(o, json_type_object)) {
        ok = emit(e, &ev,
                  yaml_mapping_start_event_initialize(&ev, NULL, NULL, 1, YAML_ANY_MAPPING_STYLE));
        json_object_object_foreach(o, key, value) ok =
            ok && emit_scalar(e, key, strlen(key), false) && emit_node(e, value, depth + 1);
        return ok && emit(e, &ev, yaml_mapping_end_event_initialize(&ev));
    }
    if (json_object_is_type(o, json_type_array)) {
        ok =
            emit(e, &ev,
                 yaml_sequence_start_event_initialize(&ev, NULL, NULL, 1, YAML_ANY_SEQUENCE_STYLE));
        for (size_t i = 0; ok && i < json_object_array_length(o); i++)
            ok = emit_node(e, json_object_array_get_idx(o, i), depth + 1);
        return ok && emit(e, &ev, yaml_sequence_end_event_initialize(&ev));
    }
    if (!o)
        return emit_scalar(e, "null", 4, false);
    if (!json_object_is_type(o, json_type_string)) /* has no length of its own */
        return emit_scalar(e, json_object_get_string(o), strlen(json_object_get_string(o)), false);
    return emit_scalar(e, json_object_get_string(o), (size_t)json_object_get_string_len(o), true);
}

static bool print_yaml(struct json_object *o)
{
    yaml_emitter_t e;
    yaml_event_t ev;
    bool ok;

    if (!yaml_emitter_initialize(&e))
        return false;
    yaml_emitter_set_output_file(&e, stdout);
    yaml_emitter_set_width(&e, -1); /* one line a value; escapes stay escapes */
    ok = emit(&e, &ev, yaml_stream_start_event_initialize(&ev, YAML_UTF8_ENCODING)) &&
         emit(&e, &ev, yaml_document_start_event_initialize(&ev, NULL, NULL, NULL, 1)) &&
         emit_node(&e, o, 0) && emit(&e, &ev, yaml_document_end_event_initialize(&ev, 1)) &&
         emit(&e, &ev, yaml_stream_end_event_initialize(&ev));
    yaml_emitter_delete(&e);
    return ok;
}

static void print_clean(struct bytes json)
{
    struct buffer b;

    buffer_init(&b, SIZE_MAX / 4);
    text_clean_json(json, &b);
    buffer_add_u8(&b, '\n');
    fwrite(b.p, 1, buffer_len(&b), stdout);
    buffer_done(&b);
}

enum exit_code object_print(const struct cli *cli, struct json_object *o)
{
    if (cli->output == OUTPUT_YAML) {
        if (!print_yaml(o))
            return cli_fail(EXIT_NO, "cannot write this as YAML: use -o json");
        return EXIT_DONE;
    }
    print_clean(bytes_str(json_object_to_json_string_ext(
        o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE)));
    return EXIT_DONE;
}

void object_print_line(struct bytes line)
{
    if (isatty(STDOUT_FILENO)) {
        print_clean(line);
    } else {
        fwrite(line.p, 1, line.len, stdout);
        putchar('\n');
    }
    fflush(stdout);
}
