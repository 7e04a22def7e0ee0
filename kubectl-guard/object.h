/* SPDX-License-Identifier: Apache-2.0
 * Reading JSON objects that others wrote: a missing field or one of another type is "not there",
 * never an error, so that newer guards' records can be read.
 */
#pragma once

#include "cli.h"

#include "src-common/bytes.h"

struct json_object;

/* The object on a line, or NULL when there is none or something stands behind it. */
struct json_object *object_parse(struct bytes line);
/* The value that is the whole text, objects and arrays; NULL when there is none. */
struct json_object *object_parse_any(struct bytes text);
/* As json_object_put, for _cleanup_(object_put). */
void object_put_p(struct json_object **o);

struct json_object *object_get(struct json_object *o, const char *key);
/* NULL when it is not there or not a string. */
const char *object_text(struct json_object *o, const char *key);
struct bytes object_bytes(struct json_object *o, const char *key);
int64_t object_number(struct json_object *o, const char *key, int64_t missing);
bool object_true(struct json_object *o, const char *key);
/* Elements of an array; 0 when it is none. */
size_t object_count(struct json_object *o, const char *key);
struct json_object *object_at(struct json_object *o, const char *key, size_t i);

/* RFC 3339 with Z to microseconds since 1970; 0 when it is not. */
uint64_t object_time_us(const char *text);

/* Prints an object as the -o format says: JSON (readable), or YAML. */
enum exit_code object_print(const struct cli *cli, struct json_object *o);
/* A line that is JSON already: as it is into files and pipes, with escapes on a terminal. */
void object_print_line(struct bytes line);
